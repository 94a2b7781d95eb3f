"""`graphcap serve`: run the service. Every setting that is not a secret is also an option."""

import argparse
import sys

from bridge.settings import PREFIX, SECRETS, Settings, SettingsError, description, load


def add_options(parser: argparse.ArgumentParser) -> None:
    """Add one option per setting."""
    for name in _names():
        parser.add_argument(
            f"--{name.replace('_', '-')}",
            metavar="VALUE",
            help=f"{description(name)} ({PREFIX}{name.upper()})".replace("%", "%%"),
        )


def _names() -> list[str]:
    return [name for name in Settings.model_fields if name not in SECRETS]


def run(options: argparse.Namespace) -> int:
    """Serve until a signal ends the process."""
    overrides = {name: value for name in _names() if (value := getattr(options, name)) is not None}
    try:
        settings = load(**overrides)
    except SettingsError as error:
        from bridge.cli.common import USAGE, with_provider_mistakes

        print(with_provider_mistakes(error, overrides.get("workspace")), file=sys.stderr)
        return USAGE
    from bridge.captioning.services import configured
    from bridge.server import serve

    try:
        configured(settings)
    except SettingsError as error:
        print(error, file=sys.stderr)
        return 2
    return serve(settings, overrides)
