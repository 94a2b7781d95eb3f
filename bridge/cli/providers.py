"""`graphcap providers`: list them, check one, list what one serves."""

import argparse
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from bridge.captioning.resources import Resources


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
    for one in configured:
        default = "*" if one.name == resources.settings.provider else " "
        key = "key set" if one.api_key else "no key"
        print(f"{default} {one.name:20} {one.kind:18} {one.base_url or '-':48} {key:8} {one.default_model}".rstrip())
    return 0


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
            print(f"{one.step}: {one.status}. {one.error or one.message}".rstrip())
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
