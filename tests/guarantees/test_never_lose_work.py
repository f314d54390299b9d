"""What was measured stays, whatever happens to the process, the disk or the files."""

from __future__ import annotations

import errno
import fcntl
import json
import os
import shutil
import signal
import subprocess
import sys
import time
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import xarray as xr
from click.testing import CliRunner

import probes
from probes import InputError
from probes.checkpoints.checkpoint import write_checkpoint
from probes.cli.main import main
from probes.cli.reports import findings_in, terminal_summary
from probes.runs.folder import RunFolder, read_manifest
from probes.runs.seals import digest_of, seal, seal_holds
from probes.system.files import remove_leftovers, write_atomically
from probes.system.locks import FolderLock
from tests.probes.golden.make import ETAS, SPEC, make_data, make_network
from tests.support import processes
from tests.support.reference import Reference, arrays, step
from tests.support.reference import make as make_perceptron
from tests.support.reference import make_data as random_data

GOLDEN = Path(__file__).parent.parent / "probes" / "golden"
COUNT = 6


@pytest.fixture
def copy(tmp_path: Path) -> Path:
    """A run of two checkpoints."""
    return Path(shutil.copytree(GOLDEN / "schema-2", tmp_path / "copy"))


@pytest.fixture(scope="module")
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


def run_arguments(inputs: Path, out: Path) -> list[str]:
    options = "--etas 0.01,0.1 --device cpu --chunk 50 --no-limit --no-curvature --no-ladder"
    return [
        "run",
        str(inputs / "net"),
        "--data",
        str(inputs / "data.npz"),
        *options.split(),
        "--out",
        str(out),
    ]


def everything(folder: Path) -> dict[str, bytes]:
    """All files, hidden ones too."""
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def refused(call: Any, *parts: str) -> None:
    with pytest.raises(InputError) as caught:
        call()
    for part in parts:
        assert part in str(caught.value), caught.value
    assert "\n" not in str(caught.value)


# ── what earlier versions wrote ──


@pytest.mark.parametrize("schema", [2])
def test_results_of_every_schema_are_read(schema: int) -> None:
    folder = GOLDEN / f"schema-{schema}"
    assert read_manifest(folder)["schema"] == schema
    found = probes.load(folder)
    assert found.attrs["complete"] == "true"
    assert found["checkpoint"].values.tolist() == ["checkpoint-0", "checkpoint-5"]
    assert found["eta"].values.tolist() == ETAS
    assert found.attrs["command"] == "probe run net --data data.npz --out results"
    x, y = make_data()
    for place, training_step in enumerate((0, 5)):
        reference = Reference(SPEC, x.astype(np.float64), y)
        tensors = arrays(make_network(training_step))
        gradients = reference.run(tensors)[1]
        for column, eta in enumerate(ETAS):
            loss, moved, _ = reference.run(step(tensors, gradients, eta))
            one = found.isel(checkpoint=place, eta=column)
            assert float(one["loss"]) == pytest.approx(loss, rel=1e-5)
            for name, g in gradients.items():
                change = np.linalg.norm(moved[name] - g) / np.linalg.norm(g)
                assert float(one["gradient_change"].sel(layer=name)) == pytest.approx(change, abs=1e-5)
    assert "deep-relative-trust" in terminal_summary(findings_in(folder))


# ── damaged files ──


def flipped(content: bytes, place: int, bit: int = 0) -> bytes:
    return content[:place] + bytes([content[place] ^ 1 << bit]) + content[place + 1 :]


def test_a_flipped_bit_anywhere_in_a_slice_is_found(copy: Path) -> None:
    path = copy / "slices" / "0001.nc"
    whole = path.read_bytes()
    assert seal_holds(whole)
    xr.load_dataset(path, engine="scipy")  # any reader's file
    random = np.random.default_rng(0)
    unsealed = []
    head = whole.index(b"sha256") - 4
    for place in (*range(300), *range(300, len(whole), 5)):
        bit = int(random.integers(8))
        holds = seal_holds(flipped(whole, place, bit))
        assert not holds
        if holds is None:
            unsealed.append((place, bit))
    assert [place for place, _ in unsealed] == list(
        range(head, head + 20)
    )  # the attribute's name, type and length
    some = zip(random.integers(0, len(whole), 30).tolist(), [0] * 30, strict=True)
    for place, bit in (*unsealed, *some):
        path.write_bytes(flipped(whole, place, bit))
        refused(lambda: probes.load(copy), str(path), "damaged", "delete it and run the same command again")
    path.write_bytes(whole + b"\0")
    refused(lambda: probes.load(copy), str(path), "damaged")
    path.write_bytes(whole)
    assert probes.load(copy).sizes["checkpoint"] == 2


