"""`graphcap providers`: list them, check one, list what one serves."""

import argparse
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from bridge.captioning.services import Services
    from bridge.config import EndpointSettings
    from providers.base import Check, ProviderConfig

_STEPS = {
    "initialize_client": "client ready",
    "list_models": "models listed",
    "test_chat_completion": "model answered",
}


def add_options(parser: argparse.ArgumentParser) -> None:
    """The three verbs."""
    verbs = parser.add_subparsers(dest="verb", metavar="VERB", required=True)
    listing = verbs.add_parser("list", help="the providers that can be named")
    checking = verbs.add_parser("check", help="connect for real, and say what is wrong")
    models = verbs.add_parser("models", help="what a provider serves, asked just now")
    for verb in (checking, models):
        verb.add_argument("name")
    checking.add_argument("--model", help="also ask this model for one short completion")
    for verb in (listing, checking, models):
        verb.add_argument("--json", action="store_true", help="print JSON")


def run(options: argparse.Namespace) -> int:
    """Run the verb."""
    from bridge.cli.run import with_resources

    verb = {"list": _list, "check": _check, "models": _models}[options.verb]

    async def command(services: "Services") -> int:
        return await verb(options, services)

    return with_resources(command, as_json=options.json)


async def _list(options: argparse.Namespace, services: "Services") -> int:
    from bridge.cli.run import show_json
    from bridge.cli.text import columns

    configured = services.targets.configured
    if options.json:
        show_json(
            [
                {
                    "name": one.name,
                    "kind": one.kind,
                    "base_url": one.base_url,
                    "default_model": one.default_model,
                    "has_key": bool(one.api_key),
                    "endpoints": [
                        {"name": each.name, "base_url": each.config.base_url}
                        for each in configured.fleets[one.name].endpoints
                    ],
                }
                for one in configured.providers.values()
            ]
        )
        return 0
    default = services.settings.provider
    rows = [("", "name", "kind", "address", "key", "default model")]
    for one in configured.providers.values():
        first, *others = configured.fleets[one.name].endpoints
        rows.append(("*" if one.name == default else "", one.name, one.kind, *_row(first, one.default_model or "-")))
        rows += [("", "", "", *_row(other, "")) for other in others]
    for line in columns(rows):
        print(line)
    print("\n* answers when a request names no provider (GRAPHCAP_PROVIDER)")
    return 0


def _row(endpoint: "EndpointSettings", model: str) -> tuple[str, str, str]:
    one = endpoint.config
    address = one.base_url or ("none needed" if one.kind == "builtin" else "needs a base_url")
    return address, _key(one), model


def _key(one: "ProviderConfig") -> str:
    """Whether there is a key, and where it would come from when it is missing."""
    from providers import factory

    spec = factory.spec(one.kind)
    if one.api_key:
        return "set"
    if not spec.key_env:
        return "none needed"
    if not spec.needs_key:
        return "optional"
    return f"missing ({spec.key_env[0] if one.name == one.kind else 'api_key_env'})"


async def _check(options: argparse.Namespace, services: "Services") -> int:
    from bridge.captioning import check
    from bridge.cli.run import PROVIDER, show_json
    from bridge.dispatch.targets import ProviderReference
    from bridge.run import Run

    each = check.check_each(
        ProviderReference(options.name, model=options.model), services, Run(check.deadline(services))
    )
    found = [(name, one) async for name, one in each]
    if options.json:
        show_json({"provider": options.name, "endpoints": [{"name": name, **_told(one)} for name, one in found]})
    else:
        for name, one in found:
            if len(found) > 1:
                print(f"{name}:")
            _print(one)
    return PROVIDER if any(_failed(one) for _, one in found) else 0


def _failed(found: "Check") -> bool:
    return any(one.status == "failed" for one in found.steps)


def _told(found: "Check") -> dict[str, object]:
    steps = [
        {"step": one.step, "status": one.status, "message": one.message, "error": one.error} for one in found.steps
    ]
    return {"steps": steps, "warnings": list(found.warnings)}


def _print(found: "Check") -> None:
    for one in found.steps:
        mark = "failed" if one.status == "failed" else "ok"
        print(f"{mark:8}{_STEPS[one.step]}: {one.error or one.message}")
    if not _failed(found) and not found.model:
        print("skipped model answered: not tried; add --model")
    for warning in found.warnings:
        print(f"warning: {warning}")


async def _models(options: argparse.Namespace, services: "Services") -> int:
    from bridge.captioning import check
    from bridge.cli.run import show_json
    from bridge.dispatch.targets import ProviderReference
    from bridge.run import Run

    _, models = await check.models(ProviderReference(options.name), services, Run(check.deadline(services)))
    if options.json:
        show_json([{"id": one.id, "name": one.name} for one in models])
    else:
        for one in models:
            print(one.id)
    return 0
