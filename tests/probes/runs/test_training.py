"""Training: the schedule, what is recorded, and that an interruption leaves no trace in the result."""

from __future__ import annotations

import csv
import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

import probes.runs.training
from probes import InputError
from probes.checkpoints.checkpoint import read_checkpoint
from probes.data.dataset import DataSet
from probes.networks.perceptron import Perceptron, PerceptronSpec
from probes.runs.training import TrainingSettings, train
from trust import lemma2_step_limit
from trust.optim import half_lemma2_cosine

SPEC = PerceptronSpec((6, 8, 3), "relu", biases=(True, True))
SETTINGS = TrainingSettings(SPEC, data="toy", epochs=4, batch_size=8, checkpoints="0:0,0:2,1,3,4", seed=5)


def toy(count: int = 30) -> DataSet:
    """Three classes that can be told apart."""
    random = np.random.default_rng(0)
    y = np.arange(count) % 3
    x = (random.normal(size=(count, 6)) + 2 * np.eye(6)[y]).astype(np.float32)
    return DataSet("toy", torch.from_numpy(x), torch.from_numpy(y))


def history(out: Path) -> list[dict[str, str]]:
    with (out / "training.csv").open() as stream:
        return list(csv.DictReader(stream))


def everything(out: Path) -> dict[str, bytes]:
    """The bytes of all that a run leaves, but for its own state."""
    return {
        str(path.relative_to(out)): path.read_bytes()
        for path in out.rglob("*")
        if path.is_file() and not path.name.startswith(".")
    }


