"""Client of Ollama's own protocol (`/api/chat`), through the official `ollama` package.

Ollama's Chat Completions endpoint (`/v1`) cannot set `num_ctx`. Without `num_ctx`, Ollama silently drops the start of
a long prompt (odysseus-dev/odysseus#1055).
"""

from collections.abc import AsyncGenerator
from typing import TYPE_CHECKING, Any

from providers import dialects
from providers.base import PLACEHOLDER, JsonObject, Model, Setting, Spec, VisionRequest, usage_of
from providers.call import Call, api_key
from providers.client import ServerClient
from providers.errors import ProviderError, UnknownModel
from providers.http_errors import classify, error_in_200
from providers.text import Answer, model_of, whole_characters

if TYPE_CHECKING:
    import httpx2
    import ollama

_SAMPLING = {"max_tokens": "num_predict", "repetition_penalty": "repeat_penalty"}
SPEC = Spec(
    kind="ollama",
    title="Ollama",
    base_url="http://127.0.0.1:11434",
    key_env=("OLLAMA_API_KEY",),
    url_env=("OLLAMA_HOST",),
    takes=frozenset({"max_tokens", "temperature", "top_p", "repetition_penalty", "seed"}),
    options={
        "num_ctx": Setting("tokens of context to load the model with (default: by model family)", (int,)),
        "keep_alive": Setting('how long the model stays loaded: seconds, or text such as "10m"', (int, float, str)),
        "think": Setting("whether a reasoning model thinks first: true, false, low, medium or high", (bool, str)),
    },
    note="A key is needed only for ollama.com or behind a proxy.",
    pull="ollama pull",
)


class OllamaClient(ServerClient):
    specs = (SPEC,)
    sdk = "ollama"

    async def _models(self, request: VisionRequest) -> tuple[Model, ...]:
        """List the pulled models over a new connection. Ollama does not report which of them accept images."""
        listing = await self._call(request).wait(self._sdk(request, self._pool.fresh_client).list())
        return tuple(model_of(model.model) for model in listing.models if model.model)

    def _responses(self, request: VisionRequest, answer: Answer) -> AsyncGenerator[Any]:
        chat: Any = self._sdk(request, self._pool.client).chat
        opening = chat(**self.body(request), stream=answer.streamed)
        return self._call(request).responses(opening, streamed=answer.streamed)

    def _sdk(self, request: VisionRequest, shared: "httpx2.AsyncClient") -> "ollama.AsyncClient":
        """Create a lightweight client for one call (0.04 ms), so that the key is not stored after the call."""
        import ollama

        from providers.httpx_bridge import BridgeTransport

        return ollama.AsyncClient(
            host=self._base_url,
            headers=dict(request.headers),
            transport=BridgeTransport(shared, api_key(request.credentials, SPEC, self._base_url), request.image),
            timeout=None,
            follow_redirects=False,
            trust_env=False,
        )

    def body(self, request: VisionRequest) -> dict[str, Any]:
        if not request.model.strip():
            raise UnknownModel("No model is set for Ollama. Pass `model`.")
        settings = {name: value for name, value in self._options.items() if name != "num_ctx"}
        return {
            "model": request.model,
            "messages": _messages(request),
            # browser-use/browser-use#5023: ignored inside `options`
            "format": "json" if request.sends_schema and not request.enforces_schema else _schema(request),
            "options": {"num_ctx": self._context(request), **request.options.sent(SPEC.takes, _SAMPLING)},
            **settings,
        }

    def _context(self, request: VisionRequest) -> int:
        """Return the context size for the model, in tokens."""
        return int(self._options.get("num_ctx") or self.profile(request.model).context or 0)

    def _answer(self, request: VisionRequest, *, streamed: bool) -> "OllamaAnswer":
        answer = OllamaAnswer(SPEC, request, streamed=streamed)
        answer.context = self._context(request)
        return answer

    def _call(self, request: VisionRequest) -> Call:
        import httpx
        import ollama

        foreign = (ollama.ResponseError, httpx.HTTPError)
        return Call(request.timeout, foreign, lambda error: self._translate(error, request))

    def _translate(self, error: Exception, request: VisionRequest) -> ProviderError:
        import httpx2
        import ollama

        if isinstance(error, httpx2.HTTPStatusError):
            response = error.response
            return classify(response.status_code, response.text, response.headers, SPEC, request)
        if isinstance(error, ollama.ResponseError):  # an error object within a stream
            return error_in_200({"error": error.error}, SPEC, request)
        return self._transport_error(error, request)


def _messages(request: VisionRequest) -> list[dict[str, Any]]:
    system = [{"role": "system", "content": request.system}] if request.system.strip() else []
    turns = [{"role": turn.role, "content": turn.text} for turn in request.turns]
    user: dict[str, Any] = {"role": "user", "content": dialects.prompt(request, sent=_schema(request))}
    if request.image is not None:
        # Pass bytes, because the SDK first tries to open a string as a file (measured with ollama 0.6.3). Some backends
        # reject an empty list of images (datalab-to/marker#1076).
        user["images"] = [PLACEHOLDER]
    return [*system, user, *turns]


def _schema(request: VisionRequest) -> JsonObject | None:
    """Return the schema in the dialect of llama.cpp, whose converter from schema to grammar Ollama uses."""
    return dialects.enforced(request, dialects.llamacpp)


class OllamaAnswer(Answer):
    context = _tokens = 0

    def read(self, response: "ollama.ChatResponse") -> str:
        if response.done:
            self.finish = response.done_reason or "stop"
            self._model = whole_characters(response.model or "")
            self._tokens = (response.prompt_eval_count or 0) + (response.eval_count or 0)
            self._text.usage = usage_of(response.prompt_eval_count, response.eval_count)
        return self._text.add(response.message.content or "")

    def _failure(self) -> ProviderError | None:
        if self.finish == "length":
            return self._truncated("Raise max_tokens, or num_ctx of Ollama.")
        return None if self.finish else self._unfinished()

    def _warnings(self) -> tuple[str, ...]:
        if self._tokens < self.context:
            return ()
        # haoxiang-xu/PuPu#227: Ollama silently drops the start of a prompt
        return (
            f"The request filled Ollama's {self.context} tokens of context (num_ctx), so the start of the prompt was "
            "probably dropped. Raise num_ctx or send a smaller image.",
        )
