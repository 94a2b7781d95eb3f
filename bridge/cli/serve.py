"""`graphcap serve`: run the service. Every setting that is no secret is an option as well."""

import argparse

from bridge.settings import PREFIX, SECRETS, Settings, SettingsError, description, load


def add_options(parser: argparse.ArgumentParser) -> None:
    """One option per setting; lists are separated by commas."""
    for name in _names():
        parser.add_argument(
            f"--{name.replace('_', '-')}",
            metavar="VALUE",
            help=f"{description(name)} ({PREFIX}{name.upper()})".replace("%", "%%"),
        )


def _names() -> list[str]:
    return [name for name in Settings.model_fields if name not in SECRETS]


def run(options: argparse.Namespace) -> int:
    """Serve until told to stop."""
    import sys

    given = {name: getattr(options, name) for name in _names()}
    overrides = {name: value for name, value in given.items() if value is not None}
    try:
        settings = load(**overrides)
    except SettingsError as error:
        from bridge.cli.run import all_mistakes

        print(all_mistakes(error, overrides.get("workspace")), file=sys.stderr)
        return 2
    try:
        from bridge.captioning.services import configured
        from bridge.server import serve

        configured(settings)
    except SettingsError as error:
        print(error, file=sys.stderr)
        return 2
    return serve(settings, overrides)
