"""Sources that the tests of runs measure, and slices that they keep."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import xarray as xr

from probes import SliceSettings, measure_slice
from probes.checkpoints.checkpoint import write_checkpoint
from probes.runs.source import Source
from tests.support.reference import make, make_data


@pytest.fixture
def source(tmp_path: Path) -> Source:
    """Three checkpoints and a data file."""
    x, y = make_data(20)
    np.savez(tmp_path / "data.npz", x=x.numpy(), y=y.numpy())
    folder = tmp_path / "net"
    folder.mkdir()
    for step in (2, 9, 10):
        network = make(seed=step)
        details = {"network": network.spec.to_json(), "step": step, "epoch": step / 2, "train_accuracy": 0.5}
        write_checkpoint(folder / f"step-{step}.safetensors", network.state_dict(), details)
    return Source((str(folder),), data=str(tmp_path / "data.npz"))


@pytest.fixture(scope="module")
def parts() -> list[xr.Dataset]:
    """Slices of two networks; the second overflows."""
    x, y = make_data(8)
    made = []
    for seed, etas in ((0, [0.0, 0.1, 1.0]), (1, [0.0, 0.1, 1.0])):
        settings = SliceSettings(etas=np.array(etas), jacobian=2, limit=False)
        made.append(measure_slice(make(seed=seed), x, y, settings=settings, label=f"checkpoint-{seed * 10}"))
    made[1]["loss"][0, 2] = np.inf
    made[1]["gradient_change"][0, 2, 0] = np.nan
    return made
