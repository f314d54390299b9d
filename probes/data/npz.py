"""Arrays in .npz files: plain numbers alone, mapped where they are, or read into room of the size that is there."""

from __future__ import annotations

import io
from collections.abc import Iterable
from math import prod
from pathlib import Path
from typing import Any

import numpy as np

from probes.checkpoints.formats import reading_errors
from probes.checkpoints.pickles import UnreadableError
from probes.checkpoints.zip_archive import Archive

__all__ = ["is_npz", "read_npz"]

_HEADER = 10_000  # bytes; numpy's own limit


def is_npz(path: Path) -> bool:
    """Whether a file is a zip archive of .npy entries, whatever it is called."""
    try:
        with path.open("rb") as stream:
            return stream.read(2) == b"PK" and any(n.endswith(".npy") for n in Archive(stream).names())
    except (OSError, UnreadableError):
        return False


def read_npz(path: Path, names: Iterable[str]) -> dict[str, np.ndarray[Any, Any]]:
    """The arrays of those names that are in the file, mapped from it unless they are compressed.

    Raises:
        InputError: it is damaged, or an array holds objects, or claims more than is there.
    """
    with reading_errors(path), path.open("rb") as stream:
        archive = Archive(stream)
        return {name: _array(archive, f"{name}.npy", name) for name in names if f"{name}.npy" in archive}


def _array(archive: Archive, entry: str, name: str) -> np.ndarray[Any, Any]:
    content: Any = archive.mapped(entry)
    if content is None:
        content = bytearray(archive.entry_size(entry))
        archive.read_into(entry, memoryview(content), may_be_compressed=True)
    stream = io.BytesIO(bytes(content[: 2 * _HEADER]))
    try:
        version = np.lib.format.read_magic(stream)
        read = (
            np.lib.format.read_array_header_1_0 if version == (1, 0) else np.lib.format.read_array_header_2_0
        )
        shape, fortran, dtype = read(stream, max_header_size=_HEADER)
    except Exception as error:  # a damaged header raises many types
        raise UnreadableError(f"the header of {name} is damaged ({type(error).__name__})") from error
    if dtype.hasobject or dtype.kind not in "fiubc":
        raise UnreadableError(f"{name} holds {dtype} and not plain numbers; save an array of numbers")
    if any(isinstance(size, bool) or size < 0 for size in shape):
        raise UnreadableError(f"{name} has an impossible shape; save it again")
    left = len(content) - stream.tell()
    if prod(shape) * dtype.itemsize != left:
        raise UnreadableError(f"{name} claims shape {shape}, but has {left} bytes; save it again")
    order: Any = "F" if fortran else "C"
    try:
        return np.frombuffer(content, dtype, offset=stream.tell()).reshape(shape, order=order)
    except (TypeError, ValueError) as error:
        raise UnreadableError(f"{name} cannot be made ({error}); save it again") from error
