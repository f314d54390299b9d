"""``torchrun … -m probes run``: real processes, one of which is killed in the middle."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
import xarray as xr

import probes
from tests.conftest import Probe

ROOT = Path(__file__).parent.parent.parent
NETWORK = '''
"""A network in which, as long as nobody has died, process 1 dies once a checkpoint is measured."""

import os
import signal
from pathlib import Path

from torch import nn


class Mortal(nn.Sequential):
    def forward(self, x):
        died, measured = Path("died"), Path("cut/slices/0000.nc")
        if os.environ.get("RANK") == "1" and measured.exists() and not died.exists():
            died.touch()
            os.kill(os.getpid(), signal.SIGKILL)
        return super().forward(x)


def make():
    return Mortal(nn.Linear(6, 5), nn.Tanh(), nn.Linear(5, 3))
'''
TWICE = '''
"""The command again, and then into another folder, in the same processes."""

import sys

from probes.cli.main import main

command = sys.argv[1:]
main([*command, "--out", "cut"], standalone_mode=False)
main([*command, "--out", "whole", "--json"], standalone_mode=False)
'''
COMMAND = ["run", "net", "--network", "net.py:make", "--data", "data.npz", "--etas", "0.01,0.1"]
COMMAND += ["--dtype", "float64", "--samples", "5", "--device", "cpu"]
DIED = (
    "probe: a process of this run died (no answer from rank 1);"
    " what was measured is kept, the same command continues"
)


def torchrun(folder: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    """Two processes with these arguments, of one thread each."""
    start = [sys.executable, "-m", "torch.distributed.run", "--nproc-per-node=2"]
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("TORCH", "OMP"))}
    environment = {**kept, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1", "TMPDIR": str(folder)}
    return subprocess.run(
        [*start, *arguments], cwd=folder, env=environment, capture_output=True, text=True, check=False
    )


def test_a_killed_process_ends_the_run_and_the_same_command_continues(
    tmp_path: Path, probe: Probe, monkeypatch: pytest.MonkeyPatch
) -> None:
    random = np.random.default_rng(0)
    np.savez(tmp_path / "data.npz", x=random.normal(size=(31, 6)), y=np.arange(31) % 3)
    (tmp_path / "net.py").write_text(NETWORK)
    (tmp_path / "twice.py").write_text(TWICE)
    (tmp_path / "net").mkdir()
    shapes = {"0.weight": (5, 6), "0.bias": (5,), "2.weight": (3, 5), "2.bias": (3,)}
    for step in range(3):
        weights = {name: torch.from_numpy(random.normal(size=shape)) for name, shape in shapes.items()}
        torch.save(weights, tmp_path / "net" / f"step-{step}.pt")

    killed = torchrun(tmp_path, "-m", "probes", *COMMAND, "--out", "cut")
    assert killed.returncode != 0
    assert killed.stderr.splitlines().count(DIED) == 1
    assert killed.stdout == ""
    first = tmp_path / "cut" / "slices" / "0000.nc"
    assert [path.name for path in first.parent.iterdir()] == ["0000.nc"]  # and nothing half-written beside it
    before = first.stat().st_mtime_ns

    again = torchrun(tmp_path, "twice.py", *COMMAND)
    assert again.returncode == 0, again.stderr
    assert again.stdout.count("checkpoints measured into cut") == 1  # one process speaks
    assert again.stdout.count('"results": "whole"') == 1
    assert first.stat().st_mtime_ns == before
    cut, whole = probes.load(tmp_path / "cut"), probes.load(tmp_path / "whole")
    assert cut.attrs.pop("command") != whole.attrs.pop("command")
    xr.testing.assert_identical(cut, whole)
    assert whole.attrs["processes"] == 2

    monkeypatch.chdir(tmp_path)
    result = probe(*COMMAND, "--out", "alone")
    assert result.exit_code == 0, result.output
    alone = probes.load(tmp_path / "alone")
    assert alone.attrs["processes"] == 1
    # sums over 31 examples in float64 in another order: 31 · 2^-53, and two digits that a breakdown of 1e-2 and as
    # many that cancelling terms may cost
    xr.testing.assert_allclose(whole, alone, rtol=1e-10, atol=1e-13)


def test_other_commands_say_that_they_do_not_share(probe: Probe, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LOCAL_RANK", "0")
    assert probe("claims").exit_code == 0  # one process may do anything
    for name, value in {"RANK": "0", "WORLD_SIZE": "2", "MASTER_ADDR": "127.0.0.1"}.items():
        monkeypatch.setenv(name, value)
    with pytest.MonkeyPatch.context() as patched:
        from contextlib import nullcontext

        from probes.system import processes as sharing

        patched.setattr(sharing, "from_environment", lambda *_, **__: nullcontext(sharing.Share(0, 2)))
        result = probe("claims")
    assert result.exit_code == 2
    assert "probe claims: processes share only probe run and probe limit" in result.stderr
