"""Servers and routers that speak Chat Completions and differ in a row."""

from collections.abc import Mapping

from providers import dialects
from providers.base import ProviderConfig, Spec
from providers.chat import Flavour
from providers.openai import OpenAIClient
from providers.pool import Pool

_COMMON = frozenset({"max_tokens", "temperature", "top_p", "seed"})
_ALL = _COMMON | {"repetition_penalty"}
_OPTIONS = {
    "detail": "how closely the model looks at the picture: low, high or auto",
    "reasoning_effort": "how much a reasoning model thinks first, such as minimal or low",
    "extra_body": "further fields of the request's body",
}
_VALUES: Mapping[str, tuple[type, ...] | frozenset[str]] = {
    "detail": frozenset({"low", "high", "auto"}),
    "reasoning_effort": (str,),
    "extra_body": (Mapping,),
}

ROWS = (
    Flavour(
        Spec(
            kind="openrouter",
            title="OpenRouter",
            base_url="https://openrouter.ai/api/v1",
            key_env=("OPENROUTER_API_KEY",),
            url_env=("OPENROUTER_BASE_URL",),
            needs_key=True,
            takes=_ALL,
            options=_OPTIONS,
            values=_VALUES,
            note="Asks only endpoints that hold the model to the schema.",
        ),
        schema=dialects.openai_strict,
        strict=True,
        # simonoppowa/OpenNutriTracker#655: without it a schema is a wish that any endpoint may ignore
        routed={"provider": {"require_parameters": True}},
    ),
    Flavour(
        Spec(
            kind="lmstudio",
            title="LM Studio",
            base_url="http://localhost:1234/v1",
            key_env=("LMSTUDIO_API_KEY",),
            url_env=("LMSTUDIO_BASE_URL",),
            takes=_ALL,
            options=_OPTIONS,
            values=_VALUES,
        ),
        schema=dialects.llamacpp,
        repetition_penalty="repeat_penalty",
    ),
    Flavour(
        Spec(
            kind="llamacpp",
            title="llama.cpp",
            base_url="http://localhost:8080/v1",
            key_env=("LLAMACPP_API_KEY",),
            url_env=("LLAMACPP_BASE_URL",),
            takes=_ALL,
            options=_OPTIONS,
            values=_VALUES,
            note="Answers with the one model it has loaded, whatever name is asked for.",
        ),
        schema=dialects.llamacpp,
        repetition_penalty="repeat_penalty",
        object_schema=True,
    ),
    Flavour(
        Spec(
            kind="litellm",
            title="LiteLLM",
            base_url="http://localhost:4000/v1",
            key_env=("LITELLM_API_KEY",),
            url_env=("LITELLM_BASE_URL",),
            takes=_COMMON,
            options=_OPTIONS,
            values=_VALUES,
        ),
        schema=dialects.openai_strict,
        strict=True,
    ),
    Flavour(
        Spec(
            kind="openai-compatible",
            title="OpenAI-compatible server",
            key_env=("OPENAI_COMPATIBLE_API_KEY",),
            url_env=("OPENAI_COMPATIBLE_BASE_URL",),
            takes=_COMMON,
            options=_OPTIONS,
            values=_VALUES,
            note="Any other server of this protocol; needs a base_url.",
        ),
        schema=dialects.openai_compatible,
    ),
)
SPECS = tuple(row.spec for row in ROWS)
_BY_KIND = {row.spec.kind: row for row in ROWS}


class GatewayClient(OpenAIClient):
    """One server of a kind that has a row."""

    def __init__(self, config: ProviderConfig, pool: Pool) -> None:
        """As `OpenAIClient`, in the flavour of `config.kind`."""
        self.flavour = _BY_KIND[config.kind]
        super().__init__(config, pool)
