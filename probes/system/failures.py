"""How the processes of one run end together: one of them says why, and none is left waiting."""

from __future__ import annotations

import json
import os
import signal
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from datetime import timedelta
from typing import Any, NoReturn

from torch.distributed.distributed_c10d import Store
from torch.distributed.elastic.multiprocessing.errors import get_error_handler

from probes.errors import InputError, PeerLostError
from probes.system.signals import watched

__all__ = ["FailureHandler", "StoppedError"]

_CONTINUES = "what was measured is kept, the same command continues"
_ROLL_CALL = 2.0  # seconds within which every process that lives has answered: torchrun stops them at once
_HEARD = timedelta(seconds=10)  # how long to wait for the line of another, before leaving silently
_STUCK = 5.0  # seconds in which the main thread should have noticed that it was stopped


class StoppedError(BaseException):
    """This process was told to end (SIGTERM), by the user or because another died."""


class FailureHandler:
    """What a process does when it, or another, cannot go on."""

    def __init__(self, store: Store, rank: int, size: int, say: Callable[[str], object]) -> None:
        """Nothing happens yet.

        Args:
            store: what all processes can write to; ``torchrun`` keeps it, so it outlives each of them. Nothing was
                written to it before.
            rank: this process.
            size: how many there are.
            say: shows a line.
        """
        self.store = store
        self.rank, self.size, self.say = rank, size, say
        self._leaving = threading.Event()

    @contextmanager
    def installed(self) -> Iterator[FailureHandler]:
        """Inside, SIGTERM raises :class:`StoppedError`.

        A main thread that waits for a message notices no signal, so another thread ends the process if it has to.
        """
        with watched({signal.SIGTERM: _stop}, self._stopped):
            try:
                yield self
            finally:
                self._leaving.set()

    def _stopped(self, number: int) -> None:
        self._answer()
        if not self._leaving.wait(_STUCK):
            os._exit(self._end(None, StoppedError()))

    def handle(self, error: BaseException) -> int | None:
        """See that one process has said why the run ends.

        Args:
            error: what ended it here.

        Returns:
            The status to exit with; None where the error's traceback should show.
        """
        self._leaving.set()
        signal.signal(signal.SIGTERM, signal.SIG_IGN)  # the end has begun
        fault = self._fault(error)
        status = self._end(fault, error)
        return None if fault is not None and fault[1] == 1 else status

    def _fault(self, error: BaseException) -> tuple[str, int] | None:
        """The line and the status of an error of this process's own."""
        match error:
            case PeerLostError() | StoppedError():
                return None
            case InputError():
                return str(error), 2
            case KeyboardInterrupt():
                return "interrupted; the same command continues where it was", 130
        text = " ".join(f"process {self.rank} failed ({type(error).__name__}: {error}); {_CONTINUES}".split())
        return text, 2 if isinstance(error, MemoryError | OSError) else 1

    def _end(self, fault: tuple[str, int] | None, error: BaseException) -> int:
        line, status = fault or (f"a process of this run died; {_CONTINUES}", 1)
        try:
            self._answer()
            if fault is not None:
                self.store.compare_set("fault", "", json.dumps(fault))
            if self.store.check(["fault"]):
                line, status = json.loads(self.store.get("fault"))
            else:
                line = self._roll_call(error)
            if self.store.add("speakers", 1) > 1:
                self.store.wait(["said"], _HEARD)
                return status
        except RuntimeError:
            pass  # the store is gone with the process that kept it: then everyone speaks
        self.say(line)
        _record(line)
        with suppress(RuntimeError):
            self.store.set("said", "yes")
        return status

    def _answer(self) -> None:
        self.store.set(f"here/{self.rank}", "yes")

    def _roll_call(self, error: BaseException) -> str:
        """Who does not answer."""
        silent, end = list(range(self.size)), time.monotonic() + _ROLL_CALL
        while silent and time.monotonic() < end:
            silent = [rank for rank in silent if not self.store.check([f"here/{rank}"])]
            time.sleep(0.05)
        if silent:
            several = "s" if len(silent) > 1 else ""
            ranks = ", ".join(map(str, silent))
            return f"a process of this run died (no answer from rank{several} {ranks}); {_CONTINUES}"
        if isinstance(error, PeerLostError):
            return f"the processes lost each other ({error}); {_CONTINUES}"
        return f"stopped by a signal; {_CONTINUES}"


def _record(line: str) -> None:
    """Let the report that torchrun prints at the end repeat the line."""
    try:
        raise InputError(line) from None
    except InputError as error:
        get_error_handler().record_exception(error)


def _stop(number: int, frame: Any) -> NoReturn:
    raise StoppedError
