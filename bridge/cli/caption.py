"""`graphcap caption`: caption one image by one or several perspectives."""

import argparse
import json
import os
from contextlib import redirect_stdout
from pathlib import Path
from typing import TYPE_CHECKING, Any

from bridge.cli import Parser

if TYPE_CHECKING:
    from bridge.captioning.analyze import Outcomes
    from bridge.captioning.models import AnalyzeRequest, Caption, CaptionRequest
    from bridge.captioning.plan import AnalysisPlan, Plan
    from bridge.captioning.services import Services
    from bridge.run import Run

DEFAULT_PERSPECTIVE = "graph_caption"
KEY_VARIABLE = "GRAPHCAP_PROVIDER_KEY"
OPTIONS: tuple[tuple[str, type, str, str], ...] = (
    ("max_tokens", int, "N", "longest answer, in tokens"),
    ("temperature", float, "NUMBER", "sampling temperature, 0 to 2"),
    ("top_p", float, "NUMBER", "nucleus sampling, above 0 to 1"),
    ("repetition_penalty", float, "NUMBER", "penalty for repetition; 1 is none"),
    ("seed", int, "N", "seed of the random sampling"),
    ("global_context", str, "TEXT", "system message"),
    ("resize_resolution", str, "PRESET", "NONE, SD_VGA, HD_720P, FHD_1080P, QHD_1440P, UHD_4K or UHD_8K"),
    ("timeout", float, "SECONDS", "time limit"),
    ("max_output_retries", int, "N", "how often the model is asked again after an invalid answer, 0 to 3"),
)


def add_options(parser: Parser) -> None:
    """Add the image, the perspectives, the provider, the options of the caption, and the output."""
    from providers import registry

    add = parser.add_argument
    add("image", metavar="IMAGE", help="a file, an http(s) URL, or - for standard input")
    add(
        *("-p", "--perspective"),
        action="append",
        metavar="NAME",
        help=f"a name or a JSON file (default: {DEFAULT_PERSPECTIVE}); repeat it for several captions of the image",
    )
    add("--provider", metavar="NAME", help="a configured provider (default: GRAPHCAP_PROVIDER, else builtin)")
    add("--model", metavar="NAME", help="the model to call; `graphcap providers models PROVIDER` lists them")
    add(
        "--kind",
        choices=[spec.kind for spec in registry.specs()],
        metavar="KIND",
        help="kind of a provider that is not configured, with --base-url: %(choices)s",
    )
    add(
        "--base-url",
        metavar="URL",
        help=f"address of a provider that is not configured; its API key is read from {KEY_VARIABLE}, or from the "
        "kind's own variable if that belongs to this address",
    )
    add("--context", action="append", metavar="TEXT", help="text that accompanies the image; can be repeated")
    add(
        "--set",
        action="append",
        metavar="NAME=VALUE",
        help="value of a variable of the perspective, such as --set place=Lisbon; can be repeated. "
        "`graphcap perspectives list` shows the variables in parentheses",
    )
    for name, kind, metavar, summary in OPTIONS:
        add(f"--{name.replace('_', '-')}", type=kind, metavar=metavar, help=summary)
    add("--json", dest="format", action="store_const", const="json", help="print whole captions, and errors, as JSON")
    add("--text", dest="format", action="store_const", const="text", help="print only the rendered text, on one line")
    add("-o", "--output", metavar="FILE", type=Path, help="write the result to this file, not to standard output")
    add("--stream", action="store_true", help="show the text on the terminal while the model writes it")
    add("-v", "--verbose", action="store_true", help="say which model is called, and what each call returned")


def run(options: argparse.Namespace) -> int:
    """Caption the image and print the result."""
    from bridge.cli.common import USAGE, print_line, with_services
    from bridge.errors import InvalidRequest

    try:
        request = _request(options)
        _require_writable(options.output)
    except (InvalidRequest, ValueError) as error:
        print_line(str(error), "red")
        return USAGE

    async def command(services: "Services") -> int:
        return await _caption(request, options, services)

    return with_services(command, as_json=options.format == "json")


async def _caption(
    request: "CaptionRequest | AnalyzeRequest", options: argparse.Namespace, services: "Services"
) -> int:
    from bridge import errors
    from bridge.captioning.plan import deadline_of
    from bridge.cli.common import print_error
    from bridge.cli.progress import print_calls, print_plan, shown
    from bridge.run import Run

    run = Run(deadline_of(request, services))
    try:
        plan = await _plan(request, options.image, services, run)
        if options.verbose:
            print_plan(plan, run)
        with shown(run, text=options.stream):
            outcomes = await _outcomes(plan, services, run)
    except tuple(errors.TABLE) as error:
        return print_error(error, run, as_json=options.format == "json")
    runs = dict(zip(plan.names, run.children or [run], strict=True))
    if options.verbose:
        for each in runs.values():
            print_calls(each)
    return await _print(outcomes, runs, plan, options, services)


