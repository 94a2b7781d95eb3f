"""The options of a batch. Each is declared once, together with its description for the command line."""

from argparse import ArgumentTypeError
from dataclasses import dataclass, field
from typing import Any, Literal, TypeVar, get_args

from providers.base import JsonObject

Format = Literal["txt", "json", "jsonl", "csv", "parquet", "hf-metadata"]
Existing = Literal["skip", "overwrite", "append", "prepend", "stale"]
TrainerName = Literal["kohya", "ai-toolkit", "onetrainer", "hf"]
Number = TypeVar("Number", int, float)


def _option(default: Any, help: str, **arguments: Any) -> Any:
    """Return a field with the argparse arguments of its option. `name`: the option's name, by default the field's."""
    return field(default=default, metadata={"help": help, **arguments})


def _number(kind: type[Number], text: str) -> Number:
    """Return a number. The message of argparse would contain the name of the function that reads the option."""
    try:
        return kind(text)
    except ValueError:
        raise ArgumentTypeError(f"'{text}' is not a {'whole number' if kind is int else 'number'}") from None


def _positive(text: str) -> int:
    value = _number(int, text)
    if value < 1:
        raise ArgumentTypeError(f"'{text}' is less than 1")
    return value


def _amount(text: str) -> float:
    value = _number(float, text)
    if not 0 < value < float("inf"):
        raise ArgumentTypeError(f"'{text}' is not greater than 0")
    return value


def _seconds(text: str) -> float:
    value = _number(float, text)
    if not value >= 0:
        raise ArgumentTypeError(f"'{text}' is not a number of seconds")
    return value


def _shard(text: str) -> tuple[int, int]:
    number, slash, count = text.partition("/")
    if not (slash and number.isdecimal() and count.isdecimal() and 1 <= int(number) <= int(count)):
        raise ArgumentTypeError(f"'{text}' is not of the form K/N with K from 1 to N, such as 2/8")
    return int(number), int(count)


def _extension(text: str) -> str:
    if "/" in text:
        raise ArgumentTypeError(f"'{text}' contains a slash")
    return f".{text.lstrip('.')}"


def _assignment(text: str) -> tuple[str, str]:
    old, equals, new = text.partition("=")
    if not (old and equals):
        raise ArgumentTypeError(f"'{text}' is not of the form FROM=TO")
    return old, new


def _words(text: str) -> tuple[str, ...]:
    return tuple(filter(None, map(str.strip, text.split(","))))


_COUNT = {"type": _positive, "metavar": "N"}
_FLAG = {"action": "store_true"}


@dataclass(frozen=True, slots=True)
class TextOptions:
    """How the text of a sidecar is made from a caption."""

    trainer: str = _option("", "%(choices)s", name="for", choices=get_args(TrainerName), metavar="TRAINER")
    template: str = _option("", 'such as "{caption}, {tags}"; "json" is the whole object in one line')
    prefix: str = _option("", "text before each caption", metavar="TEXT")
    suffix: str = _option("", "text after each caption", metavar="TEXT")
    trigger: str = _option("", "word that each caption begins with", metavar="WORD")
    drop_tags: tuple[str, ...] = _option((), "tags to leave out", type=_words, metavar="TAG,TAG")
    max_tags: int | None = _option(None, "keep the first N tags of a list", **_COUNT)
    replace: tuple[tuple[str, str], ...] = _option(
        (), "text to replace in captions; can be repeated", type=_assignment, action="append", metavar="FROM=TO"
    )


@dataclass(frozen=True, slots=True)
class RayOptions:
    """A run on a Ray cluster."""

    address: str = _option(
        "", "address of the cluster (default: RAY_ADDRESS, or a local one)", name="ray-address", metavar="HOST:PORT"
    )
    num_actors: int | None = _option(None, "actors on the cluster (default: as many as fit)", **_COUNT)
    actor_cpus: float | None = _option(None, "CPUs per actor (default: those of a node)", type=_amount, metavar="N")
    actor_gpus: float = _option(0.0, "GPUs per actor, for --provider local (default: 0)", type=_amount, metavar="N")


@dataclass(frozen=True, slots=True)
class Options:
    """The command line of a batch.

    `request`: the fields of a caption request without its image and perspective. `ray`: None for a run in this
    process. `shard`: (2, 8) is shard 2 of 8. `out`: () for the outputs that the trainer reads.
    """

    inputs: tuple[str, ...]
    perspectives: tuple[str | JsonObject, ...]
    request: JsonObject = field(default_factory=dict, repr=False)
    text: TextOptions = TextOptions()
    ray: RayOptions | None = None
    url: str = _option("", "a running bridge; default: this process")
    api_key: str = field(
        default="", repr=False, metadata={"help": "its API key (default: GRAPHCAP_API_KEY)", "metavar": "KEY"}
    )
    concurrency: int = _option(8, "concurrent calls to one server (%(default)s)", **_COUNT)
    flat: bool = _option(False, "ignore folders inside a folder", **_FLAG)
    limit: int | None = _option(None, "only the first N images", **_COUNT)
    sample: int | None = _option(None, "only N images, always the same ones", **_COUNT)
    shard: tuple[int, int] | None = _option(None, "only the K-th of N parts, such as 2/8", type=_shard, metavar="K/N")
    retry_failed: bool = _option(False, "only the images in failures.jsonl", **_FLAG)
    dry_run: bool = _option(False, "show the first prompts and the number of images, and make no caption", **_FLAG)
    out: tuple[Format, ...] = _option(
        (), "%(choices)s (default: txt)", nargs="+", choices=get_args(Format), metavar="FORMAT"
    )
    extension: str = _option(
        ".txt", "extension of text sidecars (default: %(default)s)", name="ext", type=_extension, metavar=".EXT"
    )
    output_dir: str = _option("", "write to this folder or URL, not beside the images", metavar="DIR")
    existing: Existing = _option(  # noqa: RUF009 (a literal is immutable)
        "skip", "%(choices)s (default: %(default)s)", choices=get_args(Existing), metavar="HOW"
    )
    report: str = _option("", "write an HTML page with thumbnails, captions and failures", metavar="FILE")
    json_events: bool = _option(False, "print the events as JSON lines", name="json", **_FLAG)
    max_cost: float | None = _option(None, "end when the captions have cost this much", type=_amount, metavar="USD")
    max_failures: int | None = _option(None, "end after N failed captions", **_COUNT)
    give_up_after: float = _option(
        600.0, "end when the provider has failed for so long (%(default)g)", type=_seconds, metavar="SECONDS"
    )
