"""The studies of sharpness: what they follow against dense Hessians, how they judge, and toy runs whole."""

from __future__ import annotations

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
from studies.pieces import perceptron
from studies.trajectory import even_steps, follow, ratio_from_crossing
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
    assert len(found) == 3 * (6 * 3 * len(size.rates) + 2 * 3)
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
