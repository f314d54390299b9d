"""The studies of sharpness: what they follow against dense Hessians, how they judge, and toy runs whole."""

from __future__ import annotations

import copy
import math
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch

from probes import InputError
from probes.checkpoints.adam import adam_state
from probes.checkpoints.checkpoint import read_checkpoint
from probes.data.dataset import load_data
from probes.runs.training_settings import TrainingSettings
from studies.edge_of_stability import PRESETS, EdgeOfStability
from studies.lyapunov import exponents
from studies.parts.networks import perceptron
from studies.parts.trajectory import Follower, even_steps, follow, ratio_from_crossing
from studies.stochastic_edge import noise_kernel
from tests.studies.test_studies import numbers
from trust import gd_edge


def test_what_is_followed_is_the_top_of_dense_hessians(tmp_path: Path) -> None:
    data = load_data("mnist-14x14", examples=30)
    settings = TrainingSettings(
        perceptron(data, width=3, depth=2, activation="tanh"),
        data=data.spec,
        examples=30,
        loss="half-square",
        optimizer="adam",
        lr=0.01,
        lr_decay=1.0,
        epochs=6,
        epoch_steps=1,
        batch_size=None,
        checkpoints=",".join(map(str, even_steps(6, 3))),
    )
    found = follow(settings, tmp_path / "run", data, points=3)
    assert found["step"].values.tolist() == [0, 3, 6]
    shapes = [(3,), (3, 196), (10,), (10, 3)]  # biases come first, as names do in the files

    def loss(w: torch.Tensor) -> torch.Tensor:
        parts = w.split([math.prod(shape) for shape in shapes])
        b1, W1, b2, W2 = (part.view(shape) for part, shape in zip(parts, shapes, strict=True))
        outputs = torch.tanh(data.x.double() @ W1.T + b1) @ W2.T + b2
        return ((outputs - onehot) ** 2).sum() / 2 / len(data)

    onehot = torch.nn.functional.one_hot(data.y, int(data.y.max()) + 1).double()
    for k, file in enumerate(sorted((tmp_path / "run").glob("*.safetensors"))):
        tensors = read_checkpoint(file).tensors
        flat = torch.cat([tensor.double().flatten() for tensor in tensors.values()])
        hessian = torch.autograd.functional.hessian(loss, flat)
        gradient = torch.autograd.functional.jacobian(loss, flat)
        assert float(found["sharpness"][k]) == pytest.approx(
            float(torch.linalg.eigvalsh(hessian)[-1]), rel=1e-4
        )
        assert float(found["gradient_norm"][k]) == pytest.approx(float(gradient.norm()), rel=1e-5)
        assert float(found["loss"][k]) == pytest.approx(float(loss(flat)), rel=1e-6)
        state = adam_state(file)
        if state is None:
            assert math.isnan(found["preconditioned"][k])
            continue
        P = torch.cat([one.flatten() for one in state.preconditioner().values()])
        whole = hessian / P.sqrt()[:, None] / P.sqrt()[None]
        top = float(torch.linalg.eigvalsh(whole)[-1])
        assert float(found["preconditioned"][k]) == pytest.approx(top, rel=1e-4)


def test_the_edge_is_judged_from_the_crossing_to_the_goal() -> None:
    steps, nan = np.arange(6.0), math.nan
    ratio = np.array([0.5, nan, 1.2, 0.9, 1.0, 0.1])
    accuracy = np.array([0.1, 0.5, 0.6, 0.8, 0.99, 1.0])
    whole = ratio_from_crossing(steps, ratio, accuracy)
    assert (whole.step, whole.ratio) == (2, pytest.approx(0.95))
    goal = ratio_from_crossing(steps, ratio, accuracy, goal=0.99)
    assert (goal.step, goal.ratio) == (2, pytest.approx(1.0))
    late = ratio_from_crossing(steps, ratio, accuracy, goal=0.5)  # it was done before it crossed
    assert (late.step, math.isnan(late.ratio)) == (2, True)
    never = ratio_from_crossing(steps, ratio / 2, accuracy)
    assert math.isnan(never.step)
    assert math.isnan(never.ratio)
    assert math.isnan(ratio_from_crossing(steps, np.full(6, nan), accuracy).step)


def test_edge_of_stability_tells_what_its_runs_found(tmp_path: Path) -> None:
    pytest.importorskip("pytorch_optimizer")
    found = numbers("edge-of-stability", tmp_path)
    drawn = pd.read_csv(tmp_path / "edge-of-stability.csv")
    size = PRESETS["toy"]
    assert len(found) == 3 * (6 * 3 * len(size.rates) + 3 * 3)
    edges = drawn[drawn["series"] == "its edge"]
    assert set(edges[edges["x_name"] == "time ηt"]["y"]) == {float(gd_edge(step=size.step))}
    # where the solvers begin they are the same network; then they part, plain steps most
    assert found["solvers/flow/apart/high"] == 0
    assert 0 < found["solvers/exponential-euler/apart/high"] < found["solvers/sgd/apart/low"]
    assert not list(tmp_path.glob("runs/*/checkpoints*"))
    # before its first step every run of a seed is one network; so highest ratios are at least as steps are
    for rates in dict(size.rates)["gd-tanh"], dict(size.rates)["gd-relu"]:
        assert len(rates) == 3
    ratios = [found[f"gd-relu/{lr:g}/highest/high"] for lr in dict(size.rates)["gd-relu"]]
    assert ratios[0] < ratios[1] < ratios[2]


