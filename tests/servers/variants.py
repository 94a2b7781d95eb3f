"""The servers with OpenAI's protocol and their differences, one row per server.

Measured with vLLM 0.32, llama-server, transformers serve 5.23 and LiteLLM 1.106 unless an issue is named.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from tests.servers.base import MODES
from tests.servers.call import RefusedError, words
from tests.servers.schemas import strict_fault, vllm_fault

ErrorBody = Callable[[int, str, RefusedError], Any]
OPENAI_FIELDS = words(
    """audio frequency_penalty logit_bias logprobs max_completion_tokens max_tokens messages metadata modalities
    model n parallel_tool_calls prediction presence_penalty prompt_cache_key reasoning_effort response_format
    safety_identifier seed service_tier stop store stream stream_options temperature tool_choice tools
    top_logprobs top_p user verbosity"""
)
PLAIN_FIELDS = words(
    """frequency_penalty generation_config max_completion_tokens max_tokens messages model presence_penalty
    response_format seed stop stream stream_options temperature top_p"""
)
STB_IMAGES = frozenset({"WEBP", "TIFF", "AVIF"})  # llama.cpp decodes with stb_image: ollama/ollama#7388


def openai_error(status: int, message: str, refused: RefusedError) -> Any:
    kind = "rate_limit_error" if status == 429 else "server_error" if status >= 500 else "invalid_request_error"
    facts = refused.facts
    if facts.get("no_credit"):
        kind = "insufficient_quota"
    code = next((code for fact, code in OPENAI_CODES.items() if facts.get(fact)), None)
    return {"error": {"message": message, "type": kind, "param": facts.get("param"), "code": code}}


OPENAI_CODES = {
    "key": "invalid_api_key",
    "model": "model_not_found",
    "too_long": "context_length_exceeded",
    "no_credit": "insufficient_quota",
    "unsupported": "unsupported_parameter",
    "safety": "content_policy_violation",
}


def vllm_error(status: int, message: str, refused: RefusedError) -> Any:
    if refused.facts.get("path"):
        return {"detail": "Not Found"}
    if refused.facts.get("key"):
        return {"error": "ApiKeyRequired"}
    kind = {404: "NotFoundError", 400: "BadRequestError"}.get(status, "InternalServerError")
    return {"error": {"message": message, "type": kind, "param": None, "code": status}}


def llamacpp_error(status: int, message: str, refused: RefusedError) -> Any:
    if refused.facts.get("too_long"):
        sizes = {"n_prompt_tokens": 9000, "n_ctx": 4096}
        return {"error": {"code": 400, "message": message, "type": "exceed_context_size_error", **sizes}}
    kinds = {401: "authentication_error", 404: "not_found_error", 400: "invalid_request_error"}
    return {"error": {"code": status, "message": message, "type": kinds.get(status, "server_error")}}


def openrouter_error(status: int, message: str, refused: RefusedError) -> Any:
    if refused.facts.get("model"):
        message = "This is not a valid model ID"
    return {"error": {"message": message, "code": status}, "user_id": "user_test"}


def lmstudio_error(status: int, message: str, refused: RefusedError) -> Any:
    return {"error": message}  # lmstudio-ai/lmstudio-bug-tracker#189 shows the bare string


def litellm_error(status: int, message: str, refused: RefusedError) -> Any:
    if refused.facts.get("model"):
        message = "/chat/completions: Invalid model name passed in model=x. Call `/v1/models` to view them."
    return {"error": {"message": f"litellm: {message}", "type": None, "param": None, "code": str(status)}}


def plain_error(status: int, message: str, refused: RefusedError) -> Any:
    if refused.facts.get("model"):
        message = "This is not a local folder and is not a valid model identifier."
    return {"detail": message}


@dataclass(frozen=True)
class Variant:
    """The properties of one server.

    `fields`: known request fields; `unknown`: status for unknown fields, None ignores them. `constrains`: the server
    enforces a schema. `unknown_model`: status for an unknown model, None answers anyway. `done`: streams end with
    [DONE]. `ends_with_text`: the last piece of text and the finish reason share one event.
    """

    error: ErrorBody
    base_path: str = "/v1"
    key: str = ""
    models: tuple[str, ...] = ("tiny-vision",)
    fields: frozenset[str] = OPENAI_FIELDS
    unknown: int | None = None
    modes: frozenset[str] = MODES
    schema_fault: Callable[[dict[str, Any]], str | None] = lambda schema: None
    only_strict: bool = False
    images_refused: frozenset[str] = frozenset()
    unknown_model: int | None = 404
    lists_models: bool = True
    constrains: bool = True
    done: bool = True
    ends_with_text: bool = False
    comment: str = ""
    too_long: str = "This model's maximum context length is 4096 tokens. However, you requested 9000 tokens."


VARIANTS = {
    "openai": Variant(
        openai_error,
        key="sk-test-right-key",
        models=("gpt-4.1-mini", "gpt-5-mini", "o4-mini"),
        unknown=400,
        schema_fault=strict_fault,
        only_strict=True,
        images_refused=frozenset({"TIFF", "AVIF", "BMP"}),
    ),
    "vllm": Variant(vllm_error, schema_fault=vllm_fault),
    "llamacpp": Variant(
        llamacpp_error,
        images_refused=STB_IMAGES,
        unknown_model=None,
        too_long="the request exceeds the available context size, try increasing it",
    ),
    "lmstudio": Variant(
        lmstudio_error,
        modes=frozenset({"json_schema", "text"}),
        images_refused=STB_IMAGES,  # lmstudio-ai/lmstudio-bug-tracker#1150
        unknown_model=None,
    ),
    "openrouter": Variant(
        openrouter_error,
        base_path="/api/v1",
        key="sk-or-test-right-key",
        unknown_model=400,
        comment="OPENROUTER PROCESSING",
    ),
    "litellm": Variant(litellm_error, unknown_model=400, ends_with_text=True),
    "transformers": Variant(
        plain_error,
        fields=PLAIN_FIELDS,
        unknown=422,
        unknown_model=400,
        lists_models=False,
        constrains=False,
        done=False,
    ),
}
