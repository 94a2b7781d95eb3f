"""What a handler reads of the running service and of its request."""

from fastapi import Request

from bridge.captioning.resources import Resources


def resources(request: Request) -> Resources:
    """The resources opened at start."""
    opened: Resources = request.app.state.resources
    return opened


def request_id(request: Request) -> str:
    """The request's id, settled before any handler runs."""
    settled: str = request.scope["state"]["request_id"]
    return settled


def provider_key(request: Request) -> str:
    """The provider's key where a body field is awkward."""
    return request.headers.get("x-provider-key", "").strip()
