"""Zip archives, looked into where they are: nothing is extracted, and no entry is larger than it may be."""

from __future__ import annotations

import io
import stat
import struct
import zipfile
import zlib
from itertools import pairwise
from typing import IO

import numpy as np
import numpy.typing as npt

from probes.checkpoints.pickles import UnreadableError
from probes.system.mapping import mapped_bytes

__all__ = ["Archive"]

_SMALL = 1 << 24  # bytes that a compressed entry may always grow to
_RATIO = 100  # and how many times its own size beyond that
_LOCAL_HEADER = 30  # bytes of an entry's own header
_LOCAL_LENGTHS = 26  # where in it the lengths of what follows are
_BLOCK = 1 << 24  # bytes whose checksum is made at once


class Archive:
    """A zip archive whose directory was checked before anything in it is read."""

    def __init__(self, stream: IO[bytes]) -> None:
        """Read and check the directory.

        Raises:
            UnreadableError: it is cut off, or made to deceive.
        """
        self.size = stream.seek(0, io.SEEK_END)
        self._stream = stream
        try:
            self._zip = zipfile.ZipFile(stream)
            entries = self._zip.infolist()
        except Exception as error:  # a damaged directory raises many types
            raise UnreadableError(f"its zip directory is damaged or cut off ({str(error)[:80]})") from error
        self._entries: dict[str, zipfile.ZipInfo] = {}
        for entry in entries:
            self._check(entry)
            self._entries[entry.filename] = entry
        ends = sorted((entry.header_offset, entry.compress_size) for entry in entries)
        for (start, length), (following, _) in pairwise(ends):
            if start + length > following:
                raise UnreadableError("entries of its zip archive overlap")

    def _check(self, entry: zipfile.ZipInfo) -> None:
        name = entry.filename.replace("\\", "/")
        if name.startswith("/") or name[1:2] == ":" or ".." in name.split("/"):
            raise UnreadableError(f"an entry of its zip archive climbs out of its folder ({name[:60]})")
        if entry.filename in self._entries:
            raise UnreadableError(f"its zip archive has two entries named {name[:60]}")
        if stat.S_ISLNK(entry.external_attr >> 16):
            raise UnreadableError(f"an entry of its zip archive is a link ({name[:60]})")
        if entry.flag_bits & 1:
            raise UnreadableError("its zip archive is encrypted")
        if entry.header_offset < 0 or entry.header_offset + entry.compress_size > self.size:
            raise UnreadableError(f"an entry of its zip archive is longer than the file ({name[:60]})")
        if entry.compress_type not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):
            # the library unpacks the others' blocks whole, however much that is
            raise UnreadableError(
                f"an entry of its zip archive is compressed in an unusual way ({name[:60]})"
            )
        if entry.compress_type == zipfile.ZIP_STORED:
            if entry.file_size != entry.compress_size:
                raise UnreadableError(f"an entry of its zip archive has two sizes ({name[:60]})")
        elif entry.file_size > max(_SMALL, _RATIO * entry.compress_size):
            raise UnreadableError(
                f"an entry of its zip archive claims to unpack to {entry.file_size} bytes ({name[:60]})"
            )

    def names(self) -> list[str]:
        """Every entry, in the archive's order."""
        return list(self._entries)

    def __contains__(self, name: str) -> bool:
        """Whether there is such an entry."""
        return name in self._entries

    def entry_size(self, name: str) -> int:
        """How many bytes an entry has.

        Raises:
            UnreadableError: there is no such entry.
        """
        if name not in self._entries:
            raise UnreadableError(f"its zip archive has no entry {name[:60]}")
        return self._entries[name].file_size

    def read_into(self, name: str, buffer: memoryview, *, may_be_compressed: bool = False) -> None:
        """Fill ``buffer`` with the whole of an entry, checksum and all.

        Raises:
            UnreadableError: there is no such entry, it is damaged, of another size, or compressed unless it may be.
        """
        size = self.entry_size(name)
        if not may_be_compressed and self._entries[name].compress_type != zipfile.ZIP_STORED:
            raise UnreadableError(f"entry {name[:60]} is compressed, as torch never does")
        if len(buffer) != size:
            raise UnreadableError(
                f"entry {name[:60]} has {size} bytes, but {len(buffer)} are said to be in it"
            )
        try:
            with self._zip.open(name) as stream:
                done = 0
                while done < size:
                    part = stream.read(min(size - done, 1 << 24))
                    if not part:
                        raise EOFError("cut off")
                    buffer[done : done + len(part)] = part
                    done += len(part)
                if stream.read(1):  # also makes the checksum of an entry that is read to its end
                    raise EOFError("longer than it says")
        except Exception as error:  # a damaged entry raises many types
            raise UnreadableError(f"entry {name[:60]} is damaged ({str(error)[:80]})") from error

    def read(self, name: str, *, limit: int, may_be_compressed: bool = False) -> bytes:
        """The bytes of an entry of at most ``limit``.

        Raises:
            UnreadableError: as in :meth:`read_into`, or it is larger.
        """
        size = self.entry_size(name)
        if size > limit:
            raise UnreadableError(
                f"entry {name[:60]} has {size} bytes, more than the {limit} that it may have"
            )
        buffer = bytearray(size)
        self.read_into(name, memoryview(buffer), may_be_compressed=may_be_compressed)
        return bytes(buffer)

    def mapped(self, name: str) -> npt.NDArray[np.uint8] | None:
        """The bytes of an entry where they are in the file, checksum and all.

        Returns:
            (size,), or None where they have to be read: a compressed entry, or an archive that is no file.

        Raises:
            UnreadableError: there is no such entry, or it is damaged.
        """
        size = self.entry_size(name)
        entry = self._entries[name]
        if entry.compress_type != zipfile.ZIP_STORED or size == 0:
            return None
        start = self._content_start(entry)
        content = mapped_bytes(self._stream, start, size)
        if content is None:
            return None
        checksum = 0
        for begin in range(0, size, _BLOCK):
            checksum = zlib.crc32(content[begin : begin + _BLOCK].data, checksum)
        if checksum != entry.CRC:
            raise UnreadableError(f"entry {name[:60]} is damaged (its checksum is another)")
        return content

    def _content_start(self, entry: zipfile.ZipInfo) -> int:
        """Where an entry's bytes begin, its own header compared with the directory's."""
        try:
            self._zip.open(entry).close()
            self._stream.seek(entry.header_offset + _LOCAL_LENGTHS)
            lengths = struct.unpack("<HH", self._stream.read(4))
        except Exception as error:  # a damaged entry raises many types
            raise UnreadableError(f"entry {entry.filename[:60]} is damaged ({str(error)[:80]})") from error
        start: int = entry.header_offset + _LOCAL_HEADER + sum(lengths)
        following = [e.header_offset for e in self._entries.values() if e.header_offset > entry.header_offset]
        if start + entry.compress_size > min(following, default=self.size):
            raise UnreadableError(f"entry {entry.filename[:60]} is damaged (it is longer than its place)")
        return start