def test_sam_is_asked_for_before_anything_runs(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("probes.runs.optimizers.find_spec", lambda name: None)
    with pytest.raises(InputError, match="optim"):
        EdgeOfStability().runs(PRESETS["toy"])


def test_the_noise_kernel_is_the_sum_over_eigenvalues_for_small_steps() -> None:
    values, step, batch, n = np.array([3.0, 0.5, 0.01]), 1e-4, 4, 100
    trace = (
        3 * n * values.sum()
    )  # of Θ, whose eigenvalues are n times those of JᵀJ/n, for each of three outputs
    whole = float(np.sum(step * values / (batch * (2 - step * values)))) * (n - batch) / (n - 1)
    assert noise_kernel(trace, step=step, batch=batch, examples=n, outputs=3) == pytest.approx(
        whole, rel=1e-3
    )
    assert noise_kernel(trace, step=step, batch=n, examples=n, outputs=3) == 0


def test_batches_and_kernel_are_those_of_one_layer_in_closed_form(tmp_path: Path) -> None:
    """One linear layer and half the square: each output's Hessian is the mean of xxᵀ, with a one for the bias."""
    data = load_data("mnist-14x14", examples=12)
    settings = TrainingSettings(
        perceptron(data, width=1, depth=1), data=data.spec, loss="half-square", batch_size=None
    )
    follower = Follower(settings, data)
    x = torch.cat([data.x, torch.ones(12, 1)], 1).double()
    assert follower.kernel_trace(50) == pytest.approx(10 * float(x.square().sum()), rel=0.1)
    layer = follower.network.layers[0]  # type: ignore[index, union-attr]
    W = torch.cat([layer.weight, layer.bias[:, None]], 1).detach().double()
    onehot = torch.nn.functional.one_hot(data.y, 10).double()
    g = (x @ W.T - onehot).T @ x / 12
    full = float((g @ (x.T @ x / 12) * g).sum() / g.square().sum())
    assert follower.batch_sharpness(12, 5) == pytest.approx(full, rel=1e-5)
    # of one example: H = xxᵀ for every output, and g = r xᵀ, so that gᵀHg/‖g‖² is ‖x‖²
    squares = x.square().sum(1)
    assert float(squares.min()) < follower.batch_sharpness(1, 200) < float(squares.max())
    chosen = np.random.default_rng(0)
    rows = [int(chosen.choice(12, 1, replace=False)[0]) for _ in range(3)]
    assert follower.batch_sharpness(1, 3) == pytest.approx(float(squares[rows].mean()), rel=1e-5)


def test_stochastic_edge_tells_what_its_runs_found(tmp_path: Path) -> None:
    found = numbers("stochastic-edge", tmp_path)
    names = ("batch_sharpness", "sharpness", "noise", "loss")
    assert set(found) == {
        f"0.05/{name}/{end}"
        for name in (*(f"{batch}/{one}" for batch in (4, 40) for one in names), "sharpening")
        for end in ("low", "middle", "high")
    }
    assert found["0.05/40/noise/high"] == 0 < found["0.05/4/noise/low"]
    # the top eigenvalue is the largest curvature that the full batch can meet
    assert found["0.05/40/batch_sharpness/low"] <= found["0.05/40/sharpness/high"] * (1 + 1e-3)


def test_exponents_are_those_of_a_twin_nearby() -> None:
    """Of two trainings a small distance apart, in float64, whose distance is followed as it is."""
    data = load_data("mnist-14x14", examples=20)
    settings = TrainingSettings(
        perceptron(data, width=4, depth=2, activation="tanh"),
        data=data.spec,
        loss="half-square",
        batch_size=None,
    )
    torch.manual_seed(0)
    follower = Follower(settings, data)
    lr, steps, seed = 0.05, 20, 7
    start = torch.nn.utils.parameters_to_vector(follower.network.parameters()).detach().double()
    difference = torch.randn(len(start), generator=torch.Generator().manual_seed(seed)).double()
    twins = [copy.deepcopy(follower.network).double() for _ in range(2)]
    places = [start, start + 1e-7 * difference / difference.norm()]
    onehot = torch.nn.functional.one_hot(data.y, int(data.y.max()) + 1)
    apart = [1e-7]
    for _ in range(steps):
        for k, twin in enumerate(twins):
            torch.nn.utils.vector_to_parameters(places[k], twin.parameters())
            loss = (twin(data.x.double()) - onehot).square().sum() / 2 / len(data)
            gradients = torch.autograd.grad(loss, list(twin.parameters()))
            places[k] = places[k] - lr * torch.cat([g.flatten() for g in gradients])
        apart.append(float((places[1] - places[0]).norm()))
    growth, losses = exponents(follower, lr, steps, seed)
    np.testing.assert_allclose(growth, np.diff(np.log(apart)), atol=1e-4)
    trained = torch.nn.utils.parameters_to_vector(follower.network.parameters()).double()
    torch.testing.assert_close(trained, places[0], rtol=1e-4, atol=1e-6)
    assert losses[-1] < losses[0]
    assert np.isnan(exponents(follower, 1e30, 5, 0)[0][-1])


def test_lyapunov_tells_what_its_runs_found(tmp_path: Path) -> None:
    found = numbers("lyapunov", tmp_path)
    assert {name.rpartition("/")[0] for name in found} == {
        f"tanh/{lr}/{name}"
        for lr in ("0.05", "0.1")
        for name in ("early", "late", "loss", "exponent", "baseline")
    }
    for name in ("exponent", "baseline"):
        low, middle, high = (found[f"tanh/0.05/{name}/{end}"] for end in ("low", "middle", "high"))
        assert -1 <= low <= middle <= high <= 1
