"""Build an image from a Dockerfile without Docker, and run it.

A stage is a folder that begins empty. Its commands run in a mount namespace of their own with that folder as
root; the machine's /usr and /etc are bound into it read-only, and a copy of a CPython stands in /usr/local,
as in the official image. What is not the same: the other Debian packages, and the patch release of Python.
"""

import os
import shutil
import subprocess
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath

from tests.e2e.dockerfile import Ignore, Instruction, instructions

LINKED = ("bin", "lib", "lib64", "sbin")
DEVICES = ("null", "zero", "random", "urandom")
REGISTRY = ("PIP_INDEX_URL", "PIP_CERT", "PIP_DEFAULT_TIMEOUT", "UV_DEFAULT_INDEX", "SSL_CERT_FILE", "SSL_CERT_DIR")
PROXIES = ("HTTP_PROXY", "HTTPS_PROXY", "NO_PROXY", "http_proxy", "https_proxy", "no_proxy")

# Arguments: root, Python's copy, "ro" or "rw", the workspace or "", then the command inside.
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


@dataclass
class Stage:
    """One stage of a build, and the values of its instructions."""

    folder: Path
    environment: dict[str, str] = field(
        default_factory=lambda: {
            "PATH": "/usr/local/bin:/usr/local/sbin:/usr/sbin:/usr/bin:/sbin:/bin",
            "LD_LIBRARY_PATH": "/usr/local/lib",
        }
    )
    working_directory: PurePosixPath = field(default_factory=lambda: PurePosixPath("/"))
    user: str = "0:0"
    health: list[str] = field(default_factory=list)
    command: list[str] = field(default_factory=list)

    @property
    def root(self) -> Path:
        return self.folder / "root"

    @property
    def python(self) -> Path:
        return self.folder / "python"

    def inside(self, path: str) -> Path:
        """Return the path on this machine of a path in the image."""
        return self.root / (self.working_directory / path).relative_to("/")

    def enter(self, command: Iterable[str], *, read_only: bool = False, workspace: Path | None = None) -> list[str]:
        """Return the command line that runs a command in this stage; signals reach the command."""
        access = "ro" if read_only else "rw"
        places = (str(self.root), str(self.python), access, str(workspace or ""))
        return ["unshare", "--mount", "sh", "-euc", ENTER, "enter", *places, *command]

    def as_user(self, command: Iterable[str]) -> list[str]:
        """Return the command line that runs a command as the user of the image, without privileges."""
        uid, gid = self.user.split(":")
        return ["setpriv", f"--reuid={uid}", f"--regid={gid}", *UNPRIVILEGED, "--", *command]

    def shell(self, script: str) -> None:
        """Run a build step as /bin/sh -c does."""
        location = f"cd {self.working_directory} && "
        settings = {name: os.environ[name] for name in (*REGISTRY, *PROXIES) if name in os.environ}
        step = self.enter(["/bin/sh", "-c", location + script])
        done = subprocess.run(step, env=settings | self.environment, capture_output=True, text=True, check=False)
        assert done.returncode == 0, f"RUN {script}\n{done.stdout}\n{done.stderr}"


def build(project: Path, folder: Path, python: Path) -> Stage:
    """Build the Dockerfile of a project in an empty folder, and return its last stage."""
    context = folder / "context"
    copy_context(project, context)
    stages: dict[str, Stage] = {}
    for step in instructions((project / "Dockerfile").read_text(encoding="utf-8")):
        if step.name == "FROM":
            name = step.words[-1] if "AS" in step.words else f"stage{len(stages)}"
            assert step.words[0] == "python:3.12-slim"
            stages[name] = stage = base(folder / name, python)
        elif step.name == "COPY":
            source = stages[step.flags["from"]].root if "from" in step.flags else context
            copy(stage, source, step)
        else:
            STEPS[step.name](stage, step)
    return stage


def copy_context(project: Path, context: Path) -> None:
    ignore = Ignore.read((project / ".dockerignore").read_text(encoding="utf-8"))
    for path in ignore.context(project):
        target = context / path.relative_to(project)
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copy2(path, target)


def base(folder: Path, python: Path) -> Stage:
    """Return a stage like python:3.12-slim: the programs of Debian, and this CPython with pip in /usr/local."""
    stage = Stage(folder)
    for name in ("usr", "etc", "dev", "proc", "tmp"):
        (stage.root / name).mkdir(parents=True)
    for name in LINKED:
        (stage.root / name).symlink_to(f"usr/{name}")
    for name in DEVICES:
        (stage.root / "dev" / name).touch()
    (stage.root / "tmp").chmod(0o1777)
    unneeded = shutil.ignore_patterns("site-packages", "test", "__pycache__", "*.a")
    shutil.copytree(python.parent.parent, stage.python, symlinks=True, ignore=unneeded)
    stage.shell("python3.12 -m ensurepip --default-pip")
    return stage


def copy(stage: Stage, source: Path, step: Instruction) -> None:
    """Copy the content of a folder, or files; into a folder when the target ends in a slash."""
    *names, location = step.after_flags.split()
    target = stage.inside(location)
    for name in names:
        origin = source / name.strip("/")
        if origin.is_dir():
            shutil.copytree(origin, target, symlinks=True, dirs_exist_ok=True)
        else:
            folder = target if location.endswith("/") or len(names) > 1 else target.parent
            folder.mkdir(parents=True, exist_ok=True)
            shutil.copy2(origin, target)


def env(stage: Stage, step: Instruction) -> None:
    """Set variables; a value may use earlier ones."""
    known = dict(stage.environment)
    for name, value in step.pairs.items():
        for other in known:
            value = value.replace(f"${other}", known[other])
        assert "$" not in value
        stage.environment[name] = value


def workdir(stage: Stage, step: Instruction) -> None:
    stage.working_directory /= step.value
    stage.inside(".").mkdir(parents=True, exist_ok=True)


def volume(stage: Stage, step: Instruction) -> None:
    for path in step.words:
        stage.inside(path).mkdir(parents=True, exist_ok=True)


def healthcheck(stage: Stage, step: Instruction) -> None:
    form = Instruction(*step.after_flags.split(None, 1))
    assert form.name == "CMD"
    stage.health = form.words


def command(stage: Stage, step: Instruction) -> None:
    assert step.value.startswith("["), "CMD in exec form, so that the signals of `docker stop` arrive"
    stage.command = step.words


def user(stage: Stage, step: Instruction) -> None:
    stage.user = step.value


STEPS: dict[str, Callable[[Stage, Instruction], None]] = {
    "CMD": command,
    "ENV": env,
    "EXPOSE": lambda stage, step: None,
    "HEALTHCHECK": healthcheck,
    "LABEL": lambda stage, step: None,
    "RUN": lambda stage, step: stage.shell(step.value),
    "USER": user,
    "VOLUME": volume,
    "WORKDIR": workdir,
}
