"""`graphcap models`: the models of the embedded engine (provider `local`): list, download, remove, locate."""

import argparse
import sys
from typing import TYPE_CHECKING

from bridge.cli import Parser

if TYPE_CHECKING:
    from bridge.dispatch.targets import Target
    from providers.local_models import KnownModel

_NAME = "a name of `graphcap models list`, or owner/repository:file.gguf on the Hugging Face hub"


def add_options(parser: Parser) -> None:
    verbs = parser.add_commands(
        "verb",
        {
            "list": "list the known models of the embedded engine: size, licence, and whether they are on this machine",
            "pull": "download a model, or continue an interrupted download; size and hash are verified",
            "remove": "delete a model from this machine",
            "path": "print the path of a model's file",
        },
    )
    for verb in ("pull", "remove", "path"):
        verbs[verb].add_argument("name", help=_NAME)
    verbs["list"].add_argument("--json", action="store_true", help="print JSON")


def run(options: argparse.Namespace) -> int:
    from bridge.cli.common import PROVIDER, USAGE, print_line
    from providers import local_hub, local_models
    from providers.errors import EngineFailed
    from providers.local import require_packages

    try:
        require_packages()
        if options.verb == "list":
            _list(as_json=options.json)
            return 0
        model = local_models.on_hub(options.name)
        if model is None:
            names = ", ".join(local_models.known_models())
            print_line(f"No model '{options.name}'. Choose {names}, or owner/repository:file.gguf.", "red")
            return USAGE
        match options.verb:
            case "pull":
                print(*local_hub.pull(model), sep="\n")
            case "path":
                print(local_models.find(model.name).model)
            case "remove":
                freed = local_hub.remove(model)
                absent = f"The model '{model.name}' is not on this machine."
                print_line(f"Removed {freed / 1e6:.0f} MB." if freed else absent, "yellow")
    except EngineFailed as error:
        print_line(str(error), "red")
        return PROVIDER
    return 0


def ensure_downloaded(target: "Target", *, is_confirmed: bool) -> None:
    """Download the model of a target of the embedded engine if it is not on this machine.

    Ask on a terminal first, unless `is_confirmed`. Raises EngineFailed if the user declines or the download fails.
    """
    from providers import local_models
    from providers.errors import EngineFailed
    from providers.local import SPEC, require_packages
    from providers.local_hub import cache_directory, pull

    model = local_models.on_hub(target.model) if target.config.kind == SPEC.kind else None
    if model is None:
        return
    require_packages()
    if local_models.downloaded(model):
        return
    if not is_confirmed:
        about = f"The model '{model.name}' ({_size(model)}, licence: {model.licence}) is not on this machine."
        if not (sys.stdin.isatty() and sys.stderr.isatty()):
            raise EngineFailed(f"{about} Run `graphcap models pull {model.name}`, or add --yes to download it.")
        print(f"{about}\nDownload it to {cache_directory()}? [y/N] ", end="", file=sys.stderr, flush=True)
        if sys.stdin.readline().strip().lower() not in ("y", "yes"):
            raise EngineFailed(f"The model '{model.name}' was not downloaded.")
    pull(model)


def _list(*, as_json: bool) -> None:
    from bridge.cli.common import print_json
    from bridge.cli.text import columns
    from providers.local import SPEC
    from providers.local_models import downloaded, known_models

    models = known_models().values()
    present = {model.name for model in models if downloaded(model)}
    if as_json:
        keys = ("name", "repository", "size", "context", "image_tokens", "licence", "good_for", "source")
        print_json(
            [{key: getattr(model, key) for key in keys} | {"downloaded": model.name in present} for model in models]
        )
        return
    rows = [("", "name", "size", "downloaded", "licence", "good for")]
    for model in models:
        mark = "*" if model.name == SPEC.default_model else ""
        state = "yes" if model.name in present else "no"
        rows.append((mark, model.name, _size(model), state, model.licence, model.good_for))
    print(*columns(rows), sep="\n")
    print("\n* default of the provider local")


def _size(model: "KnownModel") -> str:
    return f"{model.size / 1e6:.0f} MB" if model.size else "unverified"
