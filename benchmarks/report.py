"""Figures, and their tables in markdown."""

import os
import platform
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from importlib.metadata import version
from pathlib import Path
from statistics import median, quantiles

_PACKAGES = ("uvicorn", "uvloop", "fastapi", "openai", "httpx2", "pydantic", "pillow", "websockets")


@dataclass(frozen=True)
class Target:
    """An upper bound and the measured figure, in the same unit."""

    text: str
    limit: float
    measured: float
    unit: str

    @property
    def met(self) -> bool:
        """Return whether the figure is within the bound."""
        return self.measured <= self.limit

    def row(self) -> tuple[str, ...]:
        """Return its row in the table of targets."""
        unit = f" {self.unit}".rstrip()
        return self.text, f"≤ {self.limit:g}{unit}", f"{self.measured:.3g}{unit}", "yes" if self.met else "**no**"


@dataclass(frozen=True)
class Table:
    """A table of figures."""

    head: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]


@dataclass(frozen=True)
class Report:
    """The result of one benchmark."""

    title: str
    tables: Sequence[Table] = ()
    targets: Sequence[Target] = field(default=())

    def markdown(self) -> str:
        """Return the report as a section of a page."""
        tables = list(self.tables)
        if self.targets:
            rows = tuple(target.row() for target in self.targets)
            tables.append(Table(("figure", "target", "measured", "met"), rows))
        return "\n\n".join([f"### {self.title}", *map(markdown, tables)])


def markdown(table: Table) -> str:
    """Return a table in markdown, with aligned columns."""
    lines = [table.head, *table.rows]
    widths = [max(len(line[at]) for line in lines) for at in range(len(table.head))]
    rule = "|" + "|".join("-" * (width + 2) for width in widths) + "|"
    head, *rows = ("| " + " | ".join(map(str.ljust, line, widths)) + " |" for line in lines)
    return "\n".join([head, rule, *rows])


def spread(name: str, values: Sequence[float], unit: str = "ms") -> tuple[str, ...]:
    """Return one row of a `SPREAD` table."""
    figures = (median(values), min(values), max(values))
    return (name, str(len(values)), *(f"{value:.1f} {unit}" for value in figures))


def percentile(values: Sequence[float], percent: int) -> float:
    """Return a percentile of the values; 0 if there are none."""
    if len(values) < 2:
        return sum(values)
    return quantiles(values, n=100, method="inclusive")[percent - 1]


SPREAD = ("what", "runs", "median", "min", "max")


def machine() -> str:
    """Return the machine and the packages, in two sentences."""
    packages = ", ".join(f"{name} {version(name)}" for name in _PACKAGES)
    return (
        f"Measured on {os.cpu_count()} cores of {_processor()} with {_memory():.0f} GB, {platform.system()} "
        f"{platform.release()}, {platform.libc_ver()[0]} {platform.libc_ver()[1]}, Python "
        f"{platform.python_version()}; load average at the end {os.getloadavg()[0]:.1f}.\n{packages}."
    )


def _processor() -> str:
    return next(_facts("/proc/cpuinfo", "model name"), platform.machine())


def _memory() -> float:
    return int(next(_facts("/proc/meminfo", "MemTotal"), "0 kB").split()[0]) / 1024**2


def _facts(file: str, name: str) -> Iterator[str]:
    lines = Path(file).read_text().splitlines() if Path(file).exists() else []
    return (line.partition(":")[2].strip() for line in lines if line.startswith(name))
