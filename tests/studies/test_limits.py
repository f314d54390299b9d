"""The studies of step limits at toy size: limits against NumPy, and judgements of made-up runs."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import pytest
import torch
import xarray as xr
from scipy.special import logsumexp

from probes.data.dataset import load_data
from probes.errors import InputError
from probes.networks.perceptron import PerceptronSpec
from studies.frame import run_study
from studies.limit_echo import PRESETS as ECHOES
from studies.limit_echo import LimitEcho, _arrival, _drift, _Momentum, _near, _redrawing
from studies.network_specific_rate import PRESETS as RATES
from studies.network_specific_rate import NetworkSpecificRate, Task
from studies.parts.limit_cases import case_of
from studies.parts.stepped import Stepped


@pytest.mark.parametrize("relative", [True, False])
def test_the_limit_of_a_linear_classifier(relative: bool) -> None:
    """By NumPy the loss is back at its start at the limit, is below it on the way and above beyond."""
    data = load_data("mnist", examples=50)
    spec = PerceptronSpec(widths=(784, 10), activation="relu", biases=(False,))
    training = Stepped(spec, data.x, data.y, batch_size=None, seed=3)
    limit, start = training.step_limit(relative=relative, step=0.5)
    (W,) = (weight.detach().double().numpy() for weight in training.weights)
    x, y = data.x.double().numpy(), data.y.numpy()

    def loss(weights: np.ndarray) -> float:
        z = x @ weights.T
        return float(np.mean(logsumexp(z, axis=1) - z[np.arange(len(y)), y]))

    z = x @ W.T
    p = np.exp(z - logsumexp(z, axis=1, keepdims=True))
    g = (p - np.eye(10)[y]).T @ x / len(y)
    d = np.linalg.norm(W) / np.linalg.norm(g) * g if relative else g
    assert start == pytest.approx(loss(W), rel=1e-5)
    # the search ends within 0.95 % of the root
    assert loss(W - 0.98 * limit * d) < loss(W) < loss(W - 1.02 * limit * d)
    assert all(loss(W - share * limit * d) < loss(W) for share in (0.1, 0.5, 0.9))
    assert training.step_limit(relative=relative, step=limit / 200)[0] == math.inf


def test_batches_are_drawn_and_the_full_one_stays() -> None:
    data = load_data("mnist", examples=50)
    spec = PerceptronSpec(widths=(784, 10), activation="relu", biases=(True,))
    few = Stepped(spec, data.x, data.y, batch_size=5, seed=0)
    few.draw()
    rows = few.batch
    few.gradients()
    assert isinstance(rows, torch.Tensor)
    whole = Stepped(spec, data.x[rows], data.y[rows], batch_size=None, seed=0)
    whole.draw()
    loss, gradients = whole.whole()
    assert whole.gradients() == loss
    for ours, theirs, gradient in zip(few.weights, whole.weights, gradients, strict=True):
        assert ours.grad is not None
        torch.testing.assert_close(ours.grad, theirs.grad)
        torch.testing.assert_close(ours.grad, gradient)
    loss, accuracy = whole.score(data.x[rows], data.y[rows])
    assert loss == pytest.approx(whole.gradients())
    assert accuracy in {k / 5 for k in range(6)}


def looks(eta: list[float], ratio: list[float]) -> xr.Dataset:
    found = {"eta": eta, "ratio": ratio, "step": [100 + 10 * k for k in range(len(eta))]}
    return xr.Dataset({name: (("run", "look"), [values]) for name, values in found.items()})


def test_arrivals_and_drifts() -> None:
    assert _arrival(looks([1.0] * 4, [3.0, 1.3, 0.8, 2.0])).tolist() == [20]
    assert np.isnan(_arrival(looks([1.0] * 4, [math.inf, 1.3, 0.79, math.nan]))).all()
    near = _near(xr.DataArray([1.25, 0.8, 1.2501, 0.7999, math.nan, math.inf]))
    assert near.values.tolist() == [True, True, False, False, False, False]
    eta = [9.0, 9, 9, 9, 9, 4, 4, 9, 9, 9, 9, 9, 9, 9, 9, 9, 9, 9, 1, 1]
    assert _drift(looks(eta, [1.0] * 20)).tolist() == [0.25]


def test_steps_in_use_are_what_a_run_says(tmp_path: Path) -> None:
    data, size = load_data("mnist-14x14", examples=60), ECHOES["toy"]

    def run(case: dict[str, str | int | float]) -> xr.Dataset:
        return LimitEcho().measure(size, {**case, "depth": 2, "seed": 0}, tmp_path, data)

    stays, switched = run(case_of("fromage", 0.01)), run(case_of("fromage", 0.01, then=0.03))
    assert stays["eta"].values.tolist() == [0.01] * size.looks
    assert switched["eta"].values.tolist() == [0.03] * size.looks
    assert stays["step"].values[[0, -1]].tolist() == [0, size.steps - 1]
    assert switched["step"].values[[0, -1]].tolist() == [size.steps // 2, size.steps - 1]
    # until the switch the two are one training
    middle = stays["step"].values.tolist().index(switched["step"].values[0]) if size.looks % 2 else 0
    assert switched["loss"].values[0] == stays["loss"].values[middle]
    followed = run(case_of("fromage", 0.0, factor=0.5))
    assert followed["eta"].values[0] == pytest.approx(math.sqrt(2) - 1)
    assert (followed["eta"].values[1:] < followed["eta"].values[0]).all()
    batched = run(case_of("sgd", 0.1, batch=20))
    assert batched["loss"].values[0] == stays["loss"].values[0]


def test_what_else_the_rule_is_given() -> None:
    W = torch.nn.Parameter(torch.tensor([3.0, 4.0]))
    optimizer = _Momentum([W], lr=0.1, prefactor=False)
    gradients = [torch.tensor([2.0, 0.0]), torch.tensor([0.0, 1.0])]
    weights, mean = np.array([3.0, 4.0]), np.zeros(2)
    for g in gradients:
        W.grad = g
        optimizer.step()
        mean = 0.9 * mean + 0.1 * g.numpy()
        weights = weights - 0.1 * np.linalg.norm(weights) / np.linalg.norm(mean) * mean
    np.testing.assert_allclose(W.detach(), weights, rtol=1e-6)

    data = load_data("mnist", examples=50)
    spec = PerceptronSpec(widths=(784, 10), activation="relu", biases=(False,))
    training = Stepped(spec, data.x, data.y, batch_size=5, seed=0)
    training.draw()
    closure, before = _redrawing(training), training.batch
    closure()
    assert training.batch is before
    closure()
    assert training.batch is not before


def test_limit_echo_to_its_end(tmp_path: Path) -> None:
    result = run_study("limit-echo", "toy", tmp_path, seeds=1, jobs=1, formats=("png",))
    size = ECHOES["toy"]
    assert len(result.table) == 1 + 3 * 2 + 1 + 4 * 3 + 2 * 3
    assert {f"rule/1/full/{depth}/accuracy/middle" for depth in size.depths} < set(result.numbers)
    assert "By the rule with c = 0.5, which asks for a limit of 2 η" in result.answer
    assert {f"{kind}/1/20/2/accuracy/low" for kind in ("momentum", "other-batch")} < set(result.numbers)
    assert "contradicted in" in result.answer


@pytest.mark.parametrize("rule", ["half of Lemma 2's limit", "Lemma 2's limit", "the measured limit"])
def test_rates_follow_from_the_number_of_weights(rule: str, tmp_path: Path) -> None:
    data, size = load_data("mnist"), RATES["toy"]
    run = {"task": "perceptron-2", "rule": rule, "lr": 0.0, "seed": 0}
    found = NetworkSpecificRate().measure(size, run, tmp_path, data)
    limit = math.sqrt(2) - 1
    assert int(found["depth"]) == 2
    assert found["part"].values.tolist() == ["train", "select", "test"]
    if rule != "the measured limit":
        assert float(found["eta"]) == pytest.approx(limit / 2 if rule.startswith("half") else limit)


def made_up(scores: dict[tuple[str, float], list[list[float]]]) -> xr.Dataset:
    """Runs of one task: by rule and rate, of each seed the errors in per cent to choose and to judge by."""
    rows = [(rule, lr, pair) for (rule, lr), seeds in scores.items() for pair in seeds]
    accuracy = np.array([[1.0, *(1 - np.array(pair) / 100)] for _, _, pair in rows])
    return xr.Dataset(
        {
            "accuracy": (("run", "part"), accuracy),
            "loss": (("run", "part"), np.where(np.isnan(accuracy), np.nan, 1.0)),
            "eta": ("run", np.full(len(rows), 0.2)),
            "depth": ("run", np.full(len(rows), 2)),
        },
        coords={
            "part": ["train", "select", "test"],
            "task": ("run", ["perceptron-2"] * len(rows)),
            "rule": ("run", [rule for rule, _, _ in rows]),
            "lr": ("run", [lr for _, lr, _ in rows]),
        },
    )


def test_the_rate_is_chosen_on_one_part_and_judged_on_another() -> None:
    found = made_up(
        {
            ("searched for", 0.01): [[6, 1], [6, 1]],
            ("searched for", 0.1): [[5, 8], [5, 10]],
            ("half of Lemma 2's limit", 0.0): [[9, 9], [9, 13]],
            ("Lemma 2's limit", 0.0): [[9, 9], [9, 14.5]],
            ("the measured limit", 0.0): [[math.nan, math.nan], [1, 1]],
        }
    )
    task = Task.of("perceptron-2", RATES["toy"], found)
    assert (task.best, task.half) == (0.1, 0.2)
    assert task.noise == pytest.approx(2)
    np.testing.assert_allclose(task.losses["half of Lemma 2's limit"], [1, 3])
    np.testing.assert_allclose(task.losses["always 0.01"], [-7, -9])
    assert task.losses["the measured limit"][0] == math.inf
    behind = {rule: task.behind(rule) for rule in task.losses}
    assert behind == {
        "half of Lemma 2's limit": False,
        "Lemma 2's limit": True,
        "the measured limit": True,
        "always 0.01": False,
    }


def test_network_specific_rate_to_its_end(tmp_path: Path) -> None:
    result = run_study("network-specific-rate", "toy", tmp_path, seeds=2, jobs=1, formats=("png",))
    assert [row[0] for row in result.table[1:]] == ["perceptron, 2 layers", "transformer on text"]
    assert result.numbers["perceptron-2/half"] == pytest.approx((math.sqrt(2) - 1) / 2)
    assert result.numbers["text/half"] == pytest.approx((2 ** (1 / 14) - 1) / 2)
    assert 0 < result.numbers["text/score/middle"] < 10
    assert "Half of Lemma 2's limit" in result.answer


def test_too_few_examples_are_told(tmp_path: Path) -> None:
    few = tmp_path / "few.npz"
    np.savez(few, x=np.zeros((20, 5), np.float32), y=np.arange(20) % 3)
    with pytest.raises(InputError, match=r"80 examples are needed, and there are 20"):
        run_study("network-specific-rate", "toy", tmp_path / "out", seeds=1, data=str(few), jobs=1)
