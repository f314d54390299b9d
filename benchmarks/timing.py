"""Alternating timings of alternatives, and the ratios of their times."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

__all__ = ["Pair", "alternate", "measured", "ratios", "spread"]


@dataclass(frozen=True)
class Pair:
    """Two alternatives that do the same.

    Attributes:
        of: ours.
        to: the peer.
        target: what the median of the ratio should not exceed; None: there is no target.
    """

    of: str
    to: str
    target: float | None = None

    def compared(self, seconds: Mapping[str, Sequence[float]]) -> dict[str, Any]:
        """The ratio of their times, as the JSON has it."""
        own = {"of": self.of, "to": self.to, **spread(ratios(seconds[self.of], seconds[self.to]))}
        return own if self.target is None else {**own, "target": self.target}


def alternate(
    alternatives: Mapping[str, Callable[[], object]], *, baseline: str, repeats: int, warm_up: bool = True
) -> dict[str, Any]:
    """Run every alternative once to warm up, and then ``repeats`` times in turn.

    Args:
        alternatives: names to what is timed.
        baseline: the name of the one that the others are compared with.
        repeats: turns.
        warm_up: False where every alternative has run before.

    Returns:
        ``seconds``: all times of each alternative; ``baseline``: its name; ``ratio``: for each but the baseline
        the median of its time over the baseline's in the same turn, and the smallest and largest.
    """
    if warm_up:
        for run in alternatives.values():
            run()
    seconds: dict[str, list[float]] = {name: [] for name in alternatives}
    for _ in range(repeats):
        for name, run in alternatives.items():
            begin = time.perf_counter()
            run()
            seconds[name].append(time.perf_counter() - begin)
    ratio = {
        name: spread(ratios(times, seconds[baseline])) for name, times in seconds.items() if name != baseline
    }
    return {"seconds": seconds, "baseline": baseline, "ratio": ratio}


def ratios(mine: Sequence[float], base: Sequence[float]) -> list[float]:
    """Turn by turn."""
    return [own / other for own, other in zip(mine, base, strict=True)]


def spread(values: Sequence[float]) -> dict[str, float]:
    """The median, and the ``smallest`` and ``largest``."""
    return {"median": statistics.median(values), "smallest": min(values), "largest": max(values)}


def measured(
    alternatives: Mapping[str, Callable[[], object]], pairs: Sequence[Pair], *, repeats: int
) -> dict[str, Any]:
    """Time alternatives that have run once before, in turn, and compare pairs of them.

    Args:
        alternatives: names to what is timed.
        pairs: which of them are compared with which; pairs of others are left out.
        repeats: turns.

    Returns:
        ``seconds``: all times; ``compared``: for each pair the ratio's spread, and the target.
    """
    seconds = alternate(alternatives, baseline=next(iter(alternatives)), repeats=repeats, warm_up=False)[
        "seconds"
    ]
    known = [pair for pair in pairs if pair.of in seconds and pair.to in seconds]
    return {"seconds": seconds, "compared": [pair.compared(seconds) for pair in known]}
