"""Perspectives: what a picture is looked at for, and what shape the answer has.

perspective = perspectives.parse({"name": "…", "prompt": "…", "json_schema": Model.model_json_schema()})
"""

from perspectives.errors import (
    InvalidPerspective,
    MissingVariables,
    PerspectiveError,
    Problem,
    UnknownModule,
    UnknownPerspective,
    UnknownVariables,
    ValidationFailed,
)
from perspectives.perspective import Perspective, parse
from perspectives.schema import CompiledSchema, compile_schema

__all__ = [
    "CompiledSchema",
    "InvalidPerspective",
    "MissingVariables",
    "Perspective",
    "PerspectiveError",
    "Problem",
    "UnknownModule",
    "UnknownPerspective",
    "UnknownVariables",
    "ValidationFailed",
    "compile_schema",
    "parse",
]
