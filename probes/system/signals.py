"""Ctrl-C and SIGTERM: the process ends within two seconds whatever it is in, with one line that says how to go on.

Python hears of a signal only between two of its own instructions, so a long matrix product would hold Ctrl-C up,
and whatever swallows an exception (a finaliser, somebody's ``except``) would swallow it. So the signal also wakes a
thread, which ends the process if that has not ended by itself. That loses nothing: every file is whole or not there.
"""

from __future__ import annotations

import os
import signal
import socket
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from types import FrameType

__all__ = ["interrupted", "interruptible", "line", "status"]

_LINE = "probe: interrupted; the same command continues where it was"
_GRACE = 1.0  # seconds in which the process may end by itself
_SIGNALS = (signal.SIGINT, signal.SIGTERM)


class _State:
    """What the process has heard; there is one, as there is one process."""

    received: int | None = None
    said: bool = False
    own: bool = False  # whether our handlers are in place


_STATE = _State()


def interrupted() -> bool:
    """Whether a signal has come that ends the process."""
    return _STATE.received is not None


def line() -> str:
    """What to say; whoever asks says it, for it is said once."""
    _STATE.said = True
    return _LINE


def status() -> int:
    """The exit status: 130 after Ctrl-C, 143 after SIGTERM."""
    return 128 + (_STATE.received or signal.SIGINT)


@contextmanager
def interruptible() -> Iterator[None]:
    """End this process within two seconds of a signal: by KeyboardInterrupt, and if that does not do it, at once.

    For a whole process only, since it never returns after a signal. A signal that is ignored (as of a background
    job), or handled by somebody else, is left so.
    """
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    defaults = (signal.SIG_DFL, signal.default_int_handler)
    before = {one: signal.getsignal(one) for one in _SIGNALS if signal.getsignal(one) in defaults}
    reader, writer = socket.socketpair()
    writer.setblocking(False)
    wakeup = signal.set_wakeup_fd(writer.fileno(), warn_on_full_buffer=False)
    threading.Thread(target=_watch, args=(reader,), name="signals", daemon=True).start()
    for one in before:
        signal.signal(one, _on_signal)
    unraisable = sys.unraisablehook
    sys.unraisablehook = lambda args: None if interrupted() else unraisable(args)
    _STATE.own = True
    try:
        yield
    finally:
        if interrupted():
            _end()
        _STATE.own = False
        sys.unraisablehook = unraisable
        for one, handler in before.items():
            signal.signal(one, handler)
        signal.set_wakeup_fd(wakeup)
        writer.close()  # ends the thread


def _on_signal(number: int, frame: FrameType | None) -> None:
    """Stop once; a second Ctrl-C must not disturb the tidying up after the first."""
    if _STATE.received is None:
        _STATE.received = number
        raise KeyboardInterrupt


def _watch(reader: socket.socket) -> None:
    """Wait for a signal that ends the process, then for the process to end, and then no longer."""
    with reader:
        while number := reader.recv(1):
            if number[0] in _SIGNALS and signal.getsignal(number[0]) is _on_signal:
                time.sleep(_GRACE)
                _STATE.received = number[0] if _STATE.received is None else _STATE.received
                _end()


def _end() -> None:
    """End the process: no finalisers, no waiting for threads, no traceback."""
    if not _STATE.said:
        with suppress(OSError):  # nobody reads it
            os.write(
                2, f"{chr(10) * os.isatty(2)}{line()}\n".encode()
            )  # on a terminal below the progress bar
    if threading.current_thread() is threading.main_thread():  # others would wait for what it holds
        for stream in (sys.stdout, sys.stderr):
            with suppress(OSError, ValueError):
                stream.flush()
    os._exit(status())


def _forget() -> None:
    """In a forked child (a data loader's, say): signals mean what they do by default, and do not wake the parent."""
    if _STATE.own:
        _STATE.own = False
        signal.set_wakeup_fd(-1)
        for one in _SIGNALS:
            if signal.getsignal(one) is _on_signal:
                signal.signal(one, signal.default_int_handler if one == signal.SIGINT else signal.SIG_DFL)


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_forget)
