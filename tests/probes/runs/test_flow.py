"""Gradient flow and exponential Euler, where the flow is known, and beside each other."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from scipy.linalg import expm
from torch import Tensor

from probes import InputError
from probes.checkpoints.checkpoint import read_checkpoint
from probes.data.dataset import DataSet
from probes.networks.perceptron import PerceptronSpec
from probes.runs.flow import exponential_step
from probes.runs.training import train
from probes.runs.training_settings import TrainingSettings
from tests.probes.runs.test_full_batch import FULL, toy, weights_of

LINEAR = TrainingSettings(
    PerceptronSpec((5, 2), "identity", biases=(False,)),
    data="linear",
    loss="half-square",
    optimizer="flow",
    lr=2.0,
    lr_decay=1.0,
    epochs=4,
    batch_size=None,
    checkpoints="5",
)


def linear() -> DataSet:
    """Least squares whose Hessian's eigenvalues lie between about 0.1 and 10."""
    random = np.random.default_rng(0)
    x = random.normal(size=(40, 5)) * [0.3, 0.6, 1.0, 2.0, 3.0]
    y = x @ random.normal(size=(5, 2)) + random.normal(size=(40, 2))
    return DataSet("linear", *(torch.from_numpy(one.astype(np.float32)) for one in (x, y)))


def solution(start: np.ndarray, time: float) -> np.ndarray:
    """W(t) of Ẇ = −(W XᵀX − YᵀX)/n: W* + (W₀ − W*) e^(−t XᵀX/n)."""
    data = linear()
    x, y = data.x.double().numpy(), data.y.double().numpy()
    best = np.linalg.lstsq(x, y, rcond=None)[0].T
    return np.asarray(best + (start - best) @ expm(-time * x.T @ x / len(x)))


@pytest.mark.parametrize(
    ("optimizer", "eigenpairs", "tolerance"),
    [("flow", None, 2e-5), ("exponential-euler", 10, 1e-5)],  # all of the Hessian's 10 dimensions
)
def test_least_squares_follow_the_closed_form(
    tmp_path: Path, optimizer: str, eigenpairs: int | None, tolerance: float
) -> None:
    settings = replace(LINEAR, optimizer=optimizer, eigenpairs=eigenpairs)
    files = train(settings, tmp_path / "run", data=linear())
    start = read_checkpoint(files[0]).tensors["layers.0.weight"].double().numpy()
    for k, file in enumerate(files):
        found = read_checkpoint(file).tensors["layers.0.weight"].double().numpy()
        # a plain step of 2 would multiply the steepest direction by 1 − 2·9: after four steps by 8e4
        np.testing.assert_allclose(found, solution(start, 2.0 * k), atol=tolerance)


def test_an_exponential_step_is_exact_along_what_it_knows_and_plain_across() -> None:
    torch.manual_seed(0)
    basis: Tensor = torch.linalg.qr(torch.randn(6, 6, dtype=torch.float64)).Q
    values = torch.tensor([5.0, 1.0, 0.0, -0.5, 1e-9, 3.0], dtype=torch.float64)
    g = torch.randn(6, dtype=torch.float64)
    h = 0.7
    found = exponential_step(g, step=h, values=values[:5], vectors=basis[:, :5])
    factors = [(1 - np.exp(-h * v)) / v if v else h for v in values[:5].tolist()]
    factors[4] = h * (1 - h * 1e-9 / 2)  # where the difference cancels
    expected = -basis @ (torch.tensor([*factors, h], dtype=torch.float64) * (basis.T @ g))
    torch.testing.assert_close(found, expected, rtol=1e-12, atol=1e-12)


def outputs(path: Path) -> Tensor:
    w, x = weights_of(path), toy().x.double()
    h = torch.tanh(x @ w["layers.0.weight"].T + w["layers.0.bias"])
    return h @ w["layers.1.weight"].T + w["layers.1.bias"]


def test_both_stay_together_where_plain_steps_have_left(tmp_path: Path) -> None:
    """Distances in function space after a time of 10, relative to the outputs; 2/λ is below 1 there."""

    def end(name: str, lr: float, **more: int) -> Tensor:
        settings = replace(FULL, optimizer=name, lr=lr, epochs=round(10 / lr), checkpoints="2", **more)
        return outputs(train(settings, tmp_path / f"{name}-{lr}", data=toy())[-1])

    truth = end("flow", 1.0)

    def apart(found: Tensor) -> float:
        return float((found - truth).norm() / truth.norm())

    assert apart(end("flow", 0.25)) < 1e-4
    assert not apart(end("sgd", 1.0)) < 100
    errors = [apart(end("exponential-euler", lr, eigenpairs=20)) for lr in (1.0, 0.5, 0.25)]
    assert errors[0] < 0.03
    # of first order in the step, as the Hessian stands still in it: halved at least, by thirds for what is left out
    assert errors[1] < 0.67 * errors[0]
    assert errors[2] < 0.67 * errors[1]


@pytest.mark.parametrize("optimizer", ["flow", "exponential-euler"])
def test_an_interrupted_solver_ends_as_an_undisturbed_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, optimizer: str
) -> None:
    settings = replace(FULL, optimizer=optimizer)
    whole = train(settings, tmp_path / "whole", data=toy())
    real, calls = torch.optim.Optimizer.zero_grad, 0

    def stumbling(self: torch.optim.Optimizer, set_to_none: bool = True) -> None:
        nonlocal calls
        calls += 1
        if calls == 5:
            raise KeyboardInterrupt
        real(self, set_to_none)

    monkeypatch.setattr("torch.optim.Optimizer.zero_grad", stumbling)
    with pytest.raises(KeyboardInterrupt):
        train(settings, tmp_path / "cut", data=toy())
    again = train(settings, tmp_path / "cut", data=toy())
    assert [path.read_bytes() for path in again] == [path.read_bytes() for path in whole]


def test_a_flow_that_leads_nowhere_is_refused(tmp_path: Path) -> None:
    data = linear()
    endless = DataSet("linear", data.x * 1e25, data.y)
    with pytest.raises(InputError, match="not finite"):
        train(LINEAR, tmp_path / "run", data=endless)
