"""What a caption costs, written into its account: each call to a provider, its wait, its tokens, its end."""

import time
from dataclasses import replace

from bridge.captioning.plan import Plan, counted
from bridge.config import Configured
from bridge.dispatch.legacy.endpoint import Endpoint, outcome
from bridge.dispatch.targets import Target
from bridge.telemetry import Captioning, ProviderCall, Stages, current, spans
from bridge.telemetry.account import Again
from providers.base import Complete, Completion, VisionRequest
from providers.errors import ProviderError, SchemaRejected
from providers.usage import Usage

OTHER = "other"


def begin(plan: Plan, configured: Configured) -> Captioning:
    """Open the account of a caption that was planned, as a part of its request's; its time begins."""
    first, account = plan.targets[0], plan.account
    account.perspective, account.asked = counted(plan.perspective), plan.perspective.name
    account.provider, account.answered = names(first, configured)[0], (first.label, first.model)
    account.stages = Stages()
    if request := current():
        request.captions.append(account)
    return account


def begin_test() -> Captioning:
    """Open the account of a call that makes no caption, as a part of its request's."""
    account = Captioning()
    if request := current():
        request.tests.append(account)
    return account


def received(origin: str, size: int) -> None:
    """Note the bytes of the picture as it came."""
    if request := current():
        request.received[origin] = request.received.get(origin, 0) + size


def names(target: Target, configured: Configured, model: str = "") -> tuple[str, str]:
    """Provider and model under bounded names: the kind and `other` where a caller chose them."""
    known = configured.providers.get(target.provider)
    if known is None:
        return target.config.kind, OTHER
    stand_ins = (one for fleet in configured.fleets.values() for one in fleet.fallbacks)
    stated = {one.model for one in stand_ins if one.provider == target.provider}
    listed = {known.default_model, *known.models, model} | stated
    return target.provider, target.model if target.model in listed else OTHER


class Meter:
    """Counts the calls to one target, and sends the trace along with each."""

    def __init__(
        self, account: Captioning, target: Target, configured: Configured, model: str = "", *, stands_in: bool = False
    ) -> None:
        """`model`: one that the settings name. `stands_in`: whether the target does, for one that failed."""
        self._account = account
        self._target = target
        self._names = names(target, configured, model)
        self._fallback = stands_in
        self._waiting_since: float | None = None
        account.provider, account.answered = self._names[0], (target.label, target.model)

    def __enter__(self) -> None:
        """Nothing is waited for yet."""

    def __exit__(self, *_ended: object) -> None:
        """Who was refused while waiting has waited as well."""
        self.waited()

    def waits(self) -> None:
        """A call waits for a slot from here on."""
        self._waiting_since = time.perf_counter()

    def waited(self) -> None:
        """It waits no longer."""
        if self._waiting_since is not None:
            self._account.stages.add("queue", (time.perf_counter() - self._waiting_since) * 1000)
            self._waiting_since = None

    def metered(self, complete: Complete, endpoint: Endpoint) -> Complete:
        """`complete`, which asks at `endpoint`, with each call on the account."""

        async def call(request: VisionRequest) -> Completion:
            self.waited()
            made = self._begin(request, endpoint)
            start = time.perf_counter()
            with spans.chat(self._target.config.kind, request, made) as headers:
                try:
                    completion = await complete(replace(request, headers={**request.headers, **headers}))
                except ProviderError as error:
                    made.outcome, made.tokens = outcome(error), _tokens(error.usage)
                    raise
                finally:
                    made.seconds = time.perf_counter() - start
                made.outcome, made.tokens, made.answered = "ok", _tokens(completion.usage), completion.model
            return completion

        return call

    def _begin(self, request: VisionRequest, endpoint: Endpoint) -> ProviderCall:
        address = endpoint.config.base_url
        made = ProviderCall(
            *self._names,
            endpoint=endpoint.name,
            address=address,
            again=self._again(),
            sent_bytes=len(request.image.data) if request.image and address else 0,
        )
        self._account.calls.append(made)
        self._fallback = False
        self._account.output_mode = request.output_mode
        return made

    def _again(self) -> Again:
        if self._fallback:
            return "fallback"
        if not self._account.calls:
            return ""
        before = self._account.calls[-1].outcome
        return "reask" if before == "ok" else "schema" if before == outcome(SchemaRejected("")) else "retry"


def _tokens(usage: Usage | None) -> dict[str, int]:
    if usage is None:
        return {}
    told = {"input": usage.input_tokens, "output": usage.output_tokens, "cached": usage.cached_tokens}
    return {kind: tokens for kind, tokens in told.items() if tokens is not None}