def test_a_flipped_bit_in_the_manifest_is_found_or_means_nothing(copy: Path) -> None:
    path = copy / "run.json"
    whole, content = path.read_bytes(), read_manifest(copy)
    bits = np.random.default_rng(0).integers(0, 8, len(whole)).tolist()
    harmless, messages = 0, set()
    for place, bit in list(enumerate(bits))[::3]:
        path.write_bytes(flipped(whole, place, bit))
        try:
            found = read_manifest(copy)
        except InputError as error:
            messages.add(str(error).partition("(")[0] + str(error).rpartition(")")[2])
        else:
            assert found == content
            harmless += 1
    assert messages == {
        f"{path}: is damaged ; delete it and run the same command again; the 2 slices measured are kept"
    }
    assert harmless < len(bits) // 100  # such as 1E-05


def test_a_damaged_slice_costs_itself_alone(probe_run: Any, inputs: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    assert probe_run(inputs, out) == 0
    before = everything(out)
    path = out / "slices" / "0003.nc"
    path.write_bytes(flipped(path.read_bytes(), 5000))
    for arguments in (
        run_arguments(inputs, out),
        ["report", str(out)],
        ["export", str(out), str(tmp_path / "x.csv")],
    ):
        result = CliRunner().invoke(main, arguments)
        assert result.exit_code == 2
        (line,) = result.stderr.splitlines()
        assert str(path) in line
        assert "the other 5 are kept" in line
    assert {name: content for name, content in everything(out).items() if "0003" not in name} == {
        name: content for name, content in before.items() if "0003" not in name
    }
    assert not (tmp_path / "x.csv").exists()
    path.unlink()
    stamps = {file: file.stat().st_mtime_ns for file in (out / "slices").iterdir()}
    assert probe_run(inputs, out) == 0
    assert everything(out) == before
    assert all(file.stat().st_mtime_ns == stamp for file, stamp in stamps.items())


def test_a_lost_manifest_costs_nothing(copy: Path) -> None:
    manifest = read_manifest(copy)
    before = everything(copy)
    (copy / "run.json").unlink()
    other = {**manifest["identity"], "seed": 1}
    refused(lambda: RunFolder(copy).open(other, {}), "another run")
    RunFolder(copy).open(manifest["identity"], manifest["details"]).close()
    assert everything(copy) == before


def test_a_slice_of_another_run_is_refused(copy: Path) -> None:
    manifest = read_manifest(copy)
    manifest["identity"]["seed"] = 1
    other = copy.parent / "other"
    with RunFolder(other).open(manifest["identity"], {}) as run:
        shutil.copy(copy / "slices" / "0000.nc", run.slice_path(0))
        refused(lambda: run.has_slice(0), "0000.nc: is of another run")


def test_results_of_a_newer_version_are_refused(copy: Path) -> None:
    path = copy / "slices" / "0001.nc"
    content = path.read_bytes()
    place = content.index(b"schema\0\0") + 8 + 8  # the name, then type and count
    assert content[place : place + 4] == b"\0\0\0\2"
    newer = content[:place] + b"\0\0\0\3" + content[place + 4 :]
    mark = newer.index(b"sha256") + 16
    path.write_bytes(seal(newer[:mark] + b"0" * 64 + newer[mark + 64 :]))
    refused(lambda: probes.load(copy), "0001.nc: written by a newer version (schema 3)", "upgrade")
    manifest = {**read_manifest(copy), "schema": 3}
    manifest["sha256"] = digest_of(manifest)
    (copy / "run.json").write_text(json.dumps(manifest))
    refused(lambda: probes.load(copy), "run.json: written by a newer version (schema 3)", "upgrade")


# ── one writer ──


def test_the_second_writer_is_refused_until_the_first_is_dead(
    copy: Path, inputs: Path, tmp_path: Path
) -> None:
    identity = read_manifest(copy)["identity"]
    holder = processes.start(processes.hold_lock, copy, tmp_path / "ready")
    processes.wait_for(tmp_path / "ready", holder)
    before = everything(copy)
    refused(lambda: RunFolder(copy).open(identity, {}), str(copy), f"(pid {holder.pid})", "another --out")
    assert everything(copy) == before
    assert RunFolder(copy).attach().has_slice(0)  # a further process of the holder's run needs no lock
    assert probes.load(copy).sizes["checkpoint"] == 2
    holder.kill()
    holder.join()
    child = int((tmp_path / "ready").read_text() or 0)
    os.kill(child, 0)  # the child lives, and the lock is free none the less
    with RunFolder(copy).open(identity, {}):
        assert (copy / ".lock").read_text().split()[0] == str(os.getpid())
    os.kill(child, signal.SIGKILL)
    assert not (copy / ".lock").exists()


def test_every_command_that_writes_a_folder_takes_its_lock(inputs: Path, tmp_path: Path) -> None:
    data = ["--data", str(inputs / "data.npz")]
    train = ["train", *data, "--depth", "2", "--width", "4", "--epochs", "1", "--batch-size", "20"]
    for arguments in (
        run_arguments(inputs, tmp_path)[:-2],
        [*train, "--checkpoints", "2"],
        ["figure1", *data],
    ):
        out = tmp_path / arguments[0]
        out.mkdir()
        lock = FolderLock(out)
        lock.acquire()
        with lock:
            result = CliRunner().invoke(main, [*arguments, "--out", str(out)])
            assert result.exit_code == 2
            assert f"{out}: another process (pid {os.getpid()}) is writing into it" in result.stderr
            assert len(result.stderr.splitlines()) == 1
            assert [path.name for path in out.iterdir()] == [".lock"]


def test_a_file_system_without_locks(
    copy: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def unsupported(*_: Any) -> None:
        raise OSError(errno.ENOLCK, os.strerror(errno.ENOLCK))

    monkeypatch.setattr(fcntl, "flock", unsupported)
    leftover = copy / "slices" / ".0001.nc.abcd_123.part"
    leftover.touch()
    before = everything(copy)
    RunFolder(copy).open(read_manifest(copy)["identity"], {}).close()
    assert "has no locks" in capsys.readouterr().err
    assert everything(copy) == before  # it cannot be known whether the leftover's writer is dead


def test_only_what_dead_writers_left_is_removed(copy: Path) -> None:
    slices = copy / "slices"
    dead = [
        copy / ".run.json.abcd_123.part",
        slices / ".0001.nc.00000000.part",
        slices / ".0002.nc.x1y2z3w4.part",
    ]
    others = [copy / ".run.json.backup12", slices / ".0001.nc", slices / "a.part", slices / ".hidden.part"]
    for path in (*dead, *others):
        path.write_text("half")
    (slices / ".folder.abcdefgh.part").mkdir()
    names: list[str] = []

    def slowly(stream: Any) -> None:
        names.extend(path.name for path in slices.iterdir())
        remove_leftovers(slices)
        stream.write(b"whole")

    write_atomically(slices / "0002.nc", slowly)
    assert sum(name.startswith(".0002.nc.") for name in names) == 2  # the dead one's, and the living one's
    assert (slices / "0002.nc").read_bytes() == b"whole"
    (slices / "0002.nc").unlink()
    RunFolder(copy).open(read_manifest(copy)["identity"], {}).close()
    assert not any(path.exists() for path in dead)
    assert all(path.read_text() == "half" for path in others)
    assert (slices / ".folder.abcdefgh.part").is_dir()


# ── a disk that does not take it ──


@pytest.mark.parametrize("code", [errno.EROFS, errno.EACCES, errno.ENOSPC, errno.EIO])
@pytest.mark.parametrize("function", ["mkstemp", "write", "fsync", "replace", "folder"])
def test_whatever_fails_is_named_and_leaves_nothing(
    copy: Path, monkeypatch: pytest.MonkeyPatch, function: str, code: int
) -> None:
    import probes.system.files

    def fail(*_: Any, **__: Any) -> Any:
        raise OSError(code, os.strerror(code))

    if function == "folder" and code == errno.EACCES:
        pytest.skip("some systems forbid it, and then it is left out")
    before = everything(copy)
    target = {
        "mkstemp": (probes.system.files.tempfile, "mkstemp"),
        "folder": (probes.system.files, "_sync_folder"),
    }
    with monkeypatch.context() as patch:
        if function != "write":
            patch.setattr(*target.get(function, (os, function)), fail)
        content = fail if function == "write" else b"new"
        for path in (copy / "slices" / "0002.nc", copy / "report.csv"):
            refused(lambda: write_atomically(path, content), str(path))  # noqa: B023
            if function == "folder":
                path.unlink()  # it is whole, though it may not outlast a power cut
    assert everything(copy) == before


def test_files_that_the_system_refuses_to_let_grow(probe_run: Any, inputs: Path, tmp_path: Path) -> None:
    """A real refusal, in the middle of the bytes: every command names the file and leaves no other trace."""
    out, log = tmp_path / "out", tmp_path / "log"
    trained = tmp_path / "trained"
    train = ["train", "--data", str(inputs / "data.npz"), "--depth", "2", "--width", "64", "--epochs", "1"]
    train += ["--batch-size", "20", "--checkpoints", "2", "--out", str(trained)]

    def limited(size: int, arguments: list[str], name: str) -> None:
        log.write_text("")
        process = processes.start(processes.limited_command, log, arguments, size)
        assert processes.ended(process) == 2
        (line,) = [line for line in log.read_text().splitlines() if not line.startswith("[")]
        assert f"{name}: cannot be written (File too large)" in line

    limited(6_000, run_arguments(inputs, out), str(out / "slices" / "0000.nc"))
    assert sorted(everything(out)) == ["run.json"]
    limited(4_000, train, str(trained / ".training-state"))
    assert sorted(everything(trained)) == ["checkpoint-000000.safetensors", "training.csv", "training.json"]
    assert probe_run(inputs, out) == 0
    before = everything(out)
    limited(3_000, ["export", str(out), str(tmp_path / "x.csv")], str(tmp_path / "x.csv"))
    assert everything(out) == before
    assert not (tmp_path / "x.csv").exists()


def test_a_report_on_a_full_disk(copy: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: Any) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    before = everything(copy)
    with monkeypatch.context() as patch:
        patch.setattr(os, "replace", full)
        result = CliRunner().invoke(main, ["report", str(copy), "--format", "png"])
    assert result.exit_code == 2
    assert f"{copy / 'report' / 'figure1.png'}: the disk is full" in result.stderr
    assert everything(copy) == before


# ── a process that is ended ──


@pytest.fixture
def probe_run(tmp_path: Path) -> Any:
    """Run to the end in a process of its own; its exit status."""

    def call(inputs: Path, out: Path) -> int:
        arguments = run_arguments(inputs, out)
        return processes.ended(processes.start(processes.command, tmp_path / "run.log", arguments))

    return call


@pytest.fixture(scope="module")
def undisturbed(inputs: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, bytes]:
    """What an undisturbed run leaves; the folder's name is part of the command, and so of the bytes."""
    folder = tmp_path_factory.mktemp("undisturbed")
    out = inputs / "out"
    process = processes.start(processes.command, folder / "log", run_arguments(inputs, out))
    assert processes.ended(process) == 0, (folder / "log").read_text()
    kept = everything(out)
    shutil.rmtree(out)
    return kept


def slice_files(out: Path) -> dict[str, tuple[int, int]]:
    return {
        path.name: (path.stat().st_ino, path.stat().st_mtime_ns) for path in (out / "slices").glob("*.nc")
    }


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
    time.sleep(0.05)
    with suppress(ProcessLookupError):  # on a busy machine it may have ended
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
        processes.wait_for(paused, process)
        process.send_signal(signal.SIGINT)
        said = process.communicate(timeout=processes.LONG)
    assert process.returncode == 130
    assert said == ("", "probe: interrupted; the same command continues where it was\n")
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
