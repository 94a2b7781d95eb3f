"""Make captions in this process, or with a running service."""

import asyncio
import json
import time
from collections.abc import Collection
from dataclasses import dataclass
from typing import Any
from urllib.parse import quote

import httpx2

from bridge import errors
from bridge.batch.folder import BatchError
from bridge.captioning import prices, problems
from bridge.captioning.analyze import analyze
from bridge.captioning.models import Caption, CaptionOptions
from bridge.captioning.parsing import parse_request
from bridge.captioning.plan import AnalysisPlan, find_perspectives, own_options, plan_caption
from bridge.captioning.services import Services
from bridge.config.models import EndpointSettings, ProviderSettings
from bridge.deadline import Deadline
from bridge.dispatch.queue import ProviderQueue, Route
from bridge.run import Run
from perspectives import Perspective
from perspectives import perspective as perspective_json
from providers.addresses import origin
from providers.base import Completion, JsonObject, ProviderConfig, Usage
from providers.errors import CallTimeout, ProviderError, RateLimited, RequestRejected, Unavailable, Unreachable

_OVERLOADED = (429, 503)
_HTTP_OK, _HTTP_NOT_FOUND = 200, 404
_PROXY_ERRORS = {413: RequestRejected, 504: CallTimeout, 524: CallTimeout}
"""Failures of one image that a proxy reports. 524 is the 504 of Cloudflare
(https://developers.cloudflare.com/support/troubleshooting/http-status-codes/cloudflare-5xx-errors/error-524/)."""
_GRACE = 30.0
"""Seconds for the service to report that its own time limit is reached."""


class ProviderUnusable(Exception):
    """No caption can be made, because of the provider or the service. The text gives the reason."""


@dataclass(frozen=True, slots=True)
class Outcome:
    """The outcome of one perspective: a caption or a problem, as JSON. `attempts`: the number of provider calls."""

    body: JsonObject
    attempts: int = 0
    input_tokens: int | None = None
    output_tokens: int | None = None
    cost: float | None = None


def problem_json(error: Exception) -> JsonObject:
    """Return the problem for an error, as JSON."""
    return problems.from_error(error).model_dump(mode="json")


class InProcess:
    """Makes captions in this process.

    `target`: the provider and the model, as far as they are known. `servers`: the configured limit of concurrent calls
    of each server of the provider, None for no limit.
    """

    def __init__(self, services: Services, fields: JsonObject) -> None:
        """`fields`: the fields of every request. Raises InvalidRequest or DispatchError without a usable target."""
        self._services = services
        self._target = services.targets.resolve(parse_request(CaptionOptions, fields))
        self.target = f"{self._target.label}/{self._target.model}"
        fleet = services.targets.configured.fleets.get(self._target.provider)
        endpoints = fleet.endpoints if fleet else ()
        only = self._target.endpoint
        self.servers = tuple(each.max_concurrency for each in endpoints if only in ("", each.name)) or (None,)

    async def price(self, tokens: int) -> float | None:
        """Return the price of `tokens` input tokens in US dollars, None if unknown."""
        counts = Usage(tokens, 0)  # in a thread: the price list takes 0.3 s to import
        return await asyncio.to_thread(prices.price, self._target.config.base_url, self._target.model, counts)

    async def find(self, perspective: str | JsonObject) -> Perspective:
        """Return a perspective. Raises PerspectiveError or ProviderUnusable."""
        run = Run(Deadline(self._services.settings.timeout))
        (found,) = await find_perspectives([perspective], self._services, run)
        return found

    async def check(self, run: Run) -> tuple[str, ...]:
        """Check that captions can be made, and return warnings. Raises ProviderUnusable."""
        target, dispatcher = self._target, self._services.dispatcher
        (listing,) = (await dispatcher.check(target, "", run)).values()
        if any(target.model in (model.id, model.name) for model in listing.models):
            return ()
        (result,) = (await dispatcher.check(target, target.model, run)).values()
        if failed := [step for step in result.steps if step.status == "failed"]:
            raise ProviderUnusable(failed[-1].error)
        return result.warnings

    async def caption(self, data: bytes, fields: JsonObject, named: tuple[Perspective, ...], run: Run) -> list[Outcome]:
        """Caption an image. `fields`: the request's fields. Failures are returned as problems, not raised."""
        try:
            options = CaptionOptions.model_validate(fields)
            plans = [plan_caption(each, own_options(options, each), self._services, run, upload=data) for each in named]
        except tuple(errors.TABLE) as error:
            return [_outcome(error, run)] * len(named)
        plan = AnalysisPlan(options, tuple(plans), upload=data)
        outcomes = await analyze(plan, self._services, run)
        return [_outcome(result, child) for result, child in zip(outcomes.values(), run.children, strict=True)]


