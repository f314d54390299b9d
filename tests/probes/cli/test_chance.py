"""A network that is run otherwise than it was trained is noticed: its loss is no better than chance."""

from __future__ import annotations

import json
import math
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

import probes
from tests.conftest import Probe

WARNING = "no better than chance (1.1)"


@pytest.fixture(scope="module")
def learnt(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """A tanh network before and after it learnt 60 random labels by heart, and the data."""
    folder = tmp_path_factory.mktemp("learnt")
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        x, y = torch.randn(60, 6), torch.randint(0, 3, (60,))
        network = nn.Sequential(nn.Linear(6, 32), nn.Tanh(), nn.Linear(32, 32), nn.Tanh(), nn.Linear(32, 3))
    (folder / "net").mkdir()
    np.savez(folder / "data.npz", x=x.numpy(), y=y.numpy())
    optimizer = torch.optim.Adam(network.parameters(), lr=0.02)
    for step in range(151):
        if step in (0, 150):
            torch.save(network.state_dict(), folder / "net" / f"{step}.pt")
        optimizer.zero_grad()
        nn.functional.cross_entropy(network(x), y).backward()
        optimizer.step()
    return folder / "net", folder / "data.npz"


@pytest.mark.parametrize(("activation", "noticed"), [("tanh", False), ("relu", True)])
def test_a_wrong_activation_is_noticed(
    activation: str, noticed: bool, learnt: tuple[Path, Path], probe: Probe, tmp_path: Path
) -> None:
    net, data = learnt
    options = ["--activation", activation, "--data", data]
    out = tmp_path / "run"
    done = probe("run", net, *options, "--etas", "0.001,0.01", "--no-limit", "--out", out)
    assert done.exit_code == 0, done.output
    assert done.stderr.count(WARNING) == noticed  # of the last alone: the first has not learnt yet
    assert ("the loss at 150 is " in done.stderr) == noticed
    found = probes.load(out)
    np.testing.assert_allclose(found["chance_loss"].values, math.log(3), rtol=1e-12)
    loss, accuracy = (float(found[name].isel(checkpoint=1, eta=0)) for name in ("loss", "accuracy"))
    assert (loss > 5) == noticed
    assert (accuracy == 1) != noticed
    row = next(line.split() for line in done.stdout.splitlines() if line.startswith("150 "))
    assert row == ["150", f"{loss:.3g}".replace("-", "−"), "1.1", f"{accuracy:.3g}"]
    report = probe("report", out, "--format", "png")
    assert report.stdout.count(WARNING) == noticed
    assert row in [line.split() for line in report.stdout.splitlines()]
    page = (out / "report" / "report.md").read_text("utf-8")
    assert (page.count(WARNING), page.count(f"| {' | '.join(row)} |")) == (noticed, 1)
    again = json.loads(
        probe("run", net, *options, "--etas", "0.001,0.01", "--no-limit", "--out", out, "--json").stdout
    )
    assert [one["accuracy"] for one in again["start"]] == found["accuracy"].isel(eta=0).values.tolist()

    limit = probe("limit", net / "150.pt", *options)  # alone, it is no first one
    assert limit.stderr.count(WARNING) == noticed
    assert row in [line.split() for line in limit.stdout.splitlines()]
    limit = probe("limit", net / "150.pt", *options, "--json")
    (document,) = json.loads(limit.stdout)
    assert (document["loss"], document["accuracy"]) == pytest.approx((loss, accuracy), rel=1e-6)
    assert document["chance_loss"] == pytest.approx(math.log(3))
