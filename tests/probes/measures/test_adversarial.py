"""The search for the worst perturbation: its constraint, starts, restarts, and what it refuses."""

from __future__ import annotations

import math
from functools import partial
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

from probes import InputError
from probes.evaluation.directions import gradient_direction, noise_direction
from probes.evaluation.evaluator import Evaluator
from probes.measures.adversarial import Ascent, Worst, find_worst
from tests.probes.measures.problems import (
    EXACT,
    OBJECTIVES,
    Scalar,
    batch_of,
    independent,
    linear,
    norm,
    relative,
)
from tests.support.reference import make, make_data
from tests.support.traces import picture, subject


@pytest.mark.parametrize("objective", OBJECTIVES)
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_value_and_constraint(objective: str, dtype: torch.dtype) -> None:
    network, (x, y) = make(), make_data()
    evaluator = batch_of(network, x, y, dtype=dtype)
    for eta in (1e-3, 0.03, 1.0):
        ascent = Ascent(objective, examples=25, steps=8, restarts=2)
        found = find_worst(evaluator, list(evaluator.frozen), eta, ascent=ascent)
        assert max(relative(evaluator, found.change).values()) <= eta * (1 + 1e-6)
        if objective == "output":  # a breakdown may be largest inside, next to a kink
            assert min(relative(evaluator, found.change).values()) >= eta * (1 - 1e-6)
        assert {name: tensor.shape for name, tensor in found.change.items()} == {
            name: tensor.shape for name, tensor in evaluator.frozen.items()
        }
        assert {tensor.dtype for tensor in found.change.values()} == {dtype}
        expected = independent(network, x, y, found.change, objective, 25)
        assert found.value == pytest.approx(expected, rel=1e-9 if dtype == EXACT else 1e-6 + 3e-6 / eta)


@pytest.mark.parametrize("objective", OBJECTIVES)
def test_below_no_candidate(objective: str) -> None:
    network, (x, y) = make(seed=2), make_data()
    evaluator = batch_of(network, x, y)
    names = list(evaluator.frozen)
    gradient = gradient_direction(
        evaluator.frozen, evaluator.evaluate(evaluator.frozen, wanted=names).gradients
    )
    candidates = [gradient, {name: -step for name, step in gradient.items()}]
    candidates += [noise_direction(evaluator.frozen, names, seed=seed) for seed in range(3)]
    for eta in (1e-3, 0.1, 2.0):
        values = [
            independent(network, x, y, {name: eta * step for name, step in direction.items()}, objective, 37)
            for direction in candidates
        ]
        ascent = Ascent(objective, steps=1, restarts=0)
        found = find_worst(evaluator, names, eta, ascent=ascent, candidates=candidates)
        assert found.value >= max(values) * (1 - 1e-10)
        # each is a starting point in its own right: alone, it is not undercut, and it is improved on
        alone = [
            find_worst(evaluator, names, eta, ascent=ascent, candidates=[direction]).value
            for direction in candidates
        ]
        assert all(a >= b * (1 - 1e-10) for a, b in zip(alone, values, strict=True))
        assert found.value == max(alone)
        assert found.value > max(values)


def test_a_candidate_that_is_the_maximiser_is_returned() -> None:
    evaluator = batch_of(Scalar(1.0, torch.sin), torch.ones(2, 1), torch.zeros(2, 1), "mse")
    top = {"w": torch.tensor([[math.pi / 2 - 1]], dtype=EXACT) / 0.7}
    found = find_worst(
        evaluator, ["w"], 0.7, ascent=Ascent(steps=1, restarts=0), candidates=[top, {"w": -top["w"]}]
    )
    assert found.value == pytest.approx(1 - math.sin(0.3) / math.sin(1), rel=1e-12)  # the ball's lower end
    halved = find_worst(
        evaluator, ["w"], 0.4, ascent=Ascent(steps=1, restarts=0), candidates=[{"w": 5 * top["w"]}]
    )
    assert max(relative(evaluator, halved.change).values()) <= 0.4 * (1 + 1e-6)  # too long: projected


