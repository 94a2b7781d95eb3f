"""Write captions as one line of text, by a template and the conventions of the program that trains on them."""

import json
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from bridge.batch.folder import BatchError
from bridge.batch.options import Format, TextOptions
from perspectives import Perspective
from perspectives.graphcap_fields import to_fields
from perspectives.prompt import FIELD, fill_template, render_caption, unknown_paths
from providers.base import JsonObject

JSON_TEMPLATE = "json"
"""The template for the complete object as JSON in one line."""

# Both counts are lower bounds, so a warning is never wrong: CLIP splits text at these places before it looks for
# longer tokens, and T5 has no token that contains a space.
_CLIP = re.compile(r"'(?:s|t|re|ve|m|ll|d)\b|[^\W\d_]+|\d|(?:[^\w\s]|_)+", re.IGNORECASE)
_T5 = re.compile(r"\S+")
_CONTROL = re.compile(r"[\x00-\x1f\x7f-\x9f\ufeff]")
_SHORT_TAG = 3
"""Tags up to this length keep their underscores, because they are emoticons such as ^_^ (kohya-ss/sd-scripts)."""


@dataclass(frozen=True, slots=True)
class Trainer:
    """The conventions of a program that trains on captions.

    `outputs`: the outputs that the program reads. `separators`: texts with a special meaning for the program, and their
    replacements. `max_tokens`, `tokens`, `encoder`: the token limit of the text encoder, and how tokens are counted.
    """

    max_tokens: int
    tokens: re.Pattern[str]
    encoder: str
    outputs: tuple[Format, ...] = ("txt",)
    separators: tuple[tuple[str, str], ...] = ()


TRAINERS: Mapping[str, Trainer] = {
    # docs/config_README-en.md of kohya-ss/sd-scripts: keep_tokens_separator and secondary_separator. Long captions:
    # max_token_length is at most 225 (bmaltais/kohya_ss#2917).
    "kohya": Trainer(225, _CLIP, "CLIP with max_token_length=225", separators=(("|||", "|"), (";;;", ";"))),
    "ai-toolkit": Trainer(512, _T5, "T5"),
    "onetrainer": Trainer(75, _CLIP, "CLIP"),
    "hf": Trainer(75, _CLIP, "CLIP", outputs=("hf-metadata",)),
}


class TextWriter:
    """Writes the texts of one perspective."""

    def __init__(self, options: TextOptions, perspective: Perspective) -> None:
        """Check the options. Raises BatchError."""
        self._options = options
        self._perspective = perspective
        self._trainer = TRAINERS.get(options.trainer)
        self._dropped = frozenset(map(_tag_key, options.drop_tags))
        self._replace = (*options.replace, *(self._trainer.separators if self._trainer else ()))
        self._main = _main_field(perspective)
        _check(options, perspective)

    def write(self, result: JsonObject) -> str:
        """Return the text of a caption. `result`: the caption's validated object."""
        edited = self._edited(result)
        if self._options.template == JSON_TEMPLATE:
            return self._json(edited)
        if self._options.template:
            return self._wrapped(fill_template(self._options.template, edited, self._perspective.json_schema))
        return self._wrapped(render_caption(self._perspective, edited))

    def _edited(self, value: Any) -> Any:
        """Return a caption's value with edited texts. A list of texts is edited and limited as a list of tags."""
        if isinstance(value, dict):
            return {name: self._edited(item) for name, item in value.items()}
        if isinstance(value, list):
            if value and all(isinstance(item, str) for item in value):
                return list(self._tags(value))[: self._options.max_tags]
            return [self._edited(item) for item in value]
        return self._text(value) if isinstance(value, str) else value

    def _text(self, text: str) -> str:
        """Return a text with the replacements made. Parts between commas are removed if they are tags to drop."""
        parts = self._replaced(text).split(",")
        kept = [part for part in parts if _tag_key(part) not in self._dropped]
        return ",".join(kept).lstrip() if len(kept) < len(parts) else ",".join(parts)

    def _tags(self, items: list[str]) -> Iterator[str]:
        for item in items:
            tag = self._replaced(item)
            if self._trainer and self._options.template != JSON_TEMPLATE:
                tag = _folded(tag.replace(",", " "))
                tag = tag if len(tag) <= _SHORT_TAG else tag.replace("_", " ")
            if tag and _tag_key(tag) not in self._dropped:
                yield tag

    def _replaced(self, text: str) -> str:
        for old, new in self._replace:
            text = text.replace(old, new)
        return text

    def _wrapped(self, text: str) -> str:
        """Return the text in one line, between prefix and suffix, with the trigger word at its beginning."""
        options = self._options
        line = _folded(f"{options.prefix}{_folded(text)}{options.suffix}")
        trigger = _folded(options.trigger)
        if not trigger or re.match(re.escape(trigger) + r"(?!\w)", line):
            return line
        return f"{trigger}, {line}" if line else trigger

    def _json(self, fields: JsonObject) -> str:
        """Return the fields as JSON in one line, with prefix, suffix and trigger word in the main field."""
        if self._options.prefix or self._options.suffix or self._options.trigger:
            text = fields.get(self._main, "")
            start = {} if self._main in fields else {self._main: ""}
            fields = {**start, **fields, self._main: self._wrapped(text if isinstance(text, str) else "")}
        return json.dumps(fields, ensure_ascii=False)


