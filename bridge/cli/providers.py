"""`graphcap providers`: list providers, check one, list its models."""

import argparse
from typing import TYPE_CHECKING, Any

from bridge.cli import Parser

if TYPE_CHECKING:
    from bridge.captioning.services import Services
    from bridge.config import EndpointSettings
    from providers.base import ProviderConfig
    from providers.checks import Check

_STEPS = {
    "initialize_client": "client created",
    "list_models": "models listed",
    "test_chat_completion": "model answered",
}


def add_options(parser: Parser) -> None:
    """Add `list`, `check` and `models`."""
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
    """Run the verb."""
    from bridge.cli.common import with_services

    verb = {"list": _list, "check": _check, "models": _models}[options.verb]

    async def command(services: "Services") -> int:
        return await verb(options, services)

    return with_services(command, as_json=options.json)


async def _list(options: argparse.Namespace, services: "Services") -> int:
    from bridge.cli.common import print_json
    from bridge.cli.text import columns

    configured = services.targets.configured
    if options.json:
        print_json([_entry(config, configured.fleets[name].endpoints) for name, config in configured.providers.items()])
        return 0
    default = services.settings.provider
    rows = [("", "name", "kind", "address", "key", "default model")]
    for name, config in configured.providers.items():
        first, *others = configured.fleets[name].endpoints
        mark = "*" if name == default else ""
        rows.append((mark, name, config.kind, *_cells(first), config.default_model or "-"))
        rows += [("", "", "", *_cells(other), "") for other in others]
    for line in columns(rows):
        print(line)
    print("\n* default for requests that name no provider (GRAPHCAP_PROVIDER)")
    return 0


def _entry(config: "ProviderConfig", endpoints: "tuple[EndpointSettings, ...]") -> dict[str, Any]:
    return {
        "name": config.name,
        "kind": config.kind,
        "base_url": config.base_url,
        "default_model": config.default_model,
        "has_key": bool(config.api_key),
        "endpoints": [{"name": endpoint.name, "base_url": endpoint.config.base_url} for endpoint in endpoints],
    }


def _cells(endpoint: "EndpointSettings") -> tuple[str, str]:
    """Return the address and the state of the key."""
    config = endpoint.config
    return config.base_url or ("none" if config.kind == "builtin" else "no base_url set"), _key_state(config)


def _key_state(config: "ProviderConfig") -> str:
    """Return whether there is a key, and where a missing one would be read from."""
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
    from bridge.captioning import check
    from bridge.cli.common import PROVIDER, print_json
    from bridge.dispatch.targets import ProviderReference
    from bridge.run import Run

    target, run = ProviderReference(options.name, model=options.model), Run(check.deadline(services))
    _, results = await check.check(target, services, run, every_endpoint=True)
    if options.json:
        print_json(
            {"provider": options.name, "endpoints": [{"name": name, **_report(item)} for name, item in results.items()]}
        )
    else:
        for name, result in results.items():
            if len(results) > 1:
                print(f"{name}:")
            _print(result)
    return PROVIDER if any(map(_failed, results.values())) else 0


def _failed(check: "Check") -> bool:
    return any(step.status == "failed" for step in check.steps)


def _report(check: "Check") -> dict[str, object]:
    keys = ("step", "status", "message", "error")
    steps = [{key: getattr(step, key) for key in keys} for step in check.steps]
    results = {key: getattr(check, key) for key in ("images", "schema_enforced", "response_model")}
    return {"steps": steps, **results, "warnings": list(check.warnings)}


def _print(check: "Check") -> None:
    from bridge.cli.text import paint

    for step in check.steps:
        failed = step.status == "failed"
        status = paint("failed  ", "red") if failed else paint("ok      ", "green")
        print(f"{status}{_STEPS.get(step.step, step.step)}: {step.error or step.message}")
    if not _failed(check) and not check.model:
        print("skipped model answered: no model was called; add --model")
    for warning in check.warnings:
        print(f"warning: {warning}")


async def _models(options: argparse.Namespace, services: "Services") -> int:
    from bridge.captioning import check
    from bridge.cli.common import print_json
    from bridge.dispatch.targets import ProviderReference
    from bridge.run import Run

    _, models = await check.models(ProviderReference(options.name), services, Run(check.deadline(services)))
    if options.json:
        print_json([{"id": model.id, "name": model.name} for model in models])
    else:
        for model in models:
            print(model.id)
    return 0
