"""A perspective: a prompt, the schema of its answer, and what people are told of both."""

from dataclasses import dataclass, field
from typing import Literal, cast, get_args

from perspectives.digest import digest
from perspectives.document import Document
from perspectives.errors import InvalidPerspective, Problem
from perspectives.fields import to_fields, to_schema
from perspectives.limits import MAX_PLACEHOLDERS, MAX_PROBLEMS
from perspectives.plain import JsonObject, plain
from perspectives.schema import CompiledSchema, compile_schema
from perspectives.template import BRACES, template_warnings
from perspectives.variables import PLACEHOLDER, Declared, Variable, declared, undeclared

Kind = Literal["perspective", "synthesizer", "custom"]
RESERVED = frozenset({"list", "modules", "caption", "caption-from-path", "analyze", "stream"})
"""Names that are paths of the API."""
_MAX_NAME = 128
_DEFAULT_PRIORITY = 100


@dataclass(frozen=True, eq=False)
class Perspective:
    """One perspective, ready for use. Equal digests mean equal content.

    `json_schema` is what the model is held to, `compiled` the same ready to check answers, `schema_fields` the
    same in graphcap's words for clients. `table_columns`: name, style, perhaps description. `context_template`:
    None when blank. `warnings`: what its author should know; `extras`: unknown keys, kept. `source`: a file or
    "inline".
    """

    name: str
    display_name: str
    version: str
    type: Kind
    prompt: str
    compiled: CompiledSchema = field(repr=False)
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
        """Name the content."""
        object.__setattr__(self, "digest", digest(self._content()))

    @property
    def json_schema(self) -> JsonObject:
        """The portable JSON Schema that an answer is held to."""
        return self.compiled.json_schema

    def to_wire(self) -> JsonObject:
        """As it is listed over HTTP (graphcap's envelope in `schema`); `parse` takes it back."""
        return {
            **self._content(),
            "digest": self.digest,
            "warnings": [{"pointer": one.pointer, "message": one.message} for one in self.warnings],
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
            "variables": [one.to_wire() for one in self.variables],
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
    """Read a perspective: the content of a file, what `to_wire` gave, or the same built in Python.

    `source` is told in reports; `reserved_check` refuses names that are paths of the API; `module` is taken
    when the data names none. Raises InvalidPerspective with every problem found.
    """
    if not isinstance(data, dict):
        raise InvalidPerspective([Problem("", "A perspective is an object.")])
    document = Document(_with_version_as_written(plain(data), data))
    name = _name(document, "inline" if source == "inline" else "", reserved_check)
    prompt = _prompt(document)
    variables = _variables(document, prompt)
    answer = _answer(document)
    if answer is None or document.problems:
        raise InvalidPerspective(document.problems[:MAX_PROBLEMS])
    compiled, schema_fields = answer
    perspective = Perspective(
        name=name,
        display_name=document.text("display_name") or name.replace("_", " ").strip().title(),
        version=document.text("version") or "1",
        type=cast(Kind, document.word("type", get_args(Kind))),
        prompt=prompt,
        compiled=compiled,
        schema_fields=schema_fields,
        table_columns=document.columns("table_columns"),
        context_template=_template(document, set(compiled.json_schema["properties"])),
        module=_module(document) or module,
        tags=document.texts("tags"),
        description=document.text("description"),
        deprecated=document.flag("deprecated"),
        replacement=document.text("replacement") or None,
        priority=document.whole("priority", _DEFAULT_PRIORITY),
        variables=variables,
        warnings=_warnings(document),
        extras=document.unknown,
        source=source,
    )
    return _checked(perspective, document)


def _with_version_as_written(data: JsonObject, given: JsonObject) -> JsonObject:
    """`1.0` as a version is meant with its zero."""
    version = given.get("version")
    return {**data, "version": str(version)} if isinstance(version, float) else data


def _checked(perspective: Perspective, document: Document) -> Perspective:
    if document.problems:
        raise InvalidPerspective(document.problems[:MAX_PROBLEMS])
    stated = document.get("digest")
    if stated is None or stated == perspective.digest:
        return perspective
    changed = Problem("/digest", "Is not the digest of this content; it was changed since.")
    object.__setattr__(perspective, "warnings", (*perspective.warnings, changed))
    return perspective


def _name(document: Document, default: str, reserved_check: bool) -> str:
    name = document.text("name", default)
    fine = 0 < len(name) <= _MAX_NAME and name.isprintable() and name == name.strip() and not set(name) & {"/", "\\"}
    if not fine or name in {".", ".."}:
        document.problem("name", f"Must be 1 to {_MAX_NAME} printable characters without a slash.")
    elif reserved_check and name in RESERVED:
        document.problem("name", f"'{name}' is a path of the API; choose another name.")
    return name


def _module(document: Document) -> str:
    module = document.text("module").strip()
    if len(module) > _MAX_NAME or not module.isprintable() or set(module) & {"/", "\\"} or module in {".", ".."}:
        document.problem("module", f"Must be up to {_MAX_NAME} printable characters without a slash.")
    return module


def _prompt(document: Document) -> str:
    prompt = document.text("prompt")
    if not prompt.strip():
        document.problem("prompt", "Is missing: say what the model is to do.")
    if len(PLACEHOLDER.findall(prompt)) > MAX_PLACEHOLDERS:
        document.problem("prompt", f"Holds more than {MAX_PLACEHOLDERS} placeholders.")
    return prompt


def _template(document: Document, names: set[str]) -> str | None:
    template = document.text("context_template")
    if len(BRACES.findall(template)) > MAX_PLACEHOLDERS:
        document.problem("context_template", f"Holds more than {MAX_PLACEHOLDERS} placeholders.")
    document.warnings += template_warnings(template, names, document.pointer("context_template"))
    return template if template.strip() else None


def _variables(document: Document, prompt: str) -> tuple[Variable, ...]:
    given, at = document.get("variables"), document.pointer("prompt")
    found: Declared = (
        undeclared(prompt, at) if given is None else declared(given, document.pointer("variables"), prompt, at)
    )
    document.problems += found.problems
    document.warnings += found.warnings
    return found.variables


def _answer(document: Document) -> tuple[CompiledSchema, list[JsonObject]] | None:
    """The compiled schema and its fields; None when a problem was noted.

    `json_schema` holds where both are given; fields that say something else are then told anew from it.
    """
    fields, schema = document.get("schema_fields"), document.get("json_schema")
    if schema is None:
        return _from_fields(document)
    compiled = _compile(document, schema, document.pointer("json_schema"))
    if compiled is None:
        return None
    if fields is None:
        return compiled, to_fields(compiled.json_schema)
    told = to_schema(fields, document.pointer("schema_fields"))
    if _same(told.schema, compiled):
        return compiled, told.fields
    anew = to_fields(compiled.json_schema)
    if fields != anew and not document.enveloped:
        document.problem("schema_fields", "Describes another answer than json_schema; give one of them.")
    elif fields != anew:
        document.warning("schema_fields", "Describes another answer than json_schema, which holds.")
    return compiled, anew


def _from_fields(document: Document) -> tuple[CompiledSchema, list[JsonObject]] | None:
    if document.get("schema_fields") is None:
        document.problem("schema_fields", "Is missing: give schema_fields or json_schema.")
        return None
    told = to_schema(document.get("schema_fields"), document.pointer("schema_fields"))
    document.problems += told.problems
    document.warnings += told.warnings
    if told.problems:
        return None
    try:
        compiled = compile_schema(told.schema)
    except InvalidPerspective as error:
        document.problems += [Problem(told.origin(one.pointer), one.message) for one in error.problems]
        return None
    anew = to_schema(told.fields, "").schema
    return compiled, told.fields if _same(anew, compiled) else to_fields(compiled.json_schema)


def _compile(document: Document, schema: object, pointer: str) -> CompiledSchema | None:
    try:
        return compile_schema(cast(JsonObject, schema), pointer=pointer)
    except InvalidPerspective as error:
        document.problems += error.problems
        return None


def _same(schema: JsonObject, compiled: CompiledSchema) -> bool:
    """Whether a schema compiles to the very same, order of properties included."""
    try:
        return digest(compile_schema(schema).json_schema) == digest(compiled.json_schema)
    except InvalidPerspective:
        return False


def _warnings(document: Document) -> tuple[Problem, ...]:
    unknown = [
        Problem(document.pointer(key), "Is not a known key; it is kept and has no effect.")
        for key in document.unknown
        if not key.startswith("$")
    ]
    return (*document.warnings, *unknown)
