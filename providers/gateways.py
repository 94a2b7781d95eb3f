"""Servers and routers that implement Chat Completions, one row per kind."""

from collections.abc import Mapping
from typing import Any

from providers import dialects
from providers.base import Setting, Spec
from providers.chat_completions import Flavour

_OPTIONS: Mapping[str, Setting] = {
    "detail": Setting("resolution at which the model reads the image: low, high or auto", ("low", "high", "auto")),
    "reasoning_effort": Setting("how much a reasoning model thinks first, such as minimal or low", (str,)),
    "extra_body": Setting("further fields of the request's body", (Mapping,)),
}
_COMMON = frozenset({"max_tokens", "temperature", "top_p", "seed"})
_ALL = _COMMON | {"repetition_penalty"}


def _spec(kind: str, title: str, base_url: str = "", **fields: Any) -> Spec:
    """Create the spec of a row. The names of the environment variables are derived from the kind."""
    name = kind.upper().replace("-", "_")
    common = {"takes": _COMMON, "options": _OPTIONS, "url_env": (f"{name}_BASE_URL",)}
    return Spec(kind, title, base_url, key_env=(f"{name}_API_KEY",), **{**common, **fields})


ROWS = (
    Flavour(
        _spec(
            "openai",
            "OpenAI",
            "https://api.openai.com/v1",
            needs_key=True,
            options={
                **_OPTIONS,
                "organization": Setting("the organization that is billed", (str,)),
                "project": Setting("the project that is billed", (str,)),
            },
            note="Reasoning models accept no temperature and no top_p.",
        ),
        schema=dialects.openai_strict,
        strict=True,
        shows_schema=True,
        names={"max_tokens": "max_completion_tokens"},
    ),
    # The schema goes into response_format: guided_json was removed in vLLM 0.12 and is now ignored
    # (dottxt-ai/outlines#1887). Usage in every chunk counts the tokens of a cancelled stream.
    Flavour(
        _spec(
            "vllm",
            "vLLM",
            "http://localhost:8000/v1",
            url_env=("VLLM_BASE_URL", "VLLM_API_BASE"),
            takes=_ALL,
            options={
                "extra_body": Setting("further fields of the request's body, such as mm_processor_kwargs", (Mapping,))
            },
            note="A key is needed only when the server was started with one.",
        ),
        schema=dialects.vllm,
        stream_options={"continuous_usage_stats": True},
    ),
    Flavour(
        _spec(
            "openrouter",
            "OpenRouter",
            "https://openrouter.ai/api/v1",
            needs_key=True,
            takes=_ALL,
            note="Routes only to endpoints that enforce the schema.",
        ),
        schema=dialects.openai_strict,
        strict=True,
        # simonoppowa/OpenNutriTracker#655: otherwise OpenRouter may choose an endpoint that ignores the schema
        routed={"provider": {"require_parameters": True}},
    ),
    Flavour(
        _spec("lmstudio", "LM Studio", "http://localhost:1234/v1", takes=_ALL),
        schema=dialects.llamacpp,
        names={"repetition_penalty": "repeat_penalty"},
    ),
    Flavour(
        _spec(
            "llamacpp",
            "llama.cpp",
            "http://localhost:8080/v1",
            takes=_ALL,
            note="Answers with the model that it has loaded, whatever the request names.",
        ),
        schema=dialects.llamacpp,
        names={"repetition_penalty": "repeat_penalty"},
        object_schema=True,
    ),
    Flavour(_spec("litellm", "LiteLLM", "http://localhost:4000/v1"), schema=dialects.openai_strict, strict=True),
    Flavour(
        _spec(
            "openai-compatible", "OpenAI-compatible server", note="Any other server of this protocol; needs a base_url."
        ),
        schema=dialects.openai_compatible,
        # Together and llama-cpp-python read `schema`; `transformers serve` and vLLM ignore it. OpenAI, and LiteLLM and
        # OpenRouter in front of it, reject unknown fields of response_format, so their rows do not send it.
        object_schema=True,
    ),
)
SPECS = tuple(row.spec for row in ROWS)
BY_KIND = {row.spec.kind: row for row in ROWS}
