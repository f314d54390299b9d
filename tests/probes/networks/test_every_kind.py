"""Every kind of network is trained, saved, read, sliced and run by the commands."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from click.testing import CliRunner

from analysis import judge
from probes import InputError, SliceSettings, load, measure_slice
from probes.checkpoints.checkpoint import read_checkpoint
from probes.cli.main import main
from probes.data.labels import accuracy_of
from probes.data.losses import resolve_loss
from probes.evaluation.curvature import directional_curvature
from probes.evaluation.directions import Direction
from probes.evaluation.evaluator import Evaluator
from probes.networks.frozen_network import load_network
from probes.networks.images import ResidualSpec
from probes.runs.training import train
from tests.probes.networks.examples import TINY, made, plan_for, toy


@pytest.mark.parametrize("name", TINY)
def test_training_learns_and_checkpoints_reload(tmp_path: Path, name: str) -> None:
    spec = TINY[name]
    data, plan = toy(spec), plan_for(spec)
    files = train(plan, tmp_path / "a", data=data)
    torch.rand(3)  # the caller's stream has no say
    again = train(plan, tmp_path / "b", data=data)
    assert [path.read_bytes() for path in files] == [path.read_bytes() for path in again]
    other = train(replace(plan, seed=4), tmp_path / "c", data=data)
    assert files[-1].read_bytes() != other[-1].read_bytes()
    rows = (tmp_path / "a" / "training.csv").read_text().splitlines()[1:]
    losses = [float(row.split(",")[2]) for row in rows]
    assert np.mean(losses[-3:]) < 0.8 * np.mean(losses[:3])
    last = read_checkpoint(files[-1])
    frozen = load_network(last)
    assert frozen.spec == spec
    network = frozen.network.eval()
    outputs = network(data.x)
    twin = made(spec).float()
    twin.load_state_dict(dict(last.tensors))
    assert torch.equal(outputs, twin(data.x))
    for checkpoint in map(read_checkpoint, files):  # the first is the one that has learnt nothing yet
        twin.load_state_dict(dict(checkpoint.tensors))
        right = accuracy_of(twin(data.x), data.y)
        assert right is not None
        assert checkpoint.details["train_accuracy"] == pytest.approx(float(right) / len(data))
    order = [parameter for parameter, _ in twin.named_parameters()]
    assert list(frozen.names) == order


@pytest.mark.parametrize("name", ["conv-bn", "residual-bn"])
def test_running_statistics_are_learnt_and_saved(tmp_path: Path, name: str) -> None:
    spec = TINY[name]
    files = train(plan_for(spec, epochs=2), tmp_path / "run", data=toy(spec))
    first, last = (read_checkpoint(path).tensors for path in (files[0], files[-1]))
    means = [key for key in first if key.endswith("running_mean")]
    assert len(means) == len([key for key in first if key.endswith("conv.weight")])
    for key in means:
        assert not bool(first[key].any())
        assert bool(last[key].any())
    assert {int(last[key]) for key in last if key.endswith("num_batches_tracked")} == {6}
    with pytest.raises(InputError, match="batch_size="):
        train(plan_for(spec, batch_size=1), tmp_path / "other", data=toy(spec))


@pytest.mark.parametrize("name", TINY)
def test_a_slice_of_each(name: str) -> None:
    spec = TINY[name]
    network, data = made(spec).float(), toy(spec, 12)
    settings = SliceSettings(etas=np.array([0.0, 1e-3, 1e-2]), samples=4, jacobian=2, dtype="float64")
    found = measure_slice(network, data.x, data.y, settings=settings)
    assert found.attrs["architecture"] == spec.to_json()["kind"]
    assert found.attrs["norm"] == spec.norm
    assert found.attrs["residual"] == str(spec.residual).lower()
    assert {verdict.claim for verdict in judge(found)} >= {"lemma1", "deep-relative-trust"}
    change = found["gradient_change"].values[0]
    assert np.isfinite(change).all()
    assert (change[0] < 1e-10).all()  # no tensor has a gradient of rounding errors alone
    assert (change[2] > change[1]).all()
    assert np.isfinite(found["curvature"].values).all()
    kinds = dict(zip(found["layer"].values, found["operator"].values, strict=True))
    jacobians = found["jacobian_change"].isel(checkpoint=0, eta=2, example=0)
    last = found["layer"].values[np.flatnonzero(jacobians.notnull())]
    assert len(last) > 0  # of a transformer the layers behind the embedding
    assert all(
        kind in ("matrix", "convolution")
        for n, kind in kinds.items()
        if n.endswith(("conv.weight", "head.weight"))
    )


@pytest.mark.parametrize("name", TINY)
def test_the_curvature_is_that_of_the_losses(name: str) -> None:
    """By second differences, which also shows that every operation can be differentiated twice."""
    spec = TINY[name]
    network, data = made(spec), toy(spec, 6)
    evaluator = Evaluator(network, data.x, data.y, resolve_loss(None, data.y)[1], dtype=torch.float64)
    generator = torch.Generator().manual_seed(1)
    step = {
        n: torch.randn(w.shape, generator=generator, dtype=torch.float64) for n, w in evaluator.frozen.items()
    }
    size = 1e-4 if spec.vocabulary is not None else 1e-6  # ReLU's kinks must not be crossed
    around = [
        evaluator.loss({n: w + k * size * step[n] for n, w in evaluator.frozen.items()}) for k in (-1, 0, 1)
    ]
    expected = (around[0] - 2 * around[1] + around[2]) / size**2
    assert directional_curvature(evaluator, Direction.of(step)) == pytest.approx(expected, rel=0.02, abs=0.01)


def call(*arguments: object) -> Any:
    return CliRunner().invoke(main, [str(argument) for argument in arguments])


@pytest.mark.parametrize("name", ["mlp3", "conv-bn", "residual16", "char-transformer"])
def test_train_and_run(tmp_path: Path, name: str) -> None:
    out = tmp_path / "net"
    options: list[object] = ["--examples", 8, "--batch-size", 4, "--epochs", 1, "--checkpoints", 2]
    options += ["--width", 8] if name == "mlp3" else []
    result = call("train", "--network", name, *options, "--out", out)
    assert result.exit_code == 0, result.output
    measured = call(
        "run",
        out,
        "--etas",
        "0.001,0.01",
        "--samples",
        3,
        "--no-limit",
        "--no-ladder",
        "--out",
        tmp_path / "r",
    )
    assert measured.exit_code == 0, measured.output
    found = load(tmp_path / "r")
    assert found.sizes["checkpoint"] == 2
    assert found.attrs["number_of_examples"] == 8
    assert np.isfinite(found["gradient_change"].values).all()
    assert np.isfinite(found["curvature"].values).all()
    depth = {"mlp3": 3, "conv-bn": 3, "residual16": 16}.get(name, 2 + 2 * 6)
    assert int(found["is_weight"].sum()) == depth


def test_residual16_with_batch_norm(tmp_path: Path) -> None:
    options = (
        "--examples",
        24,
        "--batch-size",
        12,
        "--epochs",
        1,
        "--checkpoints",
        1,
        "--out",
        tmp_path / "net",
    )
    result = call("train", "--network", "residual16", "--norm", "batch", *options)
    assert result.exit_code == 0, result.output
    (path,) = (tmp_path / "net").glob("*.safetensors")
    assert load_network(read_checkpoint(path)).spec == ResidualSpec(norm="batch")


@pytest.mark.parametrize(
    ("options", "part"),
    [
        (("conv", "--depth", "2"), "--depth"),
        (("conv", "--width", "784"), "--width"),
        (("conv", "--norm", "none"), "--norm"),
        (("conv-bn", "--no-bias"), "--bias"),
        (("conv-bn", "--activation", "relu"), "--activation"),
        (("residual16", "--residual"), "--residual"),
        (("residual16", "--norm", "layer"), "--norm"),
        (("char-transformer", "--norm", "layer"), "--norm"),
        (("mlp3", "--depth", "3"), "--depth"),
        (("conv", "--data", "text"), "--data text"),
        (("char-transformer", "--data", "mnist"), "--data mnist"),
        (("perceptron", "--data", "text"), "--data text"),
        (("resnet", "--depth", "3"), "--network"),
    ],
)
def test_options_that_conflict(tmp_path: Path, options: tuple[str, ...], part: str) -> None:
    result = call("train", "--network", *options, "--examples", 300, "--out", tmp_path / "net")
    assert result.exit_code == 2
    assert part in result.stderr
    assert result.stderr.count("\n") == 1 or "resnet" in options
    assert not (tmp_path / "net").exists()
