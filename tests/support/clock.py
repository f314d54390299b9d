"""A clock for budgets in seconds, so that what is searched in one is the same on every machine."""

from __future__ import annotations

import importlib

import pytest

__all__ = ["Clock", "tick"]


class Clock:
    """Time that passes when it is asked for, which the search does after every evaluation."""

    def __init__(self, step: float) -> None:
        self.step, self.now = step, 0.0

    def monotonic(self) -> float:
        """Seconds since the beginning."""
        self.now += self.step
        return self.now


def tick(monkeypatch: pytest.MonkeyPatch, step: float) -> Clock:
    """Put a clock into the search, with so many seconds between two looks at it."""
    clock = Clock(step)
    monkeypatch.setattr(importlib.import_module("analysis.falsifier.falsify"), "time", clock)
    return clock
