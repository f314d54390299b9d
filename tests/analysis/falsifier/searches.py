"""Which claims the search breaks, and at which widths: what lacks a premise, models, estimates and rules."""

from __future__ import annotations

from typing import Any

from analysis.falsifier import Outcome, falsify
from trust.claims import (
    Claim,
)

THEOREMS: dict[str, tuple[tuple[int, ...], ...]] = {
    "theorem1-function-injective": ((1, 1), (2, 2), (1, 2, 2)),
    "theorem1-function-layerwise": ((1, 1), (1, 2), (1, 2, 2)),
    "theorem1-jacobian-gated": ((2, 1), (2, 2), (2, 1, 2)),
    "lemma1": ((1, 1),),
    "lemma2": ((1, 1),),
    "input-sensitivity": ((1, 1), (2, 2), (2, 2, 2)),
    "spectral-product": ((1, 1), (2, 2), (2, 2, 2)),
    "neyshabur": ((1, 1, 1), (2, 2, 2)),
    "telescoped": ((1, 1), (2, 2, 2)),
    "pattern-telescoped": ((1, 1), (2, 2, 2)),
    "pattern-response": ((1, 1), (2, 2, 2)),
    "path-metric": ((1, 1), (1, 2, 1)),
    "path-metric-midpoint": ((1, 1), (1, 2, 1)),
    "linearisation-remainder": ((1, 1, 1), (2, 2, 2)),
    "agd-majorisation": ((1, 1), (1, 1, 1)),
    "residual-telescoped": ((1, 1, 1), (2, 2, 2)),
    "residual-spectral": ((1, 1, 1), (2, 2, 2)),
}
BROKEN: dict[str, tuple[tuple[int, ...], ...]] = {
    "theorem1-function": ((2, 1),),
    "theorem1-jacobian": ((2, 1),),
    "deep-relative-trust": ((1, 1),),
    "lemma2-limit": ((1, 1),),
    "lemma2-with-constant": ((1, 1),),
    "path-metric-direct": ((1, 2, 1),),
    "deep-relative-trust-fitted": ((1, 1),),
    "euclidean-trust": ((1, 1),),
    "slice-curvature": ((1, 1),),
}


def search(claim: Claim, widths: tuple[tuple[int, ...], ...], *, most_rounds: int, **more: Any) -> Outcome:
    return falsify(claim, widths=widths, most_rounds=most_rounds, **more)
