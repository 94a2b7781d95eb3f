"""Read the keys of a perspective document one by one, and record every mistake.

graphcap's list endpoint puts most keys into an object called `schema` (the envelope); files have these keys at the top
level. Both forms are read, and the top level takes precedence.
"""

from collections.abc import Collection
from difflib import get_close_matches
from typing import Any

from perspectives.errors import MAX_PROBLEMS, Problem, below
from perspectives.json_values import JsonObject

ENVELOPE = ("name", "display_name", "version", "prompt", "context_template", "schema_fields", "table_columns")
_KNOWN = frozenset(
    {
        *ENVELOPE,
        *("json_schema", "module", "type", "tags", "description", "deprecated", "replacement", "priority"),
        *("variables", "schema", "digest", "warnings"),
    }
)
_MAX_KEY = 40
_COLUMN = ("name", "style", "description")


class Document:
    """A perspective document. If a value is not valid, its reader records a mistake and returns the default."""

    def __init__(self, data: JsonObject) -> None:
        self.problems: list[Problem] = []
        self.warnings: list[Problem] = []
        self.enveloped = isinstance(data.get("schema"), dict)
        self._values: JsonObject = {}
        self._pointers: dict[str, str] = {}
        if data.get("schema") is not None:
            self._read_envelope(data["schema"])
        for key, value in data.items():
            if key != "schema" and (value is not None or key not in _KNOWN):
                if self._values.get(key, value) != value and key != "name":  # a copy was renamed
                    self.warnings.append(Problem(self._pointers[key], f"Differs from /{key}, which is used."))
                self._values[key], self._pointers[key] = value, below("", key)

    def _read_envelope(self, envelope: object) -> None:
        if not isinstance(envelope, dict) or not set(ENVELOPE) & set(envelope):
            self.problem(
                "schema", "Is graphcap's envelope (prompt, schema_fields …); a JSON Schema goes in json_schema."
            )
            return
        for key, value in envelope.items():
            if key not in ENVELOPE:
                self.warnings.append(Problem(below("/schema", key), "Is not a known key; it has no effect."))
            elif value is not None:
                self._values[key], self._pointers[key] = value, below("/schema", key)

    @property
    def unknown(self) -> JsonObject:
        """Return the unknown keys with their values."""
        return {key: value for key, value in self._values.items() if key not in _KNOWN}

    def misspelled(self) -> list[Problem]:
        """Return a mistake for each unknown key that resembles a known one."""
        unknown = [key for key in self.unknown if len(key) <= _MAX_KEY and not key.startswith("$")][:MAX_PROBLEMS]
        near = {key: get_close_matches(key, _KNOWN - self._values.keys(), n=1) for key in unknown}
        return [
            Problem(self.pointer(key), f"Is not a known key. Did you mean '{match[0]}'?")
            for key, match in near.items()
            if match
        ]

    def get(self, key: str) -> Any:
        """Return the value of a key, None if the key is absent or null."""
        return self._values.get(key)

    def pointer(self, key: str) -> str:
        """Return the JSON Pointer of a key, or the pointer that an absent key would have at the top level."""
        return self._pointers.get(key, below("", key))

    def problem(self, key: str, message: str) -> None:
        """Record a mistake that makes the perspective unusable."""
        self.problems.append(Problem(self.pointer(key), message))

    def warning(self, key: str, message: str) -> None:
        """Record a mistake that does not make the perspective unusable."""
        self.warnings.append(Problem(self.pointer(key), message))

    def warn_unknown(self, entry: JsonObject, known: Collection[str], pointer: str, message: str) -> None:
        """Record a warning for every unknown key of the object at `pointer`."""
        self.warnings += [Problem(below(pointer, key), message) for key in entry if key not in known]

    def text(self, key: str, default: str = "") -> str:
        """Read a text. A number is converted to text, with a warning except for `version`, which is often a number."""
        value = self.get(key)
        if isinstance(value, int | float) and not isinstance(value, bool):
            if key != "version":
                self.warning(key, "Is a number and is read as text.")
            return str(value)
        if value is not None and not isinstance(value, str):
            self.problem(key, "Must be text.")
        return value if isinstance(value, str) else default

    def flag(self, key: str) -> bool:
        """Read true or false. An absent key is false."""
        value = self.get(key)
        if value is not None and not isinstance(value, bool):
            self.problem(key, "Must be true or false.")
        return value is True

    def whole(self, key: str, default: int) -> int:
        """Read an integer."""
        value = self.get(key)
        if isinstance(value, int) and not isinstance(value, bool):
            return value
        if value is not None:
            self.problem(key, "Must be a whole number.")
        return default

    def texts(self, key: str) -> tuple[str, ...]:
        """Read a list of texts. A single text is read as a list with that text."""
        value = self.get(key)
        entries = [value] if isinstance(value, str) else value if value is not None else []
        if not isinstance(entries, list) or not all(isinstance(entry, str) for entry in entries):
            self.problem(key, "Must be a list of texts.")
            return ()
        return tuple(entries)

    def word(self, key: str, words: tuple[str, ...]) -> str:
        """Read one of these words. Any other value is read as the first word, with a warning."""
        value = self.get(key)
        if value is not None and value not in words:
            self.warning(key, f"Is not one of {', '.join(words)}; it is read as {words[0]}.")
        return value if isinstance(value, str) and value in words else words[0]

    def columns(self, key: str) -> tuple[dict[str, str], ...]:
        """Read table columns: name, style ("" if null or absent), and description if present."""
        value = self.get(key)
        entries = value if value is not None else []
        if not isinstance(entries, list):
            self.problem(key, "Must be a list of columns.")
            return ()
        return tuple(self._column(entry, below(self.pointer(key), index)) for index, entry in enumerate(entries))

    def _column(self, entry: object, pointer: str) -> dict[str, str]:
        column = {"name": entry} if isinstance(entry, str) else entry
        if not isinstance(column, dict) or not isinstance(column.get("name"), str):
            self.problems.append(Problem(pointer, "Must be a column: an object with name and style."))
            return {}
        self.warn_unknown(column, _COLUMN, pointer, "Is not a key of a column; it has no effect.")
        for name in _COLUMN:
            if not isinstance(column.get(name), str | None):
                self.problems.append(Problem(below(pointer, name), "Must be text."))
        return {name: column.get(name) or "" for name in _COLUMN if name != "description" or column.get(name)}
