"""Client of OpenAI's Chat Completions API through the `openai` package. Gateways use it with other flavours."""

import logging
from collections.abc import Mapping
from typing import TYPE_CHECKING

from providers import chat_completions, dialects
from providers.base import JsonObject, Model, ProviderConfig, Setting, Spec, VisionRequest
from providers.chat_completions import ChatAnswer, Flavour
from providers.errors import ProviderError
from providers.http_errors import error_in_200
from providers.pool import Pool
from providers.stainless import JsonAnswer, StainlessClient

if TYPE_CHECKING:
    import httpx2
    import openai

COMMON_OPTIONS: Mapping[str, Setting] = {
    "detail": Setting("resolution at which the model reads the image: low, high or auto", ("low", "high", "auto")),
    "reasoning_effort": Setting("how much a reasoning model thinks first, such as minimal or low", (str,)),
    "extra_body": Setting("further fields of the request's body", (Mapping,)),
}
SPEC = Spec(
    kind="openai",
    title="OpenAI",
    base_url="https://api.openai.com/v1",
    key_env=("OPENAI_API_KEY",),
    url_env=("OPENAI_BASE_URL",),
    needs_key=True,
    takes=frozenset({"max_tokens", "temperature", "top_p", "seed"}),
    options={
        **COMMON_OPTIONS,
        "organization": Setting("the organization that is billed", (str,)),
        "project": Setting("the project that is billed", (str,)),
    },
    note="Reasoning models accept no temperature and no top_p.",
)
FLAVOUR = Flavour(
    SPEC, schema=dialects.openai_strict, strict=True, shows_schema=True, max_tokens="max_completion_tokens"
)


class OpenAIClient(StainlessClient):
    """Client of one server that implements Chat Completions."""

    sdk = "openai"
    path = "/chat/completions"
    flavour = FLAVOUR

    def __init__(self, config: ProviderConfig, pool: Pool) -> None:
        """Create the client of a server with this flavour."""
        self.spec = self.flavour.spec
        super().__init__(config, pool)

    async def _models(self, request: VisionRequest) -> tuple[Model, ...]:
        return chat_completions.models(await self._list(request), self.spec.title)

    def _body(self, request: VisionRequest) -> JsonObject:
        return chat_completions.request_body(request, self.flavour, self.profile(request.model), self._options)

    def _streamed(self, body: JsonObject) -> JsonObject:
        options = {"include_usage": True, **self.flavour.stream_options}
        return {**super()._streamed(body), "stream_options": options}

    def _warnings(self, request: VisionRequest) -> tuple[str, ...]:
        return chat_completions.warnings(request, self.flavour, self.profile(request.model))

    def _answer(self, request: VisionRequest, *, streamed: bool) -> JsonAnswer:
        return ChatAnswer(self.spec, request, streamed=streamed)

    def _error_in(self, response: object, request: VisionRequest) -> ProviderError | None:
        error = chat_completions.error_in(response)
        return error_in_200(error, self.spec, request) if error else None

    def _headers(self) -> Mapping[str, str | None]:
        organization, project = self._options.get("organization"), self._options.get("project")
        return {"openai-organization": organization, "openai-project": project}

    def _open(self, client: "httpx2.AsyncClient") -> "openai.AsyncOpenAI":
        import openai

        # At level DEBUG the SDK logs complete requests, with prompt and image (measured with openai 3.3).
        log = logging.getLogger("openai")
        log.setLevel(max(log.level, logging.WARNING))
        return openai.AsyncOpenAI(
            api_key="",
            admin_api_key="",
            organization="",
            project="",
            webhook_secret="",
            base_url=self._base_url,
            max_retries=0,
            http_client=client,
        )
