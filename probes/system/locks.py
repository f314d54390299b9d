"""One writer a folder: a lock that the operating system releases itself when its process is killed."""

from __future__ import annotations

import os
import socket
import sys
import weakref
from collections.abc import Callable
from pathlib import Path
from types import TracebackType
from typing import Self

from probes.errors import InputError
from probes.system.files import make_folder, remove_leftovers, writing_errors
from probes.system.flock import try_lock

__all__ = ["FolderLock", "claim_folder"]


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

    The lock is on the file ``.lock`` in the folder, which says whose it is and goes when the lock does. A killed
    process leaves the file, but not the lock.
    """

    def __init__(self, folder: Path) -> None:
        """Name the folder; nothing is touched yet."""
        self.folder = folder
        self.path = folder / ".lock"
        self._descriptor: int | None = None
        _ALL.add(self)

    def acquire(self) -> None:
        """Take the lock on an existing folder; where the file system has none, say so and go on.

        Raises:
            InputError: another process has it, or nothing can be written there.
        """
        while True:
            with writing_errors(self.folder):
                descriptor = os.open(self.path, os.O_RDWR | os.O_CREAT | getattr(os, "O_CLOEXEC", 0), 0o666)
            locked = try_lock(descriptor)
            if locked is False:
                holder = _holder(descriptor)
                os.close(descriptor)
                raise InputError(
                    f"{self.folder}: another process{holder} is writing into it; wait until it has ended, or choose"
                    " another --out"
                )
            if locked is None:
                print(
                    f"probe: {self.folder}: its file system has no locks; start no second command on this folder"
                    " before this one has ended",
                    file=sys.stderr,
                    flush=True,
                )
            if self._is(descriptor):
                break
            os.close(
                descriptor
            )  # the former holder removed the file before it was ours: its name is free again
        self._descriptor = descriptor
        try:
            os.ftruncate(descriptor, 0)
            os.write(descriptor, f"{os.getpid()} {socket.gethostname()}\n".encode())
        except OSError:
            pass  # a full disk: the lock holds without a name on it

    def release(self) -> None:
        """Give the lock back, if it is held."""
        if self._descriptor is None:
            return
        descriptor, self._descriptor = self._descriptor, None
        try:
            if self._is(descriptor):
                self.path.unlink(missing_ok=True)
        except OSError:
            pass  # the file says nothing once nobody holds its lock
        finally:
            os.close(descriptor)

    def __enter__(self) -> Self:
        """The lock, to be given back at the end of the block."""
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Give the lock back."""
        self.release()

    def _is(self, descriptor: int) -> bool:
        """Whether the open file is still the one of that name."""
        try:
            return os.path.samestat(os.fstat(descriptor), self.path.stat())
        except FileNotFoundError:
            return False

    def _forget(self) -> None:
        """In a forked child: close the copy, for otherwise it would hold the lock after its parent's death."""
        if self._descriptor is not None:
            os.close(self._descriptor)
            self._descriptor = None


_ALL: weakref.WeakSet[FolderLock] = weakref.WeakSet()


def _forget_all() -> None:
    for lock in list(_ALL):
        lock._forget()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_forget_all)


def _holder(descriptor: int) -> str:
    """What the lock's file says of its holder, in brackets."""
    try:
        words = os.read(descriptor, 300).decode("utf-8", "replace").split()
    except OSError:
        return ""
    if len(words) != 2 or not words[0].isdecimal():
        return ""
    here = words[1] == socket.gethostname()
    return f" (pid {words[0]})" if here else f" (pid {words[0]} on {words[1][:64]})"
