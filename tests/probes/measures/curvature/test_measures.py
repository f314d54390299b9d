"""What is measured of a checkpoint's curvature, against matrices formed in full."""

from __future__ import annotations

import itertools
import math
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch
import xarray as xr
from torch import Tensor, nn

from probes import InputError, SliceSettings, measure_slice
from probes.checkpoints.adam import AdamState
from probes.evaluation.curvature import HessianOperator
from probes.evaluation.curvature.norm_sharpness import norm_sharpness, sign_step, spectral_step
from probes.measures.curvature.batches import BATCHES
from tests.probes.evaluation.curvature.matrices import EXACT, Problem, convolutional, perceptron, transformer
from tests.probes.evaluation.curvature.test_operators import Squared
from tests.support.reference import make_data

PLAIN: dict[str, Any] = {
    "limit": False,
    "ladder": False,
    "split": "none",
    "spot_check": False,
    "dtype": "float64",
}


def measured(problem: Problem, adam: AdamState | None = None, **settings: Any) -> xr.Dataset:
    chosen = SliceSettings(**{"etas": [0.0, 1e-5], **PLAIN, "samples": 2, **settings})
    found = measure_slice(
        problem.network, problem.x, problem.y, settings=chosen, loss=problem.loss, adam=adam
    )
    return found.isel(checkpoint=0)


def gradient(problem: Problem) -> Tensor:
    point = problem.point().requires_grad_(True)
    (found,) = torch.autograd.grad(problem.mean(problem.outputs(point), problem.y), point)
    return found


@pytest.mark.parametrize("make", [perceptron, convolutional, transformer])
def test_eigenvalues_of_a_checkpoint_and_of_its_layers(make: Any) -> None:
    problem = make()
    found = measured(problem, measure="eigenvalues", curvature=2, curvature_lowest=3)
    sizes = [parameter.numel() for parameter in problem.network.parameters()]
    ends = dict(zip(problem.names, np.cumsum(sizes), strict=True))
    for name, matrix in (("hessian", problem.hessian()), ("gauss_newton", problem.gauss_newton())):
        top = np.linalg.eigvalsh(matrix.numpy())[::-1]
        # an eigenvalue's error is at most its residual's square over the gap to the others
        np.testing.assert_allclose(found[f"{name}_eigenvalue"][:2], top[:2], rtol=1e-6)
        assert (found[f"{name}_residual"][:2] <= 1e-4).all()
        assert math.isnan(found[f"{name}_eigenvalue"][2])
        for layer, size in zip(problem.names, sizes, strict=True):
            own = found[f"layer_{name}_eigenvalue"].sel(layer=layer)[:2]
            if not bool(found["is_weight"].sel(layer=layer)):
                assert own.isnull().all()
                continue
            part = slice(ends[layer] - size, ends[layer])
            block = np.linalg.eigvalsh(matrix[part, part].numpy())[::-1]
            np.testing.assert_allclose(own, block[:2], rtol=1e-6, atol=1e-12)
    lowest = np.linalg.eigvalsh(problem.hessian().numpy())
    np.testing.assert_allclose(found["lowest_hessian_eigenvalue"], lowest[:3], rtol=1e-6)


def test_the_first_layer_is_never_left_out() -> None:
    found = measured(
        perceptron(), measure="eigenvalues", curvature=1, layers="layers.2*", perturb="layers.1*"
    )
    assert found["layer_gauss_newton_eigenvalue"].isel(layer=0).notnull().all()


def test_fewer_parameters_than_eigenvalues() -> None:
    x, y = make_data(5, features=2)
    network = nn.Linear(2, 3, bias=False).double()
    chosen = SliceSettings(etas=[0.0, 1e-4], **PLAIN, curvature=9)
    found = measure_slice(network, x, y, settings=chosen).isel(checkpoint=0)
    values = found["hessian_eigenvalue"].values
    assert np.isfinite(values[:6]).all()
    assert np.isnan(values[6:]).all()
    np.testing.assert_allclose(values, found["gauss_newton_eigenvalue"], atol=1e-12)  # of a linear network


