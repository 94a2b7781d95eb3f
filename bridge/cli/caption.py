"""`graphcap caption`: caption one image by one or several perspectives."""

import argparse
from pathlib import Path

from bridge.cli import Parser

DEFAULT_PERSPECTIVE = "graph_caption"
KEY_VARIABLE = "GRAPHCAP_PROVIDER_KEY"
OPTIONS: tuple[tuple[str, type, str, str], ...] = (
    ("global_context", str, "TEXT", "system message"),
    ("resize_resolution", str, "PRESET", "NONE, SD_VGA, HD_720P, FHD_1080P, QHD_1440P, UHD_4K or UHD_8K"),
    ("timeout", float, "SECONDS", "time limit"),
    ("max_output_retries", int, "N", "how often the model is asked again after an invalid answer, 0 to 3"),
)


def add_options(parser: Parser) -> None:
    add = parser.add_argument
    add("image", metavar="IMAGE", help="a file, an http(s) URL, or - for standard input")
    add_request_options(parser)
    add("--json", dest="format", action="store_const", const="json", help="print complete captions and errors as JSON")
    add("--text", dest="format", action="store_const", const="text", help="print only the rendered text, on one line")
    add("-o", "--output", metavar="FILE", type=Path, help="write the result to this file, not to standard output")
    add("--yes", action="store_true", help="download the model of the embedded engine without asking")
    add("--stream", action="store_true", help="show the text on the terminal while the model writes it")
    add("-v", "--verbose", action="store_true", help="show which model is called, and the result of each call")


def add_request_options(parser: Parser) -> None:
    """Add the options that describe a request: the perspectives, the provider and the options of the caption."""
    from dataclasses import fields

    from providers import registry
    from providers.base import Options

    add = parser.add_argument
    add(
        *("-p", "--perspective"),
        action="append",
        metavar="NAME",
        help=f"a name or a JSON file (default: {DEFAULT_PERSPECTIVE}); repeat it for several captions of the image",
    )
    add("--provider", metavar="NAME", help="a configured provider (default: GRAPHCAP_PROVIDER, or builtin)")
    add("--model", metavar="NAME", help="the model to call; `graphcap providers models PROVIDER` lists them")
    add(
        "--kind",
        choices=[spec.kind for spec in registry.specs()],
        metavar="KIND",
        help="kind of a provider that is not configured, with --base-url: %(choices)s",
    )
    add(
        "--base-url",
        metavar="URL",
        help=f"address of a provider that is not configured; its API key is read from {KEY_VARIABLE}, or from the "
        "kind's own variable if that belongs to this address",
    )
    add("--context", action="append", metavar="TEXT", help="text that accompanies the image; can be repeated")
    add(
        "--set",
        action="append",
        metavar="NAME=VALUE",
        help="value of a variable of the perspective, such as --set place=Lisbon; can be repeated. "
        "`graphcap perspectives list` shows the variables in parentheses",
    )
    for option in fields(Options):
        add(f"--{option.name.replace('_', '-')}", **option.metadata)
    for name, kind, metavar, summary in OPTIONS:
        add(f"--{name.replace('_', '-')}", type=kind, metavar=metavar, help=summary)


def run(options: argparse.Namespace) -> int:
    from bridge.cli import captions

    return captions.run(options)
