"""Derivatives of the objectives against finite differences."""

from __future__ import annotations

from typing import Any

import pytest

from probes.evaluation.directions import noise_direction
from probes.measures.adversarial_objectives import GradientBreakdown, OutputChange
from tests.probes.measures.problems import EXACT, OBJECTIVES, batch_of
from tests.support.reference import make, make_data, moved_along


@pytest.mark.parametrize("objective", OBJECTIVES)
@pytest.mark.parametrize("case", [{"activation": "tanh"}, {"norm": "batch"}, {"activation": "identity"}])
def test_gradients_against_finite_differences(objective: str, case: dict[str, Any]) -> None:
    network, (x, y) = make(**case), make_data()
    for moving in (
        [name for name, _ in network.named_parameters()],
        ["layers.1.weight", "layers.2.bias"],  # the first layer, which breaks down, stays put
    ):
        evaluator = batch_of(network.eval(), x, y)
        measured = (
            OutputChange(evaluator, moving, 25)
            if objective == "output"
            else GradientBreakdown(evaluator, moving)
        )
        at = moved_along(evaluator.frozen, noise_direction(evaluator.frozen, moving, seed=1), 0.2)
        slopes = measured.gradient(at, measured.value(at)[1])
        assert list(slopes) == moving
        directions = noise_direction(evaluator.frozen, moving, seed=2)
        h = 1e-5
        for name in moving:
            ends = [
                measured.value(moved_along(at, {name: directions[name]}, sign * h))[0] for sign in (1, -1)
            ]
            expected = (ends[0] - ends[1]) / (2 * h)
            assert slopes[name].dtype == EXACT
            slope = float((slopes[name] * directions[name]).sum())
            # the error is h² times a third derivative, and 1e-16/h of rounding
            assert slope == pytest.approx(expected, rel=1e-6, abs=1e-8), name


@pytest.mark.parametrize("objective", OBJECTIVES)
def test_unmoved_it_has_no_gradient_and_no_nan(objective: str) -> None:
    evaluator = batch_of(make(), *make_data())
    moving = list(evaluator.frozen)
    measured = (
        OutputChange(evaluator, moving, 25) if objective == "output" else GradientBreakdown(evaluator, moving)
    )
    value, known = measured.value(evaluator.frozen)
    assert value == 0
    assert all(bool((slope == 0).all()) for slope in measured.gradient(evaluator.frozen, known).values())


def test_the_order_of_the_moving_weights_says_which_is_first() -> None:
    evaluator = batch_of(make(), *make_data())
    weights = [name for name in evaluator.frozen if name.endswith("weight")]
    assert GradientBreakdown(evaluator, weights).first == "layers.0.weight"
    assert (
        GradientBreakdown(evaluator, weights[::-1]).first == "layers.2.weight"
    )  # registered in another order
    assert GradientBreakdown(evaluator, weights[1:]).first == "layers.0.weight"
    assert GradientBreakdown(evaluator, ["layers.1.bias"]).first == "layers.0.weight"
