"""Parse a Dockerfile and a .dockerignore."""

import json
import re
import shlex
from dataclasses import dataclass
from pathlib import Path, PurePosixPath


@dataclass(frozen=True)
class Instruction:
    """One instruction with its continuation lines joined."""

    name: str
    value: str

    @property
    def words(self) -> list[str]:
        """Return the words of the exec form, or of the shell form as a shell splits them."""
        return json.loads(self.value) if self.value.startswith("[") else shlex.split(self.value)

    @property
    def pairs(self) -> dict[str, str]:
        """Return the `name=value` pairs of ENV and LABEL."""
        return dict(word.split("=", 1) for word in self.words)

    @property
    def flags(self) -> dict[str, str]:
        """Return the leading `--name=value` options of COPY and HEALTHCHECK."""
        return dict(re.findall(r"--(\w[\w-]*)=(\S+)", self.value))

    @property
    def after_flags(self) -> str:
        return re.sub(r"^(--\S+\s+)+", "", self.value)


def instructions(text: str) -> list[Instruction]:
    """Return every instruction in order, without comments and empty lines."""
    kept = "\n".join(line for line in text.splitlines() if line.strip() and not line.lstrip().startswith("#"))
    joined = re.sub(r"\s*\\\n\s*", " ", kept)
    return [Instruction(*line.split(None, 1)) for line in joined.splitlines()]


@dataclass(frozen=True)
class Ignore:
    """The rules of a .dockerignore; the last one that matches a path or a parent decides."""

    rules: tuple[str, ...]

    @classmethod
    def read(cls, text: str) -> "Ignore":
        lines = (line.strip() for line in text.splitlines())
        return cls(tuple(line for line in lines if line and not line.startswith("#")))

    def hides(self, path: PurePosixPath) -> bool:
        levels = [str(level) for level in (path, *path.parents)]
        hidden = False
        for rule in self.rules:
            if any(re.fullmatch(translated(rule.removeprefix("!")), level) for level in levels):
                hidden = not rule.startswith("!")
        return hidden

    def context(self, folder: Path) -> list[Path]:
        """Return the files below the folder that are in the build context."""
        files = (path for path in folder.rglob("*") if path.is_file())
        return [path for path in files if not self.hides(PurePosixPath(path.relative_to(folder)))]


def translated(pattern: str) -> str:
    """Return a pattern as a regular expression: `**/` is any number of folders, `*` anything but a slash."""
    escaped = re.escape(pattern).replace(r"\*\*/", "(?:.*/)?")
    return escaped.replace(r"\*", "[^/]*")
