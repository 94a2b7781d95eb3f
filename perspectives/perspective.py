"""Perspectives, and reading them from JSON. A perspective is a prompt with the schema of the answer."""

from dataclasses import dataclass, field, replace
from typing import Literal, cast, get_args

from perspectives.document import Document
from perspectives.errors import InvalidPerspective, Problem
from perspectives.graphcap_fields import to_fields, to_schema
from perspectives.json_values import JsonObject, copy_json, digest
from perspectives.prompt import FIELD, template_warnings
from perspectives.validation import Validator, compile_schema
from perspectives.variables import PLACEHOLDER, Variable, read_variables

Kind = Literal["perspective", "synthesizer", "custom"]
RESERVED = frozenset({"list", "modules", "caption", "caption-from-path", "analyze", "stream", "types.ts"})
"""Names that are paths of the API."""
MAX_PLACEHOLDERS = 100
"""Maximum number of placeholders in a prompt or template. Each may be replaced by a long text."""
_MAX_NAME = 128
_DEFAULT_PRIORITY = 100


@dataclass(frozen=True, eq=False)
class Perspective:
    """One perspective. Perspectives with equal digests have equal content.

    `validator`: validates answers. `schema_fields`: the schema in graphcap's notation. `table_columns`: objects with
    name, style and optionally description. `context_template`: None if blank. `warnings`: mistakes for the author.
    `extras`: unknown keys with their values. `source`: the path of the file, or "inline".
    """

    name: str
    display_name: str
    version: str
    type: Kind
    prompt: str
    validator: Validator = field(repr=False)
    schema_fields: list[JsonObject] = field(repr=False)
    table_columns: tuple[dict[str, str], ...] = ()
    context_template: str | None = None
    module: str = "custom"
    tags: tuple[str, ...] = ()
    description: str = ""
    deprecated: bool = False
    replacement: str | None = None
    priority: int = _DEFAULT_PRIORITY
    variables: tuple[Variable, ...] = ()
    warnings: tuple[Problem, ...] = field(default=(), repr=False)
    extras: JsonObject = field(default_factory=dict, repr=False)
    source: str = "inline"
    digest: str = field(init=False, default="")

    def __post_init__(self) -> None:
        """Compute the digest."""
        object.__setattr__(self, "digest", digest(self._content()))

    @property
    def json_schema(self) -> JsonObject:
        """Return the normalised JSON Schema that answers are validated against."""
        return self.validator.json_schema

    def to_wire(self) -> JsonObject:
        """Return the perspective as JSON for the HTTP API. `parse` accepts this form."""
        return {
            **self._content(),
            "digest": self.digest,
            "warnings": [{"pointer": warning.pointer, "message": warning.message} for warning in self.warnings],
        }

    def _content(self) -> JsonObject:
        return {
            **self.extras,
            "name": self.name,
            "display_name": self.display_name,
            "version": self.version,
            "description": self.description,
            "type": self.type,
            "module": self.module,
            "tags": list(self.tags),
            "deprecated": self.deprecated,
            "replacement": self.replacement,
            "priority": self.priority,
            "variables": [variable.to_wire() for variable in self.variables],
            "schema": {
                "name": self.name,
                "display_name": self.display_name,
                "version": self.version,
                "prompt": self.prompt,
                "context_template": self.context_template or "",
                "schema_fields": self.schema_fields,
                "table_columns": list(self.table_columns),
            },
            "json_schema": self.json_schema,
        }


def parse(data: object, *, source: str = "inline", reserved_check: bool = True, module: str = "custom") -> Perspective:
    """Create a perspective from the content of a file, the result of `to_wire`, or an equal object built in Python.

    `reserved_check`: reject names that are paths of the API. `module`: the module if `data` names none. Raises
    InvalidPerspective with all mistakes (at most 20).
    """
    if not isinstance(data, dict):
        raise InvalidPerspective([Problem("", "A perspective is an object.")])
    copied = copy_json(data)
    if isinstance(data.get("version"), float):  # copied as an integer, and 1.0 keeps its zero
        copied["version"] = str(data["version"])
    document = Document(copied)
    name = _name(document, "inline" if source == "inline" else "", reserved_check)
    prompt = _prompt(document)
    variables = read_variables(document, prompt)
    answer = _answer(document)
    if answer is None or document.problems:
        raise InvalidPerspective([*document.misspelled(), *document.problems])
    validator, schema_fields = answer
    perspective = Perspective(
        name=name,
        display_name=document.text("display_name") or name.replace("_", " ").strip().title(),
        version=document.text("version") or "1",
        type=cast(Kind, document.word("type", get_args(Kind))),
        prompt=prompt,
        validator=validator,
        schema_fields=schema_fields,
        table_columns=document.columns("table_columns"),
        context_template=_template(document, validator.json_schema),
        module=_module(document) or module,
        tags=document.texts("tags"),
        description=document.text("description"),
        deprecated=document.flag("deprecated"),
        replacement=document.text("replacement") or None,
        priority=document.whole("priority", _DEFAULT_PRIORITY),
        variables=variables,
        extras=document.unknown,
        source=source,
    )
    if document.problems:
        raise InvalidPerspective(document.problems)
    return replace(perspective, warnings=_warnings(document))