def test_one_example_and_no_gradient() -> None:
    """All is measured, or NaN where it has no meaning."""
    problem = perceptron("mse")
    one = Problem(problem.network, problem.x[:1], problem.y[:1], "mse", problem.mean)
    found = measured(one, curvature=3, batch_sharpness=4)
    assert found["hessian_residual"][0] <= 1e-4
    with torch.no_grad():
        for parameter in list(problem.network.parameters())[-2:]:
            parameter.zero_()
    fitted = Problem(problem.network, problem.x, torch.zeros(10, 3, dtype=EXACT), "mse", problem.mean)
    found = measured(fitted, curvature=2, batch_sharpness=4, direction="noise")
    top = np.linalg.eigvalsh(fitted.gauss_newton().numpy())[::-1]
    np.testing.assert_allclose(found["hessian_eigenvalue"], top[:2], rtol=1e-6)
    for name in ("batch_sharpness", "gradient_sharpness", "gradient_step_limit"):
        assert math.isnan(found[name])


def test_a_network_that_has_diverged() -> None:
    problem = perceptron("mse")
    with torch.no_grad():
        for parameter in problem.network.parameters():
            parameter.mul_(1e30)
    found = measured(problem, curvature=2, batch_sharpness=4, direction="noise", dtype="float32")
    assert found["hessian_eigenvalue"].isnull().all()
    assert found["hessian_residual"].isnull().all()


def test_traces() -> None:
    problem = perceptron()
    found = measured(problem, measure="traces", curvature=1)
    for name, trace in (
        ("hessian_trace", problem.hessian().trace()),
        ("gauss_newton_trace", problem.gauss_newton().trace()),
        ("ntk_trace", _jacobian(problem).pow(2).sum()),
    ):
        error = float(found[f"{name}_error"])
        assert 0 < error < abs(float(trace)) + 1
        assert abs(float(found[name]) - float(trace)) < 4 * error
    for chunk in (1, 7):
        other = measured(problem, measure="traces", curvature=1, chunk=chunk)
        np.testing.assert_allclose(other["ntk_trace"], found["ntk_trace"], rtol=1e-10)


def _jacobian(problem: Problem) -> Tensor:
    found: Tensor = torch.func.jacrev(problem.outputs)(problem.point()).detach()
    return found.flatten(0, -2)


@pytest.mark.parametrize("activation", ["tanh", "relu"])
def test_the_breakdowns_slope_and_the_kinks(activation: str) -> None:
    problem = perceptron(activation=activation)
    found = measured(problem, curvature=1)
    measured_slope = found["gradient_change"].isel(eta=-1) / 1e-5
    g, sizes = gradient(problem), [p.numel() for p in problem.network.parameters()]
    d = torch.cat(
        [
            -part * p.norm() / part.norm()
            for part, p in zip(
                torch.split(g, sizes), (p.flatten() for p in problem.network.parameters()), strict=True
            )
        ]
    )
    image = torch.split(problem.hessian() @ d, sizes)
    expected = [float(a.norm() / b.norm()) for a, b in zip(image, torch.split(g, sizes), strict=True)]
    np.testing.assert_allclose(found["breakdown_slope"], expected, rtol=1e-9)
    if activation == "tanh":
        np.testing.assert_allclose(measured_slope, expected, rtol=1e-3)


def test_what_a_step_against_the_gradient_meets() -> None:
    problem = perceptron()
    found = measured(problem, measure="gradient-curvature", curvature=1)
    g = gradient(problem)
    assert float(found["gradient_sharpness"]) == pytest.approx(float(g @ problem.hessian() @ g / (g @ g)))
    limit = float(found["gradient_step_limit"])

    def rise(s: float) -> float:
        start = problem.mean(problem.outputs(problem.point()), problem.y)
        return float(problem.mean(problem.outputs(problem.point() - s * g), problem.y) - start)

    assert rise(0.98 * limit) < 0 < rise(1.02 * limit)


def test_batch_sharpness() -> None:
    problem = perceptron()
    whole = measured(problem, measure="batch-sharpness", batch_sharpness=100)
    g, h = gradient(problem), problem.hessian()
    assert float(whole["batch_sharpness"]) == pytest.approx(float(g @ h @ g / (g @ g)))
    assert math.isnan(whole["batch_sharpness_error"])
    each = []
    for a, b in itertools.combinations(range(10), 2):
        pair = Problem(problem.network, problem.x[[a, b]], problem.y[[a, b]], problem.loss, problem.mean)
        g, h = gradient(pair), pair.hessian()
        each.append(float(g @ h @ g / (g @ g)))
    found = measured(problem, measure="batch-sharpness", batch_sharpness=2)
    error = float(found["batch_sharpness_error"])
    assert error == pytest.approx(np.std(each) / math.sqrt(BATCHES), rel=0.5)
    assert abs(float(found["batch_sharpness"]) - np.mean(each)) < 4 * error


