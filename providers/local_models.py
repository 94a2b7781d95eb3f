"""The models of the embedded engine: those known by name, files on disk, and files on the Hugging Face hub.

A model is named in one of three ways:

- a name in `local_models.toml`;
- the path of a GGUF file, with its vision projector (mmproj) beside it, or `model.gguf,mmproj=projector.gguf`;
- `owner/repository:file.gguf` on the hub.

This module downloads nothing.
"""

import re
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache, lru_cache
from hashlib import file_digest
from pathlib import Path

from providers.errors import EngineFailed, UnknownModel

DEFAULT_CONTEXT = 8192
_TABLE = Path(__file__).with_suffix(".toml")
_HUB = re.compile(r"(?P<repository>[\w.-]+/[\w.-]+):(?P<file>[^:]+\.gguf)", re.IGNORECASE)
_MAGIC = b"GGUF"


@dataclass(frozen=True, slots=True)
class HubFile:
    """A file on the hub. `size`: bytes, 0 if unverified. `sha256`: "" if unverified."""

    file: str
    size: int = 0
    sha256: str = ""


@dataclass(frozen=True, slots=True)
class KnownModel:
    """A row of `local_models.toml` (see its comments). `mmproj`: None to look for a projector in the repository."""

    name: str
    repository: str
    model: HubFile
    mmproj: HubFile | None = None
    revision: str = "main"
    context: int = DEFAULT_CONTEXT
    image_side: int | None = None
    image_tokens: int | None = None
    licence: str = "see its page"
    good_for: str = ""
    source: str = ""

    @property
    def size(self) -> int:
        """Return the size of all files in bytes, 0 if unverified."""
        return self.model.size + self.mmproj.size if self.mmproj else 0


@dataclass(frozen=True, slots=True)
class Weights:
    """The files of a model on this machine. `context`: number of tokens of one request."""

    name: str
    model: Path
    mmproj: Path
    context: int = DEFAULT_CONTEXT


@cache
def known_models() -> Mapping[str, KnownModel]:
    rows = tomllib.loads(_TABLE.read_text("utf-8"))
    return {
        name: KnownModel(name, **{**row, "model": HubFile(**row["model"]), "mmproj": HubFile(**row["mmproj"])})
        for name, row in rows.items()
    }


def on_hub(name: str) -> KnownModel | None:
    """Return the model for a known name or a reference `owner/repository:file.gguf`, otherwise None."""
    if name in known_models():
        return known_models()[name]
    match = _HUB.fullmatch(name)
    if match is None or Path(name).exists():
        return None
    return KnownModel(name, match["repository"], HubFile(match["file"]))


def find(name: str, mmproj: str = "") -> Weights:
    """Return the files of a model. `mmproj`: the path of the vision projector, "" to look for it.

    Raises UnknownModel, and EngineFailed if a file is missing or is not a GGUF file.
    """
    name, _, stated = name.partition(",mmproj=")
    mmproj = stated or mmproj
    model = on_hub(name)
    if model is not None:
        return _downloaded(model, mmproj)
    path = Path(name)
    if path.suffix.lower() != ".gguf" and not path.is_file():
        names = ", ".join(known_models())
        raise UnknownModel(
            f"The embedded engine knows no model '{name}'. Choose one of {names}, the path of a GGUF file, or "
            "owner/repository:file.gguf on the Hugging Face hub."
        )
    _check(path)
    return Weights(path.stem, path.resolve(), _projector(path, mmproj).resolve())


def downloaded(model: KnownModel) -> tuple[Path, Path] | None:
    """Return the paths of a model's files in the hub's cache, or None if a file is missing."""
    from providers import local_hub

    path = local_hub.cached(model, model.model.file)
    if path is None:
        return None
    mmproj = local_hub.cached(model, model.mmproj.file) if model.mmproj else next(iter(projectors(path)), None)
    return None if mmproj is None else (path, mmproj)


def projectors(model: Path) -> list[Path]:
    """Return the vision projectors in the model's folder: those named after the model, or all if there are none."""
    beside = [path for path in sorted(model.parent.glob("*.gguf")) if "mmproj" in path.name.lower() and path != model]
    return [path for path in beside if model.stem.lower() in path.stem.lower()] or beside


def digest(path: Path) -> str:
    """Return the SHA-256 of a file: its name in Hugging Face's cache, otherwise computed from the content."""
    blob = path.resolve().name
    if re.fullmatch(r"[0-9a-f]{64}", blob):
        return blob
    return content_digest(path, path.stat().st_mtime_ns)


@lru_cache(16)
def content_digest(path: Path, changed: int) -> str:
    """Return the SHA-256 of a file's content. `changed`: when it was modified, so that the cache notices changes."""
    with path.open("rb") as file:
        return file_digest(file, "sha256").hexdigest()


def _downloaded(model: KnownModel, mmproj: str) -> Weights:
    paths = downloaded(model)
    if paths is None:
        raise EngineFailed(f"The model '{model.name}' is not on this machine. Run `graphcap models pull {model.name}`.")
    projector = Path(mmproj) if mmproj else paths[1]
    for path in (paths[0], projector):
        _check(path)
    return Weights(model.name, paths[0], projector, model.context)


def _projector(model: Path, mmproj: str) -> Path:
    """Return the vision projector of a model on disk. Raises EngineFailed unless there is exactly one."""
    if mmproj:
        path = Path(mmproj)
    else:
        candidates = projectors(model)
        if len(candidates) != 1:
            beside = f"{len(candidates)} are beside it" if candidates else "none is beside it"
            raise EngineFailed(
                f"'{model.name}' needs a vision projector (mmproj), and {beside}. Put mmproj-{model.stem}.gguf beside "
                "it, or set the option mmproj of the provider."
            )
        path = candidates[0]
    _check(path)
    return path


def _check(path: Path) -> None:
    """Raise EngineFailed if the file cannot be read or is not a GGUF file."""
    try:
        with path.open("rb") as file:
            magic = file.read(len(_MAGIC))
    except FileNotFoundError:
        raise EngineFailed(f"There is no file '{path.name}'. Check the path of the model.") from None
    except OSError as error:
        raise EngineFailed(f"The file '{path.name}' cannot be read: {error.strerror}. Check its permissions.") from None
    if magic != _MAGIC:
        raise EngineFailed(
            f"'{path.name}' is not a GGUF file. Convert the model with llama.cpp, or run `graphcap models list` for "
            "models that work."
        )
