"""`python -m benchmarks [NAME …] [--record]`."""

import argparse
import re
from importlib import import_module

from benchmarks.report import Report, machine
from benchmarks.running import ROOT

SHORT = ("startup", "page", "preparing", "analyze", "sockets", "failover", "captions", "workers")
LONG = ("overload", "memory", "refusals", "schemas", "batch", "local")
NAMES = (*SHORT, *LONG)
PAGE = ROOT / "docs" / "performance.md"
_FIGURES = {
    SHORT: re.compile(r"(?<=<!-- figures -->\n).*(?=<!-- end figures -->)", re.DOTALL),
    LONG: re.compile(r"(?<=<!-- long figures -->\n).*(?=<!-- end long figures -->)", re.DOTALL),
}


def main() -> None:
    """Run benchmarks and print their figures."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=main.__doc__)
    parser.add_argument(
        "names", metavar="NAME", nargs="*", help=f"one of {', '.join(NAMES)}; default: {', '.join(SHORT)}"
    )
    parser.add_argument("--long", action="store_true", help=f"run the benchmarks that take minutes: {', '.join(LONG)}")
    parser.add_argument(
        "--record", action="store_true", help="write the figures of a complete run to docs/performance.md"
    )
    options = parser.parse_args()
    if unknown := set(options.names) - set(NAMES):
        parser.error(f"unknown benchmark: {', '.join(sorted(unknown))}; known benchmarks: {', '.join(NAMES)}")
    if options.record and options.names:
        parser.error("--record requires a run of all benchmarks")
    sections = []
    group = LONG if options.long else SHORT
    for name in options.names or group:
        report: Report = import_module(f"benchmarks.{name}").run()
        sections.append(report.markdown())
        print(sections[-1], end="\n\n", flush=True)
    sections.insert(0, machine())
    print(sections[0])
    if options.record:
        figures = "\n" + "\n\n".join(sections) + "\n\n"
        page, count = _FIGURES[group].subn(lambda _: figures, PAGE.read_text("utf-8"))
        assert count == 1, f"{PAGE} lacks the markers for these figures"
        PAGE.write_text(page, "utf-8")


if __name__ == "__main__":
    main()
