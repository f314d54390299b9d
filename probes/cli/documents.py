"""JSON on standard output: one document and nothing else."""

from __future__ import annotations

import json
from typing import Any

import click

from probes.cli.spelling import spelled_in
from probes.system.terminal import say

__all__ = ["JSON", "print_json"]

JSON = click.option(
    "--json", "as_json", is_flag=True, help="Print one JSON document on standard output, nothing else."
)


def print_json(document: Any) -> None:
    """Print the document, in ASCII and with settings as options; a number that JSON has no word for is refused."""
    say(json.dumps(spelled_in(document), indent=1, allow_nan=False))
