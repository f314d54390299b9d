"""Full-batch training: each optimizer's steps once more from its formula, in the order of the data."""

from __future__ import annotations

import itertools
import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

import probes
from probes import InputError
from probes.checkpoints.adam import adam_state
from probes.checkpoints.checkpoint import read_checkpoint
from probes.networks.perceptron import PerceptronSpec
from probes.runs.run import measure_run
from probes.runs.source import Source
from probes.runs.training import train
from probes.runs.training_settings import TrainingSettings
from studies.parts.networks import bare_slice
from tests.probes.runs.test_training import history, toy

SPEC = PerceptronSpec((6, 8, 3), "tanh", biases=(True, True))
FULL = TrainingSettings(
    SPEC,
    data="toy",
    loss="half-square",
    optimizer="sgd",
    lr=0.2,
    lr_decay=1.0,
    epochs=6,
    batch_size=None,
    checkpoints="7",
    seed=3,
)
Weights = dict[str, Tensor]


def weights_of(path: Path) -> Weights:
    return {name: tensor.double() for name, tensor in read_checkpoint(path).tensors.items()}


def gradient(weights: Weights) -> tuple[float, Weights]:
    """Of the mean over examples of half the squared distance to the one-hot labels, by autograd in float64."""
    data = toy()
    leaves = {name: tensor.clone().requires_grad_() for name, tensor in weights.items()}
    h = torch.tanh(data.x.double() @ leaves["layers.0.weight"].T + leaves["layers.0.bias"])
    outputs = h @ leaves["layers.1.weight"].T + leaves["layers.1.bias"]
    loss = ((outputs - nn.functional.one_hot(data.y, 3)) ** 2).sum() / 2 / len(data)
    loss.backward()
    return float(loss.detach()), {name: leaf.grad for name, leaf in leaves.items() if leaf.grad is not None}


def moved(weights: Weights, by: Weights, factor: float) -> Weights:
    return {name: tensor + factor * by[name] for name, tensor in weights.items()}


def descent() -> Callable[[Weights], Weights]:
    return lambda w: moved(w, gradient(w)[1], -0.2)


def adam() -> Callable[[Weights], Weights]:
    m: Weights = {}
    v: Weights = {}
    count = 0

    def step(w: Weights) -> Weights:
        nonlocal count
        count += 1
        for name, g in gradient(w)[1].items():
            m[name] = 0.9 * m.get(name, 0 * g) + 0.1 * g
            v[name] = 0.999 * v.get(name, 0 * g) + 0.001 * g * g
        return {
            name: tensor - 0.2 * m[name] / (1 - 0.9**count) / ((v[name] / (1 - 0.999**count)).sqrt() + 1e-8)
            for name, tensor in w.items()
        }

    return step


def sam(rho: float) -> Callable[[Weights], Weights]:
    def step(w: Weights) -> Weights:
        g = gradient(w)[1]
        size = float(torch.cat([one.flatten() for one in g.values()]).norm())
        return moved(w, gradient(moved(w, g, rho / size))[1], -0.2)

    return step


@pytest.mark.parametrize(
    ("optimizer", "more", "formula"),
    [
        ("sgd", {}, descent),
        ("adam", {}, adam),
        ("sam", {"rho": 0.3}, lambda: sam(0.3)),
        ("sam", {}, lambda: sam(0.05)),
    ],
)
def test_steps_follow_the_formula(
    tmp_path: Path, optimizer: str, more: dict[str, Any], formula: Callable[[], Callable[[Weights], Weights]]
) -> None:
    if optimizer == "sam":
        pytest.importorskip("pytorch_optimizer")
    files = train(replace(FULL, optimizer=optimizer, **more), tmp_path / "run", data=toy())
    step = formula()
    for row, (before, after) in zip(history(tmp_path / "run"), itertools.pairwise(files), strict=True):
        expected = step(weights_of(before))
        assert float(row["loss"]) == pytest.approx(gradient(weights_of(before))[0], rel=1e-5)
        for name, tensor in weights_of(after).items():
            # each step from the float32 weights that were saved; Adam's ratios of small gradients lose some digits
            torch.testing.assert_close(tensor, expected[name], rtol=1e-4, atol=2e-5)


@pytest.mark.parametrize("optimizer", ["sam", "adam"])
def test_the_full_batch_needs_no_order_and_an_interruption_changes_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, optimizer: str
) -> None:
    if optimizer == "sam":
        pytest.importorskip("pytorch_optimizer")
    settings = replace(FULL, optimizer=optimizer)
    files = train(settings, tmp_path / "whole", data=toy())
    real, calls = probes.runs.training._step, 0

    def stumbling(*arguments: Any) -> None:
        nonlocal calls
        calls += 1
        if calls == 4:
            raise KeyboardInterrupt
        real(*arguments)

    with monkeypatch.context() as once:
        once.setattr("probes.runs.training._step", stumbling)
        once.setattr("torch.randperm", None)
        with pytest.raises(KeyboardInterrupt):
            train(settings, tmp_path / "cut", data=toy())
    again = train(settings, tmp_path / "cut", data=toy())
    assert [path.read_bytes() for path in again] == [path.read_bytes() for path in files]


