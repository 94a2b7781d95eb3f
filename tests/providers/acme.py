"""A provider kind as its author would write it: one module with a spec and a client."""

from collections.abc import AsyncGenerator, Mapping

from providers.base import BaseClient, Completion, Delta, Model, ProviderConfig, Setting, Spec, VisionRequest
from providers.pool import Pool

SPEC = Spec(
    kind="acme",
    title="Acme",
    base_url="https://api.acme.test/v1",
    key_env=("ACME_API_KEY",),
    url_env=("ACME_BASE_URL",),
    takes=frozenset({"max_tokens"}),
    options={"extra_body": Setting("further fields of the request's body", (Mapping,))},
    default_model="acme-vision",
    note="Describes everything as a boat.",
)


class AcmeClient(BaseClient):
    spec = SPEC

    def __init__(self, config: ProviderConfig, pool: Pool) -> None:
        """A client of a real server keeps both."""

    async def complete(self, request: VisionRequest) -> Completion:
        """Return the one caption that Acme has."""
        return Completion('{"caption": "A boat."}', request.model)

    async def _stream(self, request: VisionRequest) -> AsyncGenerator[Delta | Completion]:
        completion = await self.complete(request)
        yield Delta(completion.text)
        yield completion

    async def _models(self, request: VisionRequest) -> tuple[Model, ...]:
        return (Model("acme-vision", "Acme Vision"),)
