"""Data that is no plain file, through the commands: loaders, integers, token ids and losses of (model, batch)."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

import probes
from analysis import Status, judge
from tests.conftest import Probe
from trust.claims import all_claims

MINE = """
import torch
from torch import nn
from torch.utils.data import DataLoader, TensorDataset

def loader():
    x = torch.arange(360.0).reshape(60, 6) / 360
    return DataLoader(TensorDataset(x, torch.arange(60) % 3), batch_size=7, shuffle=True)

def words():
    draw = torch.Generator().manual_seed(0)
    return [{"input_ids": torch.randint(0, 5, (3, n), generator=draw)} for n in (4, 2, 6)]

def rare_words():
    return [*words(), {"input_ids": torch.tensor([[1, 7]])}]

class Language(nn.Module):
    def __init__(self):
        super().__init__()
        self.embedding, self.head = nn.Embedding(8, 4), nn.Linear(4, 5)

    def forward(self, input_ids):
        return {"logits": self.head(torch.tanh(self.embedding(input_ids).cumsum(1)))}

def loss(model, batch):
    x, y = batch
    return nn.functional.cross_entropy(model(x), y)
"""
FEW = ("--etas", "1e-3:1e-1:3", "--no-limit", "--no-curvature")


@pytest.fixture(scope="module")
def mine(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("mine") / "mine.py"
    path.write_text(MINE)
    return path


@pytest.fixture(scope="module")
def language(mine: Path) -> Path:
    names: dict[str, Any] = {}
    exec(MINE, names)  # what the commands will import
    path = mine.parent / "language.pt"
    torch.save(names["Language"]().state_dict(), path)
    return path


def test_a_shuffled_loader_can_be_continued(probe: Probe, trained: Path, mine: Path, tmp_path: Path) -> None:
    command = ("run", trained, "--data", f"{mine}:loader", *FEW, "--out", tmp_path / "out")
    for _ in range(2):
        result = probe(*command)
        assert result.exit_code == 0, result.output
    found = probes.load(tmp_path / "out")
    assert "shuffles" in found.attrs["data_note"]
    assert found.attrs["number_of_examples"] == 60


def test_integer_features_of_a_perceptron(probe: Probe, trained: Path, tmp_path: Path) -> None:
    x = np.random.default_rng(0).integers(-3, 4, (20, 6))
    losses = []
    for name, array in (("whole", x), ("real", x.astype(np.float32))):
        np.savez(tmp_path / f"{name}.npz", x=array, y=np.arange(20) % 3)
        out = tmp_path / name
        result = probe("run", trained, "--data", tmp_path / f"{name}.npz", *FEW, "--out", out)
        assert result.exit_code == 0, result.output
        losses.append(probes.load(out)["loss"].values)
    np.testing.assert_array_equal(losses[0], losses[1])


def test_a_loss_of_model_and_batch(
    probe: Probe, trained: Path, data: Path, mine: Path, tmp_path: Path
) -> None:
    out = tmp_path / "out"
    result = probe("run", trained, "--data", data, "--loss", f"{mine}:loss", *FEW, "--out", out)
    assert result.exit_code == 0, result.output
    plain = tmp_path / "plain"
    assert probe("run", trained, "--data", data, *FEW, "--out", plain).exit_code == 0
    found, expected = probes.load(out), probes.load(plain)
    np.testing.assert_allclose(found["loss"], expected["loss"], rtol=1e-5)
    np.testing.assert_allclose(found["gradient_norm"], expected["gradient_norm"], rtol=1e-5)
    for verdict in judge(found, [all_claims()["theorem1-function"]]):
        assert verdict.status is Status.NOT_MEASURED


def test_a_language_model(probe: Probe, language: Path, mine: Path, tmp_path: Path) -> None:
    command = ("run", language, "--network", f"{mine}:Language", "--loss", "next-token", *FEW)
    result = probe(*command, "--data", f"{mine}:words", "--jacobian", 2, "--out", tmp_path / "out")
    assert result.exit_code == 0, result.output
    assert probe("report", tmp_path / "out", "--format", "png").exit_code == 0
    assert probe("export", tmp_path / "out", tmp_path / "out.csv").exit_code == 0
    result = probe(*command, "--data", f"{mine}:rare_words", "--out", tmp_path / "none")
    assert result.exit_code != 0
    assert "labels run from 0 to 7, but the network has 5 outputs" in result.stderr
    assert result.stderr.strip().count("\n") == 0
