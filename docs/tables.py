"""The rows of the tables that are derived from the code of the bridge."""

import argparse
import textwrap
from collections.abc import Iterator

from pydantic import SecretStr
from pydantic.fields import FieldInfo


def settings() -> Iterator[tuple[str, ...]]:
    """Yield name, default and meaning of each setting."""
    from bridge.settings import PREFIX, Settings

    for name, field in Settings.model_fields.items():
        yield f"`{PREFIX}{name.upper()}`", _default(field), str(field.description)


def _default(field: FieldInfo) -> str:
    if field.default_factory is not None:
        return "`1`"
    value = field.default
    if isinstance(value, SecretStr):  # the default is not a secret
        value = value.get_secret_value()
    if value in (None, "", (), 0) and not isinstance(value, bool):
        return "" if value != 0 or isinstance(value, str) else "`0`"
    return f"`{value}`"


def errors() -> Iterator[tuple[str, ...]]:
    """Yield status, code, titles and whether a retry may help, for each kind of error."""
    from bridge import errors

    rows: dict[tuple[int, str], list[errors.Row]] = {}
    for row in (*errors.TABLE.values(), *errors.OTHERS):
        rows.setdefault((row.status, row.code), []).append(row)
    for (status, code), group in sorted(rows.items()):
        titles = " · ".join(dict.fromkeys(row.title for row in group))
        retryable = {row.retryable for row in group}
        yield (
            f"{status}",
            f"`{code}`",
            titles,
            "yes" if retryable == {True} else "no" if retryable == {False} else "depends",
        )


def providers() -> Iterator[tuple[str, ...]]:
    """Yield kind, address, key and remark of each kind of provider."""
    from providers import registry

    for spec in registry.specs():
        keys = " or ".join(f"`{name}`" for name in spec.key_env)
        urls = ", ".join(f"`{name}`" for name in spec.url_env)
        address = " or ".join(filter(None, (urls, f"`{spec.base_url}`" if spec.base_url else "")))
        key = f"{keys}{'' if spec.needs_key else ' (optional)'}" if keys else "none"
        yield f"`{spec.kind}`", address or ("required" if spec.is_remote else "none"), key, spec.note


def servers() -> str:
    """Return the sentence of the README that names the servers."""
    from providers import registry

    titles = [spec.title for spec in registry.specs() if spec.is_remote and spec.url_env and spec.base_url]
    sentence = f"It works with {', '.join(titles)} and other OpenAI-compatible servers, and runs small models itself."
    return textwrap.fill(sentence, 120, break_on_hyphens=False)


def provider_options() -> Iterator[tuple[str, ...]]:
    """Yield kinds, name and meaning of each provider option."""
    from providers import registry

    kinds: dict[tuple[str, str], list[str]] = {}
    for spec in registry.specs():
        for name, setting in spec.options.items():
            kinds.setdefault((name, setting.meaning), []).append(f"`{spec.kind}`")
    for (name, meaning), names in kinds.items():
        yield f"`{name}`", ", ".join(names), meaning


def image_profiles() -> Iterator[tuple[str, ...]]:
    """Yield kind, media types and longest side of the images that are sent."""
    from providers import profiles, registry

    for spec in registry.specs():
        if spec.kind != "builtin":
            image = profiles.profile(spec.kind, spec.default_model).image
            types = ", ".join(sorted(media_type.removeprefix("image/") for media_type in image.media_types))
            yield f"`{spec.kind}`", types, f"{image.size} px" if image.size else "any"


def metrics() -> Iterator[tuple[str, ...]]:
    """Yield name, kind, labels and meaning of each metric."""
    from bridge.telemetry import metrics

    for name, kind, labels, meaning in metrics.TABLE:
        yield f"`{name}`", kind, labels, meaning


def log_fields() -> Iterator[tuple[str, ...]]:
    """Yield name and meaning of each field of a log line."""
    from bridge.telemetry.record import FIELDS

    for name, meaning in FIELDS.items():
        yield f"`{name}`", meaning


def cli() -> Iterator[tuple[str, ...]]:
    """Yield command and purpose of each command and verb."""
    from bridge.cli import COMMANDS, build

    for name in COMMANDS:
        parser = build(name).commands[name]
        for words, leaf in [(f"{name} {verb}", verb_parser) for verb, verb_parser in parser.commands.items()] or [
            (name, parser)
        ]:
            names = [_argument(action) for action in leaf.arguments if not action.option_strings]
            purpose = (leaf.description or "").removesuffix(".")
            yield f"`{' '.join(['graphcap', words, *names])}`", purpose[:1].lower() + purpose[1:]


def _argument(action: argparse.Action) -> str:
    return f"[{action.dest.upper()} …]" if action.nargs == "*" else action.dest.upper()


HEADS = {
    "settings": (("setting", "default", "meaning"), settings),
    "errors": (("status", "code", "title", "retry may help"), errors),
    "providers": (("kind", "address", "key", "remark"), providers),
    "provider-options": (("option", "kinds", "meaning"), provider_options),
    "image-profiles": (("kind", "types", "longest side"), image_profiles),
    "metrics": (("metric", "kind", "labels", "meaning"), metrics),
    "log-fields": (("field", "meaning"), log_fields),
    "cli": (("command", "purpose"), cli),
}
