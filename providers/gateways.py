"""Servers and routers that implement Chat Completions, with one row per kind."""

from collections.abc import Mapping
from typing import Any

from providers import dialects
from providers.base import ProviderConfig, Setting, Spec
from providers.chat_completions import Flavour
from providers.openai import COMMON_OPTIONS, OpenAIClient
from providers.pool import Pool

_COMMON = frozenset({"max_tokens", "temperature", "top_p", "seed"})
_ALL = _COMMON | {"repetition_penalty"}


def _spec(kind: str, title: str, base_url: str = "", **fields: Any) -> Spec:
    """Create the spec of a row. The names of the environment variables are derived from the kind."""
    name = kind.upper().replace("-", "_")
    common = {"takes": _COMMON, "options": COMMON_OPTIONS, "url_env": (f"{name}_BASE_URL",)}
    return Spec(kind, title, base_url, key_env=(f"{name}_API_KEY",), **{**common, **fields})


ROWS = (
    # The schema goes into response_format: guided_json was removed in vLLM 0.12 and is ignored since
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
        # simonoppowa/OpenNutriTracker#655: without it an endpoint may ignore the schema
        routed={"provider": {"require_parameters": True}},
    ),
    Flavour(
        _spec("lmstudio", "LM Studio", "http://localhost:1234/v1", takes=_ALL),
        schema=dialects.llamacpp,
        repetition_penalty="repeat_penalty",
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
        repetition_penalty="repeat_penalty",
        object_schema=True,
    ),
    Flavour(_spec("litellm", "LiteLLM", "http://localhost:4000/v1"), schema=dialects.openai_strict, strict=True),
    Flavour(
        _spec(
            "openai-compatible",
            "OpenAI-compatible server",
            note="Any other server of this protocol; needs a base_url.",
        ),
        schema=dialects.openai_compatible,
        # Together and llama-cpp-python read it; transformers serve and vLLM ignore it. OpenAI, and LiteLLM and
        # OpenRouter in front of it, reject unknown fields of response_format, so their rows do not send it.
        object_schema=True,
    ),
)
SPECS = tuple(row.spec for row in ROWS)
_BY_KIND = {row.spec.kind: row for row in ROWS}


class GatewayClient(OpenAIClient):
    """Client of a server whose kind has a row in `ROWS`."""

    def __init__(self, config: ProviderConfig, pool: Pool) -> None:
        """Create an `OpenAIClient` with the flavour of `config.kind`."""
        self.flavour = _BY_KIND[config.kind]
        super().__init__(config, pool)
