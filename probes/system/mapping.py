"""Files that are mapped into memory rather than read, and whether they stay as they were."""

from __future__ import annotations

import io
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

import numpy as np
import numpy.typing as npt

from probes.errors import InputError

__all__ = ["FileState", "mapped_bytes"]


def mapped_bytes(stream: IO[bytes], start: int, length: int) -> npt.NDArray[np.uint8] | None:
    """Bytes of an open file, private: what is written to them never reaches the file.

    The map outlives the stream. (Were the file shortened meanwhile, touching what it lost would end the process;
    see :class:`FileState`.)

    Args:
        stream: the file.
        start: where they begin.
        length: how many there are; the caller has compared them with the file's size.

    Returns:
        (length,), or None where there is no file to map (a stream in memory, nothing in it, or a file system that
        cannot), so that it has to be read.
    """
    try:
        stream.fileno()
        found: npt.NDArray[np.uint8] = np.memmap(
            stream,
            dtype=np.uint8,
            mode="c",
            offset=start,
            shape=(length,),
        )
    except (io.UnsupportedOperation, AttributeError, OSError, ValueError):
        return None
    return found.view(np.ndarray)


@dataclass(frozen=True)
class FileState:
    """What a file was when it was opened: a mapped one must stay so.

    Attributes:
        path: where it is.
        facts: device and inode, which say that it is the same file, and its size and time of change.
    """

    path: Path
    facts: tuple[tuple[int, int], tuple[int, int]]

    @classmethod
    def of(cls, path: Path) -> FileState:
        """The file as it is now.

        Raises:
            OSError: it is not there.
        """
        return cls(path, _facts(path.stat()))

    def check(self) -> None:
        """See that nothing has written to the file; one that was removed or replaced lives on in its map.

        Raises:
            InputError: it has changed.
        """
        try:
            identity, content = _facts(self.path.stat())
        except OSError:
            return
        if identity == self.facts[0] and content != self.facts[1]:
            raise InputError(
                f"{self.path}: was written to while it was in use; leave the file alone during a run, and run again"
            )


def _facts(stat: Any) -> tuple[tuple[int, int], tuple[int, int]]:
    return (stat.st_dev, stat.st_ino), (stat.st_size, stat.st_mtime_ns)
