"""Build an image from a Dockerfile without Docker, and run it.

A stage is a folder, initially empty. Its commands run in their own mount namespace with the folder as root. The
machine's /usr and /etc are bound into it read-only, and a copy of CPython is in /usr/local, as in the official image.
The other Debian packages and the patch release of Python differ from the official image.
"""

import json
import os
import re
import shlex
import shutil
import subprocess
from collections.abc import Iterable
from pathlib import Path, PurePosixPath
from string import Template

DEVICES = ("null", "zero", "random", "urandom")
REGISTRY = ("PIP_INDEX_URL", "PIP_CERT", "PIP_DEFAULT_TIMEOUT", "UV_DEFAULT_INDEX", "SSL_CERT_FILE", "SSL_CERT_DIR")
PROXIES = ("HTTP_PROXY", "HTTPS_PROXY", "NO_PROXY", "http_proxy", "https_proxy", "no_proxy")

# Arguments: root, the copy of Python, "ro" or "rw", the workspace or "", then the command inside.
ENTER = """
root=$1 python=$2 access=$3 workspace=$4; shift 4
mount --bind "$root" "$root"
for folder in usr etc; do
  mount --bind "/$folder" "$root/$folder"
  mount -o remount,bind,ro "$root/$folder"
done
mount --bind "$python" "$root/usr/local"
for device in null zero random urandom; do mount --bind "/dev/$device" "$root/dev/$device"; done
mount -t proc proc "$root/proc"
if [ -n "$workspace" ]; then
  mount --bind "$workspace" "$root/workspace"
  mount -o remount,bind,ro "$root/workspace"
fi
if [ "$access" = ro ]; then
  mount -o remount,bind,ro "$root/usr/local"
  mount -o remount,bind,ro "$root"
fi
exec chroot "$root" "$@"
"""
UNPRIVILEGED = ("--clear-groups", "--bounding-set=-all", "--inh-caps=-all", "--no-new-privs")


def instructions(text: str) -> list[list[str]]:
    """Return the name and the value of every instruction of a Dockerfile, with continuation lines joined."""
    kept = "\n".join(line for line in text.splitlines() if line.strip() and not line.lstrip().startswith("#"))
    return [line.split(None, 1) for line in re.sub(r"\s*\\\n\s*", " ", kept).splitlines()]


def context_files(folder: Path, ignore: str) -> list[Path]:
    """Return the files that a .dockerignore does not exclude: the last matching line for a path or a parent applies."""
    lines = [line.strip() for line in ignore.splitlines() if line.strip() and not line.startswith("#")]
    files = []
    for file in filter(Path.is_file, folder.rglob("*")):
        path = PurePosixPath(file.relative_to(folder))
        levels = [str(level) for level in (path, *path.parents)]
        matching = [line for line in lines if any(re.fullmatch(to_regex(line), level) for level in levels)]
        if not matching or matching[-1].startswith("!"):
            files.append(file)
    return files


def to_regex(line: str) -> str:
    """Return a pattern as a regular expression: `**/` matches any number of folders, `*` anything except a slash."""
    escaped = re.escape(line.removeprefix("!")).replace(r"\*\*/", "(?:.*/)?")
    return escaped.replace(r"\*", "[^/]*")


