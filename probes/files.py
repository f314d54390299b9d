"""Writing files so that a reader never sees half of one, and hashing what was read."""

from __future__ import annotations

import errno
import hashlib
import os
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO

from probes.errors import InputError

__all__ = ["make_folder", "natural_key", "sha256_of_file", "write_atomically", "writing_errors"]


def natural_key(text: str) -> tuple[tuple[int, int, str], ...]:
    """Sort key under which ``step-9`` comes before ``step-10``."""
    parts: list[tuple[int, int, str]] = []
    digits = ""
    for character in text:
        if character.isdecimal() and character.isascii():
            digits += character
            continue
        if digits:
            parts.append((0, int(digits), digits))
            digits = ""
        parts.append((1, 0, character))
    if digits:
        parts.append((0, int(digits), digits))
    return tuple(parts)


def sha256_of_file(path: Path) -> str:
    """Hexadecimal SHA-256 of a file's bytes."""
    with path.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


@contextmanager
def writing_errors(path: Path) -> Iterator[None]:
    """Turn the operating system's refusal to write ``path`` into one line that says what to do."""
    try:
        yield
    except OSError as error:
        if error.errno in (errno.ENOSPC, errno.EDQUOT):
            raise InputError(
                f"{path}: the disk is full; free some space and run the same command again"
                " (what was measured before is kept)"
            ) from error
        raise InputError(
            f"{path}: cannot be written ({error.strerror or error}); choose another --out"
        ) from error


def make_folder(path: Path) -> Path:
    """Create ``path`` and its parents, and prove that a file can be written there.

    Raises:
        InputError: it is a file, or cannot be written.
    """
    if path.exists() and not path.is_dir():
        raise InputError(f"{path}: is a file, not a folder; choose another --out")
    with writing_errors(path):
        path.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=path):
            pass
    return path


def write_atomically(path: Path, content: bytes | memoryview | Callable[[IO[bytes]], None]) -> None:
    """Write ``content`` (or what it writes into the stream) to ``path``, all of it or nothing.

    The bytes go to a temporary file beside ``path``, reach the disk, and then take its name.

    Raises:
        InputError: the disk is full or the folder cannot be written; no temporary file is left.
    """
    with writing_errors(path):
        descriptor, temporary = tempfile.mkstemp(prefix=f".{path.name}.", dir=path.parent)
        try:
            with os.fdopen(descriptor, "wb") as stream:
                if callable(content):
                    content(stream)
                else:
                    stream.write(content)
                stream.flush()
                os.fsync(stream.fileno())
            os.chmod(temporary, 0o666 & ~_umask())
            os.replace(temporary, path)
        except BaseException:
            Path(temporary).unlink(missing_ok=True)
            raise


def _umask() -> int:
    """The process's file mode mask (mkstemp ignores it)."""
    mask = os.umask(0)
    os.umask(mask)
    return mask
