"""The operating system's lock on an open file, which it releases itself when its process ends, however that ends."""

from __future__ import annotations

import errno
from types import ModuleType

__all__ = ["try_lock"]

fcntl: ModuleType | None
try:
    import fcntl
except ImportError:  # not a POSIX system
    fcntl = None

_HELD = (errno.EWOULDBLOCK, errno.EAGAIN, errno.EACCES)


def try_lock(descriptor: int) -> bool | None:
    """Take the exclusive lock on an open file without waiting; closing the file gives it back.

    Returns:
        Whether it was taken; False if another open file of any process has it, None where there are no locks.
    """
    if fcntl is None:
        return None
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as error:  # ENOLCK, ENOSYS, EOPNOTSUPP, …: the file system has none
        return False if error.errno in _HELD else None
    return True
