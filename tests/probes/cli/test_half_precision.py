"""Checkpoints in half precision: that they are converted is said, once, and kept in the results."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
from torch import nn

import probes
from tests.conftest import Probe


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_they_are_said_to_be_converted(dtype: torch.dtype, probe: Probe, data: Path, tmp_path: Path) -> None:
    network = nn.Sequential(nn.Linear(6, 5), nn.ReLU(), nn.Linear(5, 3)).to(dtype)
    torch.save(network.state_dict(), tmp_path / "net-1.pt")
    torch.save(network.state_dict(), tmp_path / "net-2.pt")
    torch.save(network.float().state_dict(), tmp_path / "net-0.pt")
    options = ["--activation", "relu", "--data", data]
    files = [tmp_path / f"net-{k}.pt" for k in range(3)]
    out = tmp_path / "run"
    kind = str(dtype).removeprefix("torch.")
    line = f"probe: {files[1]}: its numbers are {kind} (and so are 1 more); they are converted to float32, exactly"
    for command in (
        ["run", *files, *options, "--etas", "0.01", "--no-limit", "--out", out, "--json"],
        ["limit", *files, *options, "--json"],
    ):
        done = probe(*command)
        assert done.exit_code == 0, done.output
        assert done.stderr.splitlines().count(line) == 1
        json.loads(done.stdout)  # and nothing of it here
    shown = probe("layers", files[1], *options)
    assert f"its numbers are {kind}; they are converted" in shown.stderr
    assert "converted" not in probe("layers", files[0], *options).stderr
    found = probes.load(out)
    assert found.attrs["converted"] == f", {kind} to float32, {kind} to float32"
    losses = found["loss"].isel(eta=0).values  # the same network, however it was saved
    assert losses[0] == losses[1] == losses[2]
