"""A process that is ended at any moment loses nothing, and the same command continues."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import probes
from tests.guarantees.never_lose_work.runs import everything, run_arguments, slice_files
from tests.support import processes


def test_killed_at_every_kind_of_moment(inputs: Path, undisturbed: dict[str, bytes], tmp_path: Path) -> None:
    """Killed at step 1 on the disk, then at step 2 of the continuation, and so on until one gets through."""
    out = inputs / "out"
    kept: dict[str, tuple[int, int]] = {}
    for fatal in range(1, 200):
        arguments = (tmp_path / "log", run_arguments(inputs, out), fatal)
        status = processes.ended(processes.start(processes.killed_command, *arguments))
        files = slice_files(out)
        assert kept.items() <= files.items()  # nothing is measured again, and nothing lost
        kept = files
        if status == 0:
            break
        assert status == -signal.SIGKILL
        if kept:
            assert probes.load(out).sizes["checkpoint"] == len(kept)
    assert fatal > 12
    assert everything(out) == undisturbed
    shutil.rmtree(out)


@pytest.mark.parametrize("fatal", [35])
def test_killed_once_at_a_later_moment(
    inputs: Path, undisturbed: dict[str, bytes], tmp_path: Path, fatal: int
) -> None:
    out = inputs / "out"
    first = processes.start(processes.killed_command, tmp_path / "log", run_arguments(inputs, out), fatal)
    assert processes.ended(first) == -signal.SIGKILL
    kept = slice_files(out)
    again = processes.start(processes.command, tmp_path / "log", run_arguments(inputs, out))
    assert processes.ended(again) == 0
    assert kept.items() <= slice_files(out).items()
    assert everything(out) == undisturbed
    shutil.rmtree(out)


def test_killed_at_random_moments(inputs: Path, undisturbed: dict[str, bytes], tmp_path: Path) -> None:
    out = inputs / "out"
    kept: dict[str, tuple[int, int]] = {}
    for delay in np.random.default_rng(7).uniform(0, 0.05, 4).tolist():
        arguments = (tmp_path / "log", run_arguments(inputs, out), delay)
        process = processes.start(processes.command_killed_between_files, *arguments)
        assert processes.ended(process) == -signal.SIGKILL
        assert kept.items() <= slice_files(out).items()
        kept = slice_files(out)
    assert len(kept) == 4
    process = processes.start(processes.command, tmp_path / "log", run_arguments(inputs, out))
    assert processes.ended(process) == 0
    assert everything(out) == undisturbed
    shutil.rmtree(out)


BUSY = """
import torch
class Net(torch.nn.Module):
    def __init__(self):
        super().__init__()
        self.fc = torch.nn.Linear(6, 3)
    def forward(self, x):
        open({begun!r}, "w").close()
        torch.ones(1).expand(2**45).sum()  # hours, in no memory
        return self.fc(x)
class Stubborn(Net):
    def forward(self, x):
        import time
        open({begun!r}, "w").close()
        while True:
            try:
                time.sleep(3600)
            except BaseException:
                pass
"""


@pytest.mark.parametrize(
    ("number", "status", "network"), [(signal.SIGINT, 130, "Net"), (signal.SIGTERM, 143, "Stubborn")]
)
def test_a_signal_ends_what_cannot_be_interrupted(
    inputs: Path, tmp_path: Path, number: signal.Signals, status: int, network: str
) -> None:
    import torch

    begun, log, out = tmp_path / "begun", tmp_path / "log", tmp_path / "out"
    (tmp_path / "busy.py").write_text(BUSY.format(begun=str(begun)))
    torch.save(torch.nn.Linear(6, 3).state_dict(), tmp_path / "a.pt")
    state = torch.load(tmp_path / "a.pt", weights_only=True)
    torch.save({f"fc.{name}": tensor for name, tensor in state.items()}, tmp_path / "a.pt")
    arguments = ["run", str(tmp_path / "a.pt"), "--network", f"{tmp_path / 'busy.py'}:{network}"]
    arguments += ["--data", str(inputs / "data.npz"), "--out", str(out)]
    process = processes.start(processes.command, log, arguments)
    processes.wait_for(begun, process)
    assert process.pid is not None
    os.kill(process.pid, number)
    with suppress(ProcessLookupError):  # it may have ended
        os.kill(process.pid, number)  # a second one changes nothing
    assert processes.ended(process) == status
    assert log.read_text() == "probe: interrupted; the same command continues where it was\n"
    assert not list(out.rglob("*.part"))


PAUSING = """
import time
from pathlib import Path
import torch
def loss(outputs, targets):
    if Path({measured!r}).exists() and not Path({paused!r}).exists():
        Path({paused!r}).touch()
        time.sleep(3600)
    return torch.nn.functional.cross_entropy(outputs, targets, reduction="none")
"""


def test_ctrl_c_in_a_terminal(inputs: Path, undisturbed: dict[str, bytes], tmp_path: Path) -> None:
    """A process from its very start. Its command line is part of the bytes, so they differ from the others'."""
    out, paused = tmp_path / "out", tmp_path / "paused"
    (tmp_path / "pausing.py").write_text(
        PAUSING.format(measured=str(out / "slices" / "0001.nc"), paused=str(paused))
    )
    arguments = [*run_arguments(inputs, out), "--loss", f"{tmp_path / 'pausing.py'}:loss"]
    words = [sys.executable, "-m", "probes", *arguments]
    options: dict[str, Any] = {"env": {**os.environ, "OMP_NUM_THREADS": "1"}, "text": True}
    with subprocess.Popen(words, stderr=subprocess.PIPE, stdout=subprocess.PIPE, **options) as process:
        try:
            processes.wait_for(paused, process)
            process.send_signal(signal.SIGINT)
            printed, said = process.communicate(timeout=processes.LONG)
        finally:
            process.kill()  # of one that has ended it is nothing
    lines = [
        line for line in said.splitlines() if "probe: about" not in line
    ]  # how long it takes is the machine's
    assert process.returncode == 130
    assert (printed, lines) == ("", ["probe: interrupted; the same command continues where it was"])
    kept = slice_files(out)
    assert len(kept) == 2
    again = processes.start(processes.command, tmp_path / "log", arguments)
    assert processes.ended(again) == 0
    assert kept.items() <= slice_files(out).items()
    assert set(everything(out)) == set(undisturbed)


def test_a_signal_that_a_finaliser_swallows() -> None:
    code = (
        "import os, signal; from probes.cli.main import main\n"
        "@main.command('stop')\n"
        "def stop():\n"
        "    class Finalised:\n"
        "        def __del__(self): os.kill(os.getpid(), signal.SIGINT); sum(range(10**6))\n"
        "    Finalised()\n"
        "    import time; time.sleep(3600)\n"
        "main(['stop'])\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, timeout=processes.LONG, check=False
    )
    assert (done.returncode, done.stdout) == (130, "")
    assert done.stderr == "probe: interrupted; the same command continues where it was\n"  # and no traceback
