"""`graphcap batch`: caption a folder, a bucket or a list of images."""

import argparse
from dataclasses import fields

from bridge.batch.options import Options, RayOptions, TextOptions
from bridge.cli import Parser
from bridge.cli.caption import add_request_options


def add_options(parser: Parser) -> None:
    """Add the inputs, the options of the request, and those of the batch."""
    add = parser.add_argument
    add(
        "inputs",
        nargs="+",
        metavar="INPUT",
        help="files, folders, patterns, URLs (s3://, gs://, hf://, https://), a JSONL manifest, or - for a list of "
        "paths on standard input",
    )
    add_request_options(parser)
    add("--yes", action="store_true", help="download the model of the embedded engine without asking")
    add("--engine", choices=["process", "ray"], default="process", help="this process, or a Ray cluster")
    for option in (*fields(Options), *fields(RayOptions), *fields(TextOptions)):
        if option.metadata:
            arguments = {"default": option.default or None, **option.metadata}
            name = arguments.pop("name", option.name.replace("_", "-"))
            add(f"--{name}", dest=option.name, **arguments)


def run(arguments: argparse.Namespace) -> int:
    from bridge.cli import batches

    return batches.run(arguments)