async def _plan(
    request: "CaptionRequest | AnalyzeRequest", image: str, services: "Services", run: "Run"
) -> "Plan | AnalysisPlan":
    from bridge.captioning.models import AnalyzeRequest
    from bridge.captioning.plan import make_analysis_plan, make_plan
    from bridge.captioning.python_api import read

    upload = None if request.image else read(image, services)
    if isinstance(request, AnalyzeRequest):
        return await make_analysis_plan(request, services, run, upload=upload)
    return await make_plan(request, services, run, upload=upload)


async def _outcomes(plan: "Plan | AnalysisPlan", services: "Services", run: "Run") -> "Outcomes":
    """Return the caption of each perspective, or its error."""
    from bridge import errors
    from bridge.captioning.analyze import analyze
    from bridge.captioning.caption import caption_plan
    from bridge.captioning.plan import AnalysisPlan

    if isinstance(plan, AnalysisPlan):
        return await analyze(plan, services, run)
    try:
        return {plan.perspective.name: await caption_plan(plan, services, run)}
    except tuple(errors.TABLE) as error:
        return {plan.perspective.name: error}


async def _print(
    outcomes: "Outcomes",
    runs: "dict[str, Run]",
    plan: "Plan | AnalysisPlan",
    options: argparse.Namespace,
    services: "Services",
) -> int:
    """Print the captions and the errors. Return the exit code of the first error, else 0."""
    from bridge.captioning.models import Caption
    from bridge.captioning.plan import Plan
    from bridge.cli.common import FAILED, print_error, print_line

    captions = {name: outcome for name, outcome in outcomes.items() if isinstance(outcome, Caption)}
    code = 0
    first_plan = plan if isinstance(plan, Plan) else plan.plans[0]
    for name, error in outcomes.items():
        if isinstance(error, Exception):
            error = await _explained(error, options, first_plan, services)
            code = print_error(error, runs[name], as_json=options.format == "json") or code
    for warning in dict.fromkeys(warning for caption in captions.values() for warning in caption.warnings):
        print_line(warning, "yellow")
    if captions and options.output:
        try:
            with options.output.open("w", encoding="utf-8") as file, redirect_stdout(file):
                _write(captions, options.format, several=len(outcomes) > 1)
        except OSError as error:
            print_line(f"The file '{options.output}' cannot be written: {error.strerror}.", "red")
            return FAILED
    elif captions:
        _write(captions, options.format, several=len(outcomes) > 1)
    return code


def _write(captions: "dict[str, Caption]", form: str | None, *, several: bool) -> None:
    """Print the captions; several as JSON are one object by perspective."""
    from bridge.cli.text import printable, readable

    if form == "json":
        values = {name: caption.model_dump(mode="json") for name, caption in captions.items()}
        print(json.dumps(values if several else next(iter(values.values())), indent=2, ensure_ascii=False))
    elif form == "text":
        for caption in captions.values():
            print(printable(" ".join(caption.rendered.split())))
    else:
        results = {name: caption.result for name, caption in captions.items()}
        print(readable(results if several else next(iter(results.values()))))


async def _explained(error: Exception, options: argparse.Namespace, plan: "Plan", services: "Services") -> Exception:
    """Add what the command line knows: the models that the server lists, and where a key is read from."""
    from bridge.captioning.check import with_known_models
    from providers.errors import AuthFailed

    if isinstance(error, AuthFailed) and options.base_url:
        error.add_note(_key_hint(options.kind))
    return await with_known_models(error, services, plan.targets[0])


def _request(options: argparse.Namespace) -> "CaptionRequest | AnalyzeRequest":
    """Return the request that the options describe. Raises InvalidRequest and ValueError."""
    from bridge.captioning.models import AnalyzeRequest, CaptionRequest
    from bridge.captioning.parsing import parse_request
    from bridge.cli.common import perspective_file

    fields = _fields(options)
    perspectives = [perspective_file(name) for name in options.perspective or [DEFAULT_PERSPECTIVE]]
    if len(perspectives) > 1:
        return parse_request(AnalyzeRequest, {**fields, "perspectives": perspectives})
    return parse_request(CaptionRequest, {**fields, "perspective": perspectives[0]})


def _fields(options: argparse.Namespace) -> dict[str, Any]:
    """Return the fields of the request that the options set."""
    fields = {name: getattr(options, name) for name, *_ in OPTIONS}
    fields |= {"provider": options.provider, "model": options.model, "context": options.context}
    if options.image.startswith(("http://", "https://")):
        fields["image"] = {"url": options.image}
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


def _require_writable(file: Path | None) -> None:
    """Raise ValueError when a file cannot be written, before a caption is paid for."""
    if file is not None and (file.is_dir() or not os.access(file if file.exists() else file.parent, os.W_OK)):
        raise ValueError(f"The file '{file}' (--output) cannot be written.")


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
