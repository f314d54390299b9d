"""Bad input: exit status 2, one line on standard error that names it, and nothing half-written."""

from __future__ import annotations

import errno
import os
import pickle
import stat
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

import probes
from tests.conftest import Probe
from tests.probes.cli.refusals import one_line


class Evil:
    """Pickles to a call that would create a file."""

    def __init__(self, marker: Path) -> None:
        self.marker = marker

    def __reduce__(self) -> tuple[Any, ...]:
        return (os.system, (f"touch {self.marker}",))


def test_checkpoints_that_cannot_be_used(probe: Probe, trained: Path, data: Path, tmp_path: Path) -> None:
    good = sorted(trained.glob("*.safetensors"))[0]
    out = tmp_path / "out"

    def run(path: Path, *more: object) -> Any:
        return probe("run", path, "--data", data, "--activation", "relu", *more, "--out", out)

    one_line(run(tmp_path / "missing.pt"), "missing.pt", "no such file")
    (tmp_path / "empty.pt").touch()
    one_line(run(tmp_path / "empty.pt"), "empty.pt", "empty")
    (tmp_path / "folder").mkdir()
    one_line(run(tmp_path / "folder"), "folder", "no checkpoints")
    (tmp_path / "cut.safetensors").write_bytes(good.read_bytes()[:-100])
    one_line(run(tmp_path / "cut.safetensors"), "cut.safetensors")
    (tmp_path / "text.pt").write_text("not a checkpoint at all, just text")
    one_line(run(tmp_path / "text.pt"), "text.pt")
    torch.save({"w": Evil(tmp_path / "ran")}, tmp_path / "evil.pt")
    one_line(run(tmp_path / "evil.pt"), "evil.pt", "would run code")
    with (tmp_path / "evil.pkl").open("wb") as stream:
        pickle.dump(Evil(tmp_path / "ran"), stream)
    one_line(run(tmp_path / "evil.pkl"), "evil.pkl")
    assert not (tmp_path / "ran").exists()
    torch.save({"a": torch.full((3, 6), torch.nan)}, tmp_path / "nan.pt")
    one_line(run(tmp_path / "nan.pt"), "nan.pt", "NaN")
    torch.save({"conv": torch.ones(3, 2, 2, 2)}, tmp_path / "conv.pt")
    one_line(run(tmp_path / "conv.pt"), "conv.pt", "--network")
    torch.save({"a.weight": torch.ones(4, 6), "b.weight": torch.ones(3, 5)}, tmp_path / "chain.pt")
    one_line(run(tmp_path / "chain.pt"), "chain.pt")
    torch.save({"a.weight": torch.ones(3, 7)}, tmp_path / "wide.pt")
    one_line(run(tmp_path / "wide.pt"), "7")
    one_line(run(good, "--activation", "wavelet"), "wavelet")
    assert not out.exists()


def test_data_that_cannot_be_used(probe: Probe, trained: Path, tmp_path: Path) -> None:
    x, y = np.ones((4, 6), np.float32), np.arange(4) % 3

    def run(**arrays: Any) -> Any:
        np.savez(tmp_path / "bad.npz", **arrays)
        return probe("run", trained, "--data", tmp_path / "bad.npz", "--out", tmp_path / "out")

    one_line(run(x=x, y=y + 1), "labels")
    one_line(run(x=x, y=y - 1), "labels")
    one_line(run(x=x[:0], y=y[:0]), "no examples")
    one_line(run(x=x, y=y[:3]), "x and y")
    one_line(run(x=x), "x and y")
    one_line(run(x=np.where(x == 1, np.nan, x), y=y), "NaN")
    one_line(run(x=np.array([object()] * 4), y=y), "bad.npz")
    one_line(run(x=x[:, :5], y=y), "5 features")
    one_line(run(x=x, y=y.astype(np.float32)), "cross-entropy")
    one_line(probe("run", trained, "--data", "nowhere.npz", "--out", tmp_path / "out"), "nowhere.npz")
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    ("etas", "part"),
    [("", "empty"), ("-0.1,0.1", "negative"), ("0.1,0.01", "increase"), ("0.1,x", "numbers"), ("0", "nothing"),
     ("nan", "finite"), ("0:1:0", "points"), ("0.1,0.1", "increase"), ("1e300", "too large for float32"),
     ("0:1:1000000", "from 1 to 9999"), ("0:1e300:5", "too large for float32"),
     pytest.param("9" * 5000, "finite", id="long"), pytest.param("0:1:" + "9" * 5000, "not a grid", id="long count")],
)  # fmt: skip
def test_grids_that_cannot_be_used(probe: Probe, trained: Path, tmp_path: Path, etas: str, part: str) -> None:
    one_line(probe("run", trained, "--etas", etas, "--out", tmp_path / "out"), "--etas", part)
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("seed", [2**70, -(2**70), 2**63])
def test_seeds_that_no_generator_takes(
    probe: Probe, trained: Path, data: Path, tmp_path: Path, seed: int
) -> None:
    out = tmp_path / "out"
    train = ["train", "--data", data, "--depth", 2, "--width", 4]
    for command in (["run", trained], train, ["figure1", "--data", data]):
        one_line(probe(*command, "--seed", seed, "--out", out), f"--seed {seed}: must be at")
    one_line(probe("falsify", "lemma1", "--seed", seed), f"--seed {seed}: must be at")
    one_line(probe("limit", trained, "--seed", seed), f"--seed {seed}: must be at")


