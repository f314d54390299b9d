"""Results that earlier versions wrote, or that were damaged since."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import xarray as xr
from click.testing import CliRunner

import probes
from probes import InputError
from probes.cli.main import main
from probes.cli.reports import findings_in, terminal_summary
from probes.runs.folder import RunFolder, read_manifest
from probes.system.seals import digest_of, seal, seal_holds
from tests.guarantees.never_lose_work.golden.make import ETAS, SPEC, make_data, make_network
from tests.guarantees.never_lose_work.runs import GOLDEN, everything, refused, run_arguments
from tests.support.reference import Reference, arrays, step


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
    table = terminal_summary(findings_in(folder))
    assert "deep-relative-trust" in table
    assert "Lemma 1" in table


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
