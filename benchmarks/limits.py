"""The measured step limit to 1 %, against a golden-section search on the same line."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
from scipy.optimize import minimize_scalar

from benchmarks.cases import Case, char_transformer, conv_net, images, perceptron
from benchmarks.sameness import same
from benchmarks.timing import Pair, measured
from probes.evaluation.frozen_state import probing
from probes.measures.loss_search import LossSearch
from probes.measures.measure import Found, Frozen
from probes.measures.predicted_limit import PredictedLimit
from probes.measures.step_limit import MeasuredStepLimit
from probes.slices.freezing import freeze
from probes.slices.slice import settled_route
from trust import measurements as variables
from trust.measurements import SMALL_ETA

__all__ = ["compare", "limits"]

_OURS, _BOTH, _GOLDEN = "probes", "probes, the prediction with it", "golden-section search"
_WITHIN = 0.01
_TARGET = 0.5


def limits(repeats: int) -> list[dict[str, Any]]:
    """The measured step limit to 1 %, against scipy's golden-section search on the same line, from the same bracket."""
    x, y = images()
    cases = [perceptron(2, x, y), perceptron(16, x, y), conv_net(x, y), char_transformer(100)]
    return [compare(case, repeats) for case in cases]


def compare(case: Case, repeats: int) -> dict[str, Any]:
    """Check that all find the same limit, count what they evaluate, and time them in turn.

    All know what ``probe limit`` knows when it begins to search: loss and slope at 0, at its one small η, and what
    the prediction saw. One alternative takes the prediction, with its two gradients, as part of the search.

    Raises:
        DifferentNumbersError: two limits differ by more than 1 % of each.
    """
    evaluator = case.batch()
    settings = case.core(etas=np.array([0.0, SMALL_ETA]), samples=1)
    route = settled_route(settings, case.network, evaluator.data, case.chunk)
    found: dict[str, float] = {}
    counts: dict[str, dict[str, int]] = {}
    with probing(case.network, matmul=route):
        frozen, _, _ = freeze(evaluator, settings, {name: name for name in evaluator.frozen})
        look = PredictedLimit(frozen).look(SMALL_ETA)
        known = {
            variables.LOSS: np.array([frozen.base.loss, look.loss]),
            variables.SLOPE: np.array([frozen.slope, look.slope]),
        }
        PredictedLimit(frozen).found({})

        def run(
            name: str, search: Callable[[Frozen], tuple[float, dict[str, int]]], *, told: bool
        ) -> Callable[[], object]:
            def once() -> None:
                anew = replace(frozen)  # without what was seen
                anew.looks.extend(frozen.looks if told else [look])
                found[name], counts[name] = search(anew)

            return once

        alternatives = {
            _GOLDEN: run(_GOLDEN, _golden, told=True),
            _OURS: run(_OURS, lambda anew: _searched(anew, known), told=True),
            _BOTH: run(_BOTH, lambda anew: _predicted_and_searched(anew, known), told=False),
        }
        for alternative in alternatives.values():
            alternative()
        agreed = [same(name, found[name], found[_GOLDEN], tolerance=2 * _WITHIN) for name in (_OURS, _BOTH)]
        pairs = [Pair(_OURS, _GOLDEN, _TARGET), Pair(_BOTH, _GOLDEN)]
        timed = measured(alternatives, pairs, repeats=repeats)
    return (
        case.facts() | {"etas": 1, "matmul": route, "limits": found, "counts": counts, "same": agreed} | timed
    )


def _searched(frozen: Frozen, known: Found) -> tuple[float, dict[str, int]]:
    found = MeasuredStepLimit(frozen).found(known)
    return _number(found, variables.STEP_LIMIT), {
        "losses": round(_number(found, variables.STEP_LIMIT_EVALUATIONS))
    }


def _predicted_and_searched(frozen: Frozen, known: Found) -> tuple[float, dict[str, int]]:
    before = PredictedLimit(frozen).found({})
    limit, counts = _searched(frozen, known)
    counts["losses"] += round(_number(before, variables.PREDICTED_LIMIT_LOSSES))
    return limit, counts | {"gradients": round(_number(before, variables.PREDICTED_LIMIT_GRADIENTS))}


def _golden(frozen: Frozen) -> tuple[float, dict[str, int]]:
    """Where |log q| is least, of the quotient q that is 1 at the limit; no η is evaluated twice."""
    start = frozen.base.loss
    known = {look.eta: look.loss - start for look in frozen.looks}
    search = LossSearch(frozen.path.loss, start, frozen.slope, known)
    low, high = search.fallen(), search.risen()
    assert low is not None, "a loss that never fell has no limit"
    bracket = (low, 2 * low if high is None else high)
    found = minimize_scalar(
        lambda eta: abs(search.height(eta)), bracket=bracket, method="golden", tol=_WITHIN
    )
    return float(found.x), {"losses": search.evaluations}


def _number(found: Found, name: variables.Variable) -> float:
    return float(np.asarray(found[name]))
