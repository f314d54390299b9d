"""One writer a folder: a lock that the operating system releases itself when its process is killed."""

from __future__ import annotations

import os
import socket
import stat
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from types import TracebackType
from typing import Self

from filelock import FileLock, Timeout

from probes.errors import InputError
from probes.system.files import NO_LINK, make_folder, refuse_irregular, remove_leftovers, writing_errors
from probes.system.terminal import say

__all__ = ["FolderLock", "claim_folder"]

_REMEDY = "remove it, or choose another `out`"


def claim_folder(folder: Path, check: Callable[[], object]) -> FolderLock:
    """Make ``folder`` if it is missing, take its lock, and remove what killed processes left half-written in it.

    Args:
        folder: where to write.
        check: raises if the folder holds something else; called before anything is touched, and again under the
            lock, since another process may have been faster.

    Returns:
        The lock, held; it is given back at the end of a ``with`` block or by :meth:`FolderLock.release`.

    Raises:
        InputError: another process is writing into it, it cannot be written, or as ``check`` says.
    """
    check()
    lock = FolderLock(make_folder(folder))
    lock.acquire()
    try:
        check()
        remove_leftovers(folder)
    except BaseException:
        lock.release()
        raise
    return lock


class FolderLock:
    """Held from :meth:`acquire` to :meth:`release`, by one process of all that share the folder.

    The lock is the operating system's, on the file ``.lock`` in the folder, which says whose it is and goes when the
    lock does. A killed process leaves the file, but not the lock; a forked one does not have it.
    """

    def __init__(self, folder: Path) -> None:
        """Name the folder; nothing is touched yet."""
        self.folder = folder
        self.path = folder / ".lock"
        self._lock = FileLock(
            self.path, blocking=False, thread_local=False, fallback_to_soft=False, on_acquired=self._sign
        )
        self._file: os.stat_result | None = None

    def acquire(self) -> None:
        """Take the lock on an existing folder; where the file system has none, say so and go on.

        Raises:
            InputError: another process has it, nothing can be written there, or its name is taken by something else.
        """
        refuse_irregular(self.path, remedy=_REMEDY)
        try:
            self._lock.acquire()
        except Timeout:
            raise InputError(
                f"{self.folder}: another process{_holder(self.path)} is writing into it; wait until it has ended, or"
                " choose another `out`"
            ) from None
        except OSError:
            refuse_irregular(self.path, remedy=_REMEDY)
            with writing_errors(self.folder):
                # the file can be written, so it is the lock that failed
                os.close(os.open(self.path, os.O_WRONLY | os.O_CREAT | NO_LINK, 0o666))
                self.path.unlink()
            say(
                f"probe: {self.folder}: its file system has no locks; start no second command on this folder"
                " before this one has ended",
                err=True,
            )

    def release(self) -> None:
        """Give the lock back, if it is held."""
        if self._lock.is_locked:
            with suppress(OSError):  # the file says nothing once nobody holds its lock
                if self._is_there():
                    self.path.unlink()
            self._lock.release()

    def __enter__(self) -> Self:
        """The lock, to be given back at the end of the block."""
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Give the lock back."""
        self.release()

    def _sign(self, descriptor: int) -> None:
        """Write into the locked file whose it is.

        Raises:
            InputError: the file has another name too, whose content is not ours to write.
            Timeout: the holder before has removed this file. (The library sees to that itself where the file has
                no name left; on NFS it still has a hidden one.)
        """
        self._file = os.fstat(descriptor)
        if not stat.S_ISREG(self._file.st_mode) or self._file.st_nlink > 1:
            raise InputError(f"{self.path}: is a link to another file, which is left alone; {_REMEDY}")
        if not self._is_there():
            raise Timeout(str(self.path))
        with suppress(OSError):  # a full disk: the lock holds without a name on it
            os.ftruncate(descriptor, 0)
            os.write(descriptor, f"{os.getpid()} {socket.gethostname()}\n".encode())

    def _is_there(self) -> bool:
        """Whether the locked file is still the one of that name."""
        try:
            return self._file is not None and os.path.samestat(self._file, self.path.lstat())
        except FileNotFoundError:
            return False


def _holder(path: Path) -> str:
    """What the lock's file says of its holder, in brackets."""
    try:
        with open(os.open(path, os.O_RDONLY | NO_LINK), "rb") as stream:
            words = stream.read(300).decode("utf-8", "replace").split()
    except OSError:
        return ""
    if len(words) != 2 or not words[0].isdecimal():
        return ""
    here = words[1] == socket.gethostname()
    return f" (pid {words[0]})" if here else f" (pid {words[0]} on {words[1][:64]})"
