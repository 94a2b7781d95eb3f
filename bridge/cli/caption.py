"""`graphcap caption`: caption one image."""

import argparse
import os
import sys
from pathlib import Path
from typing import Any

KEY_VARIABLE = "GRAPHCAP_PROVIDER_KEY"
OPTIONS: tuple[tuple[str, type, str], ...] = (
    ("max_tokens", int, "longest answer, in tokens"),
    ("temperature", float, "sampling temperature, 0 to 2"),
    ("top_p", float, "nucleus sampling, above 0 to 1"),
    ("repetition_penalty", float, "penalty for repetition; 1 is none"),
    ("seed", int, "seed of the random sampling"),
    ("global_context", str, "system message"),
    ("resize_resolution", str, "NONE, SD_VGA, HD_720P, FHD_1080P, QHD_1440P, UHD_4K or UHD_8K"),
    ("timeout", float, "time limit in seconds"),
    ("max_output_retries", int, "how often the model is asked again after an invalid answer"),
)


def add_options(parser: argparse.ArgumentParser) -> None:
    """Add the image, the perspective, the provider, and the options of the caption."""
    from providers import registry

    parser.add_argument("image", help="a file, an http(s) URL, or - for standard input")
    parser.add_argument(
        "-p", "--perspective", default="graph_caption", help="a name, or a JSON file (default: graph_caption)"
    )
    parser.add_argument("--provider", help="a configured provider (default: GRAPHCAP_PROVIDER, else builtin)")
    parser.add_argument("--model", help="the model to call")
    parser.add_argument(
        "--kind",
        choices=[spec.kind for spec in registry.specs()],
        metavar="KIND",
        help="kind of a provider that is not configured, with --base-url: %(choices)s",
    )
    parser.add_argument(
        "--base-url",
        help=f"address of a provider that is not configured; its API key is read from {KEY_VARIABLE}, or from the "
        "kind's own variable if that belongs to this address",
    )
    parser.add_argument("--context", action="append", help="text that accompanies the image; can be repeated")
    parser.add_argument("--set", action="append", metavar="NAME=VALUE", help="a variable of the perspective")
    for name, kind, summary in OPTIONS:
        parser.add_argument(f"--{name.replace('_', '-')}", type=kind, help=summary)
    output = parser.add_mutually_exclusive_group()
    output.add_argument("--json", action="store_true", help="print the whole caption as JSON")
    output.add_argument("--text", action="store_true", help="print only the rendered text, on one line")


def run(options: argparse.Namespace) -> int:
    """Caption the image and print the result."""
    from bridge import errors
    from bridge.captioning.check import with_known_models
    from bridge.captioning.models import CaptionOptions
    from bridge.captioning.parsing import parse_request
    from bridge.captioning.plan import deadline_of
    from bridge.captioning.python_api import caption
    from bridge.captioning.services import Services
    from bridge.cli.common import USAGE, print_error, with_services
    from bridge.cli.text import readable
    from bridge.errors import InvalidRequest
    from bridge.run import Run
    from providers.errors import AuthFailed

    try:
        perspective = _perspective(options.perspective)
        fields = parse_request(CaptionOptions, _fields(options))
    except (InvalidRequest, ValueError) as error:
        print(f"graphcap: {error}", file=sys.stderr)
        return USAGE

    async def command(services: Services) -> int:
        call = Run(deadline_of(fields, services))
        try:
            result = await caption(options.image, perspective, options=fields, services=services, run=call)
        except tuple(errors.TABLE) as error:
            if isinstance(error, AuthFailed) and options.base_url:
                error.add_note(_key_hint(options.kind))
            return print_error(await with_known_models(error, services), call, as_json=options.json)
        for warning in result.warnings:
            print(f"graphcap: {warning}", file=sys.stderr)
        if options.json:
            print(result.model_dump_json(indent=2))
        elif options.text:
            print(" ".join(result.rendered.split()))
        else:
            print(readable(result.result))
        return 0

    return with_services(command, as_json=options.json)


def _perspective(name: str) -> str | dict[str, Any]:
    """Return the name, or the content of the file that it names. Raises ValueError."""
    from perspectives.loader import UnreadableFile, read_json

    if not name.endswith(".json"):
        return name
    try:
        content = read_json(Path(name))
    except UnreadableFile as error:
        raise ValueError(f"{name}: {error.problem}") from None
    if not isinstance(content, dict):
        raise ValueError(f"{name}: The file does not contain a perspective: it is not a JSON object.")
    return content


def _fields(options: argparse.Namespace) -> dict[str, Any]:
    """Return the fields of the caption request that the options set."""
    fields = {name: getattr(options, name) for name, _, _ in OPTIONS}
    fields |= {"provider": options.provider, "model": options.model, "context": options.context}
    if options.set:
        fields["variables"] = dict(map(_assignment, options.set))
    if options.kind or options.base_url:
        fields["provider_config"] = {
            "kind": options.kind or "openai-compatible",
            "base_url": options.base_url,
            "api_key": os.environ.get(KEY_VARIABLE),
        }
    return {name: value for name, value in fields.items() if value is not None}


def _assignment(text: str) -> tuple[str, str]:
    name, equals, value = text.partition("=")
    if not equals:
        raise ValueError(f"'{text}' is not of the form NAME=VALUE (--set).")
    return name, value


def _key_hint(kind: str | None) -> str:
    """Return which variables the API key for `--base-url` is read from."""
    from providers import registry

    spec = registry.spec(kind or "openai-compatible")
    variable, address = spec.key_env[0], next(iter(spec.url_env), "")
    default = f" (default: {spec.base_url})" if spec.base_url else ""
    return (
        f"The API key for --base-url is read from {KEY_VARIABLE}. {variable} is used only when --base-url has the "
        f"scheme, host and port of {address}{default}."
    )
