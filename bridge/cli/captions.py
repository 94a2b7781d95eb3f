"""Run `graphcap caption`: make the captions, and print them with their warnings and errors."""

import argparse
import dataclasses
import json
import os
from contextlib import redirect_stdout
from functools import partial
from pathlib import Path
from typing import Any

from anyio import to_thread

from bridge import errors
from bridge.captioning.analyze import Outcomes, analyze
from bridge.captioning.caption import caption_plan
from bridge.captioning.check import with_known_models
from bridge.captioning.models import AnalyzeRequest, Caption, CaptionRequest
from bridge.captioning.parsing import parse_request
from bridge.captioning.plan import AnalysisPlan, Plan, deadline_of, make_analysis_plan, make_plan
from bridge.captioning.python_api import read
from bridge.captioning.services import Services
from bridge.cli.caption import DEFAULT_PERSPECTIVE, KEY_VARIABLE, OPTIONS
from bridge.cli.common import FAILED, USAGE, perspective_file, print_error, print_line, with_services
from bridge.cli.models import ensure_downloaded
from bridge.cli.progress import print_calls, print_plan, shown
from bridge.cli.text import printable, readable
from bridge.dispatch.targets import Target
from bridge.errors import InvalidRequest
from bridge.run import Run
from providers import registry
from providers.base import Options
from providers.errors import AuthFailed


def run(options: argparse.Namespace) -> int:
    try:
        request = _request(options)
        _require_writable(options.output)
    except (InvalidRequest, ValueError) as error:
        print_line(str(error), "red")
        return USAGE
    return with_services(lambda services: _caption(request, options, services), as_json=options.format == "json")


async def _caption(request: CaptionRequest | AnalyzeRequest, options: argparse.Namespace, services: Services) -> int:
    call = None
    try:
        target = services.targets.resolve(request)
        await to_thread.run_sync(partial(ensure_downloaded, target, is_confirmed=options.yes), abandon_on_cancel=True)
        call = Run(deadline_of(request, services))
        upload = None
        if not request.image:
            upload = await to_thread.run_sync(read, options.image, services, abandon_on_cancel=True)
        plan: Plan | AnalysisPlan
        if isinstance(request, AnalyzeRequest):
            plan = await make_analysis_plan(request, services, call, upload=upload)
        else:
            plan = await make_plan(request, services, call, upload=upload)
        if options.verbose:
            print_plan(plan, call)
        with shown(call, text=options.stream):
            outcomes = await _outcomes(plan, services, call)
    except tuple(errors.TABLE) as error:
        return print_error(error, call, as_json=options.format == "json")
    runs = dict(zip(plan.names, call.children or [call], strict=True))
    if options.verbose:
        for each in runs.values():
            print_calls(each)
    code = await _print_errors(outcomes, runs, target, options, services)
    captions = {name: outcome for name, outcome in outcomes.items() if isinstance(outcome, Caption)}
    for warning in dict.fromkeys(warning for caption in captions.values() for warning in caption.warnings):
        print_line(warning, "yellow")
    return code if not captions or _write(captions, options, several=len(outcomes) > 1) else FAILED


async def _outcomes(plan: Plan | AnalysisPlan, services: Services, call: Run) -> Outcomes:
    if isinstance(plan, AnalysisPlan):
        return await analyze(plan, services, call)
    try:
        return {plan.perspective.name: await caption_plan(plan, services, call)}
    except tuple(errors.TABLE) as error:
        return {plan.perspective.name: error}


async def _print_errors(
    outcomes: Outcomes, runs: dict[str, Run], target: Target, options: argparse.Namespace, services: Services
) -> int:
    """Print each error once, with its remedy. Return the exit code of the first error, or 0."""
    codes = []
    names: dict[Exception, list[str]] = {}
    for name, outcome in outcomes.items():
        if isinstance(outcome, Exception):
            names.setdefault(outcome, []).append(name)
    for error, failed in names.items():
        if not isinstance(error, tuple(errors.TABLE)):
            raise error
        if len(outcomes) > 1:
            error.add_note(f"Perspective: {', '.join(failed)}")
        if isinstance(error, AuthFailed) and options.base_url:
            error.add_note(_key_hint(options.kind))
        explained = await with_known_models(error, services, target)
        codes.append(print_error(explained, runs[failed[0]], as_json=options.format == "json"))
    return codes[0] if codes else 0


