"""Sources that the tests of runs measure."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

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
