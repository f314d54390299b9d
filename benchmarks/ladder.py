"""What the ladder and the spectra cost beside the slice."""

from __future__ import annotations

from typing import Any

from benchmarks.cases import Case, images, perceptron
from benchmarks.machine import target
from benchmarks.timing import Pair, measured
from probes.slices.slice import measure_slice

__all__ = ["compare", "ladder"]

_BARE, _WHOLE = "slice", "slice, spectra and ladder"


def ladder(repeats: int) -> list[dict[str, Any]]:
    """The slice of a 16-layer network with everything that the ladder needs, against the slice without."""
    return [compare(perceptron(16, *images()), repeats)]


def compare(case: Case, repeats: int) -> dict[str, Any]:
    """Run each once, and time them in turn."""
    settings = {_BARE: case.core(), _WHOLE: case.core(spectra="weights", ladder=True)}
    alternatives = {
        name: lambda own=own: measure_slice(case.network, case.x, case.y, settings=own)  # type: ignore[misc]
        for name, own in settings.items()
    }
    for alternative in alternatives.values():
        alternative()
    pairs = [Pair(_WHOLE, _BARE, target(intel=1.4, amd=1.8))]
    return case.facts() | measured(alternatives, pairs, repeats=repeats)
