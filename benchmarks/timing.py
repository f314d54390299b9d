"""Alternating timings of alternatives, and the ratios of their times."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable, Mapping
from typing import Any

__all__ = ["alternate"]


def alternate(
    alternatives: Mapping[str, Callable[[], object]], *, baseline: str, repeats: int
) -> dict[str, Any]:
    """Run every alternative once to warm up, and then ``repeats`` times in turn.

    Returns:
        ``seconds``: all times of each alternative; ``ratio``: for each but the baseline the median of its time over
        the baseline's in the same turn, and the smallest and largest.
    """
    for run in alternatives.values():
        run()
    seconds: dict[str, list[float]] = {name: [] for name in alternatives}
    for _ in range(repeats):
        for name, run in alternatives.items():
            begin = time.perf_counter()
            run()
            seconds[name].append(time.perf_counter() - begin)
    ratios = {}
    for name, times in seconds.items():
        if name != baseline:
            each = [mine / base for mine, base in zip(times, seconds[baseline], strict=True)]
            ratios[name] = {"median": statistics.median(each), "smallest": min(each), "largest": max(each)}
    return {"seconds": seconds, "baseline": baseline, "ratio": ratios}