def _outcome(result: Caption | Exception, run: Run) -> Outcome:
    body = result if isinstance(result, Caption) else problems.report(result, run)
    usage = run.usage
    tokens = (usage.input_tokens, usage.output_tokens) if usage else (None, None)
    calls = run.attempts.calls
    return Outcome(body.model_dump(mode="json"), len(calls), *tokens, prices.cost(calls))


class OverHttp:
    """Makes captions with a running service, and has the methods of `InProcess`.

    Concurrent requests to the service are limited like calls to a provider.
    """

    servers = (None,)

    def __init__(self, url: str, api_key: str, fields: JsonObject, concurrency: int, timeout: float) -> None:
        """`timeout`: seconds for one image. Raises BatchError if `url` is not an HTTP address."""
        headers = {"authorization": f"Bearer {api_key}"} if api_key else {}
        limits = httpx2.Limits(max_connections=None, max_keepalive_connections=None)  # the queue limits the calls
        try:
            origin(url)
            self._client = httpx2.AsyncClient(base_url=url, headers=headers, timeout=timeout + _GRACE, limits=limits)
        except (ValueError, httpx2.InvalidURL):
            raise BatchError(f"'{url}' is not the address of a service (--url).") from None
        endpoint = EndpointSettings(url, ProviderConfig("", "openai-compatible", url), max_concurrency=concurrency)
        self._queue = ProviderQueue("", ProviderSettings((endpoint,)), 1_000_000, time.monotonic)
        self._url, self._fields = url, fields
        self.target = f"{fields.get('provider', '')}/{fields.get('model', '')}"

    async def aclose(self) -> None:
        """Close every connection."""
        await self._client.aclose()

    async def price(self, tokens: int) -> float | None:
        return None

    async def find(self, perspective: str | JsonObject) -> Perspective:
        if not isinstance(perspective, str):
            return perspective_json.parse(perspective)
        content = await self._json("GET", f"perspectives/{quote(perspective, safe='')}", "json_schema")
        return perspective_json.parse(content, source=self._url)

    async def check(self, run: Run) -> tuple[str, ...]:
        if "provider_config" in self._fields:
            return ()
        listed = (await self._json("GET", "providers/list", "providers"))["providers"]
        name = self._fields.get("provider") or next((item["name"] for item in listed if item["is_default"]), "")
        if name not in [item["name"] for item in listed]:
            known = ", ".join(item["name"] for item in listed)
            raise BatchError(f"The service has no provider '{name}'. Its providers: {known}.")
        fields = {"model": self._fields["model"]} if self._fields.get("model") else {}
        result = await self._json("POST", f"providers/{quote(name)}/test-connection", "status", json=fields)
        if result["status"] == "failed":
            raise ProviderUnusable(result["message"])
        return tuple(warning["message"] for warning in result["result"]["diagnostics"]["warnings"])

    async def _json(self, method: str, path: str, field: str, **body: Any) -> JsonObject:
        """Return the JSON that the service sends. `field`: one of its fields.

        Raises ProviderUnusable, and BatchError if the service does not know a name in the path.
        """
        try:
            response = await self._client.request(method, path, **body)
        except httpx2.RequestError as error:
            raise ProviderUnusable(f"The service at {self._url} cannot be reached: {str(error).rstrip('.')}.") from None
        content = _content(response)
        if _is_problem(content):
            raise (BatchError if response.status_code == _HTTP_NOT_FOUND else ProviderUnusable)(content["detail"])
        if response.status_code != _HTTP_OK or field not in content:
            raise ProviderUnusable(
                f"The server at {self._url} is not a graphcap bridge: it responded {response.status_code} to "
                f"'{method} /{path}'."
            )
        return content

    async def caption(self, data: bytes, fields: JsonObject, named: tuple[Perspective, ...], run: Run) -> list[Outcome]:
        names = [each.name if each.source != "inline" else each.to_wire() for each in named]
        request = json.dumps({**fields, "perspectives": names})
        try:
            admission = await self._queue.enter(Route(self._queue, self._queue.endpoints), run)
        except tuple(errors.TABLE) as error:
            return [Outcome(problem_json(error))] * len(named)
        result: Completion | ProviderError | None = None
        try:
            run.stage("model", self._url)
            files = {"image": ("image", data)}
            response = await self._client.post("perspectives/analyze", data={"request": request}, files=files)
            body, result = _read(response)
        except httpx2.RequestError as error:
            kind = CallTimeout if isinstance(error, httpx2.TimeoutException) else Unreachable
            result = kind(f"The service at {self._url} did not respond: {type(error).__name__}.")
            body = problem_json(result)
        finally:
            admission.end(result)
            self._queue.advance()
        return [_remote_outcome(body, each.name) for each in named]