def test_adams_preconditioned_hessian() -> None:
    problem = perceptron()
    draw = torch.Generator().manual_seed(0)
    second = {n: torch.rand(p.shape, generator=draw) for n, p in problem.network.named_parameters()}
    state = AdamState(second, step=5, beta1=0.9, beta2=0.99, eps=1e-4)
    unbiased = [v.flatten().double() / (1 - 0.99**5) for v in second.values()]
    found = measured(problem, state, measure="eigenvalues", curvature=2)
    p = (1 - 0.9**5) * (torch.cat(unbiased).sqrt() + 1e-4)
    expected = np.linalg.eigvalsh((problem.hessian() / torch.outer(p, p).sqrt()).numpy())[::-1]
    np.testing.assert_allclose(found["preconditioned_eigenvalue"], expected[:2], rtol=1e-6)
    assert "preconditioned_eigenvalue" not in measured(problem, measure="eigenvalues", curvature=2)
    with pytest.raises(InputError, match=r"no second moment of layers\.0"):
        measured(problem, replace(state, second_moments={}), measure="eigenvalues", curvature=2)


def test_sharpness_under_the_norms_of_sign_descent_and_muon() -> None:
    """Against all corners of the cube; and on one matrix the unit ball of the spectral norm holds ±(every rotation)."""
    torch.manual_seed(1)  # of those of seed 0 the fifty starts miss the largest corner
    x, y = make_data(20, features=3)
    evaluator = Problem(
        nn.Linear(3, 3, bias=False).double(), x.double(), y, "cross-entropy", nn.functional.cross_entropy
    ).evaluator()
    hessian = HessianOperator(evaluator)
    matrix = torch.stack([hessian.product(row) for row in torch.eye(9, dtype=EXACT)])
    corners = torch.tensor(list(itertools.product((-1.0, 1.0), repeat=9)), dtype=EXACT)
    largest = float(((corners @ matrix) * corners).sum(1).max())
    starts = torch.randn(50, 9, generator=torch.Generator().manual_seed(0), dtype=EXACT)
    assert norm_sharpness(hessian, sign_step, starts) == pytest.approx(largest)
    assert norm_sharpness(hessian, sign_step, starts[:1]) <= largest + 1e-12
    found = norm_sharpness(hessian, spectral_step, starts)
    rotations = torch.linalg.qr(
        torch.randn(2000, 3, 3, generator=torch.Generator().manual_seed(1), dtype=EXACT)
    ).Q
    values = ((rotations.flatten(1) @ matrix) * rotations.flatten(1)).sum(1)
    assert float(values.max()) <= found <= 3 * float(torch.linalg.eigvalsh(matrix)[-1])


def test_a_network_without_second_derivatives_is_refused_before_anything_is_measured() -> None:
    x, y = make_data(5)
    network = nn.Sequential(nn.Linear(6, 3), Squared())
    chosen = SliceSettings(etas=[0.0, 1e-4], curvature=1)
    with pytest.raises(InputError, match=r"the module 1 \(Squared\) has no second derivative"):
        measure_slice(network, x, y, settings=chosen)
    found = measure_slice(network, x, y, settings=SliceSettings(etas=[0.0, 1e-4]))
    assert found["curvature"].isnull().all()


@pytest.mark.parametrize("wrong", [True, False, -1, 10**6])
def test_what_is_no_number_of_eigenvalues(wrong: Any) -> None:
    with pytest.raises(InputError, match=r"`curvature=.*number of eigenvalues from 0 to 1000, or None"):
        SliceSettings(curvature=wrong)


@pytest.mark.parametrize("measure", ["eigenvalues", "batch-sharpness"])
def test_a_measure_that_is_named_needs_its_number(measure: str) -> None:
    with pytest.raises(InputError, match=f"`measure='{measure}'`.*add `"):
        measured(perceptron(), measure=measure)