def test_output_folders_that_cannot_be_used(
    probe: Probe, trained: Path, measured: Path, tmp_path: Path
) -> None:
    before = sorted((path.name, path.stat().st_mtime_ns) for path in measured.rglob("*"))
    one_line(probe("run", trained, "--etas", "0.5", "--out", measured), str(measured), "another run")
    assert sorted((path.name, path.stat().st_mtime_ns) for path in measured.rglob("*")) == before
    (tmp_path / "file").touch()
    one_line(probe("run", trained, "--etas", "0.5", "--out", tmp_path / "file"), "file")
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "thesis.tex").touch()
    one_line(probe("run", trained, "--etas", "0.5", "--out", tmp_path / "mine"), "not empty")
    one_line(probe("train", "--out", tmp_path / "mine"), "not empty")
    one_line(probe("run", trained, "--etas", "0.5", "--out", "/proc/nowhere/out"), "cannot be written")


def test_a_full_disk_keeps_what_was_measured(
    probe: Probe, trained: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    out, real, files = tmp_path / "out", os.fsync, []

    def fsync(descriptor: int) -> None:
        if stat.S_ISREG(os.fstat(descriptor).st_mode):  # not a folder, which only learns the files' names
            files.append(descriptor)
        if len(files) > 3:  # the manifest, the settings and the first slice fit
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        real(descriptor)

    arguments = ["run", trained, "--etas", "0.01,0.1", "--out", out]
    with monkeypatch.context() as patch:
        patch.setattr(os, "fsync", fsync)
        one_line(probe(*arguments), "disk is full")
    assert [path.name for path in sorted((out / "slices").iterdir())] == ["0000.nc"]
    assert probes.load(out).sizes["checkpoint"] == 1
    assert probes.load(out).attrs["complete"] == "false"
    assert probe(*arguments).exit_code == 0
    assert probes.load(out).sizes["checkpoint"] == 3


def test_results_that_cannot_be_used(probe: Probe, measured: Path, tmp_path: Path) -> None:
    one_line(probe("report", tmp_path / "nowhere"), "nowhere")
    one_line(probe("report", tmp_path), "run.json")
    copy = tmp_path / "copy"
    (copy / "slices").mkdir(parents=True)
    (copy / "run.json").write_bytes((measured / "run.json").read_bytes())
    one_line(probe("report", copy), "nothing is measured")
    whole = (measured / "slices" / "0000.nc").read_bytes()
    (copy / "slices" / "0000.nc").write_bytes(whole[: len(whole) // 2])
    one_line(probe("report", copy), "0000.nc", "damaged")
    (copy / "run.json").write_text("{}")
    one_line(probe("report", copy), "run.json", "damaged")
    one_line(probe("export", measured, tmp_path), "folder")
    for place in (copy / "run.json" / "a.csv", "/proc/nowhere/a.csv"):  # it has no --out
        one_line(probe("export", measured, place), "cannot be written", "; choose another FILE")


def test_options_of_training(probe: Probe, tmp_path: Path) -> None:
    out = tmp_path / "out"
    one_line(probe("train", "--activation", "wavelet", "--out", out), "wavelet")
    one_line(probe("train", "--lr", "-1", "--out", out), "--lr")
    one_line(probe("train", "--depth", "0", "--out", out), "--depth")
    one_line(probe("train", "--checkpoints", "9:0", "--epochs", "2", "--out", out), "--checkpoints")
    one_line(probe("train", "--batch-size", "9999", "--width", "4", "--out", out), "--batch-size")
    one_line(
        probe("train", "--epochs", 10**18, "--checkpoints", 10**9, "--out", out),
        "--epochs 1000000000000000000",
    )
    one_line(
        probe("train", "--epochs", 10**6, "--out", out), "--epochs 1000000: of 20 steps each are more than"
    )
    one_line(
        probe("train", "--epochs", 10**5, "--checkpoints", 10**6, "--out", out),
        "--checkpoints 1000000",
        "10000",
    )
    one_line(
        probe("train", "--epoch-steps", 10**18, "--out", out), "--epoch-steps 1000000000000000000: must be at"
    )
    one_line(probe("train", "--depth", 10**9, "--out", out), "--depth 1000000000: must be at most 1023")
    one_line(probe("train", "--width", 10**9, "--out", out), "--width 1000000000: must be at most 65536")
    assert not out.exists()


def test_searches_that_never_end(probe: Probe, trained: Path, tmp_path: Path) -> None:
    run = ["run", trained, "--direction", "adversarial", "--out", tmp_path / "out"]
    one_line(probe(*run, "--restarts", 2**70), "--restarts", "at most 10000")
    one_line(probe(*run, "--ascent-steps", 2**70), "--ascent-steps", "at most 1000000")


def test_distance_between_different_networks(probe: Probe, trained: Path, tmp_path: Path) -> None:
    torch.save({"layers.0.weight": torch.ones(2, 2)}, tmp_path / "other.pt")
    file = sorted(trained.glob("*.safetensors"))[0]
    one_line(probe("distance", file, tmp_path / "other.pt"), "other.pt")


def test_a_measure_that_cannot_be_used_claims_no_folder(probe: Probe, trained: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    one_line(probe("run", trained, "--measure", "breakdwn", "--out", out), "did you mean breakdown")
    one_line(probe("run", trained, "--measure", "own.py", "--out", out), "path/to/file.py:Name")
    assert not out.exists()
    one_line(probe("run", trained, "--network", "net.py", "--out", out), "write it as path/to/file.py:name")