def limit_warning(trainer: str, text: str) -> str:
    """Return a warning if the text is longer than the trainer's text encoder reads, otherwise ""."""
    row = TRAINERS.get(trainer)
    if row is None or sum(1 for _ in row.tokens.finditer(text)) <= row.max_tokens:
        return ""
    return f"Longer than {row.max_tokens} tokens, which is what {trainer} passes to {row.encoder}; the rest is ignored."


def count(number: int, noun: str) -> str:
    """Return a number with its noun in the singular or plural."""
    return f"{number:,} {noun}{'' if number == 1 else 's'}"


def listed(counts: Mapping[str, int]) -> str:
    """Return counts by name as text."""
    return ", ".join(f"{name}: {number}" for name, number in counts.items())


def printable(text: str) -> str:
    """Return a caption or file name as one line that a terminal or a page can show."""
    return _folded(text.encode("utf-8", "replace").decode())


def _folded(text: str) -> str:
    """Return the text in one line. kohya and OneTrainer read several lines as several captions."""
    return _CONTROL.sub("", " ".join(text.split()))


def _tag_key(tag: str) -> str:
    return " ".join(tag.lower().replace("_", " ").split())


def _main_field(perspective: Perspective) -> str:
    """Return the field that receives the prefix.

    It is the first text that the template renders, or the first of the schema, or "caption" if there is none.
    """
    properties = perspective.json_schema.get("properties", {})
    texts = [name for name, node in properties.items() if node.get("type") == "string" and "enum" not in node]
    rendered = FIELD.findall(perspective.context_template or "")
    return next((name for name in [*rendered, *texts] if name in texts), "caption")


def _check(options: TextOptions, perspective: Perspective) -> None:
    template, fields = options.template, to_fields(perspective.json_schema)
    if "" in dict(options.replace):
        raise BatchError("A text to replace is empty (--replace FROM=TO).")
    if options.max_tags is not None and not any(path.endswith("]") for path in _paths(fields)):
        raise BatchError(f"{perspective.name} has no list of tags that --max-tags could shorten.")
    if template in ("", JSON_TEMPLATE):
        return
    unknown = unknown_paths(template, perspective.json_schema)
    if not unknown and FIELD.search(template):
        return
    cause = f"'{unknown[0]}' is not a field" if unknown else f"'{template}' contains no field in braces"
    names = ", ".join(f"{{{path}}}" for path in _paths(fields) if not path.endswith("]"))
    raise BatchError(
        f"{cause} (--template). The fields of {perspective.name} are {names}; '{JSON_TEMPLATE}' is all of them."
    )


def _paths(fields: list[JsonObject], start: str = "") -> Iterator[str]:
    """Yield the path of every field, as templates name it."""
    for field in fields:
        path = f"{start}{field['name']}"
        yield path
        if field["is_list"]:
            path += "[*]"
            yield path
        yield from _paths(field.get("fields", []), f"{path}.")
