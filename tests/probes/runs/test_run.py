"""A whole run: from saved checkpoints and data to joined measurements, interrupted or not."""

from __future__ import annotations

import gc
import sys
import weakref
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import xarray as xr

import probes
import probes.data.losses
import probes.runs.run
import probes.runs.source
from probes import InputError, SliceSettings, measure_slice
from probes.checkpoints.checkpoint import write_checkpoint
from probes.data.batches import Batches
from probes.runs.estimate import WORTH_SAYING
from probes.runs.folder import read_manifest
from probes.runs.run import measure, measure_run
from probes.runs.source import Source
from tests.support.reference import make, make_data

SETTINGS = SliceSettings(etas=np.array([0.0, 0.01, 0.1]), jacobian=2)


def test_end_to_end(tmp_path: Path, source: Source) -> None:
    folder = measure_run(source, tmp_path / "run", settings=SETTINGS)
    found = probes.load(folder.path)
    assert found.attrs["complete"] == "true"
    assert found["checkpoint"].values.tolist() == ["step-2", "step-9", "step-10"]
    assert found["step"].values.tolist() == [2, 9, 10]
    assert found["epoch"].values.tolist() == [1, 4.5, 5]
    assert dict(found.sizes) == {"checkpoint": 3, "eta": 3, "layer": 6, "example": 20, "quantile": 3}
    x, y = make_data(20)
    for index, step in enumerate((2, 9, 10)):
        direct = measure_slice(make(seed=step), x, y, settings=SETTINGS)
        for name in direct.data_vars:
            np.testing.assert_array_equal(found[name][index], direct[name][0], err_msg=str(name))
    for name in (
        "versions",
        "seed",
        "device",
        "dtype",
        "command",
        "weights_hash",
        "direction_hash",
        "data_hash",
        "number_of_examples",
        "loss",
        "biases_moved",
        "noise_floor",
    ):
        assert name in found.attrs or name in found.coords, name
    assert found.attrs["data"].endswith("data.npz")
    assert len(set(found["weights_hash"].values.tolist())) == 3
    xr.testing.assert_equal(measure(source, SETTINGS), found)


def test_an_interrupted_run_ends_as_an_undisturbed_one(
    tmp_path: Path, source: Source, monkeypatch: pytest.MonkeyPatch
) -> None:
    measure_run(source, tmp_path / "whole", settings=SETTINGS)
    calls: list[str] = []

    def stumbling(*arguments: Any, **options: Any) -> Any:
        calls.append(options["label"])
        if len(calls) == 2:
            raise KeyboardInterrupt
        return measure_slice(*arguments, **options)

    monkeypatch.setattr(probes.runs.run, "measure_slice", stumbling)
    with pytest.raises(KeyboardInterrupt):
        measure_run(source, tmp_path / "cut", settings=SETTINGS)
    assert probes.load(tmp_path / "cut").sizes["checkpoint"] == 1
    measure_run(source, tmp_path / "cut", settings=SETTINGS)
    assert calls == ["step-2", "step-9", "step-9", "step-10"]
    xr.testing.assert_identical(probes.load(tmp_path / "cut"), probes.load(tmp_path / "whole"))
    for index in range(3):
        name = f"slices/{index:04d}.nc"
        assert (tmp_path / "cut" / name).read_bytes() == (tmp_path / "whole" / name).read_bytes()
    measure_run(source, tmp_path / "cut", settings=SETTINGS)
    assert len(calls) == 4  # everything is there


def test_another_run_is_refused(tmp_path: Path, source: Source) -> None:
    measure_run(source, tmp_path / "run", settings=SETTINGS)
    with pytest.raises(InputError, match=r"another run.*etas"):
        measure_run(source, tmp_path / "run", settings=replace(SETTINGS, etas=np.array([0.0, 0.2])))
    with pytest.raises(InputError, match=r"another run.*seed"):
        measure_run(source, tmp_path / "run", settings=replace(SETTINGS, seed=1))
    with pytest.raises(InputError, match=r"another run.*data"):
        measure_run(replace(source, examples=10), tmp_path / "run", settings=SETTINGS)
    network = make(seed=77)
    path = tmp_path / "net" / "step-9.safetensors"
    write_checkpoint(path, network.state_dict(), {"network": network.spec.to_json()})
    with pytest.raises(InputError, match=r"another run.*checkpoints"):
        measure_run(source, tmp_path / "run", settings=SETTINGS)


