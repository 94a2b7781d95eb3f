"""Read a manifest: a JSONL file with a row for each image, which contains variables and contexts of its caption."""

import json
from collections.abc import Iterator, Mapping

from bridge.batch.folder import BatchError
from bridge.batch.models import ImageItem
from bridge.batch.options import Options
from bridge.captioning.models import CaptionOptions
from bridge.captioning.parsing import parse_request
from bridge.errors import InvalidRequest
from providers.base import JsonObject

REFERENCES = ("image", "file_name", "path", "url")
"""Columns that name the image."""

Columns = tuple[Mapping[str, str], tuple[str, ...]]
"""The variables and the contexts of a row."""


def read_manifest(path: str, content: bytes, options: Options, known: set[str]) -> Iterator[tuple[str, Columns]]:
    """Yield the path or URL of each image, with the other columns of its row. `known`: the perspectives' variables.

    Raises BatchError, which names the line.
    """
    for number, line in enumerate(content.splitlines(), 1):
        if not line.strip():
            continue
        label = f"Line {number} of '{path}'"
        try:
            row = json.loads(line)
            name = next(row.pop(column) for column in REFERENCES if column in row)
        except (ValueError, TypeError, AttributeError, StopIteration, RecursionError):
            name = None
        if not (name and isinstance(name, str)):
            raise BatchError(f"{label} is not a JSON object that names an image, in a column {', '.join(REFERENCES)}.")
        yield name, _read_columns(row, options, known, label)


def _read_columns(row: JsonObject, options: Options, known: set[str], label: str) -> Columns:
    """Return the other columns of a row. Raises BatchError, whose text contains `label`."""
    context = row.pop("context", None) or []
    contexts = [context] if isinstance(context, str) else context
    if not (isinstance(contexts, list) and all(isinstance(text, str) for text in contexts)):
        raise BatchError(f"{label} has a 'context' that is neither a text nor a list of texts.")
    if unknown := [name for name in row if name not in known]:
        columns = ", ".join(sorted([*known, "context"]))
        raise BatchError(f"{label} has a column '{unknown[0]}'. The perspective knows the columns {columns}.")
    variables = {name: value if isinstance(value, str) else json.dumps(value) for name, value in row.items()}
    image = ImageItem("", "", "", variables, tuple(contexts))
    try:
        parse_request(CaptionOptions, image.fields(options.request))
    except InvalidRequest as error:
        raise BatchError(f"{label}: {error}") from None
    return image.variables, image.context
