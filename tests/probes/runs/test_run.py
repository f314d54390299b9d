"""A whole run: from saved checkpoints and data to joined measurements, interrupted or not."""

from __future__ import annotations

import gc
import weakref
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import xarray as xr

import probes
import probes.runs.run
from probes import InputError, SliceSettings, measure_slice
from probes.checkpoints.checkpoint import write_checkpoint
from probes.runs.run import Source, measure, measure_run, prepare
from tests.support.reference import make, make_data

SETTINGS = SliceSettings(etas=np.array([0.0, 0.01, 0.1]), jacobian=2)


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


def test_end_to_end(tmp_path: Path, source: Source) -> None:
    folder = measure_run(source, SETTINGS, tmp_path / "run")
    found = probes.load(folder.path)
    assert found.attrs["complete"] == "true"
    assert found["checkpoint"].values.tolist() == ["step-2", "step-9", "step-10"]
    assert found["step"].values.tolist() == [2, 9, 10]
    assert found["epoch"].values.tolist() == [1, 4.5, 5]
    assert dict(found.sizes) == {"checkpoint": 3, "eta": 3, "layer": 6, "example": 20}
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
    measure_run(source, SETTINGS, tmp_path / "whole")
    calls: list[str] = []

    def stumbling(*arguments: Any, **options: Any) -> Any:
        calls.append(options["label"])
        if len(calls) == 2:
            raise KeyboardInterrupt
        return measure_slice(*arguments, **options)

    monkeypatch.setattr(probes.runs.run, "measure_slice", stumbling)
    with pytest.raises(KeyboardInterrupt):
        measure_run(source, SETTINGS, tmp_path / "cut")
    assert probes.load(tmp_path / "cut").sizes["checkpoint"] == 1
    measure_run(source, SETTINGS, tmp_path / "cut")
    assert calls == ["step-2", "step-9", "step-9", "step-10"]
    xr.testing.assert_identical(probes.load(tmp_path / "cut"), probes.load(tmp_path / "whole"))
    for index in range(3):
        name = f"slices/{index:04d}.nc"
        assert (tmp_path / "cut" / name).read_bytes() == (tmp_path / "whole" / name).read_bytes()
    measure_run(source, SETTINGS, tmp_path / "cut")
    assert len(calls) == 4  # everything is there


def test_another_run_is_refused(tmp_path: Path, source: Source) -> None:
    measure_run(source, SETTINGS, tmp_path / "run")
    with pytest.raises(InputError, match=r"another run.*etas"):
        measure_run(source, replace(SETTINGS, etas=np.array([0.0, 0.2])), tmp_path / "run")
    with pytest.raises(InputError, match=r"another run.*seed"):
        measure_run(source, replace(SETTINGS, seed=1), tmp_path / "run")
    with pytest.raises(InputError, match=r"another run.*data"):
        measure_run(replace(source, examples=10), SETTINGS, tmp_path / "run")
    network = make(seed=77)
    path = tmp_path / "net" / "step-9.safetensors"
    write_checkpoint(path, network.state_dict(), {"network": network.spec.to_json()})
    with pytest.raises(InputError, match=r"another run.*checkpoints"):
        measure_run(source, SETTINGS, tmp_path / "run")


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
    with pytest.raises(InputError, match=r"a\.pt.*--activation"):
        measure(replace(foreign, activation=None), SETTINGS)
    with pytest.raises(InputError, match="--data"):
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


def test_what_does_not_fit_together(tmp_path: Path, source: Source) -> None:
    other = make((6, 5, 3))
    write_checkpoint(tmp_path / "o.safetensors", other.state_dict(), {"network": other.spec.to_json()})
    with pytest.raises(InputError, match=r"o\.safetensors: is of another network"):
        prepare(replace(source, checkpoints=(*source.checkpoints, str(tmp_path / "o.safetensors"))))
    x, y = make_data(20)
    np.savez(tmp_path / "wide.npz", x=np.ones((20, 7), np.float32), y=y.numpy())
    np.savez(tmp_path / "labels.npz", x=x.numpy(), y=y.numpy() + 1)
    with pytest.raises(InputError, match=r"wide\.npz.*7 features"):
        prepare(replace(source, data=str(tmp_path / "wide.npz")))
    with pytest.raises(InputError, match=r"labels\.npz.*labels run from 1 to 3"):
        prepare(replace(source, data=str(tmp_path / "labels.npz")))
    with pytest.raises(InputError, match="--device nowhere"):
        measure(source, replace(SETTINGS, device="nowhere"))


def test_files_of_the_same_name_keep_apart(tmp_path: Path, source: Source) -> None:
    (tmp_path / "twin").mkdir()
    copy = tmp_path / "twin" / "step-2.safetensors"
    copy.write_bytes((tmp_path / "net" / "step-2.safetensors").read_bytes())
    both = replace(source, checkpoints=(f"{source.checkpoints[0]}/step-2.safetensors", str(copy)))
    assert measure(both, SETTINGS)["checkpoint"].values.tolist() == ["0:step-2", "1:step-2"]


def test_the_examples_of_training_are_not_asked_of_other_data(tmp_path: Path, source: Source) -> None:
    network = make()
    details = {"network": network.spec.to_json(), "data": str(tmp_path / "data.npz"), "examples": 15}
    write_checkpoint(tmp_path / "own.safetensors", network.state_dict(), details)
    own = Source((str(tmp_path / "own.safetensors"),))
    assert len(prepare(own).data) == 15
    x, y = make_data(10)
    np.savez(tmp_path / "small.npz", x=x.numpy(), y=y.numpy())
    assert len(prepare(replace(own, data=str(tmp_path / "small.npz"))).data) == 10
    assert len(prepare(replace(own, examples=3)).data) == 3


@pytest.mark.parametrize("direction", ["gradient", "update"])
def test_few_networks_are_in_memory_at_once(
    source: Source, direction: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    alive: weakref.WeakSet[Any] = weakref.WeakSet()
    most: list[int] = []
    reads: list[str] = []
    load, measure_one = probes.runs.run.load_network, probes.runs.run.measure_slice

    def loaded(checkpoint: Any, **options: Any) -> Any:
        frozen = load(checkpoint, **options)
        alive.add(frozen.network)
        reads.append(checkpoint.label)
        return frozen

    def counted(*arguments: Any, **options: Any) -> Any:
        gc.collect()
        most.append(len(alive))
        return measure_one(*arguments, **options)

    monkeypatch.setattr(probes.runs.run, "load_network", loaded)
    monkeypatch.setattr(probes.runs.run, "measure_slice", counted)
    measure(source, replace(SETTINGS, direction=direction))
    assert max(most) == (2 if direction == "update" else 1)
    assert reads[:3] == ["step-2", "step-9", "step-10"]
    assert reads[3:] == ["step-9", "step-10"]  # the first was still there


def test_a_checkpoint_that_changes_during_a_run_is_refused(source: Source) -> None:
    networks = prepare(source).networks
    path = networks[2].path
    network = make(seed=77)
    write_checkpoint(path, network.state_dict(), dict(networks[2].details))
    assert networks.load(1).digest == networks[1].digest
    with pytest.raises(InputError, match=r"step-10.*other weights"):
        networks.load(2)
