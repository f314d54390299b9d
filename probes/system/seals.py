"""Seals: a file's SHA-256 kept inside the file itself, so that both are written, renamed and copied as one.

The seal of a NetCDF file is the global attribute ``sha256``, over all bytes of the file with the attribute's own 64
digits taken as zeros. That of a JSON document is its key ``sha256``, over the rest of the document in its shortest
form with sorted keys. That of other bytes are 64 digits before them. All keep this meaning in every later schema.
"""

from __future__ import annotations

import hashlib
import json
import struct
from collections.abc import Mapping
from typing import Any

__all__ = ["ATTRIBUTE", "BLANK", "digest_of", "seal", "seal_holds", "sealed", "unsealed"]

ATTRIBUTE = "sha256"
BLANK = "0" * 64
"""What the attribute holds until the file is sealed."""

_CHARACTERS = 2  # NetCDF's number for text
_HEAD = (
    struct.pack(">i", len(ATTRIBUTE))
    + ATTRIBUTE.encode().ljust(8, b"\0")  # names are padded to words of four bytes
    + struct.pack(">ii", _CHARACTERS, len(BLANK))
)


def digest_of(document: Mapping[str, Any]) -> str:
    """The SHA-256 of a JSON document without its seal."""
    content = {name: value for name, value in document.items() if name != ATTRIBUTE}
    text = json.dumps(content, sort_keys=True, separators=(",", ":"))
    return hashlib.sha256(text.encode()).hexdigest()


def sealed(content: bytes | memoryview) -> bytes:
    """Any bytes behind their digest."""
    return hashlib.sha256(content).hexdigest().encode() + content


def unsealed(content: bytes) -> memoryview | None:
    """The bytes that :func:`sealed` was given; None where they are others by now."""
    inner = memoryview(content)[len(BLANK) :]
    return inner if content[: len(BLANK)] == hashlib.sha256(inner).hexdigest().encode() else None


def seal(content: bytes) -> bytes:
    """Put the digest into a NetCDF file that has the blank attribute."""
    place = _place(content)
    assert place is not None, f"written without the attribute {ATTRIBUTE}"
    return content[:place] + _digest(content, place) + content[place + len(BLANK) :]


def seal_holds(content: bytes) -> bool | None:
    """Whether a NetCDF file is as it was when it was sealed; None where it has no seal."""
    place = _place(content)
    if place is None:
        return None
    return content[place : place + len(BLANK)] == _digest(content, place)


def _place(content: bytes) -> int | None:
    """Where the digits begin: the header comes first, and the attributes of the whole file before all text in it."""
    found = content.find(_HEAD)
    return None if found < 0 else found + len(_HEAD)


def _digest(content: bytes, place: int) -> bytes:
    view = memoryview(content)
    state = hashlib.sha256(view[:place])
    state.update(BLANK.encode())
    state.update(view[place + len(BLANK) :])
    return state.hexdigest().encode()
