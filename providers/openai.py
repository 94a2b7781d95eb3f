"""Client of Chat Completions servers, such as OpenAI and the gateways, through the `openai` package."""

from collections.abc import Mapping
from typing import TYPE_CHECKING, ClassVar

from providers import chat_completions, gateways
from providers.base import JsonObject, Model, ProviderConfig, VisionRequest
from providers.chat_completions import ChatAnswer, Flavour
from providers.errors import ProviderError
from providers.http_errors import error_in_200
from providers.pool import Pool
from providers.stainless import StainlessClient

if TYPE_CHECKING:
    import httpx2
    import openai


class OpenAIClient(StainlessClient):
    """Client of one server that implements Chat Completions."""

    specs = gateways.SPECS
    flavours: ClassVar[Mapping[str, Flavour]] = gateways.BY_KIND
    sdk = "openai"
    path = "/chat/completions"

    def __init__(self, config: ProviderConfig, pool: Pool) -> None:
        super().__init__(config, pool)
        self.flavour = self.flavours[config.kind]

    async def _models(self, request: VisionRequest) -> tuple[Model, ...]:
        return chat_completions.models(await self._list(request), self.spec.title)

    def body(self, request: VisionRequest) -> JsonObject:
        return chat_completions.request_body(request, self.flavour, self._options)

    def _streamed(self, body: JsonObject) -> JsonObject:
        options = {"include_usage": True, **self.flavour.stream_options}
        return {**super()._streamed(body), "stream_options": options}

    def _answer(self, request: VisionRequest, *, streamed: bool) -> ChatAnswer:
        return ChatAnswer(self.spec, request, streamed=streamed)

    def _error_in(self, response: object, request: VisionRequest) -> ProviderError | None:
        error = chat_completions.error_in(response)
        return error_in_200(error, self.spec, request) if error else None

    def _headers(self) -> Mapping[str, str | None]:
        organization, project = self._options.get("organization"), self._options.get("project")
        return {"openai-organization": organization, "openai-project": project}

    def _open(self, client: "httpx2.AsyncClient") -> "openai.AsyncOpenAI":
        import openai

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
