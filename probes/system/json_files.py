"""JSON from outside: read with a limit, and with every way in which it can be wrong being one kind of error."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

__all__ = ["parse_json", "read_json"]

_LARGEST = 1 << 26  # bytes of a file
_MOST_DIGITS = 300  # beyond, no float is as large, and Python refuses to write the number out


def read_json(path: Path, *, largest: int = _LARGEST) -> Any:
    """What a JSON file says.

    Raises:
        ValueError: it is no JSON, or too large, or nested too deeply.
        OSError: it cannot be read.
    """
    with path.open("rb") as stream:
        content = stream.read(largest + 1)
    if len(content) > largest:
        raise ValueError(f"it has more than {largest} bytes")
    return parse_json(content)


def parse_json(text: str | bytes) -> Any:
    """What a JSON document says; whole numbers of very many digits become infinite.

    Raises:
        ValueError: it is none, or nested too deeply.
    """
    try:
        return json.loads(text, parse_int=_integer)
    except RecursionError as error:
        raise ValueError("it is nested too deeply") from error


def _integer(digits: str) -> int | float:
    return int(digits) if len(digits) <= _MOST_DIGITS else float(digits)
