"""``probe layers`` says what a run will do, and the run does it."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import save_file

import probes
from analysis import judge
from probes.checkpoints.checkpoint import read_checkpoint
from probes.networks.frozen_network import load_network
from tests.conftest import Probe

MODULE = """
import torch
from torch import nn


class Network(nn.Module):
    def __init__(self):
        super().__init__()
        self.out = nn.Linear(4, 6, bias=False)
        self.back = nn.Linear(4, 3)
        self.inner = nn.Linear(6, 4)
        self.spare = nn.Linear(2, 2, bias=False)
        self.norm = nn.BatchNorm1d(4)
        self.twin = nn.Linear(6, 4, bias=False)
        self.twin.weight = self.inner.weight
        self.inner.bias.requires_grad_(False)

    def forward(self, x):
        h = torch.tanh(self.norm(self.inner(x)))
        return self.back(torch.tanh(self.twin(torch.tanh(self.out(h)))))


def network():
    torch.manual_seed(0)
    return Network()
"""
NAMES = ["inner.weight", "inner.bias", "norm.weight", "norm.bias", "out.weight", "back.weight", "back.bias"]


@pytest.fixture(scope="module")
def foreign(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, str]:
    """A checkpoint of a module of the user's own, and the option that makes the module."""
    folder = tmp_path_factory.mktemp("foreign")
    (folder / "mine.py").write_text(MODULE)
    scope: dict[str, Any] = {}
    exec(MODULE, scope)
    torch.save(scope["network"]().state_dict(), folder / "net.pt")
    return folder / "net.pt", f"{folder / 'mine.py'}:network"


def table(probe: Probe, *arguments: object) -> list[dict[str, Any]]:
    result = probe("layers", *arguments, "--json")
    assert result.exit_code == 0, result.output
    found: list[dict[str, Any]] = json.loads(result.stdout)
    return found


def test_json_of_a_module_of_the_user_s_own(probe: Probe, foreign: tuple[Path, str], data: Path) -> None:
    path, network = foreign
    found = table(probe, path, "--network", network, "--data", data, "--perturb", "*.weight")
    keys = {"name", "module", "module_type", "kind", "shape", "aliases", "is_weight", "trainable", "used"}
    assert all(set(one) == keys | {"uses", "treatment", "note"} for one in found)
    assert [one["name"] for one in found] == [*NAMES, "spare.weight"]
    by = {one["name"]: one for one in found}
    assert by["inner.weight"]["aliases"] == ["twin.weight"]
    assert by["inner.weight"]["shape"] == [4, 6]
    assert (by["norm.weight"]["kind"], by["norm.weight"]["module_type"]) == ("normalisation", "BatchNorm1d")
    assert [name for name, one in by.items() if one["is_weight"]] == [
        "inner.weight",
        "out.weight",
        "back.weight",
    ]
    treatments = {name: one["treatment"] for name, one in by.items()}
    assert treatments == {
        "inner.weight": "perturbed",
        "inner.bias": "left alone: frozen",
        "norm.weight": "perturbed",
        "norm.bias": "left alone: excluded by perturb",
        "out.weight": "perturbed",
        "back.weight": "perturbed",
        "back.bias": "left alone: excluded by perturb",
        "spare.weight": "left alone: unused",
    }


def test_the_run_does_what_the_table_says(
    probe: Probe, foreign: tuple[Path, str], data: Path, tmp_path: Path
) -> None:
    path, network = foreign
    options = ["--network", network, "--data", data, "--perturb", "inner.*", "--perturb", "b*"]
    said = table(probe, path, *options)
    out = tmp_path / "run"
    arguments = [
        "run",
        path,
        *options,
        "--batchnorm",
        "batch",
        "--etas",
        "0.01,0.1",
        "--no-limit",
        "--out",
        out,
    ]
    for _ in range(2):  # the second continues the first
        result = probe(*arguments)
        assert result.exit_code == 0, result.output
    measurements = probes.load(out)
    found = measurements.isel(checkpoint=0)
    assert found.attrs["batchnorm"] == "batch statistics"
    assert found["layer"].values.tolist() == [one["name"] for one in said]
    for name in ("kind", "treatment", "is_weight"):
        assert found[name].values.tolist() == [one[name] for one in said]
    moved = (found["perturbation_norm"] > 0).any("eta").values
    expected = [one["treatment"] == "perturbed" for one in said]
    np.testing.assert_array_equal(moved, expected)
    assert sum(expected) == 3
    refused = probe(*arguments[:-1], tmp_path / "other", "--chunk", 7)
    assert refused.exit_code == 2
    assert "--batchnorm batch" in refused.stderr
    assert {verdict.claim for verdict in judge(measurements)} >= {"lemma1", "deep-relative-trust"}


def test_the_table_for_reading(probe: Probe, trained: Path, foreign: tuple[Path, str], data: Path) -> None:
    last = sorted(trained.glob("*.safetensors"))[-1]
    result = probe("layers", last, "--biases", "fixed")  # its data is in the checkpoint
    assert result.exit_code == 0, result.output
    lines = result.stdout.splitlines()
    assert [line.split()[0] for line in lines[2:8]] == [
        f"layers.{k}.{leaf}" for k in range(3) for leaf in ("weight", "bias")
    ]
    assert "left alone: biases fixed" in lines[3]
    assert lines[8].startswith("3 of 6 parameters are perturbed; L = 3")
    folder = probe("layers", trained, "--biases", "fixed")
    assert folder.stdout.splitlines() == [f"{last}, the last of 3 checkpoints", *lines]
    path, network = foreign
    bare = probe("layers", path, "--network", network)
    assert bare.exit_code == 0, bare.output
    assert "add --data" in bare.stdout
    assert {one["used"] for one in table(probe, path, "--network", network)} == {None}


def test_what_cannot_be_listed_is_refused(
    probe: Probe, trained: Path, foreign: tuple[Path, str], data: Path
) -> None:
    path, network = foreign
    for arguments, message in (
        (("layers", trained / "nowhere"), "no such file or folder"),
        (("layers", path, "--network", network, "--perturb", "none*"), "--perturb none*"),
        (("layers", path, "--data", data), "probe: "),
    ):
        result = probe(*arguments)
        assert result.exit_code == 2
        assert message in result.stderr
        assert len(result.stderr.strip().splitlines()) == 1


def test_loading_keeps_ties_and_frozen_flags(probe: Probe, foreign: tuple[Path, str], tmp_path: Path) -> None:
    scope: dict[str, Any] = {}
    exec(MODULE, scope)
    tensors = torch.load(foreign[0], weights_only=True)
    once = {name: tensor.clone() for name, tensor in tensors.items() if name != "twin.weight"}
    save_file(once, tmp_path / "once.safetensors")  # a format that keeps one name of a tied tensor
    for path in (foreign[0], tmp_path / "once.safetensors"):
        network: Any = load_network(read_checkpoint(path), network=scope["network"]).network
        assert network.twin.weight is network.inner.weight
        assert torch.equal(network.inner.weight, tensors["inner.weight"])
        assert [name for name, tensor in network.named_parameters() if not tensor.requires_grad] == [
            "inner.bias"
        ]
    torch.save({**tensors, "twin.weight": tensors["twin.weight"] + 1}, tmp_path / "torn.pt")
    with pytest.raises(probes.InputError, match="are one in the network"):
        load_network(read_checkpoint(tmp_path / "torn.pt"), network=scope["network"])
