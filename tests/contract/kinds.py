"""Every kind of provider with the test servers for its client, as data."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial

import pytest

from tests.servers import AnthropicServer, GeminiServer, OllamaServer, OpenAIServer, WireServer

OPENAI_SAMPLING = {"temperature": "temperature", "top_p": "top_p", "seed": "seed"}
SAMPLING = {"max_tokens": "max_tokens", **OPENAI_SAMPLING}


@dataclass(frozen=True)
class Kind:
    """A kind of provider, its test server and the features of its protocol.

    `options`: option -> name in the request; the client warns about other options. `declines`: the protocol has a
    field for refusals. `filters`: it reports safety blocks. `caches`: it reports cached tokens. `knows_models`: the
    server rejects unknown models. `constrains`: the server enforces a schema.
    """

    kind: str
    server: Callable[..., WireServer]
    options: Mapping[str, str]
    variant: str = ""
    declines: bool = False
    filters: bool = False
    caches: bool = True
    knows_models: bool = True
    lists_models: bool = True
    json_object: bool = True
    constrains: bool = True
    wrong_path: str = "/wrong"

    @property
    def id(self) -> str:
        return f"{self.kind}@{self.variant}" if self.variant else self.kind


def openai_kind(kind: str, row: str, options: Mapping[str, str], **facts: bool | str) -> Kind:
    variant = "" if row == kind else row
    return Kind(kind, partial(OpenAIServer, row), options, variant, declines=True, filters=True, **facts)  # type: ignore[arg-type]


REPEATS = {"repetition_penalty": "repetition_penalty"}
REPEAT = {"repetition_penalty": "repeat_penalty"}
KINDS = (
    openai_kind("openai", "openai", {"max_tokens": "max_completion_tokens", **OPENAI_SAMPLING}),
    openai_kind("vllm", "vllm", SAMPLING | REPEATS),
    openai_kind("llamacpp", "llamacpp", SAMPLING | REPEAT, knows_models=False),
    openai_kind("openrouter", "openrouter", SAMPLING | REPEATS),
    openai_kind("lmstudio", "lmstudio", SAMPLING | REPEAT, knows_models=False, json_object=False),
    openai_kind("litellm", "litellm", SAMPLING),
    openai_kind("openai-compatible", "transformers", SAMPLING, lists_models=False, constrains=False),
    Kind("anthropic", AnthropicServer, {"max_tokens": "max_tokens"}, declines=True, filters=True),
    Kind("ollama", OllamaServer, SAMPLING | REPEAT | {"max_tokens": "num_predict"}, caches=False),
    Kind("gemini", GeminiServer, SAMPLING | {"max_tokens": "maxOutputTokens", "top_p": "topP"}, filters=True),
)
KIND_BY_NAME = {kind.kind: kind for kind in KINDS}
PROTOCOLS = tuple(KIND_BY_NAME[kind] for kind in ("openai", "vllm", "ollama", "gemini", "anthropic"))
"""One kind per client class, and OpenAI, for tests of behaviour that all gateways share."""
EVERY_KIND = pytest.mark.parametrize("kind", KINDS, ids=lambda kind: kind.id)


def only(*names: str) -> pytest.MarkDecorator:
    """Return the mark that runs a test with these kinds only."""
    return pytest.mark.parametrize("kind", [KIND_BY_NAME[name] for name in names], ids=names)