def test_updates_need_a_successor(tmp_path: Path, source: Source) -> None:
    settings = replace(SETTINGS, direction="update")
    found = measure(source, settings)
    assert found["checkpoint"].values.tolist() == ["step-2", "step-9"]
    assert (found["update_size"] > 0).all()
    one = replace(source, checkpoints=(f"{source.checkpoints[0]}/step-2.safetensors",))
    with pytest.raises(InputError, match="two checkpoints"):
        measure(one, settings)


def test_a_strangers_checkpoint_needs_no_code(tmp_path: Path, source: Source) -> None:
    network = make(activation="tanh")
    names = ["W1", "b1", "W2", "b2", "W3", "b3"]
    torch.save({"model": dict(zip(names, network.state_dict().values(), strict=True))}, tmp_path / "a.pt")
    foreign = replace(source, checkpoints=(str(tmp_path / "a.pt"),), activation="tanh")
    found = measure(foreign, SETTINGS)
    assert found["layer"].values.tolist() == names
    own = measure_slice(network, *make_data(20), settings=SETTINGS)
    np.testing.assert_array_equal(found["gradient_change"], own["gradient_change"])
    with pytest.raises(InputError, match=r"a\.pt.*activation="):
        measure(replace(foreign, activation=None), SETTINGS)
    with pytest.raises(InputError, match="data="):
        measure(replace(foreign, data=None), SETTINGS)


def test_ones_own_network(tmp_path: Path, source: Source) -> None:
    (tmp_path / "mine.py").write_text(
        "from torch import nn\n"
        "def net():\n    return nn.Sequential(nn.Linear(6, 4), nn.Tanh(), nn.Linear(4, 3))\n"
    )
    layers = {
        "0.weight": torch.ones(4, 6),
        "0.bias": torch.ones(4),
        "2.weight": torch.eye(3, 4),
        "2.bias": torch.ones(3),
    }
    torch.save(layers, tmp_path / "a.pt")
    mine = replace(source, checkpoints=(str(tmp_path / "a.pt"),), network=f"{tmp_path / 'mine.py'}:net")
    assert measure(mine, SETTINGS)["layer"].values.tolist() == list(layers)


def test_a_device_that_is_not_there(source: Source) -> None:
    with pytest.raises(InputError, match="device='nowhere'"):
        measure(source, replace(SETTINGS, device="nowhere"))


def test_files_of_the_same_name_keep_apart(tmp_path: Path, source: Source) -> None:
    (tmp_path / "twin").mkdir()
    copy = tmp_path / "twin" / "step-2.safetensors"
    copy.write_bytes((tmp_path / "net" / "step-2.safetensors").read_bytes())
    both = replace(source, checkpoints=(f"{source.checkpoints[0]}/step-2.safetensors", str(copy)))
    assert measure(both, SETTINGS)["checkpoint"].values.tolist() == ["0:step-2", "1:step-2"]


