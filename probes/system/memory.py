"""The C library's memory: what is freed is kept for the next to ask for it."""

from __future__ import annotations

from functools import cache

import torch

__all__ = ["keep_freed_memory"]

_LARGEST = 31 << 20
"""Bytes of the largest block that glibc learns from."""


@cache
def keep_freed_memory() -> None:
    """Let this process keep about 60 MB of what it frees.

    glibc gives memory back to the system as soon as twice the largest block freed so far lies free, and takes every
    page anew for the next tensors, which for many small networks takes a quarter of the time. A large block that
    nobody writes to costs nothing, and teaches it better.
    """
    torch.empty(_LARGEST, dtype=torch.uint8)
