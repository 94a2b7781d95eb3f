"""vLLM: the Chat Completions of `providers.openai` in vLLM's flavour.

The schema goes into `response_format`: `guided_json` is gone since 0.12 and ignored with a 200
(dottxt-ai/outlines#1887).
"""

from collections.abc import Mapping

from providers import dialects
from providers.base import Spec
from providers.chat import Flavour
from providers.openai import OpenAIClient

SPEC = Spec(
    kind="vllm",
    title="vLLM",
    base_url="http://localhost:8000/v1",
    key_env=("VLLM_API_KEY",),
    url_env=("VLLM_BASE_URL", "VLLM_API_BASE"),
    takes=frozenset({"max_tokens", "temperature", "top_p", "repetition_penalty", "seed"}),
    options={"extra_body": "further fields of the request's body, such as mm_processor_kwargs"},
    values={"extra_body": (Mapping,)},
    note="A key is needed only when the server was started with one.",
)


class VllmClient(OpenAIClient):
    """One vLLM server."""

    flavour = Flavour(SPEC, schema=dialects.vllm)
