"""Signals reach another thread whatever the main thread is in, and a forked child keeps its own to itself."""

from __future__ import annotations

import os
import queue
import signal
from pathlib import Path

from probes.system.signals import watched
from tests.support import processes


def ignore(*_: object) -> None:
    """Handle a signal by doing nothing."""


def fork_under_watch(found: Path) -> None:
    """Fork a child that ends itself by SIGTERM, then signal to oneself."""
    heard: queue.Queue[int] = queue.Queue()
    with watched({signal.SIGTERM: ignore, signal.SIGUSR1: ignore}, heard.put):
        child = os.fork()
        if not child:
            signal.raise_signal(signal.SIGTERM)
            os._exit(0)
        status = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
        signal.raise_signal(signal.SIGUSR1)
        first = heard.get(timeout=processes.LONG)
    found.write_text(f"{status} {first}")


def test_a_forked_child_dies_by_its_signal_and_the_parent_does_not_hear_it(tmp_path: Path) -> None:
    assert processes.ended(processes.start(fork_under_watch, tmp_path / "found")) == 0
    assert (tmp_path / "found").read_text() == f"{-signal.SIGTERM} {int(signal.SIGUSR1)}"


def test_handlers_are_put_back_and_others_are_left_alone() -> None:
    heard: queue.Queue[int] = queue.Queue()
    before = [signal.getsignal(number) for number in (signal.SIGUSR1, signal.SIGUSR2)]
    wakeup = signal.set_wakeup_fd(-1)
    signal.set_wakeup_fd(wakeup)
    with watched({signal.SIGUSR1: ignore, signal.SIGUSR2: ignore}, heard.put):
        signal.signal(signal.SIGUSR1, lambda *_: None)  # as a user's network may do
        signal.raise_signal(signal.SIGUSR1)
        signal.raise_signal(signal.SIGUSR2)
        assert heard.get(timeout=processes.LONG) == signal.SIGUSR2
    assert heard.empty()
    assert [signal.getsignal(number) for number in (signal.SIGUSR1, signal.SIGUSR2)] == before
    assert signal.set_wakeup_fd(wakeup) == wakeup
