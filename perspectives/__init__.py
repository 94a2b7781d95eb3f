"""Perspectives. A perspective is a prompt for an image, with the JSON Schema of the answer.

perspective = perspectives.parse({"name": "…", "prompt": "…", "json_schema": Model.model_json_schema()})
"""

from perspectives.errors import (
    InvalidPerspective,
    MissingVariables,
    PerspectiveError,
    UnknownModule,
    UnknownPerspective,
    UnknownVariables,
    ValidationFailed,
)
from perspectives.perspective import Perspective, parse
from perspectives.validation import Validator, compile_schema

__all__ = [
    "InvalidPerspective",
    "MissingVariables",
    "Perspective",
    "PerspectiveError",
    "UnknownModule",
    "UnknownPerspective",
    "UnknownVariables",
    "ValidationFailed",
    "Validator",
    "compile_schema",
    "parse",
]
