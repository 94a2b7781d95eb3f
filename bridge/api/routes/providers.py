"""`/providers/…`: the configured providers, their models, and connection tests."""

from datetime import UTC, datetime, timedelta

from fastapi import APIRouter, Request, Response

from bridge.api import schemas
from bridge.api.connection import disconnected, until
from bridge.api.middleware.request_context import provider_key, record_of, services
from bridge.api.request_body import read_body
from bridge.api.responses import json_response
from bridge.captioning import check
from bridge.captioning.parsing import parse_request
from bridge.dispatch.targets import Target, TargetRequest
from bridge.errors import UnknownProvider
from bridge.run import Run
from providers import registry
from providers.base import ProviderConfig
from providers.checks import Check

router = APIRouter(prefix="/providers", tags=["providers"])


@router.get("/list", response_model=schemas.ProviderList)
async def list_providers(request: Request) -> Response:
    """List the providers that requests can name."""
    resources = services(request)
    default, show_address = resources.settings.provider, resources.settings.loopback
    configs = resources.targets.configured.providers.items()
    listed = [_provider(name, config, show_address, name == default) for name, config in configs]
    return json_response(schemas.ProviderList(providers=listed))


def _provider(name: str, config: ProviderConfig, show_address: bool, is_default: bool) -> schemas.ProviderOut:
    spec = registry.spec(config.kind)
    return schemas.ProviderOut(
        name=name,
        kind=config.kind,
        title=spec.title,
        base_url=config.base_url if show_address else "",
        default_model=config.default_model,
        models=list(config.models),
        needs_key=spec.needs_key,
        has_key=bool(config.api_key),
        is_default=is_default,
    )


@router.get("/{name:path}/models", response_model=schemas.ModelList)
async def list_models(request: Request, name: str) -> Response:
    """List the models of a configured provider."""
    _require_name(name, request)
    return await _list_models(request, parse_request(TargetRequest, {"provider": name}))


@router.post("/{name:path}/models", response_model=schemas.ModelList)
async def list_models_of(request: Request, name: str) -> Response:
    """List the models of the provider that the request describes."""
    return await _list_models(request, await _read_provider(request, name))


@router.post("/{name:path}/test-connection", response_model=schemas.ConnectionTest)
async def test_connection(request: Request, name: str) -> Response:
    """Test a provider: list its models, then call a model if the request names one."""
    provider = await _read_provider(request, name)
    work = check.check(provider, services(request), _start_run(request), provider_key(request))
    target, results = await until(disconnected(request.receive), work)
    (result,) = results.values()
    return json_response(_report(target, result), omit_none=True)


def _require_name(name: str, request: Request) -> None:
    """Raise UnknownProvider if the name is empty, because other code treats "" as the default provider."""
    if not name:
        raise UnknownProvider(name, tuple(services(request).targets.configured.providers))


async def _list_models(request: Request, provider: TargetRequest) -> Response:
    work = check.models(provider, services(request), _start_run(request), provider_key(request))
    target, models = await until(disconnected(request.receive), work)
    described = provider.provider_config.default_model if provider.provider_config else None
    default = described or target.config.default_model
    listed = [schemas.ModelOut(id=model.id, name=model.name, is_default=model.id == default) for model in models]
    return json_response(schemas.ModelList(provider=target.label, models=listed))


def _start_run(request: Request) -> Run:
    return record_of(request).start_run(check.deadline(services(request)))


async def _read_provider(request: Request, name: str) -> TargetRequest:
    """Read the provider_config of the body. Without `kind`, the configured provider in the path is used."""
    fields = (await read_body(request, services(request).settings, optional=True)).fields
    if fields.get("kind") is None:
        _require_name(name, request)
        by_name = parse_request(schemas.ProviderByName, fields)
        return parse_request(TargetRequest, {"provider": name, "model": by_name.model or by_name.default_model})
    config = parse_request(schemas.ProviderBody, fields)
    return parse_request(TargetRequest, {"provider": name, "provider_config": config, "model": config.model})


def _report(target: Target, result: Check) -> schemas.ConnectionTest:
    """Build the result for the React client, which identifies steps by name and time: the times must differ."""
    now = datetime.now(UTC)
    steps = [
        schemas.StepOut(
            step=step.step,
            status=step.status,
            timestamp=(now + timedelta(milliseconds=place)).isoformat(timespec="milliseconds"),
            message=step.message or None,
            error=step.error or None,
        )
        for place, step in enumerate(result.steps)
    ]
    failed = next((step for step in reversed(steps) if step.status == "failed"), None)
    outcomes = {step.step: step.status for step in steps}
    details = schemas.TestDetails(
        models_count=len(result.models) if outcomes.get("list_models") == "success" else None,
        test_model=result.model if "test_chat_completion" in outcomes else None,
    )
    warnings = [schemas.WarningOut(warning_type="connection", message=text) for text in result.warnings]
    diagnostics = schemas.Diagnostics(connection_steps=steps, warnings=warnings)
    return schemas.ConnectionTest(
        status="failed" if failed else "success",
        message=(failed.error or "") if failed else f"Connected to '{target.label}'.",
        provider=target.label,
        result=schemas.TestResult(diagnostics=diagnostics, details=details),
    )