def test_checkpoints_say_what_the_edge_depends_on(tmp_path: Path) -> None:
    settings = replace(
        FULL, optimizer="adam", lr=0.01, lr_decay=0.5, epochs=2, epoch_steps=2, checkpoints="5"
    )
    files = train(settings, tmp_path / "run", data=toy())
    details = [read_checkpoint(path).details for path in files]
    # the step that follows each; behind the last, the last one's
    assert [one["learning_rate"] for one in details] == pytest.approx([0.01, 0.01, 0.005, 0.005, 0.005])
    assert [float(row["lr"]) for row in history(tmp_path / "run")] == pytest.approx(
        [0.01, 0.01, 0.005, 0.005]
    )
    assert (details[0]["batch_size"], details[0]["beta1"], "rho" in details[0]) == (30, 0.9, False)
    np.savez(tmp_path / "toy.npz", x=toy().x, y=toy().y)
    source = Source(str(tmp_path / "run"), data=str(tmp_path / "toy.npz"))
    measure_run(source, tmp_path / "found", settings=bare_slice(np.array([0.0, 0.1]), samples=1))
    found = probes.load(tmp_path / "found")
    np.testing.assert_allclose(found["learning_rate"], [0.01, 0.01, 0.005, 0.005, 0.005])
    assert (found.attrs["optimizer"], found.attrs["batch_size"], found.attrs["beta1"]) == ("adam", 30, 0.9)
    assert "rho" not in found.attrs


def test_adams_own_curvature_is_measured_where_its_state_is_known(tmp_path: Path) -> None:
    settings = replace(FULL, optimizer="adam", lr=0.01, epochs=3, checkpoints="4")
    train(settings, tmp_path / "run", data=toy())
    np.savez(tmp_path / "toy.npz", x=toy().x, y=toy().y)
    source = Source(str(tmp_path / "run"), data=str(tmp_path / "toy.npz"))
    wanted = bare_slice(np.array([0.0, 0.1]), samples=1, curvature=2, dtype="float64")
    measure_run(source, tmp_path / "found", settings=wanted)
    found = probes.load(tmp_path / "found")["preconditioned_eigenvalue"]
    assert np.isnan(found[0]).all()  # before the first step
    for k, file in enumerate(sorted((tmp_path / "run").glob("*.safetensors"))[1:], 1):
        state = adam_state(file)
        assert state is not None
        weights = weights_of(file)
        sizes = [one.numel() for one in weights.values()]

        def loss(
            flat: Tensor, weights: Weights = weights, sizes: list[int] = sizes, file: Path = file
        ) -> Tensor:
            parts = zip(flat.split(sizes), weights.items(), strict=True)
            w = {name: part.view_as(one) for part, (name, one) in parts}
            h = torch.tanh(toy().x.double() @ w["layers.0.weight"].T + w["layers.0.bias"])
            outputs = h @ w["layers.1.weight"].T + w["layers.1.bias"]
            return ((outputs - nn.functional.one_hot(toy().y, 3)) ** 2).sum() / 2 / 30

        hessian = torch.autograd.functional.hessian(
            loss, torch.cat([one.flatten() for one in weights.values()])
        )
        P = torch.cat([state.preconditioner()[name].flatten() for name in weights])
        top = torch.linalg.eigvalsh(hessian / P.sqrt()[:, None] / P.sqrt()[None]).flip(0)[:2]
        np.testing.assert_allclose(found[k], top, rtol=1e-6)


def test_options_added_later_leave_old_folders_theirs(tmp_path: Path) -> None:
    plain = replace(FULL, optimizer="fromage", batch_size=8)
    train(plain, tmp_path / "run", data=toy())
    assert not {"rho", "eigenpairs"} & json.loads((tmp_path / "run" / "training.json").read_text()).keys()


def test_options_of_other_optimizers_are_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for changes, part in (
        ({"rho": 0.1}, "rho=0.1`: only `optimizer='sam'`"),
        ({"eigenpairs": 3}, "only `optimizer='exponential-euler'`"),
        ({"optimizer": "flow", "batch_size": 8}, "batch_size=8`: flow follows the gradient of all"),
        ({"optimizer": "flow", "network": replace(SPEC, norm="batch")}, "no part of a gradient flow"),
        ({"optimizer": "exponential-euler", "eigenpairs": 0}, "eigenpairs=0`: must be at least 1"),
    ):
        with pytest.raises(InputError, match=r"^`") as caught:
            replace(FULL, **changes)
        assert part in str(caught.value)
    pytest.importorskip("pytorch_optimizer")
    with pytest.raises(InputError, match="rho=-1"):
        replace(FULL, optimizer="sam", rho=-1)
    monkeypatch.setattr("probes.runs.optimizers.find_spec", lambda name: None)
    with pytest.raises(InputError, match=r"optimizer='sam'`: needs the extra \[optim\]"):
        replace(FULL, optimizer="sam")
