"""A vision request in Gemini's terms."""

from collections.abc import Mapping
from typing import Any

from providers import dialects
from providers.base import JsonObject, VisionRequest
from providers.errors import RequestRejected
from providers.gemini.spec import SPEC


def generation(request: VisionRequest, options: Mapping[str, Any]) -> dict[str, Any]:
    """The fields of the SDK's GenerateContentConfig for one call; `options` are the provider's configured ones."""
    asked = request.options
    return {
        "http_options": {
            "headers": dict(request.headers),
            "extra_body": {"contents": _contents(request), **_thinking(options)},
        },
        # Otherwise the SDK makes further, paid calls of its own (measured with google-genai 3.4).
        "automatic_continuation": False,
        "automatic_function_calling": {"disable": True},
        "system_instruction": request.system if request.system.strip() else None,
        "max_output_tokens": asked.max_tokens,
        "temperature": asked.temperature,
        "top_p": asked.top_p,
        "seed": asked.seed,
        "response_mime_type": "application/json" if wants_json(request) else None,
        "response_json_schema": _schema(request),
        **_settings(options),
    }


def _contents(request: VisionRequest) -> list[JsonObject]:
    """The messages as they go over the wire.

    Left to the SDK the picture travels in URL-safe base64, which a compatible proxy that expects the plain
    alphabet drops in silence (measured with google-genai 3.4).
    """
    image = request.image
    picture = [{"inlineData": {"mimeType": image.media_type, "data": image.base64}}] if image else []
    user = {"role": "user", "parts": [*picture, {"text": _prompt(request)}]}
    roles = {"assistant": "model", "user": "user"}
    return [user, *({"role": roles[turn.role], "parts": [{"text": turn.text}]} for turn in request.turns)]


def _prompt(request: VisionRequest) -> str:
    if request.schema is None or request.output_mode in ("json_schema", "json_schema_relaxed"):
        return request.prompt
    return f"{request.prompt}\n\n{dialects.describe(request.schema)}"


def wants_json(request: VisionRequest) -> bool:
    """Whether a schema or an output mode goes with the request."""
    return request.schema is not None and request.output_mode != "prompt"


def _schema(request: VisionRequest) -> JsonObject | None:
    if request.schema is None or request.output_mode in ("json_object", "prompt"):
        return None
    relaxed = request.output_mode == "json_schema_relaxed"
    return dialects.gemini(dialects.relaxed(request.schema) if relaxed else request.schema)


def _settings(options: Mapping[str, Any]) -> dict[str, Any]:
    resolution = _option(options, "media_resolution")
    return {
        "safety_settings": _safety(options),
        "media_resolution": f"MEDIA_RESOLUTION_{resolution}" if resolution else None,
    }


def _thinking(options: Mapping[str, Any]) -> JsonObject:
    """Past the SDK, which writes these in snake case (google-genai 3.4): Google reads that, others need not."""
    asked = {
        "thinkingBudget": _option(options, "thinking_budget"),
        "thinkingLevel": _option(options, "thinking_level"),
    }
    told = {name: value for name, value in asked.items() if value is not None}
    return {"generationConfig": {"thinkingConfig": told}} if told else {}


def _option(options: Mapping[str, Any], name: str) -> Any:
    """A configured option, None where there is none. Raises RequestRejected for a value that it cannot have."""
    value = options.get(name)
    if value is not None and not SPEC.fits(name, value):
        raise _wrong_option(name)
    return value.upper() if isinstance(value, str) else value


def _safety(options: Mapping[str, Any]) -> list[dict[str, Any]] | None:
    from google.genai import types

    chosen = _option(options, "safety_settings")
    if chosen is None:
        return None
    pairs = list(chosen.items())
    for category, threshold in pairs:
        if category not in set(types.HarmCategory) or threshold not in list(types.HarmBlockThreshold):
            raise _wrong_option("safety_settings")
    return [{"category": category, "threshold": threshold} for category, threshold in pairs]


def _wrong_option(name: str) -> RequestRejected:
    return RequestRejected(f"Gemini's option {name} has a value it cannot have. It is {SPEC.options[name]}.")
