"""The search that the step limits' benchmark compares with, and its summary, on numbers known beforehand."""

from __future__ import annotations

import math

import pytest

from benchmarks.step_limits import bisected, cases, summary


@pytest.mark.parametrize("limit", [1e-5, 0.0009, 0.004, 3.0])
def test_bisection_brackets_the_limit_and_counts(limit: float) -> None:
    asked: list[float] = []

    def loss(eta: float) -> float:
        asked.append(eta)
        return 1 - eta + eta**2 / limit

    found, count = bisected(loss, 1.0, 1e-3)
    assert limit / 1.1 <= found < limit
    assert count == len(asked)
    # to a factor of two away, and halvings of it in the logarithm: 2, 1.41, 1.19, 1.09
    assert count <= abs(math.log2(limit / 1e-3)) + 2 + 3


def test_bisection_of_what_never_returns_gives_up() -> None:
    assert math.isnan(bisected(lambda eta: -eta, 0.0, 1e-3)[0])
    assert math.isnan(bisected(lambda eta: eta, 0.0, 1e-3)[0])


def test_summary() -> None:
    common = {"predicted_limit_losses": 1.0, "critical_losses": 7.0}
    rows = [
        {"step_limit": 1.0, "predicted_limit": 0.9, "critical_limit": 1.02, **common},
        {"step_limit": 2.0, "predicted_limit": 1.5, "critical_limit": 1.9, **common},
        {"step_limit": math.nan, "predicted_limit": 1.5, "critical_limit": 1.9, **common},
    ]
    found = summary(rows)
    assert (found["checkpoints"], found["with a limit"]) == (3, 2)
    predicted, critical = found["predicted"], found["critical sharpness"]
    assert (predicted["within 1.25"], predicted["above by over 1 %"]) == (0.5, 0.0)
    assert (critical["within 1.25"], critical["above by over 1 %"]) == (1.0, 0.5)
    assert (predicted["smallest ratio"], predicted["largest ratio"]) == (0.75, 0.9)
    assert (predicted["mean cost in losses"], critical["mean cost in losses"]) == (7.0, 7.0)


def test_every_network_comes_with_every_seed() -> None:
    made = list(cases(2))
    assert len({(case.kind, case.seed) for case in made}) == len(made) == 44
