"""Files that may not be read are not damaged, and nobody is told to delete them."""

from __future__ import annotations

import errno
import io
import os
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tests.conftest import Probe
from tests.probes.cli.refusals import one_line
from tests.support.idx import idx

Forbid = Callable[[Path], None]


@pytest.fixture
def forbid(monkeypatch: pytest.MonkeyPatch) -> Forbid:
    """Refuse to open a file or list a folder, as the system does to anyone but root."""
    forbidden: list[Path] = []

    def refusing(function: Callable[..., Any]) -> Callable[..., Any]:
        def call(path: Any, *arguments: Any, **options: Any) -> Any:
            if not isinstance(path, int) and Path(path) in forbidden:
                raise PermissionError(errno.EACCES, os.strerror(errno.EACCES), str(path))
            return function(path, *arguments, **options)

        return call

    monkeypatch.setattr(io, "open", refusing(io.open))
    monkeypatch.setattr("builtins.open", refusing(open))
    monkeypatch.setattr(os, "listdir", refusing(os.listdir))
    monkeypatch.setattr(os, "scandir", refusing(os.scandir))
    return forbidden.append


@pytest.mark.parametrize("name", ["run.json", "slices/0001.nc", "slices"])
def test_results(
    probe: Probe, trained: Path, measured: Path, tmp_path: Path, forbid: Forbid, name: str
) -> None:
    copy = Path(shutil.copytree(measured, tmp_path / "run"))
    forbid(copy / name)
    run = ["run", trained, "--jacobian", 2, "--etas", "0.0001,0.001,0.01,0.1", "--out", copy]
    for command in (["report", copy], ["export", copy, tmp_path / "x.csv"], run):
        result = probe(*command)
        one_line(result, str(copy / name), "Permission denied")
        assert "damaged" not in result.stderr
        assert "delete" not in result.stderr


@pytest.mark.parametrize("name", ["training.json", ".training-state", "checkpoint-000000.safetensors"])
def test_training(probe: Probe, trained: Path, data: Path, tmp_path: Path, forbid: Forbid, name: str) -> None:
    copy = Path(shutil.copytree(trained, tmp_path / "net"))
    forbid(copy / name)
    shape = ["--depth", 3, "--width", 8, "--epochs", 6, "--batch-size", 20, "--checkpoints", 3]
    result = probe("train", *shape, "--data", data, "--out", copy)
    one_line(result, str(copy / name), "Permission denied")
    assert "damaged" not in result.stderr


@pytest.mark.parametrize("suffix", ["", ".gz"])
def test_data(probe: Probe, trained: Path, tmp_path: Path, forbid: Forbid, suffix: str) -> None:
    (tmp_path / "train-labels-idx1-ubyte").write_bytes(idx(np.zeros(5)))
    images = tmp_path / f"train-images-idx3-ubyte{suffix}"
    images.touch()
    arrays = tmp_path / "d.npz"
    np.savez(arrays, x=np.ones((3, 6)), y=np.arange(3))
    checkpoint = tmp_path / "a.safetensors"
    shutil.copy(sorted(trained.glob("*.safetensors"))[0], checkpoint)
    for path in (images, arrays, checkpoint):
        forbid(path)
    for data in (f"mnist:{tmp_path}", arrays, f"text:{arrays}"):
        result = probe("run", trained, "--data", data, "--out", tmp_path / "out")
        one_line(result, "cannot be read (Permission denied)")
        assert "fetch" not in result.stderr
    one_line(probe("layers", checkpoint), "cannot be read (Permission denied)")
