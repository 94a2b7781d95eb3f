"""Read a perspective document. Keys at the top level take precedence over those in graphcap's object `schema`."""

from collections.abc import Callable, Collection
from functools import partial

from perspectives.errors import MAX_PROBLEMS, Problem, below, suggestion
from perspectives.forms import Form, PerspectiveForm, validated
from perspectives.json_values import JsonObject

ENVELOPE = ("name", "display_name", "version", "prompt", "context_template", "schema_fields", "table_columns")
_KNOWN = frozenset(PerspectiveForm.model_fields)


class Document:
    """A perspective document. `form`: its valid keys. `problems`: mistakes that make the perspective unusable.

    `misspelled`: unknown keys that resemble a known key, which are only warnings.
    """

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
        self.misspelled: list[Problem] = []
        self._note_unknown(self.form, self.pointer, _KNOWN - self._pointers.keys())

    def _envelope(self, envelope: object) -> JsonObject:
        if not isinstance(envelope, dict) or not set(ENVELOPE) & set(envelope):
            message = "Is graphcap's envelope (prompt, schema_fields …); a JSON Schema goes in json_schema."
            self.problem("schema", message)
            return {}
        present = {key: value for key, value in envelope.items() if value is not None}
        self._pointers = {key: below("/schema", key) for key in present}
        return present

    def _note_unknown(self, form: Form, pointer: Callable[[str], str], absent: Collection[str]) -> None:
        """Record the unknown keys of an object and of the objects in its lists. `absent`: keys to suggest."""
        for index, key in enumerate(key for key in form.model_extra or () if not key.startswith("$")):
            hint = suggestion(key, absent, cutoff=0.6) if index < MAX_PROBLEMS else ""
            if hint:
                self.misspelled.append(Problem(pointer(key), f"Is not a known key.{hint}"))
            else:
                self.warnings.append(Problem(pointer(key), "Is not a known key; it has no effect."))
        for key, value in form:
            for index, entry in enumerate(value if isinstance(value, list) else ()):
                if isinstance(entry, Form):
                    place = below(pointer(key), index)
                    self._note_unknown(entry, partial(below, place), type(entry).model_fields)

    @property
    def unknown(self) -> JsonObject:
        return self.form.model_extra or {}

    def pointer(self, key: str) -> str:
        """Return the JSON Pointer of a key. An absent key counts as one at the top level."""
        return self._pointers.get(key, below("", key) if key else "")

    def problem(self, key: str, message: str) -> None:
        """Record a mistake that makes the perspective unusable, unless this key or a key in it already has one."""
        pointer = self.pointer(key)
        if not any(f"{problem.pointer}/".startswith(f"{pointer}/") for problem in self.problems):
            self.problems.append(Problem(pointer, message))

    def warning(self, key: str, message: str) -> None:
        self.warnings.append(Problem(self.pointer(key), message))
