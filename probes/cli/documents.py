"""JSON on standard output: one document and nothing else."""

from __future__ import annotations

import json
import sys
from typing import Any

import click

from probes.cli.spelling import spelled_in

__all__ = ["JSON", "print_json"]

JSON = click.option(
    "--json", "as_json", is_flag=True, help="Print one JSON document on standard output, nothing else."
)


def print_json(document: Any) -> None:
    """Print the document, with settings as options; a number that JSON has no word for is refused."""
    json.dump(spelled_in(document), sys.stdout, indent=1, ensure_ascii=False, allow_nan=False)
    sys.stdout.write("\n")