class Stage:
    """One stage of a build, initially like python:3.12-slim."""

    def __init__(self, folder: Path, python: Path) -> None:
        self.root, self.python = folder / "root", folder / "python"
        self.environment = {
            "PATH": "/usr/local/bin:/usr/local/sbin:/usr/sbin:/usr/bin:/sbin:/bin",
            "LD_LIBRARY_PATH": "/usr/local/lib",
        }
        self.directory = PurePosixPath("/")
        self.user = "0:0"
        self.health: list[str] = []
        self.command: list[str] = []
        for name in ("usr", "etc", "dev", "proc", "tmp"):
            (self.root / name).mkdir(parents=True)
        for name in ("bin", "lib", "lib64", "sbin"):
            (self.root / name).symlink_to(f"usr/{name}")
        for name in DEVICES:
            (self.root / "dev" / name).touch()
        (self.root / "tmp").chmod(0o1777)
        unneeded = shutil.ignore_patterns("site-packages", "test", "__pycache__", "*.a")
        shutil.copytree(python.parent.parent, self.python, symlinks=True, ignore=unneeded)
        self.shell("python3.12 -m ensurepip --default-pip")

    def make_folder(self, path: str) -> None:
        (self.root / (self.directory / path).relative_to("/")).mkdir(parents=True, exist_ok=True)

    def enter(self, command: Iterable[str], *, read_only: bool = False, workspace: Path | None = None) -> list[str]:
        """Return the command line that runs a command in this stage; signals reach the command."""
        places = (str(self.root), str(self.python), "ro" if read_only else "rw", str(workspace or ""))
        return ["unshare", "--mount", "sh", "-euc", ENTER, "enter", *places, *command]

    def as_user(self, command: Iterable[str]) -> list[str]:
        """Return the command line that runs a command as the user of the image, without privileges."""
        uid, gid = self.user.split(":")
        return ["setpriv", f"--reuid={uid}", f"--regid={gid}", *UNPRIVILEGED, "--", *command]

    def shell(self, script: str) -> None:
        """Run a build step as /bin/sh -c does."""
        settings = {name: os.environ[name] for name in (*REGISTRY, *PROXIES) if name in os.environ}
        step = self.enter(["/bin/sh", "-c", f"cd {self.directory} && {script}"])
        done = subprocess.run(step, env=settings | self.environment, capture_output=True, text=True, check=False)
        assert done.returncode == 0, f"RUN {script}\n{done.stdout}\n{done.stderr}"

    def copy(self, source: Path, names: list[str], location: str) -> None:
        """Copy files or the content of a folder; a location that ends in a slash is a folder."""
        target = self.root / (self.directory / location).relative_to("/")
        for origin in (source / name.strip("/") for name in names):
            if origin.is_dir():
                shutil.copytree(origin, target, symlinks=True, dirs_exist_ok=True)
            else:
                folder = target if location.endswith("/") else target.parent
                folder.mkdir(parents=True, exist_ok=True)
                shutil.copy2(origin, target)


def build(project: Path, folder: Path, python: Path) -> Stage:
    """Build the Dockerfile of a project in an empty folder, and return its last stage."""
    context = folder / "context"
    for path in context_files(project, (project / ".dockerignore").read_text(encoding="utf-8")):
        target = context / path.relative_to(project)
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copy2(path, target)
    stages: dict[str, Stage] = {}
    for name, value in instructions((project / "Dockerfile").read_text(encoding="utf-8")):
        if name == "FROM":
            base, _, alias = value.partition(" AS ")
            assert base == "python:3.12-slim"
            stages[alias] = stage = Stage(folder / f"stage{len(stages)}", python)
        elif name == "COPY":
            *names, location = value.split()
            is_stage = names[0].startswith("--from=")
            source = stages[names.pop(0).removeprefix("--from=")].root if is_stage else context
            stage.copy(source, names, location)
        else:
            perform(stage, name, value)
    return stage


def perform(stage: Stage, name: str, value: str) -> None:
    """Perform an instruction of one stage. CMD must be in exec form, so that the service gets signals."""
    match name:
        case "CMD":
            stage.command = json.loads(value)
        case "ENV":
            for pair in shlex.split(value):
                variable, _, text = pair.partition("=")
                stage.environment[variable] = Template(text).substitute(stage.environment)
        case "HEALTHCHECK":
            stage.health = json.loads(value.partition(" CMD ")[2])
        case "RUN":
            stage.shell(value)
        case "USER":
            stage.user = value
        case "VOLUME":
            for path in json.loads(value):
                stage.make_folder(path)
        case "WORKDIR":
            stage.directory /= value
            stage.make_folder(".")
        case _:
            assert name in ("EXPOSE", "LABEL"), name
