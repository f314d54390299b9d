"""What monitoring costs, and when the next record may be made."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import torch

__all__ = ["Cadence", "Cost"]

_SPACING = 1000
"""Records are at least a step in so many apart, so that the log grows with the logarithm of the training's length."""


class Cost:
    """Time in training and in the monitor.

    On a CPU it is the processor's, of all threads together, which other processes do not change; on an accelerator, of
    which the processor's clock knows nothing, it is that on the wall, and what is queued there is waited for.

    Attributes:
        clock: ``processor`` or ``wall``.
        setup: seconds before the first step, which are no part of the others.
        spent: seconds in the monitor since the first step.
    """

    def __init__(self, device: torch.device, read: Callable[[], float] | None = None) -> None:
        """Take the clock that fits.

        Args:
            device: where the network is.
            read: another clock, in seconds.
        """
        self.clock = "processor" if device.type == "cpu" else "wall"
        self._device = device
        self._read = read or (time.process_time if device.type == "cpu" else time.perf_counter)
        self.setup = self.spent = 0.0
        self._began: float | None = None

    def now(self) -> float:
        """Seconds, from an arbitrary start."""
        return self._read()

    def begin(self) -> None:
        """The training's clock starts at the first call."""
        if self._began is None:
            self._began = self._read()

    @property
    def training(self) -> float:
        """Seconds of training since the first step, without the monitor's."""
        return 0.0 if self._began is None else max(self._read() - self._began - self.spent, 0.0)

    @property
    def share(self) -> float | None:
        """The monitor's time over the training's own; None before there was any."""
        training = self.training
        return self.spent / training if training > 0 else None

    @contextmanager
    def counted(self, cadence: Cadence | None = None) -> Iterator[None]:
        """Count what is done inside, for a cadence's next decision too."""
        self._wait()
        start = self._read()
        try:
            yield
        finally:
            self._wait()
            seconds = self._read() - start
            if self._began is None:
                self.setup += seconds
            else:
                self.spent += seconds
            if cadence is not None:
                cadence.pay(seconds)

    def _wait(self) -> None:
        if self._device.type != "cpu":
            getattr(torch, self._device.type).synchronize()


class Cadence:
    """When a kind of record is made: every so many steps, or as often as its share of the training's time allows.

    Attributes:
        ended: whether there are no more.
        count: of the records made.
        expected: how long the next one takes, in seconds.
    """

    def __init__(self, every: int | None, share: float, *, kind: str) -> None:
        """Nothing is paid yet.

        Args:
            every: steps; None: as the share allows.
            share: of the training's time.
            kind: what is recorded, in words.
        """
        self.every, self.allowed, self.kind = every, share, kind
        self.ended = False
        self.count = 0
        self.spent = self.expected = 0.0
        self._record = 0.0
        self._next = 0

    def due(self, step: int, cost: Cost) -> bool:
        """Whether a record of a step is made."""
        if self.ended:
            return False
        if self.every is not None:
            return step % self.every == 0
        return step >= self._next and self.spent + self.expected <= self.allowed * cost.training

    def pay(self, seconds: float) -> None:
        """Time went into the record that is being made."""
        self.spent += seconds
        self._record += seconds

    def made(self, step: int) -> None:
        """The record of a step is made; the next is expected to take as long."""
        self.count += 1
        self.expected, self._record = self._record, 0.0
        self._next = step + max(1, step // _SPACING)
