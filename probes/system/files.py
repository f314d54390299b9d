"""Writing files so that a reader never sees half of one."""

from __future__ import annotations

import errno
import os
import re
import stat
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO

from filelock import lock_descriptor

from probes.errors import InputError

__all__ = [
    "NO_LINK",
    "make_folder",
    "natural_key",
    "refuse_irregular",
    "remove_leftovers",
    "write_atomically",
    "writing_errors",
]

OTHER_FOLDER = "choose another `out`"
"""What to do about most of what cannot be written."""

NO_LINK = getattr(os, "O_NOFOLLOW", 0) | getattr(os, "O_NONBLOCK", 0)
"""Opens the file of a name itself: no link is followed, and no pipe waited for."""

_ENDING = ".part"
_TEMPORARY = re.compile(r"\..+\.[a-z0-9_]{8}\.part")  # .NAME.RANDOM.part, as mkstemp names them for us
_CANNOT_SYNC = (errno.EINVAL, errno.ENOTSUP, errno.ENOSYS, errno.EBADF, errno.EACCES, errno.EPERM)


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


@contextmanager
def writing_errors(path: Path, *, remedy: str = OTHER_FOLDER) -> Iterator[None]:
    """Turn the operating system's refusal to write ``path`` into one line that says what to do."""
    try:
        yield
    except OSError as error:
        if error.errno in (errno.ENOSPC, errno.EDQUOT):
            raise InputError(
                f"{path}: the disk is full; free some space and run the same command again"
                " (what was measured before is kept)"
            ) from error
        raise InputError(f"{path}: cannot be written ({error.strerror or error}); {remedy}") from error


def make_folder(path: Path) -> Path:
    """Create ``path`` and its parents, and prove that a file can be written there.

    Raises:
        InputError: it is a file, or cannot be written.
    """
    if path.exists() and not path.is_dir():
        raise InputError(f"{path}: is a file, not a folder; choose another `out`")
    with writing_errors(path):
        missing = [folder for folder in (path, *path.parents) if not folder.exists()]
        path.mkdir(parents=True, exist_ok=True)
        for folder in missing:
            _sync_folder(folder.parent)
        with tempfile.TemporaryFile(dir=path, prefix=".writable.", suffix=_ENDING):
            pass
    return path


def refuse_irregular(path: Path, *, remedy: str = "name another file") -> None:
    """Refuse to write where something else than a plain file is: only plain files are ever replaced.

    Raises:
        InputError: there is a link, a folder, a device or a pipe.
    """
    try:
        mode = os.lstat(path).st_mode
    except OSError:
        return  # nothing there, or nothing that can be looked at, which writing will say
    if not stat.S_ISREG(mode):
        kinds = ((stat.S_ISLNK, "link"), (stat.S_ISDIR, "folder"), (stat.S_ISFIFO, "pipe"))
        kind = next((word for test, word in kinds if test(mode)), "device")
        raise InputError(f"{path}: is a {kind}, not a plain file, and is left alone; {remedy}")


def write_atomically(
    path: Path, content: bytes | memoryview | Callable[[IO[bytes]], None], *, remedy: str = OTHER_FOLDER
) -> None:
    """Write ``content`` (or what it writes into the stream) to ``path``, all of it or nothing.

    The bytes go to a temporary file beside ``path``, reach the disk, and then take its name, which reaches the
    disk too.

    Args:
        path: where.
        content: what.
        remedy: what to do where nothing can be written, for the error's text.

    Raises:
        InputError: the disk is full, the folder cannot be written, or no plain file is at ``path`` but a link, a
            device or the like; no temporary file is left.
    """
    refuse_irregular(path)
    with writing_errors(path, remedy=remedy):
        descriptor, temporary = _temporary_file(path)
        try:
            with os.fdopen(descriptor, "wb") as stream:
                if callable(content):
                    content(stream)
                else:
                    stream.write(content)
                stream.flush()
                os.fsync(stream.fileno())
                os.chmod(temporary, 0o666 & ~_umask())
                if os.name == "nt":
                    stream.close()  # Windows renames closed files only
                refuse_irregular(path)  # writing may have taken long
                os.replace(temporary, path)
            _sync_folder(path.parent)
        except BaseException:
            Path(temporary).unlink(missing_ok=True)
            raise


def remove_leftovers(folder: Path) -> None:
    """Remove the temporary files that killed processes left in ``folder``.

    Whoever writes a file holds its lock, so what can be locked has lost its writer. Where there are no locks,
    nothing is removed.
    """
    for path in folder.iterdir() if folder.is_dir() else ():
        if not _TEMPORARY.fullmatch(path.name) or path.is_symlink() or not path.is_file():
            continue
        try:
            descriptor = os.open(path, os.O_RDWR | NO_LINK)
        except OSError:
            continue  # another process was faster, or it is not ours
        try:
            if _try_lock(descriptor):
                path.unlink(missing_ok=True)
        except OSError:
            pass  # hidden and harmless
        finally:
            os.close(descriptor)


def _temporary_file(path: Path) -> tuple[int, str]:
    """An open file beside ``path``, locked for as long as it is open, and its name."""
    while True:
        descriptor, name = tempfile.mkstemp(prefix=f".{path.name}.", suffix=_ENDING, dir=path.parent)
        locked = _try_lock(descriptor)
        if locked is None or (locked and os.fstat(descriptor).st_nlink):
            return descriptor, name
        os.close(descriptor)  # it was taken for a leftover before it could be locked
        Path(name).unlink(missing_ok=True)


def _try_lock(descriptor: int) -> bool | None:
    """Whether the lock on an open file, which closing it gives back, was free; None where there are no locks."""
    try:
        return lock_descriptor(descriptor, blocking=False)
    except OSError:
        return None


def _sync_folder(folder: Path) -> None:
    """Make the names in ``folder`` reach the disk, where the system can do that."""
    try:
        descriptor = os.open(folder, os.O_RDONLY)
    except OSError:
        return  # Windows opens no folders, and one may be allowed to write into a folder that one may not read
    try:
        os.fsync(descriptor)
    except OSError as error:
        if error.errno not in _CANNOT_SYNC:
            raise
    finally:
        os.close(descriptor)


def _umask() -> int:
    """The process's file mode mask (mkstemp ignores it)."""
    mask = os.umask(0)
    os.umask(mask)
    return mask
