"""What a handler reads of the running service and of its request, and what it notes for the log."""

from collections.abc import Mapping

from fastapi import Request

from bridge.captioning.problems import Problem
from bridge.captioning.services import Services
from bridge.telemetry import Account

_NOTED = 200


def services(request: Request) -> Services:
    """The services opened at start."""
    opened: Services = request.app.state.services
    return opened


def request_id(request: Request) -> str:
    """The request's id, settled before any handler runs."""
    settled: str = request.scope["state"]["request_id"]
    return settled


def provider_key(request: Request) -> str:
    """The provider's key where a body field is awkward."""
    return request.headers.get("x-provider-key", "").strip()


def account(request: Request) -> Account:
    """The request's account; one of its own where no frame stands around it."""
    state = request.scope.setdefault("state", {})
    found: Account = state.get("account") or state.setdefault("account", Account(state.get("request_id", "")))
    return found


def note(request: Request, fields: Mapping[str, str | None]) -> None:
    """Add to the request's log line, clipped; what is not known is left out."""
    account(request).noted.update({name: value[:_NOTED] for name, value in fields.items() if value})


def note_problem(request: Request, problem: Problem) -> None:
    """Let the account say what failed."""
    account(request).code = problem.code
    note(request, {"provider": problem.provider})
