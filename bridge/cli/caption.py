"""`graphcap caption`: caption one image."""

import argparse
import os
import sys
from pathlib import Path
from typing import Any

OPTIONS: tuple[tuple[str, type, str], ...] = (
    ("max_tokens", int, "longest answer, in tokens"),
    ("temperature", float, "0 (steady) to 2 (varied)"),
    ("top_p", float, "nucleus sampling, above 0 to 1"),
    ("repetition_penalty", float, "above 1 discourages repetition"),
    ("seed", int, "another seed, another caption"),
    ("global_context", str, "the system message"),
    ("resize_resolution", str, "NONE, SD_VGA, HD_720P, FHD_1080P, QHD_1440P, UHD_4K or UHD_8K"),
    ("timeout", float, "seconds the caption may take"),
    ("max_output_retries", int, "how often an answer that does not fit is asked for again"),
)


def add_options(parser: argparse.ArgumentParser) -> None:
    """The image, the perspective, who answers, and how."""
    from providers import factory

    parser.add_argument("image", help="a file, an http(s) address, or - for standard input")
    parser.add_argument(
        "-p", "--perspective", default="graph_caption", help="a name, or a JSON file (default: graph_caption)"
    )
    parser.add_argument("--provider", help="a configured provider (default: GRAPHCAP_PROVIDER, else builtin)")
    parser.add_argument("--model", help="the model that answers")
    parser.add_argument(
        "--kind",
        choices=[spec.kind for spec in factory.specs()],
        metavar="KIND",
        help="kind of a provider that is not configured, with --base-url: %(choices)s",
    )
    parser.add_argument("--base-url", help="its address; its key comes from the variable GRAPHCAP_PROVIDER_KEY")
    parser.add_argument("--context", action="append", help="text that goes with the picture; may be repeated")
    parser.add_argument("--set", action="append", metavar="NAME=VALUE", help="a variable of the perspective")
    for name, kind, summary in OPTIONS:
        parser.add_argument(f"--{name.replace('_', '-')}", type=kind, help=summary)
    shape = parser.add_mutually_exclusive_group()
    shape.add_argument("--json", action="store_true", help="print the whole answer as JSON")
    shape.add_argument("--text", action="store_true", help="print only the rendered caption, in one line")


def run(options: argparse.Namespace) -> int:
    """Caption and print."""
    from bridge.captioning.direct import caption
    from bridge.captioning.models import CaptionOptions
    from bridge.captioning.parse import validate
    from bridge.captioning.services import Services
    from bridge.cli.run import USAGE, with_resources
    from bridge.cli.text import readable
    from bridge.errors import InvalidRequest

    try:
        perspective = _perspective(options.perspective)
        asked = validate(CaptionOptions, _fields(options))
    except (InvalidRequest, ValueError) as error:
        print(f"graphcap: {error}", file=sys.stderr)
        return USAGE

    async def command(services: Services) -> int:
        made = await caption(options.image, perspective, options=asked, services=services)
        for warning in made.warnings:
            print(f"graphcap: {warning}", file=sys.stderr)
        if options.json:
            print(made.model_dump_json(indent=2))
        elif options.text:
            print(" ".join(made.rendered.split()))
        else:
            print(readable(made.result))
        return 0

    return with_resources(command, as_json=options.json)


def _perspective(named: str) -> str | dict[str, Any]:
    """The name, or the content of the file it names. Raises ValueError."""
    from perspectives.loader import UnreadableFile, read_json

    if not named.endswith(".json"):
        return named
    try:
        content = read_json(Path(named))
    except UnreadableFile as error:
        raise ValueError(f"{named}: {error.problem}") from None
    if not isinstance(content, dict):
        raise ValueError(f"{named}: Is no perspective: not a JSON object.")
    return content


def _fields(options: argparse.Namespace) -> dict[str, Any]:
    fields = {name: getattr(options, name) for name, _, _ in OPTIONS}
    fields |= {"provider": options.provider, "model": options.model, "context": options.context}
    if options.set:
        fields["variables"] = dict(_assignment(one) for one in options.set)
    if options.kind or options.base_url:
        fields["provider_config"] = {
            "kind": options.kind or "openai-compatible",
            "base_url": options.base_url,
            "api_key": os.environ.get("GRAPHCAP_PROVIDER_KEY"),
        }
    return {name: value for name, value in fields.items() if value is not None}


def _assignment(text: str) -> tuple[str, str]:
    name, equals, value = text.partition("=")
    if not equals:
        raise ValueError(f"--set wants NAME=VALUE, not '{text}'.")
    return name, value
