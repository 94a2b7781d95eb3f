"""The tables of README.md and docs/*.md that the bridge's own code knows best."""

import argparse
from collections.abc import Iterator

from pydantic import SecretStr
from pydantic.fields import FieldInfo


def settings() -> Iterator[tuple[str, ...]]:
    """Setting, default, meaning."""
    from bridge.settings import PREFIX, Settings, description

    for name, field in Settings.model_fields.items():
        yield f"`{PREFIX}{name.upper()}`", _default(field), description(name)


def _default(field: FieldInfo) -> str:
    if field.default_factory is not None:
        return "`1`"
    value = field.default
    if isinstance(value, SecretStr):  # a default is no secret
        value = value.get_secret_value()
    if value in (None, "", (), 0) and not isinstance(value, bool):
        return "" if value != 0 or isinstance(value, str) else "`0`"
    return f"`{value}`"


def errors() -> Iterator[tuple[str, ...]]:
    """Status, code, when, retryable."""
    from bridge import errors

    rows: dict[tuple[int, str], list[errors.Row]] = {}
    for row in (*errors.TABLE.values(), *errors.OTHERS):
        rows.setdefault((row.status, row.code), []).append(row)
    for (status, code), told in sorted(rows.items()):
        titles = " · ".join(dict.fromkeys(row.title for row in told))
        retryable = {row.retryable for row in told}
        yield (
            f"{status}",
            f"`{code}`",
            titles,
            "yes" if retryable == {True} else "no" if retryable == {False} else "may be",
        )


def providers() -> Iterator[tuple[str, ...]]:
    """Kind, address, key, what else."""
    from providers import factory

    for spec in factory.specs():
        keys = " or ".join(f"`{name}`" for name in spec.key_env)
        urls = ", ".join(f"`{name}`" for name in spec.url_env)
        address = " or ".join(one for one in (urls, f"`{spec.base_url}`" if spec.base_url else "") if one)
        key = f"{keys}{'' if spec.needs_key else ' (optional)'}" if keys else "none"
        yield f"`{spec.kind}`", address or ("none" if spec.kind == "builtin" else "must be given"), key, spec.note


def provider_options() -> Iterator[tuple[str, ...]]:
    """Kind, option, meaning."""
    from providers import factory

    for spec in factory.specs():
        for name, meaning in spec.options.items():
            yield f"`{spec.kind}`", f"`{name}`", meaning


def image_profiles() -> Iterator[tuple[str, ...]]:
    """Kind, types it takes, the longest side worth sending."""
    from providers import factory, profiles

    for spec in factory.specs():
        if spec.kind != "builtin":
            image = profiles.profile(spec.kind, spec.default_model).image
            types = ", ".join(sorted(one.removeprefix("image/") for one in image.media_types))
            yield f"`{spec.kind}`", types, f"{image.size} px" if image.size else "any"


def metrics() -> Iterator[tuple[str, ...]]:
    """Metric, kind, labels, meaning."""
    from bridge.telemetry import metrics

    for name, kind, labels, meaning in metrics.TABLE:
        yield f"`{name}`", kind, labels, meaning


def log_fields() -> Iterator[tuple[str, ...]]:
    """Field, meaning."""
    from bridge.telemetry.record import FIELDS

    for name, meaning in FIELDS.items():
        yield f"`{name}`", meaning


def cli() -> Iterator[tuple[str, ...]]:
    """Command, what it does."""
    from bridge.cli import COMMANDS, build

    for name, summary in COMMANDS.items():
        for words, one in _leaves(f"graphcap {name}", summary, _subparser(build(name), name)):
            yield f"`{words}`", one


def _leaves(words: str, summary: str, parser: argparse.ArgumentParser) -> Iterator[tuple[str, str]]:
    verbs = next((one for one in parser._actions if isinstance(one, argparse._SubParsersAction)), None)
    if verbs is None:
        names = [_argument(one) for one in parser._actions if not one.option_strings]
        yield " ".join([words, *names]), summary
        return
    for choice in verbs._choices_actions:
        verb = verbs.choices[choice.dest]
        yield from _leaves(f"{words} {choice.dest}", str(choice.help), verb)


def _argument(action: argparse.Action) -> str:
    return f"[{action.dest.upper()} …]" if action.nargs == "*" else action.dest.upper()


def _subparser(parser: argparse.ArgumentParser, name: str) -> argparse.ArgumentParser:
    commands = next(one for one in parser._actions if isinstance(one, argparse._SubParsersAction))
    chosen: argparse.ArgumentParser = commands.choices[name]
    return chosen


HEADS = {
    "settings": (("setting", "default", "meaning"), settings),
    "errors": (("status", "code", "when", "a repeat may help"), errors),
    "providers": (("kind", "address", "key", "remark"), providers),
    "provider-options": (("kind", "option", "meaning"), provider_options),
    "image-profiles": (("kind", "types", "longest side"), image_profiles),
    "metrics": (("metric", "kind", "labels", "meaning"), metrics),
    "log-fields": (("field", "meaning"), log_fields),
    "cli": (("command", "what it does"), cli),
}
