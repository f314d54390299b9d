"""Runs to damage, to lock and to kill."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from probes.checkpoints.checkpoint import write_checkpoint
from tests.guarantees.never_lose_work.runs import COUNT, GOLDEN, everything, run_arguments
from tests.support import processes
from tests.support.reference import make as make_perceptron
from tests.support.reference import make_data as random_data


@pytest.fixture
def copy(tmp_path: Path) -> Path:
    """A run of two checkpoints."""
    return Path(shutil.copytree(GOLDEN / "schema-2", tmp_path / "copy"))


@pytest.fixture(scope="session")
def inputs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with six checkpoints in ``net`` and the data in ``data.npz``."""
    folder = tmp_path_factory.mktemp("inputs")
    x, y = random_data(20)
    np.savez(folder / "data.npz", x=x.numpy(), y=y.numpy())
    (folder / "net").mkdir()
    for place in range(COUNT):
        network = make_perceptron(seed=place)
        details = {"network": network.spec.to_json(), "step": place}
        write_checkpoint(folder / "net" / f"step-{place}.safetensors", network.state_dict(), details)
    return folder


@pytest.fixture
def probe_run(tmp_path: Path) -> Any:
    """Run to the end in a process of its own; its exit status."""

    def call(inputs: Path, out: Path) -> int:
        arguments = run_arguments(inputs, out)
        return processes.ended(processes.start(processes.command, tmp_path / "run.log", arguments))

    return call


@pytest.fixture(scope="session")
def undisturbed(inputs: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, bytes]:
    """What an undisturbed run leaves; the folder's name is part of the command, and so of the bytes."""
    folder = tmp_path_factory.mktemp("undisturbed")
    out = inputs / "out"
    process = processes.start(processes.command, folder / "log", run_arguments(inputs, out))
    assert processes.ended(process) == 0, (folder / "log").read_text()
    kept = everything(out)
    shutil.rmtree(out)
    return kept
