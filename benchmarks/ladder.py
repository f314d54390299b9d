"""What the ladder costs beside the slice."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np

from benchmarks.cases import Case, images, perceptron
from benchmarks.timing import Pair, measured
from probes.measures.settings import SliceSettings
from probes.slices.slice import measure_slice

__all__ = ["compare", "ladder"]


def ladder(repeats: int) -> list[dict[str, Any]]:
    """The slice of the quick 16-layer network with everything that the ladder needs, against the slice without."""
    x, y = images()
    case = replace(
        perceptron(16, x, y, width=256), etas=np.concatenate([[0.0], np.geomspace(1e-4, 0.5, 16)]), chunk=5000
    )
    return [compare(case, repeats)]


def compare(case: Case, repeats: int) -> dict[str, Any]:
    """Run each once, and time them in turn."""
    without = SliceSettings(
        etas=case.etas,
        jacobian=8,
        curvature=False,
        chunk=case.chunk,
        ladder=False,
        spot_check=False,
        split="none",
    )

    def run(settings: SliceSettings) -> Callable[[], object]:
        return lambda: measure_slice(case.network, case.x, case.y, settings=settings)

    alternatives = {"slice": run(without), "slice and ladder": run(replace(without, ladder=True))}
    for alternative in alternatives.values():
        alternative()
    return case.facts() | measured(alternatives, [Pair("slice and ladder", "slice")], repeats=repeats)
