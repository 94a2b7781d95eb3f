"""`graphcap providers`: list the providers, check a provider, list a provider's models."""

import argparse
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

from bridge.cli import Parser
from bridge.cli.common import PROVIDER, print_json, with_services
from bridge.cli.text import columns, paint

if TYPE_CHECKING:
    from bridge.captioning.services import Services
    from providers.base import ProviderConfig
    from providers.checks import Check

_STEPS = {
    "initialize_client": "client created",
    "list_models": "models listed",
    "test_chat_completion": "model answered",
}


def add_options(parser: Parser) -> None:
    verbs = parser.add_commands(
        "verb",
        {
            "list": "list the providers that a request can name",
            "check": "connect to a provider and report what is wrong",
            "models": "list the models of a provider",
        },
    )
    for verb in ("check", "models"):
        verbs[verb].add_argument("name", help="the name of a provider; `graphcap providers list` shows them")
    verbs["check"].add_argument("--model", metavar="NAME", help="also call this model once")
    for parser_of_verb in verbs.values():
        parser_of_verb.add_argument("--json", action="store_true", help="print JSON")


def run(options: argparse.Namespace) -> int:
    verb = {"list": _list, "check": _check, "models": _models}[options.verb]
    return with_services(lambda services: verb(options, services), as_json=options.json)


async def _list(options: argparse.Namespace, services: "Services") -> int:
    configured = services.targets.configured
    if options.json:
        print_json([_entry(config, services) for config in configured.providers.values()])
        return 0
    default = services.settings.provider
    rows = [("", "name", "kind", "address", "key", "default model")]
    for name, config in configured.providers.items():
        first, *others = (endpoint.config for endpoint in configured.fleets[name].endpoints)
        mark = "*" if name == default else ""
        rows.append((mark, name, config.kind, _address(first), _key_state(first), config.default_model or "-"))
        rows += [("", "", "", _address(other), _key_state(other), "") for other in others]
    print(*columns(rows), sep="\n")
    print("\n* default for requests that name no provider (GRAPHCAP_PROVIDER)")
    return 0


def _entry(config: "ProviderConfig", services: "Services") -> dict[str, Any]:
    endpoints = services.targets.configured.fleets[config.name].endpoints
    return {
        **{name: getattr(config, name) for name in ("name", "kind", "base_url", "default_model")},
        "has_key": bool(config.api_key),
        "endpoints": [{"name": endpoint.name, "base_url": endpoint.config.base_url} for endpoint in endpoints],
    }


def _address(config: "ProviderConfig") -> str:
    from providers import registry

    return config.base_url or ("no base_url set" if registry.spec(config.kind).is_remote else "none")


def _key_state(config: "ProviderConfig") -> str:
    """Return the state of the API key as text. For a missing key, name the places where it can be set."""
    from providers import registry

    spec = registry.spec(config.kind)
    if config.api_key:
        return "set"
    if not spec.key_env:
        return "none"
    if not spec.needs_key:
        return "optional"
    return f"missing ({spec.key_env[0] if config.name == config.kind else 'api_key_env'})"


async def _check(options: argparse.Namespace, services: "Services") -> int:
    """Check every endpoint of the provider. Return 4 when a step failed."""
    from bridge.captioning import check
    from bridge.dispatch.targets import TargetRequest
    from bridge.run import Run

    target, run = TargetRequest(provider=options.name, model=options.model), Run(check.deadline(services))
    _, results = await check.check(target, services, run, every_endpoint=True)
    if options.json:
        endpoints = [{"name": name, **_report(result)} for name, result in results.items()]
        print_json({"provider": options.name, "endpoints": endpoints})
    else:
        for name, result in results.items():
            if len(results) > 1:
                print(f"{name}:")
            _print(result)
    return PROVIDER if any(map(_failed, results.values())) else 0


def _failed(check: "Check") -> bool:
    return any(step.status == "failed" for step in check.steps)


def _report(check: "Check") -> dict[str, object]:
    results = {key: getattr(check, key) for key in ("images", "schema_enforced", "response_model")}
    return {"steps": [asdict(step) for step in check.steps], **results, "warnings": list(check.warnings)}


def _print(check: "Check") -> None:
    for step in check.steps:
        status = paint("failed  ", "red") if step.status == "failed" else paint("ok      ", "green")
        print(f"{status}{_STEPS.get(step.step, step.step)}: {step.error or step.message}")
    if not _failed(check) and not check.model:
        print("skipped model answered: no model was called; add --model")
    for warning in check.warnings:
        print(f"warning: {warning}")


async def _models(options: argparse.Namespace, services: "Services") -> int:
    from bridge.captioning import check
    from bridge.dispatch.targets import TargetRequest
    from bridge.run import Run

    _, models = await check.models(TargetRequest(provider=options.name), services, Run(check.deadline(services)))
    if options.json:
        print_json([{"id": model.id, "name": model.name} for model in models])
    else:
        print(*(model.id for model in models), sep="\n")
    return 0
