"""How often Python looks for garbage that refers to itself: seldom in the command, as ever while it measures."""

from __future__ import annotations

import gc
from collections.abc import Iterator
from contextlib import contextmanager

__all__ = ["look_as_ever", "look_seldom"]

_AS_EVER = gc.get_threshold()
_SELDOM = (100_000, 20, 100)


def look_seldom() -> None:
    """For the whole process: loading libraries, judging and drawing make many objects, and hardly any garbage.

    Looking for it as often as Python does by itself takes a fifth of their time.
    """
    gc.set_threshold(*_SELDOM)


@contextmanager
def look_as_ever() -> Iterator[None]:
    """While it is open Python looks as often as by itself: garbage that holds tensors must not wait."""
    before = gc.get_threshold()
    gc.set_threshold(*_AS_EVER)
    try:
        yield
    finally:
        gc.set_threshold(*before)