def test_a_maximum_inside_the_ball_is_reached_by_halving() -> None:
    evaluator = batch_of(Scalar(1.0, torch.sin), torch.ones(2, 1), torch.zeros(2, 1), "mse")
    up = {"w": torch.ones(1, 1, dtype=EXACT)}
    best = 1 + 1 / math.sin(1)  # where sin(w + Δ) = −1, at Δ = 3π/2 − 1 < 4
    found = find_worst(evaluator, ["w"], 4.0, ascent=Ascent(restarts=0), candidates=[up])
    assert best * (1 - 1e-4) <= found.value <= best
    assert 3.6 < float(found.change["w"]) < 3.8


@pytest.mark.parametrize("objective", OBJECTIVES)
def test_grows_with_eta_from_a_start(objective: str) -> None:
    network, (x, y) = make(seed=1), make_data()
    evaluator = batch_of(network, x, y)
    found: Worst | None = None
    for eta in (1e-3, 2e-3, 0.01, 0.011, 0.1, 0.5, 0.5, 4.0):
        start = None if found is None else partial(dict, found.change)
        new = find_worst(
            evaluator, list(evaluator.frozen), eta, ascent=Ascent(objective, steps=2, restarts=1), start=start
        )
        if found is not None:
            assert new.value >= found.value
            # not even with nothing but the start, and a step that may well fail
            alone = find_worst(
                evaluator,
                list(evaluator.frozen),
                eta,
                ascent=Ascent(objective, steps=1, restarts=0),
                start=start,
            )
            assert alone.value >= found.value
        found = new


def test_a_start_is_tried_both_as_it_is_and_scaled() -> None:
    x, y = torch.ones(2, 1), torch.zeros(2, 1)
    once = Ascent(steps=1, restarts=0)
    bent = batch_of(Scalar(1.0, torch.sin), x, y, "mse")
    peak = {"w": torch.tensor([[1.5 * math.pi - 1]], dtype=EXACT)}
    found = find_worst(bent, ["w"], 5.0, ascent=once, start=lambda: peak)
    assert found.value == pytest.approx(1 + 1 / math.sin(1), rel=1e-12)  # scaled to 5 it would be 1.33
    # f = w|w| x with its gradient hidden, so that nothing but the start's own multiples can be found
    steep = batch_of(Scalar(1.0, lambda w: w.detach() * w.abs().detach()), x, y, "mse")
    found = find_worst(
        steep, ["w"], 0.5, ascent=once, start=lambda: {"w": torch.full((1, 1), 0.1, dtype=EXACT)}
    )
    assert found.value == pytest.approx(1.5**2 - 1, rel=1e-12)
    # and one from a larger η is projected
    found = find_worst(
        steep, ["w"], 0.5, ascent=once, start=lambda: {"w": torch.full((1, 1), 3.0, dtype=EXACT)}
    )
    assert found.value == pytest.approx(1.5**2 - 1, rel=1e-12)


def test_zero_tensors_and_strangers_stay_put() -> None:
    network, (x, y) = make(), make_data()
    with torch.no_grad():
        for name in ("layers.0.bias", "layers.1.weight"):
            network.get_parameter(name).zero_()
    evaluator = batch_of(network, x, y)
    moving = ["layers.0.bias", "layers.1.weight", "layers.1.bias", "layers.2.weight"]
    everywhere = {name: torch.ones_like(tensor) for name, tensor in evaluator.frozen.items()}
    for objective in OBJECTIVES:
        if objective == "breakdown":  # behind a zero layer the first one has no gradient
            with pytest.raises(InputError, match=r"^`objective='breakdown'`: .*layers\.0\.weight is 0"):
                find_worst(evaluator, moving, 0.1, ascent=Ascent(objective))
            continue
        found = find_worst(
            evaluator,
            moving,
            0.1,
            ascent=Ascent(objective, steps=3),
            start=lambda: everywhere,
            candidates=[everywhere, {}],
        )
        assert list(found.change) == moving
        assert not found.change["layers.0.bias"].any()
        assert not found.change["layers.1.weight"].any()
        assert relative(evaluator, found.change)["layers.2.weight"] == pytest.approx(0.1, rel=1e-6)


