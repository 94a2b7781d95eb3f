"""Functions that the commands share. Large packages are imported where they are used, so that `--help` is fast."""

import json
import os
import sys
from collections.abc import Awaitable, Callable
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

from bridge.cli.text import paint

if TYPE_CHECKING:
    from asyncio import AbstractEventLoop

    from bridge.captioning.services import Services
    from bridge.run import Run
    from bridge.settings import Settings

FAILED, USAGE, PROVIDER, INTERRUPTED = 1, 2, 4, 130
# By the `code` of a problem. For any other code it is FAILED.
_EXIT_CODES = {
    **dict.fromkeys(("provider_auth", "provider_quota", "provider_unreachable", "provider_unavailable"), PROVIDER),
    **dict.fromkeys(("provider_rate_limited", "unknown_model"), PROVIDER),
    **dict.fromkeys(("invalid_perspective", "invalid_request", "missing_variables", "provider_not_allowed"), USAGE),
    **dict.fromkeys(("unknown_module", "unknown_perspective", "unknown_provider"), USAGE),
}


def with_services(
    command: "Callable[[Services], Awaitable[int]]",
    *,
    as_json: bool = False,
    settings: "Settings | None" = None,
    max_concurrency: int | None = None,
    loop_factory: "Callable[[], AbstractEventLoop] | None" = None,
) -> int:
    """Open the services, run `command` with them, print its errors, and return the exit code.

    An interrupt cancels the command, closes the services and ends the process. It does not wait for threads, because
    one may wait for the answer to a question.
    """
    import asyncio

    from bridge import errors
    from bridge.captioning.check import with_known_models
    from bridge.captioning.services import open_services
    from bridge.config.load import startup_warnings
    from bridge.settings import SettingsError
    from bridge.telemetry.logging import configure_logging

    settings = settings or load_settings()
    if settings is None:
        return USAGE
    configure_logging("text", "warning")
    for warning in startup_warnings():
        print_line(warning, "yellow")

    async def run() -> int:
        async with open_services(settings, max_concurrency=max_concurrency) as services:
            try:
                return await command(services)
            except errors.MissingModel as error:
                raise await with_known_models(error, services) from None

    try:
        with asyncio.Runner(loop_factory=loop_factory) as runner:
            try:
                return runner.run(run())
            except KeyboardInterrupt:
                with suppress(OSError):
                    sys.stdout.flush()
                os._exit(INTERRUPTED)
    except SettingsError as error:
        print(error, file=sys.stderr)
        return USAGE
    except tuple(errors.TABLE) as error:
        return print_error(error, as_json=as_json)


def load_settings(**overrides: str) -> "Settings | None":
    """Return the settings, or print all mistakes in them and in `providers.toml` and return None."""
    from bridge.config.load import mistakes
    from bridge.settings import PREFIX, Settings, SettingsError, environment, load

    try:
        return load(**overrides)
    except SettingsError as error:
        listed = [*error.mistakes]
        with suppress(UnicodeDecodeError):  # `listed` contains this mistake in .env already
            workspace = overrides.get("workspace") or environment().get(f"{PREFIX}WORKSPACE")
            listed += mistakes(Path(workspace or Settings.model_fields["workspace"].default))
        print(SettingsError(tuple(listed)), file=sys.stderr)
        return None


def perspective_file(name: str) -> str | dict[str, Any]:
    """Return the name of a perspective, or the content of the file that it names. Raises ValueError."""
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


def print_error(error: Exception, run: "Run | None" = None, *, as_json: bool = False) -> int:
    """Print the error (`as_json`: with the provider calls of `run`, as over HTTP), and return its exit code."""
    from bridge.captioning import problems
    from perspectives.errors import MissingVariables

    problem = problems.from_error(error, run or "")
    if as_json:
        print_json(problem.model_dump(), stream=sys.stderr)
    else:
        print_line(problem.detail, "red")
        for detail in problem.errors or []:
            if detail.pointer and detail.message not in problem.detail:
                print(f"  {detail.pointer}: {detail.message}", file=sys.stderr)
        if isinstance(error, MissingVariables):
            print(f"  Add {' '.join(f'--set {name}=VALUE' for name in error.names)}", file=sys.stderr)
        for note in getattr(error, "__notes__", ()):
            print(f"  {note}", file=sys.stderr)
    return _EXIT_CODES.get(problem.code, FAILED)


def print_line(sentence: str, style: str) -> None:
    """Print a sentence on standard error. The name of the program comes first, in a colour."""
    print_note(f"{paint('graphcap:', style, sys.stderr)} {sentence}")


def print_note(text: str) -> None:
    """Print text on standard error. If standard error is closed, the text is lost, and the command goes on."""
    with suppress(OSError):
        print(text, file=sys.stderr)


def print_json(value: Any, stream: Any = None) -> None:
    """Print indented JSON on standard output, or on another stream."""
    print(json.dumps(value, indent=2, ensure_ascii=False), file=stream or sys.stdout)
