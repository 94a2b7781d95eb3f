"""Perspectives. A perspective is a prompt for an image, with the JSON Schema of the answer.

perspective = perspectives.parse({"name": "…", "prompt": "…", "json_schema": Model.model_json_schema()})
"""

from perspectives.errors import InvalidPerspective, PerspectiveError, ValidationFailed
from perspectives.perspective import Perspective, parse
from perspectives.validation import compile_schema

__all__ = ["InvalidPerspective", "Perspective", "PerspectiveError", "ValidationFailed", "compile_schema", "parse"]