def test_what_a_run_leaves(tmp_path: Path) -> None:
    state = torch.get_rng_state()
    files = train(SETTINGS, tmp_path / "run", data=toy())
    assert torch.equal(state, torch.get_rng_state())
    assert [path.name for path in files] == [
        f"checkpoint-{step:06d}.safetensors" for step in (0, 2, 4, 12, 16)
    ]
    rows = history(tmp_path / "run")
    assert [int(row["step"]) for row in rows] == list(range(16))
    assert [int(row["epoch"]) for row in rows] == [step // 4 for step in range(16)]
    np.testing.assert_allclose(
        [float(row["lr"]) for row in rows], [0.01 * 0.9 ** (k // 4) for k in range(16)]
    )
    first, last = (read_checkpoint(path) for path in (files[0], files[-1]))
    assert first.details["epoch"] == 0
    assert (last.details["step"], last.details["epoch"]) == (16, 4)
    assert last.details["data"] == "toy"
    # the initial network is torch's default initialisation from the seed
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(5)
        twin = Perceptron(SPEC)
    assert all(torch.equal(first.tensors[name], tensor) for name, tensor in twin.state_dict().items())


def test_the_loss_and_accuracy_are_those_of_each_batch_before_its_step(tmp_path: Path) -> None:
    settings = replace(
        SETTINGS, optimizer="sgd", lr=0.5, lr_decay=0.5, epochs=2, checkpoints="9", epoch_steps=4
    )
    data = toy(30)
    files = train(settings, tmp_path / "run", data=data)
    rows = history(tmp_path / "run")
    order = torch.Generator().manual_seed(5)
    states = [read_checkpoint(path).tensors for path in files]
    for step, row in enumerate(rows):
        if step % 4 == 0:
            permutation = torch.randperm(30, generator=order)
        index = permutation[step % 4 * 8 :][:8]  # batches of 8, 8, 8 and 6: all examples once
        weights = {name: tensor.clone().requires_grad_() for name, tensor in states[step].items()}
        h = torch.relu(data.x[index] @ weights["layers.0.weight"].T + weights["layers.0.bias"])
        outputs = h @ weights["layers.1.weight"].T + weights["layers.1.bias"]
        loss = nn.functional.cross_entropy(outputs, data.y[index])
        assert float(row["loss"]) == pytest.approx(float(loss.detach()), rel=1e-6)
        assert float(row["accuracy"]) == pytest.approx(
            float((outputs.argmax(1) == data.y[index]).float().mean())
        )
        loss.backward()
        for (
            name,
            tensor,
        ) in weights.items():  # and the step is plain gradient descent with the decayed step size
            assert tensor.grad is not None
            moved = tensor.detach() - 0.5 * 0.5 ** (step // 4) * tensor.grad
            torch.testing.assert_close(states[step + 1][name], moved, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("optimizer", ["fromage", "sgd", "adam"])
@pytest.mark.parametrize("norm", ["none", "layer", "batch"])
def test_it_learns(tmp_path: Path, optimizer: str, norm: str) -> None:
    network = replace(SPEC, norm=norm)
    lr = {"fromage": 0.02, "sgd": 0.1, "adam": 0.01}[optimizer]
    settings = replace(SETTINGS, network=network, optimizer=optimizer, lr=lr, epochs=20, checkpoints="2")
    files = train(settings, tmp_path / "run", data=toy())
    losses = [float(row["loss"]) for row in history(tmp_path / "run")]
    assert np.mean(losses[-4:]) < 0.8 * np.mean(losses[:4])
    assert read_checkpoint(files[-1]).details["train_accuracy"] > 0.6


@pytest.mark.parametrize("optimizer", ["fromage", "sgd", "adam"])
@pytest.mark.parametrize("norm", ["none", "batch"])
def test_an_interrupted_run_ends_as_an_undisturbed_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, optimizer: str, norm: str
) -> None:
    # the passes (4 steps), the epochs (3 steps) and the interruptions do not coincide
    settings = replace(
        SETTINGS, network=replace(SPEC, norm=norm), optimizer=optimizer, epoch_steps=3, epochs=5
    )
    train(settings, tmp_path / "whole", data=toy())
    real, calls = probes.runs.training._step, 0

    def stumbling(*arguments: Any) -> None:
        nonlocal calls
        calls += 1
        if calls in (1, 5, 9, 14):
            raise KeyboardInterrupt
        real(*arguments)

    monkeypatch.setattr(probes.runs.training, "_step", stumbling)
    interruptions = 0
    while True:
        try:
            train(settings, tmp_path / "cut", data=toy())
            break
        except KeyboardInterrupt:
            interruptions += 1
    assert interruptions == 4
    assert calls < 15 + 4 * 7  # it went on rather than began again
    assert everything(tmp_path / "cut") == everything(tmp_path / "whole")
    calls = 100
    with monkeypatch.context() as once:  # to make an optimizer loads torch's compiler
        once.setattr(probes.runs.training, "make_optimizer", None)
        train(settings, tmp_path / "cut", data=toy())
    assert calls == 100  # nothing is left to do
    assert everything(tmp_path / "cut") == everything(tmp_path / "whole")


def test_batch_norm_trains_in_training_mode(tmp_path: Path) -> None:
    files = train(replace(SETTINGS, network=replace(SPEC, norm="batch")), tmp_path / "run", data=toy())
    tracked = [int(read_checkpoint(path).tensors["norms.0.num_batches_tracked"]) for path in files]
    assert tracked == [0, 2, 4, 12, 16]


def test_a_lost_checkpoint_is_made_again(tmp_path: Path) -> None:
    files = train(SETTINGS, tmp_path / "run", data=toy())
    before = everything(tmp_path / "run")
    files[1].unlink()
    assert train(SETTINGS, tmp_path / "run", data=toy()) == files
    assert everything(tmp_path / "run") == before


def test_another_training_is_refused(tmp_path: Path) -> None:
    train(SETTINGS, tmp_path / "run", data=toy())
    before = everything(tmp_path / "run")
    for other, data in (
        (replace(SETTINGS, seed=6), toy()),
        (SETTINGS, toy(31)),
        (replace(SETTINGS, lr=0.02), toy()),
    ):
        with pytest.raises(InputError, match="another training run"):
            train(other, tmp_path / "run", data=data)
    assert everything(tmp_path / "run") == before
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "notes").touch()
    with pytest.raises(InputError, match="not empty"):
        train(SETTINGS, tmp_path / "mine", data=toy())
    (tmp_path / "run" / ".training-state").write_bytes(b"rubbish")
    with pytest.raises(InputError, match="damaged"):
        train(SETTINGS, tmp_path / "run", data=toy())


def test_a_cosine_goes_from_the_rate_to_zero_behind_the_last_step() -> None:
    settings = replace(SETTINGS, lr=0.2, lr_decay="cosine", epochs=2)
    rates = [settings.rate(step, 4) for step in range(10)]
    # half-way it is half; behind the last step it stays, so that no checkpoint has the rate zero
    assert rates[:1] + rates[4:5] == pytest.approx([0.2, 0.1])
    assert rates[7] == rates[8] == rates[9] == pytest.approx(0.1 * (1 + np.cos(np.pi * 7 / 8)))
    L = 3
    half = float(lemma2_step_limit(depth=L)) / 2
    ours = replace(settings, lr=half)
    assert [ours.rate(step, 4) for step in range(8)] == pytest.approx(
        [half_lemma2_cosine(step, total=8, depth=L) for step in range(8)]
    )


def test_settings_that_cannot_train(tmp_path: Path) -> None:
    for changes in (
        {"optimizer": "magic"},
        {"lr": 0},
        {"lr": float("nan")},
        {"lr_decay": -1},
        {"lr_decay": "linear"},
        {"epochs": 0},
        {"batch_size": 0},
        {"epoch_steps": 0},
    ):
        with pytest.raises(InputError, match=r"^`[a-z_]+="):
            replace(SETTINGS, **changes)
    data = toy()
    batch = replace(SPEC, norm="batch")
    for settings, given in (
        (replace(SETTINGS, batch_size=31), data),
        (replace(SETTINGS, network=replace(SPEC, widths=(5, 8, 3))), data),
        (replace(SETTINGS, network=replace(SPEC, widths=(6, 8, 2))), data),
        (replace(SETTINGS, network=batch, batch_size=1), data),
        (replace(SETTINGS, network=batch, batch_size=29), data),  # leaves one over
        (SETTINGS, DataSet("toy", data.x, data.x[:, :3])),  # no labels and no loss given
        (replace(SETTINGS, loss="mse"), DataSet("toy", data.x, data.x[:, :2])),
    ):
        with pytest.raises(InputError):
            train(settings, tmp_path / "run", data=given)
    assert not (tmp_path / "run").exists()


def test_regression_has_no_accuracy(tmp_path: Path) -> None:
    data = toy()
    targets = DataSet("toy", data.x, data.x[:, :3])
    files = train(replace(SETTINGS, loss="mse"), tmp_path / "run", data=targets)
    assert read_checkpoint(files[-1]).details["train_accuracy"] is None
    assert all(row["accuracy"] == "nan" for row in history(tmp_path / "run"))


def test_divergence_is_reported(tmp_path: Path) -> None:
    settings = replace(SETTINGS, optimizer="sgd", lr=1e30)
    with pytest.raises(InputError, match="lower `lr`"):
        train(settings, tmp_path / "run", data=toy())
    assert json.loads((tmp_path / "run" / "training.json").read_text())["lr"] == 1e30
    for path in (tmp_path / "run").glob("*.safetensors"):
        assert read_checkpoint(path).tensors
