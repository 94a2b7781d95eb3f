"""What every command shares: run with services, tell an error on standard error, choose the exit code."""

import asyncio
import json
import sys
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

from bridge import errors
from bridge.captioning import problems
from bridge.captioning.check import with_known_models
from bridge.captioning.services import Services, open_services
from bridge.config import doubts, mistakes
from bridge.errors import MissingModel
from bridge.settings import PREFIX, Settings, SettingsError, environment, load
from bridge.telemetry.logging import configure_logging
from perspectives import MissingVariables

FAILED, USAGE, PROVIDER = 1, 2, 4
_PROVIDER_CODES = {
    "provider_auth",
    "provider_quota",
    "provider_unreachable",
    "provider_unavailable",
    "provider_rate_limited",
    "unknown_model",
}
_USAGE_CODES = {
    "invalid_perspective",
    "invalid_request",
    "missing_variables",
    "provider_not_allowed",
    "unknown_module",
    "unknown_perspective",
    "unknown_provider",
}


def with_resources(command: Callable[[Services], Awaitable[int]], *, as_json: bool = False) -> int:
    """Open what captions share, run `command` with it, tell what went wrong."""
    settings = settings_or_none()
    if settings is None:
        return USAGE
    configure_logging("text", "warning")
    for doubt in doubts():
        print(f"graphcap: {doubt}", file=sys.stderr)

    async def run() -> int:
        async with open_services(settings) as services:
            try:
                return await command(services)
            except MissingModel as error:
                raise await with_known_models(error, services) from None

    try:
        return asyncio.run(run())
    except SettingsError as error:
        print(error, file=sys.stderr)
        return USAGE
    except tuple(errors.TABLE) as error:
        return tell(error, as_json=as_json)


def settings_or_none() -> Settings | None:
    """The settings; all their mistakes on standard error when there are any."""
    try:
        return load()
    except SettingsError as error:
        print(all_mistakes(error), file=sys.stderr)
        return None


def all_mistakes(error: SettingsError, workspace: str | None = None) -> SettingsError:
    """Those of the settings, and those of the providers as far as their file is known."""
    try:
        stated = environment()
    except UnicodeDecodeError:  # which is one of them
        return error
    place = workspace or stated.get(f"{PREFIX}WORKSPACE") or Settings.model_fields["workspace"].default
    return SettingsError((*error.mistakes, *mistakes(Path(place))))


def tell(error: Exception, *, as_json: bool = False) -> int:
    """Print the problem on standard error (`--json`: as JSON); the exit code says what is to blame."""
    problem = problems.from_error(error)
    if as_json:
        show_json(problem.model_dump(), stream=sys.stderr)
    else:
        print(f"graphcap: {problem.detail}", file=sys.stderr)
        for one in problem.errors or []:
            if one.pointer and one.message not in problem.detail:
                print(f"  {one.pointer}: {one.message}", file=sys.stderr)
        if isinstance(error, MissingVariables):
            print(f"  Give {' '.join(f'--set {name}=VALUE' for name in error.names)}", file=sys.stderr)
    if problem.code in _PROVIDER_CODES:
        return PROVIDER
    return USAGE if problem.code in _USAGE_CODES else FAILED


def show_json(value: Any, stream: Any = None) -> None:
    """Print indented JSON."""
    print(json.dumps(value, indent=2, ensure_ascii=False), file=stream or sys.stdout)
