"""Read perspectives from JSON. A perspective is a prompt with the schema of the answer."""

import json
from dataclasses import dataclass, field
from functools import cached_property
from hashlib import sha256
from typing import get_args

from perspectives.document import Document
from perspectives.errors import InvalidPerspective, Problem, shortened, under
from perspectives.forms import Kind, Variable
from perspectives.graphcap_fields import to_fields, to_schema
from perspectives.json_values import JsonObject, copy_json
from perspectives.prompt import FIELD, PLACEHOLDER, template_warnings
from perspectives.validation import Validator, compile_schema

RESERVED = frozenset({"list", "modules", "caption", "caption-from-path", "analyze", "stream", "types.ts"})
"""Names that are paths of the API."""
MAX_PLACEHOLDERS = 100  # maximum number of placeholders in a prompt or template. Each may be replaced by a long text
_MAX_NAME = 128


@dataclass(frozen=True, eq=False)
class Perspective:
    """One perspective. Perspectives with equal digests have equal content.

    `validator`: validates answers. `schema_fields`: the schema in graphcap's notation. `table_columns`: objects with
    name, style and optionally description. `context_template`: None if blank. `warnings`: harmless mistakes.
    `extras`: unknown keys with their values. `source`: the path of the file, the URL of the service, or "inline".
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
    priority: int = 100
    variables: tuple[Variable, ...] = ()
    warnings: tuple[Problem, ...] = field(default=(), repr=False)
    extras: JsonObject = field(default_factory=dict, repr=False)
    source: str = "inline"

    @cached_property
    def digest(self) -> str:
        """Return the SHA-256 of the content as JSON. The order of keys counts, because models follow this order."""
        text = json.dumps(self._content(), ensure_ascii=False, separators=(",", ":"))
        return sha256(text.encode()).hexdigest()

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

    def to_summary(self) -> JsonObject:
        """Return the perspective without its prompt and schemas."""
        return {key: value for key, value in self.to_wire().items() if key not in ("schema", "json_schema")}

    def _content(self) -> JsonObject:
        identity = {"name": self.name, "display_name": self.display_name, "version": self.version}
        return {
            **self.extras,
            **identity,
            **{key: getattr(self, key) for key in ("description", "type", "module", "deprecated", "replacement")},
            "tags": list(self.tags),
            "priority": self.priority,
            "variables": [variable.to_wire() for variable in self.variables],
            "schema": {
                **identity,
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
    if isinstance(data.get("version"), float):  # keep the text: copying makes 1.0 the integer 1
        copied["version"] = str(data["version"])
    document = Document(copied)
    form = document.form
    name = form.name or ("inline" if source == "inline" else "")
    _check(document, name, reserved_check)
    variables = _variables(document)
    answer = _answer(document)
    if answer is None or document.problems:
        raise InvalidPerspective([*document.misspelled, *document.problems])
    validator, schema_fields = answer
    kind = _kind(document)
    pointer = document.pointer("context_template")
    document.warnings += template_warnings(form.context_template, validator.json_schema, pointer)
    return Perspective(
        name=name,
        display_name=form.display_name or name.replace("_", " ").strip().title(),
        version=form.version or "1",
        type=kind,
        prompt=form.prompt,
        validator=validator,
        schema_fields=schema_fields,
        table_columns=tuple(column.to_wire() for column in form.table_columns),
        context_template=form.context_template if form.context_template.strip() else None,
        module=form.module.strip() or module,
        tags=tuple(form.tags),
        description=form.description,
        deprecated=form.deprecated,
        replacement=form.replacement or None,
        priority=form.priority,
        variables=variables,
        extras=document.unknown,
        source=source,
        warnings=(*document.warnings, *document.misspelled),
    )


def _check(document: Document, name: str, reserved_check: bool) -> None:
    form = document.form
    if not name or not _is_path_segment(name) or name != name.strip():
        document.problem("name", f"Must be 1 to {_MAX_NAME} printable characters without a slash.")
    elif reserved_check and name in RESERVED:
        document.problem("name", f"'{name}' is a path of the API; choose another name.")
    if not _is_path_segment(form.module.strip()):
        document.problem("module", f"Must be up to {_MAX_NAME} printable characters without a slash.")
    if not form.prompt.strip():
        document.problem("prompt", "Is missing: say what the model is to do.")
    for key, text, placeholder in (
        ("prompt", form.prompt, PLACEHOLDER),
        ("context_template", form.context_template, FIELD),
    ):
        if len(placeholder.findall(text)) > MAX_PLACEHOLDERS:
            document.problem(key, f"Contains more than {MAX_PLACEHOLDERS} placeholders.")


def _is_path_segment(name: str) -> bool:
    return len(name) <= _MAX_NAME and name.isprintable() and not set(name) & {"/", "\\"} and name not in {".", ".."}


def _kind(document: Document) -> Kind:
    kinds: tuple[Kind, ...] = get_args(Kind)
    kind = document.form.type
    if kind not in kinds:
        document.warning("type", f"Is not one of {', '.join(kinds)}; it is read as {kinds[0]}.")
    return kind if kind in kinds else kinds[0]


def _variables(document: Document) -> tuple[Variable, ...]:
    """Return the variables. Without the key `variables`, every placeholder is a variable with the default ""."""
    declared, used = document.form.variables, dict.fromkeys(PLACEHOLDER.findall(document.form.prompt))
    if declared is None:
        for name in used:
            document.warning("prompt", f"The placeholder {{{name}}} is not declared in variables; it is optional.")
        return tuple(Variable(name=name, default="") for name in used)
    names = {variable.name for variable in declared}
    for name in names - used.keys():
        document.warning("variables", f"The prompt does not use '{shortened(name)}'.")
    for name in used.keys() - names:
        document.warning("prompt", f"{{{name}}} is not a declared variable and stays as it is written.")
    return tuple(declared)


def _answer(document: Document) -> tuple[Validator, list[JsonObject]] | None:
    """Return the validator and `schema_fields`, or None if a mistake was recorded.

    `json_schema` takes precedence over `schema_fields`, which are empty if its root has no `properties`. If they
    describe different answers, new `schema_fields` are derived from `json_schema`.
    """
    fields, schema = document.form.schema_fields, document.form.json_schema
    if schema is None:
        return _from_fields(document)
    pointer = document.pointer("json_schema")
    try:
        validator = compile_schema(schema)
    except InvalidPerspective as error:
        document.problems += under(pointer, error.problems)
        return None
    document.warnings += under(pointer, validator.warnings)
    derived = to_fields(validator.json_schema)
    if not fields or [field.model_dump(exclude_unset=True) for field in fields] == derived:
        return validator, derived
    translation = to_schema(fields, document.pointer("schema_fields"))
    if to_fields(translation.schema) == derived:
        return validator, translation.fields
    if document.enveloped:
        document.warning("schema_fields", "Describes another answer than json_schema, which is used.")
    else:
        document.problem("schema_fields", "Describes another answer than json_schema; pass one of them.")
    return validator, derived


def _from_fields(document: Document) -> tuple[Validator, list[JsonObject]] | None:
    pointer = document.pointer("schema_fields")
    if not document.form.schema_fields:
        document.problem("schema_fields", "Is missing: pass schema_fields or json_schema.")
        return None
    translation = to_schema(document.form.schema_fields, pointer)
    document.problems += translation.problems
    document.warnings += translation.warnings
    if translation.problems:
        return None
    try:
        validator = compile_schema(translation.schema)
    except InvalidPerspective as error:  # the schema has too many fields or levels
        document.problems += [Problem(pointer, problem.message) for problem in error.problems]
        return None
    return validator, translation.fields
