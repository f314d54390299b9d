"""A run that fails says why in one line, whosever code failed, and one that measured nothing leaves its folder free."""

from __future__ import annotations

import tomllib
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

import probes
import probes.runs.run
from probes.runs.folder import read_manifest
from tests.conftest import Probe
from tests.probes.cli.refusals import one_line


def make() -> nn.Module:
    """A convolution with batch norm, of four classes."""
    return nn.Sequential(nn.Conv2d(1, 2, 3), nn.BatchNorm2d(2), nn.ReLU(), nn.Flatten(), nn.Linear(8, 4))


@pytest.fixture
def command(tmp_path: Path) -> list[object]:
    """A run of a network that Python code makes."""
    torch.manual_seed(0)
    torch.save(make().state_dict(), tmp_path / "net.pt")
    x = np.random.default_rng(0).normal(size=(12, 1, 4, 4)).astype(np.float32)
    np.savez(tmp_path / "data.npz", x=x, y=np.arange(12) % 4)
    network = f"{__name__}:make"
    options = ["--network", network, "--data", tmp_path / "data.npz", "--etas", "0.01"]
    return ["run", tmp_path / "net.pt", *options, "--out", tmp_path / "x"]


@pytest.mark.parametrize(
    ("options", "parts"),
    [
        (["--loss", "mse"], ["--loss mse: outputs of shape (1, 4) do not fit", "give targets", "--loss"]),
        (["--perturb", "convolution*"], ["--perturb convolution*", "matches no parameter"]),
        (["--layers", "nothing*"], ["--layers nothing*", "matches no layer"]),
    ],
)
def test_what_cannot_be_measured_claims_no_folder(
    probe: Probe, command: list[object], tmp_path: Path, options: list[str], parts: list[str]
) -> None:
    one_line(probe(*command, *options), *parts)
    assert not (tmp_path / "x").exists()


def test_a_folder_in_which_nothing_was_measured_is_taken_over(
    probe: Probe, command: list[object], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def stopped(*_: Any, **__: Any) -> Any:
        raise KeyboardInterrupt

    out = tmp_path / "x"
    with monkeypatch.context() as patch:
        patch.setattr(probes.runs.run, "measure_slice", stopped)
        assert probe(*command, "--seed", 7, "--chunk", 5).exit_code == 130
    assert read_manifest(out)["identity"]["seed"] == 7
    result = probe(*command, "--etas", "0.02")
    assert result.exit_code == 0, result.stderr
    identity = read_manifest(out)["identity"]
    assert (identity["seed"], identity["etas"][-1], identity["chunk"]) == (0, 0.02, 12)
    settings = tomllib.loads((out / "run.toml").read_text("utf-8"))
    assert (settings["seed"], settings["etas"][-1]) == (0, 0.02)
    assert probes.load(out)["eta"].values.tolist() == [0, 1e-4, 0.02]
    one_line(
        probe(*command, "--etas", "0.03"), "holds another run's results"
    )  # now there is something to lose


OWN = """
import numpy as np
from torch import nn
from probes import Measure
from tests.probes.cli.test_failed_runs import make
from trust.claims import Claim
from trust.measurements import Variable


def needs(width):
    return make()


def bad():
    raise ValueError("no such width")


class Net(nn.Module):
    def __init__(self, width):
        super().__init__()


def loss(outputs, targets):
    raise KeyError("xx")


def loss_of_model(model, batch):
    raise KeyError("xx")


class Smallest(Measure):
    name = "smallest"
    finds = (Variable("smallest", ("checkpoint", "eta"), "min", "weight", "smallest"),)

    def record(self, point):
        raise KeyError("xx")

    def found(self, others):
        return {}


def side(data):
    raise KeyError("xx")


CLAIM = Claim("mine", "me", "0 ≤ 1", "nothing", side, side)
"""


@pytest.fixture
def own(tmp_path: Path) -> str:
    """A file of the user's whose callables fail."""
    (tmp_path / "own.py").write_text(OWN, "utf-8")
    return str(tmp_path / "own.py")


@pytest.mark.parametrize(
    ("option", "name", "why"),
    [
        ("--network", "needs", "TypeError: needs() missing 1 required positional argument: 'width'"),
        ("--network", "bad", "ValueError: no such width"),
        ("--network", "Net", "'width'"),
        ("--loss", "loss", "KeyError: 'xx'"),
        ("--loss", "loss_of_model", "KeyError: 'xx'"),
        ("--measure", "Smallest", "KeyError: 'xx'"),
    ],
)
def test_what_the_user_s_own_code_raises_is_one_line(
    probe: Probe, command: list[object], own: str, option: str, name: str, why: str
) -> None:
    one_line(probe(*command, option, f"{own}:{name}"), f"{option} {own}:{name}: calling it failed with", why)
    if option == "--network":
        one_line(probe("layers", *command[1:-4], option, f"{own}:{name}"), "calling it failed with", why)


def test_what_the_user_s_own_claim_raises_is_one_line(probe: Probe, measured: Path, own: str) -> None:
    result = probe("report", measured, "--claim", f"{own}:CLAIM")
    one_line(result, f"--claim {own}:CLAIM: calling it failed with KeyError: 'xx'")