def _warnings(document: Document) -> tuple[Problem, ...]:
    misspelled = document.misspelled()
    document.warnings += misspelled
    for key in document.unknown:
        if not key.startswith("$") and document.pointer(key) not in {problem.pointer for problem in misspelled}:
            document.warning(key, "Is not a known key; it is kept and has no effect.")
    return tuple(document.warnings)


def _name(document: Document, default: str, reserved_check: bool) -> str:
    name = document.text("name", default)
    if not name or not _is_path_segment(name) or name != name.strip():
        document.problem("name", f"Must be 1 to {_MAX_NAME} printable characters without a slash.")
    elif reserved_check and name in RESERVED:
        document.problem("name", f"'{name}' is a path of the API; choose another name.")
    return name


def _module(document: Document) -> str:
    module = document.text("module").strip()
    if not _is_path_segment(module):
        document.problem("module", f"Must be up to {_MAX_NAME} printable characters without a slash.")
    return module


def _is_path_segment(name: str) -> bool:
    return len(name) <= _MAX_NAME and name.isprintable() and not set(name) & {"/", "\\"} and name not in {".", ".."}


def _prompt(document: Document) -> str:
    prompt = document.text("prompt")
    if not prompt.strip():
        document.problem("prompt", "Is missing: say what the model is to do.")
    if len(PLACEHOLDER.findall(prompt)) > MAX_PLACEHOLDERS:
        document.problem("prompt", f"Contains more than {MAX_PLACEHOLDERS} placeholders.")
    return prompt


def _template(document: Document, schema: JsonObject) -> str | None:
    template = document.text("context_template")
    if len(FIELD.findall(template)) > MAX_PLACEHOLDERS:
        document.problem("context_template", f"Contains more than {MAX_PLACEHOLDERS} placeholders.")
    document.warnings += template_warnings(template, schema, document.pointer("context_template"))
    return template if template.strip() else None


def _answer(document: Document) -> tuple[Validator, list[JsonObject]] | None:
    """Return the validator and `schema_fields`, or None if a mistake was recorded.

    `json_schema` takes precedence over `schema_fields`. If they describe different answers, new `schema_fields` are
    derived from `json_schema`.
    """
    fields, schema = document.get("schema_fields"), document.get("json_schema")
    if schema is None:
        return _from_fields(document)
    try:
        validator = compile_schema(schema, pointer=document.pointer("json_schema"))
    except InvalidPerspective as error:
        document.problems += error.problems
        return None
    document.warnings += [warning.under(document.pointer("json_schema")) for warning in validator.warnings]
    derived = to_fields(validator.json_schema)
    if fields is None:
        return validator, derived
    translation = to_schema(fields, document.pointer("schema_fields"))
    if _is_same(translation.schema, validator):
        return validator, translation.fields
    if fields != derived and not document.enveloped:
        document.problem("schema_fields", "Describes another answer than json_schema; pass one of them.")
    elif fields != derived:
        document.warning("schema_fields", "Describes another answer than json_schema, which is used.")
    return validator, derived


def _from_fields(document: Document) -> tuple[Validator, list[JsonObject]] | None:
    if document.get("schema_fields") is None:
        document.problem("schema_fields", "Is missing: pass schema_fields or json_schema.")
        return None
    translation = to_schema(document.get("schema_fields"), document.pointer("schema_fields"))
    document.problems += translation.problems
    document.warnings += translation.warnings
    if translation.problems:
        return None
    try:
        validator = compile_schema(translation.schema)
    except InvalidPerspective as error:
        document.problems += [Problem(translation.origin(one.pointer), one.message) for one in error.problems]
        return None
    document.warnings += [Problem(translation.origin(one.pointer), one.message) for one in validator.warnings]
    same = _is_same(to_schema(translation.fields, "").schema, validator)
    return validator, translation.fields if same else to_fields(validator.json_schema)


def _is_same(schema: JsonObject, validator: Validator) -> bool:
    """Return whether `schema` normalises to the validator's schema, with the same order of properties."""
    try:
        return digest(compile_schema(schema).json_schema) == digest(validator.json_schema)
    except InvalidPerspective:
        return False