def _write(captions: dict[str, Caption], options: argparse.Namespace, *, several: bool) -> bool:
    """Print the captions, or write them to the file of `--output`. Return False if writing fails."""
    if not options.output:
        print(_text(captions, options.format, several=several))
        return True
    try:
        with options.output.open("w", encoding="utf-8") as file, redirect_stdout(file):
            print(_text(captions, options.format, several=several))
    except OSError as error:
        print_line(f"The file '{options.output}' cannot be written: {error.strerror}.", "red")
        return False
    return True


def _text(captions: dict[str, Caption], form: str | None, *, several: bool) -> str:
    """Return the captions as text. In JSON, several captions become one object with the perspectives as keys."""
    if form == "text":
        return "\n".join(printable(" ".join(caption.rendered.split())) for caption in captions.values())
    dumps = {name: caption.model_dump(mode="json") for name, caption in captions.items()}
    if form == "json":
        return json.dumps(dumps if several else next(iter(dumps.values())), indent=2, ensure_ascii=False)
    results = {name: caption.result for name, caption in captions.items()}
    return readable(results if several else next(iter(results.values())))


def _request(options: argparse.Namespace) -> CaptionRequest | AnalyzeRequest:
    """Return the request that the options describe. Raises InvalidRequest and ValueError."""
    fields = request_fields(options)
    if options.image.startswith(("http://", "https://")):
        fields["image"] = {"url": options.image}
    perspectives = [perspective_file(name) for name in options.perspective or [DEFAULT_PERSPECTIVE]]
    if len(perspectives) > 1:
        return parse_request(AnalyzeRequest, {**fields, "perspectives": perspectives})
    return parse_request(CaptionRequest, {**fields, "perspective": perspectives[0]})


def request_fields(options: argparse.Namespace) -> dict[str, Any]:
    """Return the fields of the request that the options set, without the image and the perspectives."""
    names = [option.name for option in dataclasses.fields(Options)] + [name for name, *_ in OPTIONS]
    fields = {name: getattr(options, name) for name in names}
    fields |= {"provider": options.provider, "model": options.model, "context": options.context}
    if options.set:
        fields["variables"] = dict(map(_assignment, options.set))
    if options.kind or options.base_url:
        kind, key = options.kind or "openai-compatible", os.environ.get(KEY_VARIABLE)
        fields["provider_config"] = {"kind": kind, "base_url": options.base_url, "api_key": key}
    return {name: value for name, value in fields.items() if value is not None}


def _assignment(text: str) -> tuple[str, str]:
    """Split NAME=VALUE. Raises ValueError."""
    name, equals, value = text.partition("=")
    if not equals:
        raise ValueError(f"'{text}' is not of the form NAME=VALUE (--set).")
    return name, value


def _require_writable(file: Path | None) -> None:
    """Raise ValueError if the file cannot be written. This is checked before a caption causes costs."""
    if file is not None and (file.is_dir() or not os.access(file if file.exists() else file.parent, os.W_OK)):
        raise ValueError(f"The file '{file}' (--output) cannot be written.")


def _key_hint(kind: str | None) -> str:
    """Return a sentence that names the environment variables with the API key for `--base-url`."""
    spec = registry.spec(kind or "openai-compatible")
    variable, address = spec.key_env[0], next(iter(spec.url_env), "")
    default = f" (default: {spec.base_url})" if spec.base_url else ""
    return (
        f"The API key for --base-url is read from {KEY_VARIABLE}. {variable} is used only when --base-url has the "
        f"scheme, host and port of {address}{default}."
    )