@pytest.mark.parametrize("direction", ["gradient", "update"])
def test_few_networks_are_in_memory_at_once(
    source: Source, direction: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    alive: weakref.WeakSet[Any] = weakref.WeakSet()
    most: list[int] = []
    reads: list[str] = []
    load, measure_one = probes.runs.source.load_network, probes.runs.run.measure_slice

    def loaded(checkpoint: Any, **options: Any) -> Any:
        frozen = load(checkpoint, **options)
        alive.add(frozen.network)
        reads.append(checkpoint.label)
        return frozen

    def counted(*arguments: Any, **options: Any) -> Any:
        gc.collect()
        most.append(len(alive))
        return measure_one(*arguments, **options)

    monkeypatch.setattr(probes.runs.source, "load_network", loaded)
    monkeypatch.setattr(probes.runs.run, "measure_slice", counted)
    measure(source, replace(SETTINGS, direction=direction))
    assert max(most) == (2 if direction == "update" else 1)
    assert reads[:3] == ["step-2", "step-9", "step-10"]
    assert reads[3:] == ["step-9", "step-10"]  # the first was still there


def test_the_loss_is_resolved_and_the_targets_are_read_once(
    source: Source, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    counts = {"losses": 0, "targets": 0}
    resolve, blocks = probes.data.losses.resolve_loss, Batches.target_blocks

    def resolved(*arguments: Any) -> Any:
        counts["losses"] += 1
        return resolve(*arguments)

    def read(batches: Batches) -> Any:
        counts["targets"] += 1
        return blocks(batches)

    for name, module in list(sys.modules.items()):
        if name.startswith("probes.") and hasattr(module, "resolve_loss"):
            monkeypatch.setattr(module, "resolve_loss", resolved)
    monkeypatch.setattr(Batches, "target_blocks", read)
    folder = f"{source.checkpoints[0]}/step-"
    two = replace(source, checkpoints=(f"{folder}2.safetensors", f"{folder}9.safetensors"))
    measure_run(two, tmp_path / "run", settings=SETTINGS)
    assert probes.load(tmp_path / "run").sizes["checkpoint"] == 2
    assert counts == {"losses": 1, "targets": 1}


def test_who_continues_a_run_keeps_its_chunk(
    tmp_path: Path, source: Source, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Begun with another chunk than ``auto`` is now, as an older version may have."""
    with monkeypatch.context() as patch:
        patch.setattr(probes.runs.run, "default_chunk", lambda *_, **__: 7)
        measure_run(source, tmp_path / "run", settings=SETTINGS)
    assert read_manifest(tmp_path / "run")["identity"]["chunk"] == 7
    path = tmp_path / "run" / "slices" / "0001.nc"
    before = path.read_bytes()
    path.unlink()
    measure_run(source, tmp_path / "run", settings=SETTINGS)
    assert path.read_bytes() == before
    measure_run(source, tmp_path / "run", settings=replace(SETTINGS, chunk=7))
    with pytest.raises(InputError, match=r"other chunk"):
        measure_run(source, tmp_path / "run", settings=replace(SETTINGS, chunk=4))
    assert probes.load(tmp_path / "run").attrs["chunk"] == 7
    xr.testing.assert_equal(measure(source, replace(SETTINGS, chunk=7)), probes.load(tmp_path / "run"))


def test_auto_continues_a_run_whose_chunk_was_given(tmp_path: Path, source: Source) -> None:
    measure_run(source, tmp_path / "run", settings=replace(SETTINGS, chunk=3))
    path = tmp_path / "run" / "slices" / "0001.nc"
    before = path.read_bytes()
    path.unlink()
    measure_run(source, tmp_path / "run", settings=SETTINGS)
    assert path.read_bytes() == before
    assert probes.load(tmp_path / "run").attrs["chunk"] == 3
    assert measure(source, SETTINGS).attrs["chunk"] == 20


def test_who_continues_a_run_keeps_what_multiplies(
    tmp_path: Path, source: Source, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A machine that is busy with something else today may find the other route faster."""
    with monkeypatch.context() as patch:
        patch.setattr(probes.runs.run, "settled_route", lambda *_: "onednn")
        patch.setattr(probes.slices.slice, "settled_route", lambda settings, *_: settings.matmul)
        measure_run(source, tmp_path / "run", settings=SETTINGS)
        assert read_manifest(tmp_path / "run")["identity"]["matmul"] == "onednn"
        path = tmp_path / "run" / "slices" / "0001.nc"
        before = path.read_bytes()
        path.unlink()
        patch.setattr(probes.runs.run, "settled_route", lambda *_: "torch")
        measure_run(source, tmp_path / "run", settings=SETTINGS)
        assert path.read_bytes() == before
        assert probes.load(tmp_path / "run").attrs["matmul"] == "onednn"
        with pytest.raises(InputError, match=r"other matmul"):
            measure_run(source, tmp_path / "run", settings=replace(SETTINGS, matmul="torch"))


def test_who_continues_a_run_keeps_how_many_etas_are_done_at_once(
    tmp_path: Path, source: Source, monkeypatch: pytest.MonkeyPatch
) -> None:
    """By the clock of another hour there may be more or fewer."""
    settings = replace(SETTINGS, etas=np.linspace(0, 0.1, 8))
    monkeypatch.setattr(probes.runs.run, "settled_at_once", lambda *_, slices: slices)
    measure_run(source, tmp_path / "run", settings=settings)
    assert read_manifest(tmp_path / "run")["identity"]["etas_at_once"] == 3  # of three checkpoints
    path = tmp_path / "run" / "slices" / "0001.nc"
    before = path.read_bytes()
    path.unlink()
    monkeypatch.setattr(probes.runs.run, "settled_at_once", lambda *_, slices: 1)
    measure_run(source, tmp_path / "run", settings=settings)
    assert path.read_bytes() == before
    assert probes.load(tmp_path / "run").attrs["etas_at_once"] == 3
    with pytest.raises(InputError, match=r"other etas_at_once"):
        measure_run(source, tmp_path / "run", settings=replace(settings, etas_at_once=2))


def test_less_memory_than_thought_holds_for_the_next_checkpoint(
    tmp_path: Path, source: Source, monkeypatch: pytest.MonkeyPatch
) -> None:
    given: list[int | None] = []

    def halved(*arguments: Any, settings: SliceSettings, **options: Any) -> Any:
        given.append(settings.chunk)
        return measure_slice(*arguments, settings=replace(settings, chunk=10), **options)

    monkeypatch.setattr(probes.runs.run, "measure_slice", halved)
    measure_run(source, tmp_path / "run", settings=SETTINGS)
    assert given == [20, 10, 10]


@pytest.mark.parametrize(
    ("first", "each", "said"),
    [
        (11.0, 16.0, ["about 33 s for 3 checkpoints", "about 32 s for 2 checkpoints"]),
        (11.0, 15.0, ["about 33 s for 3 checkpoints"]),
        (10.0, 1000.0, ["about 33 min for 2 checkpoints"]),
        (1.0, 1.0, []),
    ],
)
@pytest.mark.parametrize("terminal", [False, True])
def test_a_long_run_says_so_beforehand_and_after_its_first_slice(
    tmp_path: Path,
    source: Source,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    first: float,
    each: float,
    said: list[str],
    terminal: bool,
) -> None:
    """On a terminal the bar tells what remains."""
    clock = [0.0]

    def measured(*arguments: Any, **options: Any) -> Any:
        clock[0] += each
        return measure_slice(*arguments, **options)

    monkeypatch.setattr(probes.runs.run, "WORTH_SAYING", WORTH_SAYING)
    monkeypatch.setattr(probes.runs.run, "seconds_per_slice", lambda *_: first)
    monkeypatch.setattr(probes.runs.run, "measure_slice", measured)
    monkeypatch.setattr(probes.runs.run.time, "perf_counter", lambda: clock[0])
    if terminal:
        monkeypatch.setattr(sys.stderr, "isatty", lambda: True)
        said = [line for line in said if "3 checkpoints" in line]
    measure_run(source, tmp_path / "run", settings=SETTINGS)
    captured = capsys.readouterr()
    lines = [line for line in captured.err.splitlines() if line.startswith("probe:")]
    assert lines == [f"probe: {line}" for line in said]
    assert captured.out == ""


def test_nothing_is_timed_where_nothing_remains(
    tmp_path: Path, source: Source, monkeypatch: pytest.MonkeyPatch
) -> None:
    measure_run(source, tmp_path / "run", settings=SETTINGS)
    monkeypatch.setattr(probes.runs.run, "seconds_per_slice", lambda *_: pytest.fail("timed"))
    measure_run(source, tmp_path / "run", settings=SETTINGS)


def test_one_example_has_no_batch_statistics(tmp_path: Path, source: Source) -> None:
    network = make(norm="batch")
    path = tmp_path / "a.safetensors"
    write_checkpoint(path, network.state_dict(), {"network": network.spec.to_json()})
    one = replace(source, checkpoints=(str(path),), examples=1)
    with pytest.raises(InputError, match="`batchnorm='batch'`: the statistics are those of all 1 examples"):
        measure_run(one, tmp_path / "run", settings=replace(SETTINGS, batchnorm="batch"))


def test_batch_statistics_of_a_part_end_no_run_in_a_crash(tmp_path: Path, source: Source) -> None:
    network = make(norm="batch")
    path = tmp_path / "a.safetensors"
    write_checkpoint(path, network.state_dict(), {"network": network.spec.to_json()})
    one = replace(source, checkpoints=(str(path),))
    mixed = replace(SETTINGS, batchnorm="batch", jacobian=0)
    for chunk in (1, 8, 19):
        with pytest.raises(InputError, match="of all 20 examples at once; give `chunk=20`"):
            measure_run(one, tmp_path / "run", settings=replace(mixed, chunk=chunk))
        assert not (tmp_path / "run").exists()
    measure_run(one, tmp_path / "run", settings=replace(mixed, chunk=20))


def test_more_checkpoints_than_files_can_be_numbered(
    tmp_path: Path, source: Source, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(probes.runs.run, "MOST_CHECKPOINTS", 2)
    with pytest.raises(InputError, match="3 checkpoints: at most 2 fit into a run"):
        measure_run(source, tmp_path / "run", settings=SETTINGS)
    assert not (tmp_path / "run").exists()
