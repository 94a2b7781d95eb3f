"""Read a perspective document, and record every mistake.

In files, all keys are at the top level. In graphcap's list of perspectives, most keys are inside an object called
`schema`. Both forms are read, and the top level takes precedence.
"""

from collections.abc import Sequence
from difflib import get_close_matches

from perspectives.errors import MAX_PROBLEMS, Problem, below
from perspectives.forms import FieldEntry, Form, PerspectiveForm, validated
from perspectives.json_values import JsonObject

ENVELOPE = ("name", "display_name", "version", "prompt", "context_template", "schema_fields", "table_columns")
_KNOWN = frozenset(PerspectiveForm.model_fields)


class Document:
    """A perspective document. `form`: its valid keys. `problems`: mistakes that make the perspective unusable."""

    def __init__(self, data: JsonObject) -> None:
        self.problems: list[Problem] = []
        self.warnings: list[Problem] = []
        self.enveloped = isinstance(data.get("schema"), dict)
        self._pointers: dict[str, str] = {}
        values: JsonObject = {} if data.get("schema") is None else self._envelope(data["schema"])
        for key, value in data.items():
            if key != "schema" and (value is not None or key not in _KNOWN):
                if values.get(key, value) != value and key != "name":  # a user may rename a copy
                    self.warning(key, f"Differs from /{key}, which is used.")
                values[key], self._pointers[key] = value, below("", key)
        self.form = validated(PerspectiveForm, values, self.pointer, self.problems)
        self._warn_unknown(self.form.table_columns, self.pointer("table_columns"))
        self._warn_unknown(self.form.variables or (), self.pointer("variables"))
        self._warn_unknown(self.form.schema_fields or (), self.pointer("schema_fields"))

    def _envelope(self, envelope: object) -> JsonObject:
        if not isinstance(envelope, dict) or not set(ENVELOPE) & set(envelope):
            message = "Is graphcap's envelope (prompt, schema_fields …); a JSON Schema goes in json_schema."
            self.problem("schema", message)
            return {}
        present = {key: value for key, value in envelope.items() if value is not None}
        self._pointers = {key: below("/schema", key) for key in present}
        return present

    def _warn_unknown(self, entries: Sequence[Form], pointer: str) -> None:
        for index, entry in enumerate(entries):
            at = below(pointer, index)
            for key in entry.model_extra or ():
                near = get_close_matches(key[:40], type(entry).model_fields, n=1)
                hint = f" Did you mean '{near[0]}'?" if near else ""
                self.warnings.append(Problem(below(at, key), f"Is not a known key; it has no effect.{hint}"))
            if isinstance(entry, FieldEntry):
                self._warn_unknown(entry.fields, below(at, "fields"))

    @property
    def unknown(self) -> JsonObject:
        return self.form.model_extra or {}

    def unknown_keys(self) -> tuple[list[Problem], list[Problem]]:
        """Return a mistake for each unknown key. Keys that resemble a known key come first."""
        misspelled, others = [], []
        for index, key in enumerate(key for key in self.unknown if not key.startswith("$")):
            near = get_close_matches(key[:40], _KNOWN - self._pointers.keys(), n=1) if index < MAX_PROBLEMS else ()
            if near:
                misspelled.append(Problem(self.pointer(key), f"Is not a known key. Did you mean '{near[0]}'?"))
            else:
                others.append(Problem(self.pointer(key), "Is not a known key; it is kept and has no effect."))
        return misspelled, others

    def pointer(self, key: str) -> str:
        """Return the JSON Pointer of a key. An absent key counts as one at the top level."""
        return self._pointers.get(key, below("", key) if key else "")

    def problem(self, key: str, message: str) -> None:
        """Record a mistake that makes the perspective unusable. Skip it if this key or one below it already has one."""
        pointer = self.pointer(key)
        if not any(f"{problem.pointer}/".startswith(f"{pointer}/") for problem in self.problems):
            self.problems.append(Problem(pointer, message))

    def warning(self, key: str, message: str) -> None:
        self.warnings.append(Problem(self.pointer(key), message))