Engine = InProcess | OverHttp


def _content(response: httpx2.Response) -> JsonObject:
    """Return the JSON object of a response, or {} if the content is not a JSON object."""
    try:
        content = response.json()
    except ValueError:
        return {}
    return content if isinstance(content, dict) else {}


def _is_problem(content: JsonObject) -> bool:
    return all(isinstance(content.get(name), str) for name in ("code", "detail"))


def _read(response: httpx2.Response) -> tuple[JsonObject, Completion | ProviderError]:
    """Return the body of a response, and the result of the call, from which the queue adapts its limits.

    A body that is neither results nor a problem is not the service's, but that of a proxy before it. If a caption timed
    out before its first call, the service had more to do than it can: its code becomes "overloaded".
    """
    body = _content(response)
    if not (_is_problem(body) or isinstance(body.get("results"), dict)):
        status = response.status_code
        error = _PROXY_ERRORS.get(status, Unavailable)(
            f"The service responded {status} without captions or a problem.", status=status
        )
        return problem_json(error), error
    waited = [each for each in _problems(body) if each.get("code") == "timeout" and not each.get("attempts")]
    for problem in waited:
        problem["code"] = "overloaded"
    if waited or response.status_code in _OVERLOADED:
        kind = Unavailable if response.status_code == 503 else RateLimited
        return body, kind(str(body.get("detail", "")), retry_after=body.get("retry_after"))
    return body, Completion("", "")


def _problems(body: JsonObject) -> Collection[JsonObject]:
    """Return the problems in a body of the service: of each perspective, or of the request."""
    failures = body.get("errors")
    return failures.values() if isinstance(failures, dict) else [body]


def _remote_outcome(body: JsonObject, name: str) -> Outcome:
    """Return the outcome of one perspective. `body`: the service's response: results or a problem."""
    if caption := body.get("results", {}).get(name):
        usage = caption["usage"] or {}
        tokens = usage.get("input_tokens"), usage.get("output_tokens")
        return Outcome(caption, len(caption["attempts"]), *tokens, caption.get("cost"))
    failures = body.get("errors")
    problem = failures.get(name, body) if isinstance(failures, dict) else body
    return Outcome(problem, len(problem.get("attempts") or ()))