def test_tensors_without_a_gradient_do_not_stop_the_others() -> None:
    network, (x, y) = make(), make_data()
    with torch.no_grad():
        network.get_parameter("layers.1.weight").zero_()
    evaluator = batch_of(network, x, y)
    moving = ["layers.0.weight", "layers.2.weight", "layers.2.bias"]  # the first one has no effect
    found = find_worst(evaluator, moving, 0.1, ascent=Ascent(steps=2, restarts=1))
    W, b, hidden = (evaluator.frozen[name] for name in ("layers.2.weight", "layers.2.bias", "layers.1.bias"))
    h = hidden.relu()  # f(x) = Wh + b for every x
    expected = 0.1 * (norm(W) * norm(h) + norm(b)) / norm(W @ h + b)
    assert found.value == pytest.approx(expected, rel=1e-12)


@pytest.mark.parametrize("objective", OBJECTIVES)
def test_deterministic(objective: str) -> None:
    network, (x, y) = make(widths=(6, 8, 8, 8, 3)), make_data()
    evaluator = batch_of(network, x, y)

    def run(seed: int, chunk: Evaluator = evaluator) -> Worst:
        ascent = Ascent(objective, steps=2, restarts=1, seed=seed)
        return find_worst(chunk, list(evaluator.frozen), 0.3, ascent=ascent)

    first = run(0)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(5)
        with torch.no_grad():
            again = run(0)
    assert again.value == first.value
    assert again.evaluations == first.evaluations
    assert all(torch.equal(again.change[name], first.change[name]) for name in first.change)
    assert run(1).value != first.value
    assert run(0, batch_of(network, x, y, chunk=1000)).value == pytest.approx(first.value, rel=1e-10)


def test_restarts_are_searches_of_their_own() -> None:
    evaluator = batch_of(make(widths=(6, 8, 8, 8, 3)), *make_data())
    values, evaluations = zip(
        *(
            (found.value, found.evaluations)
            for restarts in (1, 2, 6)
            for found in [
                find_worst(
                    evaluator,
                    list(evaluator.frozen),
                    0.3,
                    ascent=Ascent("breakdown", steps=1, restarts=restarts),
                )
            ]
        ),
        strict=True,
    )
    assert values[0] <= values[1] <= values[2]
    assert values[0] < values[2]
    assert evaluations == (1 + 3, 1 + 2 * 3, 1 + 6 * 3)  # once at W; start, gradient, step for each restart


@pytest.mark.parametrize("objective", OBJECTIVES)
def test_leaves_everything_as_found(objective: str) -> None:
    network, (x, y) = subject(), make_data()
    evaluator = batch_of(network, x, y)
    before, x0 = picture(network), x.clone()
    held = {name: tensor.clone() for name, tensor in [*evaluator.frozen.items(), *evaluator.buffers.items()]}
    candidate = noise_direction(evaluator.frozen, list(evaluator.frozen), seed=0)
    given = {name: tensor.clone() for name, tensor in candidate.items()}
    names = list(evaluator.frozen)
    ascent = Ascent(objective, steps=3, restarts=1)
    found = find_worst(
        evaluator, names[2:], 0.1, ascent=ascent, start=lambda: candidate, candidates=[candidate]
    )
    assert list(found.change) == names[2:]
    found = find_worst(evaluator, names, 0.1, ascent=ascent, start=lambda: candidate, candidates=[candidate])
    assert picture(network) == before
    assert torch.equal(x, x0)
    now = {**evaluator.frozen, **evaluator.buffers}
    assert all(torch.equal(now[name], tensor) for name, tensor in held.items())
    assert all(torch.equal(candidate[name], tensor) for name, tensor in given.items())
    assert not any(tensor.requires_grad for tensor in [*now.values(), *candidate.values()])
    assert not any(tensor.requires_grad for tensor in found.change.values())


