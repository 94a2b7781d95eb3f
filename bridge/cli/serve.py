"""`graphcap serve`: run the service. Every setting that is not a secret is also an option."""

import argparse
import sys
from pathlib import Path
from typing import Any, get_args

from bridge.cli import Parser
from bridge.settings import PREFIX, SECRETS, Settings, SettingsError

_METAVARS = {int: "N", float: "SECONDS", str: "TEXT", bool: "true|false", Path: "DIRECTORY"}


def add_options(parser: Parser) -> None:
    parser.epilog = "LIST: values separated by commas, or JSON. Without an option the variable in parentheses is read."
    for name in _names():
        parser.add_argument(
            f"--{name.replace('_', '-')}",
            metavar=_metavar(Settings.model_fields[name].annotation),
            help=f"{Settings.model_fields[name].description} ({PREFIX}{name.upper()})".replace("%", "%%"),
        )


def _metavar(annotation: Any) -> str:
    """Return the placeholder for a value of this type in the help text."""
    words = [word for part in (annotation, *get_args(annotation)) for word in get_args(part) if isinstance(word, str)]
    return "|".join(dict.fromkeys(words)) or _METAVARS.get(annotation, "LIST")


def _names() -> list[str]:
    return [name for name in Settings.model_fields if name not in SECRETS]


def run(options: argparse.Namespace) -> int:
    from bridge.cli.common import USAGE, load_settings

    overrides = {name: value for name in _names() if (value := getattr(options, name)) is not None}
    settings = load_settings(**overrides)
    if settings is None:
        return USAGE
    from bridge.captioning.services import configured
    from bridge.server import serve

    try:
        configured(settings)
    except SettingsError as error:
        print(error, file=sys.stderr)
        return USAGE
    return serve(settings, overrides)
