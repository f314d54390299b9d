"""``probe run --dry-run``: says what would be done, refuses what the run would refuse, and touches nothing."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from tests.conftest import Probe
from tests.support.reference import make_data


def everything(folder: Path) -> dict[Path, bytes]:
    """All files."""
    return {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def test_it_says_what_would_be_done(probe: Probe, trained: Path, tmp_path: Path) -> None:
    out = tmp_path / "new" / "run"
    result = probe("run", trained, "--biases", "fixed", "--etas", "0.01,0.1", "--out", out, "--dry-run")
    assert result.exit_code == 0, result.output
    assert not (tmp_path / "new").exists()
    text = result.stdout
    assert "dry run: nothing is measured or written" in text
    places = [text.index(f"checkpoint-{step:06d}") for step in (0, 9, 18)]
    assert places == sorted(places)
    listed = probe("layers", trained / "checkpoint-000000.safetensors", "--biases", "fixed").stdout
    assert listed.strip().splitlines()[-1] in text  # the same counts, in the same words
    assert "direction gradient, 4 etas: 0 and from 0.0001 to 0.1" in text
    assert "60 examples of" in text
    assert "cross-entropy, float32 on cpu, 60 at once\n" in text
    assert f"3 of 3 checkpoints to measure into {out}" in text
    assert text.strip().splitlines()[-1].startswith("about ")
    assert text.strip().endswith(" s for 3 checkpoints")


def test_what_is_measured_already(probe: Probe, trained: Path, measured: Path) -> None:
    options = ("--jacobian", 2, "--etas", "0.0001,0.001,0.01,0.1", "--out", measured, "--dry-run")
    before = everything(measured)
    result = probe("run", trained, *options)
    assert result.exit_code == 0, result.output
    assert "0 of 3 checkpoints to measure" in result.stdout
    assert ", 3 measured already" in result.stdout
    assert "nothing is left to measure" in result.stdout
    path = measured / "slices" / "0001.nc"
    kept = path.read_bytes()
    path.unlink()
    try:
        document = json.loads(probe("run", trained, *options, "--json").stdout)
    finally:
        path.write_bytes(kept)
    assert [one["measured"] for one in document["checkpoints"]] == [True, False, True]
    assert document["remaining"] == 1
    assert document["chunk"] == 60
    assert document["etas"] == [0, 0.0001, 0.001, 0.01, 0.1]
    assert (document["parameters"], document["perturbed"]) == (6, 6)
    assert (document["weight_matrices"], document["weight_matrices_perturbed"]) == (3, 3)
    assert document["seconds"] > 0
    assert document["dry_run"] is True
    assert everything(measured) == before


@pytest.mark.parametrize(
    "options",
    [
        ("--perturb", "nothing*"),
        ("--layers", "nothing*"),
        ("--etas", "0.1,0.1,-1"),
        ("--loss", "wavelet"),
        ("--examples", "61"),
        ("--data", "missing.npz"),
        ("--device", "nowhere"),
        ("--chunk", "0"),
        ("--chunk", "many"),
        ("--direction", "adversarial", "--restarts", "-1"),
        ("--out", "{trained}"),
        ("--out", "{measured}"),
        ("--out", "{trained}/training.csv"),
        ("--out", "{trained}/training.csv/x"),
    ],
)
def test_it_refuses_what_the_run_refuses(
    probe: Probe, trained: Path, measured: Path, tmp_path: Path, options: tuple[str, ...]
) -> None:
    given = [option.format(trained=trained, measured=measured) for option in options]
    where = [] if "--out" in given else ["--out", tmp_path / "out"]
    before = everything(trained), everything(measured)
    dry = probe("run", trained, *given, *where, "--dry-run")
    assert (dry.exit_code, dry.stdout) == (2, "")
    assert len(dry.stderr.strip().splitlines()) == 1
    assert not (tmp_path / "out").exists()
    real = probe("run", trained, *given, *where)
    assert (real.exit_code, real.stderr) == (2, dry.stderr)
    assert (everything(trained), everything(measured)) == before


def test_a_checkpoint_that_is_damaged(probe: Probe, trained: Path, tmp_path: Path) -> None:
    for path in trained.glob("*.safetensors"):
        (tmp_path / path.name).write_bytes(path.read_bytes())
    last = tmp_path / "checkpoint-000018.safetensors"
    last.write_bytes(last.read_bytes()[:-10])
    result = probe("run", tmp_path, "--out", tmp_path / "out", "--dry-run")
    assert result.exit_code == 2
    assert "checkpoint-000018" in result.stderr


def test_batch_statistics_of_all_examples(probe: Probe, tmp_path: Path) -> None:
    """``auto`` is all examples there, more than elsewhere, and a smaller chunk is refused beforehand."""
    x, y = make_data(1020)
    data = tmp_path / "data.npz"
    np.savez(data, x=x.numpy(), y=y.numpy())
    options = ("--norm", "batch", "--width", 5, "--epochs", 1, "--batch-size", 510, "--data", data)
    trained = probe("train", *options, "--checkpoints", 2, "--out", tmp_path / "net")
    assert trained.exit_code == 0, trained.output
    run = ("run", tmp_path / "net", "--out", tmp_path / "out", "--dry-run")
    assert ", 1000 at once\n" in probe(*run).stdout
    result = probe(*run, "--batchnorm", "batch")
    assert result.exit_code == 0, result.output
    assert ", 1020 at once\n" in result.stdout
    refused = probe(*run, "--batchnorm", "batch", "--chunk", 1019)
    assert refused.exit_code == 2
    assert "--chunk 1020" in refused.stderr
    assert not (tmp_path / "out").exists()


def test_the_limit_takes_a_chunk_too(probe: Probe, trained: Path) -> None:
    found = [probe("limit", trained, *more) for more in ((), ("--chunk", "auto"), ("--chunk", 1000))]
    assert [result.exit_code for result in found] == [0, 0, 0]
    assert found[0].stdout == found[1].stdout == found[2].stdout
    assert probe("limit", trained, "--chunk", "0").exit_code == 2
