"""`graphcap providers`: list them, check one, list what one serves."""

import argparse
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from bridge.captioning.resources import Resources
    from providers.base import ProviderConfig

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

    async def command(resources: "Resources") -> int:
        return await verb(options, resources)

    return with_resources(command, as_json=options.json)


async def _list(options: argparse.Namespace, resources: "Resources") -> int:
    from bridge.cli.run import show_json
    from bridge.cli.text import columns

    configured = resources.targets.configured.providers.values()
    if options.json:
        show_json(
            [
                {
                    "name": one.name,
                    "kind": one.kind,
                    "base_url": one.base_url,
                    "default_model": one.default_model,
                    "has_key": bool(one.api_key),
                }
                for one in configured
            ]
        )
        return 0
    default = resources.settings.provider
    rows = [("", "name", "kind", "address", "key", "default model")]
    rows += [("*" if one.name == default else "", *_row(one)) for one in configured]
    for line in columns(rows):
        print(line)
    print("\n* answers when a request names no provider (GRAPHCAP_PROVIDER)")
    return 0


def _row(one: "ProviderConfig") -> tuple[str, str, str, str, str]:
    address = one.base_url or ("none needed" if one.kind == "builtin" else "needs a base_url")
    return one.name, one.kind, address, _key(one), one.default_model or "-"


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


async def _check(options: argparse.Namespace, resources: "Resources") -> int:
    from bridge.captioning import check
    from bridge.cli.run import PROVIDER, show_json
    from bridge.dispatch.targets import Named

    target, found = await check.check(Named(options.name, model=options.model), resources)
    failed = any(one.status == "failed" for one in found.steps)
    if options.json:
        show_json(
            {
                "provider": target.label,
                "steps": [
                    {"step": one.step, "status": one.status, "message": one.message, "error": one.error}
                    for one in found.steps
                ],
                "warnings": list(found.warnings),
            }
        )
    else:
        for one in found.steps:
            mark = "failed" if one.status == "failed" else "ok"
            print(f"{mark:8}{_STEPS[one.step]}: {one.error or one.message}")
        if not failed and not found.model:
            print("skipped model answered: not tried; add --model")
        for warning in found.warnings:
            print(f"warning: {warning}")
    return PROVIDER if failed else 0


async def _models(options: argparse.Namespace, resources: "Resources") -> int:
    from bridge.captioning import check
    from bridge.cli.run import show_json
    from bridge.dispatch.targets import Named

    _, models = await check.models(Named(options.name), resources)
    if options.json:
        show_json([{"id": one.id, "name": one.name} for one in models])
    else:
        for one in models:
            print(one.id)
    return 0
