"""Extract the provider's message from an error response, and make it safe to show to a caller."""

import json
import re
import unicodedata
from collections.abc import Mapping

from providers.base import VisionRequest

MAX_LENGTH = 300
_MAX_RAW = 2_000
_MAX_DEPTH = 8  # levels of objects and lists around the message
_MAX_COMPARED = 600  # characters that are compared with the prompts, which may be long
_ECHO = 32  # consecutive letters and digits that must match the prompt. They correspond to 40 characters of prose
_SHORTEST_ECHO = 8
_SECRETS = (
    (re.compile(r"(?i)\b(bearer|basic)\s+\S+"), "[key]"),
    (re.compile(r"(?i)\b(api[_-]?key|token|secret|password|authorization)(['\"]?\s*[:=]\s*['\"]?)[^\s,'\"]+"), "[key]"),
    (re.compile(r"\b(?:(?:sk|pk|rk|gsk|xai|hf)[-_]|AIza|ya29\.)[\w*-]{6,}"), "[key]"),
    (re.compile(r"(?i)data:image/[\w.+-]+;base64,\S*"), "[image]"),
    (re.compile(r"[A-Za-z0-9+/_=-]{40,}"), "[data]"),
    (re.compile(r"(?i)\b[a-z][a-z0-9+.-]*://\S+"), "[address]"),
    (re.compile(r"\b\d{1,3}(?:\.\d{1,3}){3}(?::\d+)?\b"), "[address]"),
    (re.compile(r"(?<![\w/.])(?:/[\w.@-]+){2,}"), "[path]"),
)


def provider_message(body: object, request: VisionRequest) -> str:
    """Return the message of an error body in one line of at most 300 characters, "" if it has no message.

    Control characters are removed. Keys, tokens, long base64, addresses and file paths are masked. If the message
    repeats the prompt, it is cut at that place.
    """
    text = _one_line(_message(body)[:_MAX_RAW])
    key = request.credentials.api_key.strip()
    if key:
        text = text.replace(key, "[key]")
    text = _without_prompt(text[:_MAX_COMPARED], request)
    for pattern, mask in _SECRETS:
        text = pattern.sub(mask, text)
    return text if len(text) <= MAX_LENGTH else f"{text[: MAX_LENGTH - 1]}…"


def _message(body: object, depth: int = 0) -> str:
    """Find the message in an error body of one of five known shapes. Return "" for an HTML page."""
    if isinstance(body, str):
        text = body.strip()
        if text[:1] in ("{", "["):
            try:
                return _message(json.loads(text), depth)
            except (ValueError, RecursionError):
                return text
        return "" if text.startswith("<") else text
    if depth == _MAX_DEPTH:
        return ""
    parts: list[object] = []
    if isinstance(body, list):
        parts = body[:8]
    elif isinstance(body, Mapping):
        parts = [body.get(name) for name in ("error", "message", "detail", "msg")]
    return next((text for part in parts if part and (text := _message(part, depth + 1))), "")


def _one_line(text: str) -> str:
    plain = "".join(char if unicodedata.category(char)[0] != "C" else " " for char in text)
    return " ".join(plain.split())


def _without_prompt(text: str, request: VisionRequest) -> str:
    """Cut the text at the first repetition of a prompt. Punctuation and escapes are ignored in the comparison."""
    places = [place for place, char in enumerate(text) if char.isalnum()]
    letters = "".join(text[place] for place in places)
    prompts = (request.system, request.prompt, *(turn.text for turn in request.turns))
    starts = (_echo(letters, "".join(filter(str.isalnum, prompt))) for prompt in prompts)
    echoes = [start for start in starts if start is not None]
    return text[: places[min(echoes)]].rstrip() + " […]" if echoes else text


def _echo(letters: str, prompt: str) -> int | None:
    """Return the first index in `letters` at which 32 characters (or all of a shorter prompt) match the prompt.

    Each match contains one of the blocks of 16 characters that the prompt consists of, so only the places around equal
    blocks are compared. Searching the prompt for each part of `letters` can take seconds.
    """
    length = min(_ECHO, len(prompt))
    if length < _SHORTEST_ECHO:
        return None
    block = length // 2
    blocks = {letters[start : start + block] for start in range(len(letters))}
    near = {
        prompt[max(start - block, 0) : start + length]
        for start in range(0, len(prompt), block)
        if prompt[start : start + block] in blocks
    }
    first = {letters[start : start + length]: start for start in reversed(range(len(letters)))}
    parts = (text[start : start + length] for text in near for start in range(len(text) - length + 1))
    return min((first[part] for part in parts if part in first), default=None)
