"""`/providers/…`: who can answer, what they serve, whether they can be reached."""

from datetime import UTC, datetime, timedelta

from fastapi import APIRouter, Request, Response

from bridge.api import answers, body
from bridge.api.state import provider_key, services
from bridge.api.wire import (
    ConnectionTest,
    Diagnostics,
    ModelList,
    ModelOut,
    ProviderBody,
    ProviderByName,
    ProviderList,
    ProviderOut,
    StepOut,
    TestDetails,
    TestResult,
    WarningOut,
)
from bridge.captioning import check
from bridge.captioning.parse import validate
from bridge.dispatch.targets import ProviderReference, Target
from bridge.errors import UnknownProvider
from providers import factory
from providers.base import Check

router = APIRouter(prefix="/providers", tags=["providers"])


@router.get("/list", response_model=ProviderList)
async def list_providers(request: Request) -> Response:
    """List the providers that a request may name."""
    found = services(request)
    default = found.settings.provider
    listed = []
    for name, config in found.targets.configured.providers.items():
        spec = factory.spec(config.kind)
        listed.append(
            ProviderOut(
                name=name,
                kind=config.kind,
                title=spec.title,
                base_url=config.base_url if found.settings.loopback else "",
                default_model=config.default_model,
                models=list(config.models),
                needs_key=spec.needs_key,
                has_key=bool(config.api_key),
                is_default=name == default,
            )
        )
    return answers.json(ProviderList(providers=listed))


@router.get("/{name:path}/models", response_model=ModelList)
async def list_models(request: Request, name: str) -> Response:
    """Ask a configured provider what it serves."""
    _require(name, request)
    return await _models(request, ProviderReference(name))


def _require(name: str, request: Request) -> None:
    """An empty name is nobody's; in a request for a caption it would be the default's."""
    if not name:
        raise UnknownProvider(name, tuple(services(request).targets.configured.providers))


@router.post("/{name:path}/models", response_model=ModelList)
async def list_models_of(request: Request, name: str) -> Response:
    """Ask the provider that the body describes what it serves."""
    return await _models(request, await _named(request, name))


async def _models(request: Request, wish: ProviderReference) -> Response:
    target, models = await check.models(wish, services(request), provider_key(request))
    default = (wish.provider_config.default_model if wish.provider_config else None) or target.config.default_model
    listed = [ModelOut(id=one.id, name=one.name, is_default=one.id == default) for one in models]
    return answers.json(ModelList(provider=target.label, models=listed))


@router.post("/{name:path}/test-connection", response_model=ConnectionTest)
async def test_connection(request: Request, name: str) -> Response:
    """Connect for real: list models, then one short completion when a model is named."""
    target, found = await check.check(await _named(request, name), services(request), provider_key(request))
    return answers.json(_report(target, found), omit_none=True)


async def _named(request: Request, name: str) -> ProviderReference:
    """The body is the provider_config itself; without one the path names a configured provider."""
    sent = (await body.read(request, services(request).settings, optional=True)).fields
    if sent.get("kind") is None:
        _require(name, request)
        named = validate(ProviderByName, sent)
        return ProviderReference(name, model=named.model or named.default_model)
    brought = validate(ProviderBody, sent)
    return ProviderReference(name, brought, brought.model)


def _report(target: Target, found: Check) -> ConnectionTest:
    """Steps get distinct times: the client keys them by step and time."""
    now = datetime.now(UTC)
    steps = [
        StepOut(
            step=one.step,
            status=one.status,
            timestamp=(now + timedelta(milliseconds=place)).isoformat(timespec="milliseconds"),
            message=one.message or None,
            error=one.error or None,
        )
        for place, one in enumerate(found.steps)
    ]
    failed = next((one for one in reversed(found.steps) if one.status == "failed"), None)
    tested = next((one for one in found.steps if one.step == "test_chat_completion"), None)
    listed = any(one.step == "list_models" and one.status == "success" for one in found.steps)
    warnings = [WarningOut(warning_type="connection", message=text) for text in found.warnings]
    return ConnectionTest(
        status="failed" if failed else "success",
        message=failed.error if failed else f"Connected to '{target.label}'.",
        provider=target.label,
        result=TestResult(
            diagnostics=Diagnostics(connection_steps=steps, warnings=warnings),
            details=TestDetails(
                models_count=len(found.models) if listed else None, test_model=found.model if tested else None
            ),
        ),
    )
