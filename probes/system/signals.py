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
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from types import FrameType

from probes.system.terminal import say

__all__ = ["exit_status", "farewell", "interrupted", "interruptible", "last_words", "watched"]

Handler = Callable[[int, FrameType | None], object]

_LINE = "probe: interrupted; the same command continues where it was"
_GRACE = 1.0  # seconds in which the process may end by itself
_WATCHED: list[Mapping[int, Handler]] = []
"""The handlers that are in place, the innermost block's last."""


@contextmanager
def watched(handlers: Mapping[int, Handler], heard: Callable[[int], object]) -> Iterator[None]:
    """Inside, signals have these handlers, and another thread hears of each, whatever the main thread is in.

    For the main thread only. A child that is forked inside has neither: signals mean to it what they do by default.

    Args:
        handlers: of each signal; the main thread calls them as soon as it can.
        heard: called by the other thread, at once, with the signal's number.
    """
    reader, writer = socket.socketpair()
    writer.setblocking(False)

    def watch() -> None:
        while number := reader.recv(1):
            handler = handlers.get(number[0])
            if handler is not None and signal.getsignal(number[0]) is handler:  # and nobody else's since
                heard(number[0])

    watcher = threading.Thread(target=watch, name="signals", daemon=True)
    wakeup = signal.set_wakeup_fd(writer.fileno(), warn_on_full_buffer=False)
    watcher.start()
    before = {number: signal.signal(number, handler) for number, handler in handlers.items()}
    _WATCHED.append(handlers)
    try:
        yield
    finally:
        _WATCHED.pop()
        for number, handler in before.items():
            signal.signal(number, handler)
        signal.set_wakeup_fd(wakeup)
        writer.close()  # ends the thread
        watcher.join()
        reader.close()


def _forget() -> None:
    """In a forked child (a data loader's, say): do not wake the parent's thread, nor behave like the parent."""
    if _WATCHED:
        signal.set_wakeup_fd(-1)
    for handlers in _WATCHED:
        for number, handler in handlers.items():
            if signal.getsignal(number) is handler:
                default = signal.default_int_handler if number == signal.SIGINT else signal.SIG_DFL
                signal.signal(number, default)
    _WATCHED.clear()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_forget)


class _State:
    """What the process has heard; there is one, as there is one process."""

    received: int | None = None
    said: bool = False
    line: str = _LINE


_STATE = _State()
_SAYING = threading.Lock()
"""Held while the line is said, so that nobody ends the process half-way."""


def interrupted() -> bool:
    """Whether a signal has come that ends the process."""
    return _STATE.received is not None


def farewell() -> None:
    """Say how to go on; it is said once."""
    with _SAYING:
        if not _STATE.said:
            say(_STATE.line, err=True)
        _STATE.said = True


def last_words(line: str) -> None:
    """What is said at a signal in place of how to go on, by what does not go on."""
    _STATE.line = line


def exit_status() -> int:
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
    ours = [one for one in (signal.SIGINT, signal.SIGTERM) if signal.getsignal(one) in defaults]
    with watched(dict.fromkeys(ours, _on_signal), _end_soon):
        unraisable = sys.unraisablehook
        sys.unraisablehook = lambda args: None if interrupted() else unraisable(args)
        try:
            yield
        finally:
            if interrupted():
                _end()
            sys.unraisablehook = unraisable


def _on_signal(number: int, frame: FrameType | None) -> None:
    """Stop once; a second Ctrl-C must not disturb the tidying up after the first."""
    if _STATE.received is None:
        _STATE.received = number
        raise KeyboardInterrupt


def _end_soon(number: int) -> None:
    """Wait for the process to end, and then no longer."""
    time.sleep(_GRACE)
    _STATE.received = number if _STATE.received is None else _STATE.received
    _end()


def _end() -> None:
    """End the process: no finalisers, no waiting for threads, no traceback."""
    saying = _SAYING.acquire(timeout=_GRACE)  # the main thread may be about it, or stuck in it
    if saying and not _STATE.said:
        with suppress(OSError):  # nobody reads it
            os.write(
                2, f"{chr(10) * os.isatty(2)}{_STATE.line}\n".encode()
            )  # on a terminal below the progress bar
    if threading.current_thread() is threading.main_thread():  # others would wait for what it holds
        for stream in (sys.stdout, sys.stderr):
            with suppress(OSError, ValueError):
                stream.flush()
    os._exit(exit_status())
