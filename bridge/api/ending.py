"""The end of a request: its one line in the log, and its part of the metrics, both from its account."""

import logging
from typing import Any

from starlette.types import Scope

from bridge.captioning import problems
from bridge.errors import Cancelled, ShuttingDown
from bridge.telemetry import Account, Captioning, ProviderCall, metrics

log = logging.getLogger("graphcap")
FIELDS = {
    "request_id": "the request's id, as in `X-Request-ID`",
    "method": "`WS` for a socket, and for each request on one",
    "path": "without the query",
    "status": "of the answer; on a socket the one it would have had alone; 499 when nobody was there to be answered",
    "ms": "from the first byte of the head to the end of the answer",
    "code": "the problem it ended in; in a stream the last one, although the status is 200",
    "client": "the caller's address",
    "trace_id": "the trace it belongs to",
    "perspective": "what was asked for; of an analysis all of them",
    "provider": "who answered, or was asked last",
    "model": "likewise",
    "output_mode": "how the model was held to the schema",
    "outcomes": "of an analysis: `ok` or a code for each perspective",
    "queue_ms": "waited for a free slot at the provider; of an analysis the longest wait of a perspective",
    "calls": "calls to providers, all told",
    "retries": "of these: because the line or the server failed",
    "reasks": "of these: because an answer did not fit its schema",
    "schema_steps": "of these: because the schema was rejected",
    "fallbacks": "of these: the first to another target",
    "endpoint": "where the calls went, by the name that `attempts`, `/health` and the metrics use",
    "failed_calls": "how calls failed",
    "input_tokens": "summed over the calls, as far as providers told",
    "output_tokens": "likewise",
    "cached_tokens": "likewise; a part of the input",
    "sent_bytes": "of pictures sent to providers, before base64",
    "image_bytes": "of the picture as it came",
    "stages": "milliseconds of each stage; `model` holds all waiting for providers",
    "requests": "on a socket's own line: requests that were begun",
}
_API = "/api/v1"
_CLIPPED = 200
_AGAIN = {"retry": "retries", "reask": "reasks", "schema": "schema_steps", "fallback": "fallbacks"}
_UNROUTED = "other"
_CUT = tuple(problems.code_of(one()) for one in (Cancelled, ShuttingDown))


def end(account: Account, scope: Scope, method: str) -> None:
    """Tell and count a request; called once for each."""
    if account.refused is not None:
        account.code, account.status = account.refused
    for one in account.captions:
        if not one.spent:
            one.spent = one.stages.milliseconds()
        metrics.caption(one, outcome(one, account.code))
    for one in account.tests:
        metrics.calls(one)
    metrics.stages(_own(account))
    if account.wants_caption and not account.captions:
        metrics.refused(account)
    metrics.request(account, route(scope), method)
    log.info("request", extra={"fields": fields(account, scope, method)})
    for one in account.captions:
        one.error = None  # its traceback holds the picture, and the account lives as long as its connection


def outcome(one: Captioning, code: str) -> str:
    """`ok`, or the code of the problem that the caption ended in; `code`: the one that its request did."""
    if one.whole:
        return "ok"
    if one.error is None:
        return code if code in _CUT else _CUT[0]
    return problems.code_of(one.error)


def route(scope: Scope) -> str:
    """The route's template, below the API's prefix (FastAPI 0.165 gives it for sockets alone).

    What was refused before it came to one, or found none, is `other`.
    """
    found: str = getattr(scope.get("route"), "path", "")
    return found.removeprefix(_API) or _UNROUTED


def fields(account: Account, scope: Scope, method: str) -> dict[str, Any]:
    """The line. Nothing of a key, a prompt, a caption or a query; what is zero or unknown is left out."""
    calls = [call for one in (*account.captions, *account.tests) for call in one.calls]
    known = {
        "code": account.code,
        "client": (scope.get("client") or ("",))[0],
        "trace_id": account.trace_id,
        **account.noted,
        **_answered(account.tests),
        **_captions(account.captions, account.code),
        "calls": len(calls),
        **{name: sum(call.again == again for call in calls) for again, name in _AGAIN.items()},
        **_calls(calls),
        "image_bytes": sum(account.received.values()),
        "stages": _stages(account),
    }
    return {
        "request_id": account.id,
        "method": method,
        "path": scope["path"][:_CLIPPED],
        "status": account.status,
        "ms": account.ms(),
        **{name: value for name, value in known.items() if value},
    }


def _captions(captions: list[Captioning], code: str) -> dict[str, Any]:
    """What was asked for and who answered; several values of one field stand in the order asked."""
    if not captions:
        return {}
    ends = [outcome(one, code) for one in captions]
    modes = [one.output_mode for one in captions if one.calls]
    return {
        "perspective": _listed([one.asked for one in captions]),
        **_answered(captions),
        "output_mode": _listed(modes),
        **({"outcomes": ",".join(ends)[:_CLIPPED]} if len(ends) > 1 else {}),
        "queue_ms": round(max(one.spent.get("queue", 0.0) for one in captions), 1),
    }


def _answered(asked: list[Captioning]) -> dict[str, str]:
    providers, models = zip(*(one.answered for one in asked), strict=True) if asked else ((), ())
    return {"provider": _listed(providers), "model": _listed(models)}


def _listed(values: Any) -> str:
    return ",".join(dict.fromkeys(values))[:_CLIPPED]


def _calls(calls: list[ProviderCall]) -> dict[str, Any]:
    tokens = {
        f"{kind}_tokens": sum(call.tokens.get(kind, 0) for call in calls) for kind in ("input", "output", "cached")
    }
    failed = [call.outcome for call in calls if call.outcome != "ok"]
    return {
        "endpoint": _listed(call.endpoint for call in calls),
        "failed_calls": _listed(failed),
        **tokens,
        "sent_bytes": sum(call.sent_bytes for call in calls),
    }


def _stages(account: Account) -> dict[str, float]:
    """Those of the caption; of an analysis its own, the slowest of each stage of its captions among them."""
    told: dict[str, float] = {}
    for one in account.captions:
        for stage, ms in one.spent.items():
            told[stage] = max(told.get(stage, 0.0), ms)
    return {stage: round(ms, 1) for stage, ms in {**told, **_own(account)}.items() if stage != "total"}


def _own(account: Account) -> dict[str, float]:
    """The stages of an analysis beside its captions'; a caption alone has none. Its `total` is the request's time."""
    own = account.stages
    if own is None or any(one.stages is own for one in account.captions):
        return {}
    return {stage: ms for stage, ms in own.milliseconds().items() if stage != "total"}
