"""A perspective as it was written: its keys wherever they stand, read one by one, every mistake noted.

graphcap's own list endpoint puts most of a perspective into an envelope called `schema`; a file has the same
keys at the top. Both are read; the top wins.
"""

from typing import Any

from perspectives.errors import Problem, below
from perspectives.plain import JsonObject

ENVELOPE = ("name", "display_name", "version", "prompt", "context_template", "schema_fields", "table_columns")
KNOWN = frozenset(
    {
        *ENVELOPE,
        *("json_schema", "module", "type", "tags", "description", "deprecated", "replacement", "priority"),
        *("variables", "schema", "digest", "warnings"),
    }
)


class Document:
    """The keys of one perspective. Readers note what is wrong in `problems` and give the default."""

    def __init__(self, data: JsonObject) -> None:
        self.problems: list[Problem] = []
        self.warnings: list[Problem] = []
        self.enveloped = isinstance(data.get("schema"), dict)
        self._values: JsonObject = {}
        self._pointers: dict[str, str] = {}
        if data.get("schema") is not None:
            self._read_envelope(data["schema"])
        for key, value in data.items():
            self._take_from_top(key, value)

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

    def _take_from_top(self, key: str, value: Any) -> None:
        if key == "schema" or (value is None and key in KNOWN):
            return
        if key in self._values and self._values[key] != value:
            self.warnings.append(Problem(self._pointers[key], f"Differs from /{key}, which holds."))
        self._values[key], self._pointers[key] = value, below("", key)

    @property
    def unknown(self) -> JsonObject:
        """Keys that mean nothing here; they are kept and told."""
        return {key: value for key, value in self._values.items() if key not in KNOWN}

    def get(self, key: str) -> Any:
        """The value of a key; None when it is absent or null."""
        return self._values.get(key)

    def pointer(self, key: str) -> str:
        """Where the key stands, or would stand."""
        return self._pointers.get(key, below("", key))

    def problem(self, key: str, message: str) -> None:
        """Note what makes the perspective unusable."""
        self.problems.append(Problem(self.pointer(key), message))

    def warning(self, key: str, message: str) -> None:
        """Note what its author should know."""
        self.warnings.append(Problem(self.pointer(key), message))

    def text(self, key: str, default: str = "") -> str:
        """A text; a number is taken as its digits, with a warning (but for `version`, where it is common)."""
        value = self.get(key)
        if isinstance(value, int | float) and not isinstance(value, bool):
            if key != "version":
                self.warning(key, "Is a number and is taken as text.")
            return str(value)
        if value is not None and not isinstance(value, str):
            self.problem(key, "Must be text.")
        return value if isinstance(value, str) else default

    def flag(self, key: str) -> bool:
        """True or false; absent is false."""
        value = self.get(key)
        if value is not None and not isinstance(value, bool):
            self.problem(key, "Must be true or false.")
        return value is True

    def whole(self, key: str, default: int) -> int:
        """A whole number."""
        value = self.get(key)
        if value is None:
            return default
        if not isinstance(value, int) or isinstance(value, bool):
            self.problem(key, "Must be a whole number.")
            return default
        return value

    def texts(self, key: str) -> tuple[str, ...]:
        """A list of texts; a single text is a list of one."""
        value = self.get(key)
        entries = [value] if isinstance(value, str) else value if value is not None else []
        if not isinstance(entries, list) or not all(isinstance(entry, str) for entry in entries):
            self.problem(key, "Must be a list of texts.")
            return ()
        return tuple(entries)

    def word(self, key: str, words: tuple[str, ...]) -> str:
        """One of these words; another one is taken as the first, with a warning."""
        value = self.get(key)
        if value is not None and value not in words:
            self.warning(key, f"Is not one of {', '.join(words)}; it is taken as {words[0]}.")
        return value if isinstance(value, str) and value in words else words[0]

    def columns(self, key: str) -> tuple[dict[str, str], ...]:
        """Table columns: name, style ("" where it is null or absent), description when there is one."""
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
        for name, value in column.items():
            if name not in {"name", "style", "description"}:
                self.warnings.append(Problem(below(pointer, name), "Is not a key of a column; it has no effect."))
            elif value is not None and not isinstance(value, str):
                self.problems.append(Problem(below(pointer, name), "Must be text."))
        told = {name: column.get(name) or "" for name in ("name", "style")}
        return {**told, "description": column["description"]} if column.get("description") else told