def test_what_is_not_finite_is_rejected() -> None:
    # exp(80) is finite in float32 and exp(96) is not
    evaluator = batch_of(
        Scalar(80.0, torch.exp), torch.ones(2, 1), torch.zeros(2, 1), "mse", dtype=torch.float32
    )
    up = {"w": torch.full((1, 1), 80.0)}
    down = {"w": -up["w"]}
    ascent = Ascent(restarts=0)
    found = find_worst(evaluator, ["w"], 0.2, ascent=ascent, candidates=[up, down])
    assert found.value == pytest.approx(1 - math.exp(-16), rel=1e-5)
    assert float(found.change["w"]) == pytest.approx(-16)
    nowhere = find_worst(evaluator, ["w"], 0.2, ascent=ascent, candidates=[up])
    assert math.isnan(nowhere.value)
    assert not nowhere.change["w"].any()
    assert nowhere.evaluations == 2  # at W and at the candidate
    broken = {"w": torch.full((1, 1), math.nan)}
    again = find_worst(evaluator, ["w"], 0.2, ascent=ascent, start=lambda: broken, candidates=[broken, down])
    assert again.value == found.value


def test_a_gradient_that_is_not_finite_ends_the_ascent() -> None:
    cusp = Scalar(1.0, lambda w: (1.5 - w).sqrt())
    evaluator = batch_of(cusp, torch.ones(2, 1), torch.zeros(2, 1), "mse")
    at = {"w": torch.ones(1, 1, dtype=EXACT)}
    found = find_worst(evaluator, ["w"], 0.5, ascent=Ascent(restarts=0), candidates=[at])
    assert found.value == pytest.approx(1.0)
    assert found.evaluations == 3  # at W, at the candidate, and the gradient there


@pytest.mark.parametrize(
    ("settings", "option"),
    [
        ({"objective": "loss"}, "`objective='loss'`"),
        ({"steps": 0}, "`ascent_steps=0`"),
        ({"restarts": -1}, "`restarts=-1`"),
        ({"examples": 0}, "examples 0"),
    ],
)
def test_bad_settings(settings: dict[str, Any], option: str) -> None:
    with pytest.raises(InputError) as caught:
        Ascent(**settings)
    assert str(caught.value).startswith(f"{option}: ")
    assert "\n" not in str(caught.value)


def test_bad_arguments() -> None:
    evaluator = batch_of(make(), *make_data())
    names = list(evaluator.frozen)
    for eta in (0.0, -0.1, math.nan, math.inf):
        with pytest.raises(InputError, match=f"^`etas={eta}`: "):
            find_worst(evaluator, names, eta, ascent=Ascent())
    with pytest.raises(InputError, match=r"^`restarts=0`: "):
        find_worst(evaluator, names, 0.1, ascent=Ascent(restarts=0))
    with pytest.raises(InputError, match="no parameter nonsense"):
        find_worst(evaluator, [*names, "nonsense"], 0.1, ascent=Ascent())
    with pytest.raises(InputError, match="no parameter that may move"):
        find_worst(evaluator, [], 0.1, ascent=Ascent())
    dead = batch_of(linear(np.zeros((3, 6))), *make_data())
    with pytest.raises(InputError, match=r"^`objective='output'`: the output is 0 for all of the first 37 "):
        find_worst(dead, ["weight"], 0.1, ascent=Ascent())
    vector = batch_of(nn.LayerNorm(6), *make_data())
    with pytest.raises(InputError, match=r"^`objective='breakdown'`: the network has no weight matrix"):
        find_worst(vector, ["weight"], 0.1, ascent=Ascent("breakdown"))
