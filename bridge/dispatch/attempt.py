"""One provider call: its time limits, its record, its span."""

import asyncio
import time
from collections.abc import AsyncGenerator
from contextlib import aclosing
from dataclasses import dataclass, replace

from bridge.dispatch.endpoint import outcome
from bridge.run import Attempt, Run
from bridge.telemetry import tracing
from providers.base import BaseClient, Completion, Delta, VisionRequest
from providers.errors import BadReply, CallTimeout, ProviderError

Chunks = AsyncGenerator[Delta | Completion]
_PATIENCE = 10.0


@dataclass(frozen=True, slots=True)
class Timeouts:
    """Time limits of one provider call in seconds: `whole`, and `silence` between bytes (None: as long as `whole`)."""

    whole: float
    silence: float | None = None
    configured: float = 0

    @property
    def patient(self) -> bool:
        """Return whether a timeout is evidence against the server: it had 10 s, or all that is configured."""
        return (self.silence or self.whole) >= min(self.configured or _PATIENCE, _PATIENCE)


async def make_attempt(
    client: BaseClient, request: VisionRequest, attempt: Attempt, run: Run, timeouts: Timeouts
) -> Chunks:
    """Yield the chunks of one provider call, and write how it ended into `attempt` and its span."""
    start = time.perf_counter()
    run.attempts.made.append(attempt)
    with tracing.call_span(request, attempt, run) as headers:
        request = replace(request, headers={**request.headers, **headers})
        try:
            chunks = _stream(client, request, timeouts) if run.streaming else _complete(client, request, timeouts)
            async with aclosing(chunks):
                async for chunk in chunks:
                    if isinstance(chunk, Completion):
                        attempt.outcome, attempt.usage, attempt.response_model = "ok", chunk.usage, chunk.model
                        attempt.seconds = time.perf_counter() - start
                        run.attempts.warn(*chunk.warnings)
                    yield chunk
        except ProviderError as error:
            attempt.outcome, attempt.usage, attempt.status = outcome(error), error.usage, error.status
            attempt.provider_message = error.provider_message
            raise
        finally:
            attempt.seconds = attempt.seconds or time.perf_counter() - start


async def _complete(client: BaseClient, request: VisionRequest, timeouts: Timeouts) -> Chunks:
    yield await client.complete(replace(request, timeout=timeouts.silence or timeouts.whole))


async def _stream(client: BaseClient, request: VisionRequest, timeouts: Timeouts) -> Chunks:
    """Yield the chunks of a streamed call. An empty chunk is a sign of life and is not passed on."""
    begun = False
    async with aclosing(client.stream(replace(request, timeout=timeouts.whole))) as chunks:
        while True:
            try:
                async with asyncio.timeout(timeouts.silence):
                    chunk = await anext(chunks, None)
            except TimeoutError:
                failure = CallTimeout(f"{client.spec.title} sent nothing for {timeouts.silence:.3g} seconds.")
                failure.begun = begun
                raise failure from None
            if chunk is None:
                raise BadReply(f"{client.spec.title} ended its answer before it was complete.")
            if isinstance(chunk, Completion) or chunk.text:
                begun = True
                yield chunk
            if isinstance(chunk, Completion):
                return
