"""Runs that Python code asks for: with modules, loaders and losses as they are."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn
from torch.utils.data import DataLoader, TensorDataset

import probes
from probes import InputError, SliceSettings, Source, measure_run, measure_slice

SETTINGS = SliceSettings(etas=[0, 0.01], limit=False, curvature=None, ladder=False)
X, Y = torch.randn(12, 1, 4, 4, generator=torch.Generator().manual_seed(0)), torch.arange(12) % 3


def network() -> nn.Module:
    return nn.Sequential(nn.Conv2d(1, 2, 3), nn.ReLU(), nn.Flatten(), nn.Linear(8, 3))


def loader(shift: float = 0.0) -> DataLoader[tuple[torch.Tensor, ...]]:
    return DataLoader(TensorDataset(X + shift, Y), batch_size=5)


@pytest.fixture
def saved(tmp_path: Path) -> list[Path]:
    """Two checkpoints of the network."""
    paths = [tmp_path / f"step-{step}.pt" for step in range(2)]
    for seed, path in enumerate(paths):
        torch.manual_seed(seed)
        torch.save(network().state_dict(), path)
    return paths


@pytest.mark.parametrize("given", ["maker", "module"])
def test_what_python_holds_is_measured(given: str, saved: list[Path], tmp_path: Path) -> None:
    module = network()
    before = {name: tensor.clone() for name, tensor in module.state_dict().items()}
    loss = nn.CrossEntropyLoss()
    source = Source(saved, network=network if given == "maker" else module, data=loader(), loss=loss)  # type: ignore[arg-type]
    out = tmp_path / "out"
    measure_run(source, str(out), settings=SETTINGS)
    found = probes.load(out)
    assert found.sizes["checkpoint"] == 2
    assert found.attrs["data"] == "a DataLoader"
    assert found.attrs["loss"] == "cross-entropy"
    for place, path in enumerate(saved):
        one = network()
        one.load_state_dict(torch.load(path, weights_only=True))
        expected = measure_slice(one, X, Y, settings=SETTINGS)
        np.testing.assert_allclose(found["loss"][place], expected["loss"][0], rtol=1e-6)
    assert all(torch.equal(tensor, before[name]) for name, tensor in module.state_dict().items())
    measure_run(source, out, settings=SETTINGS)  # goes on with what is there
    with pytest.raises(InputError, match="another run's results \\(other data\\)"):
        measure_run(Source(saved, network=source.network, data=loader(1.0)), out, settings=SETTINGS)  # type: ignore[arg-type]


def test_checkpoints_that_say_the_rest_are_enough(trained: Path, tmp_path: Path) -> None:
    measure_run(trained, tmp_path / "out", settings=SETTINGS)
    assert probes.load(tmp_path / "out").sizes["checkpoint"] == 3
    last = sorted(trained.glob("*.safetensors"))[-1:]
    measure_run(last, tmp_path / "last", settings=SETTINGS)
    assert probes.load(tmp_path / "last").sizes["checkpoint"] == 1
    assert Source("one.pt") == Source(("one.pt",)) == Source([Path("one.pt")])  # type: ignore[arg-type]


def test_messages_speak_python(saved: list[Path], trained: Path, tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"add `data='mnist'`"):
        measure_run(Source(saved, network=network), tmp_path / "out")  # type: ignore[arg-type]
    with pytest.raises(InputError, match=r"`network='file.py:callable'`"):
        measure_run(saved, tmp_path / "out")
    with pytest.raises(InputError, match=r"^`device='tpu'`"):
        measure_run(trained, tmp_path / "out", settings=SliceSettings(device="tpu"))
    assert not (tmp_path / "out").exists()


def test_what_is_no_network_and_what_are_no_settings(saved: list[Path], tmp_path: Path) -> None:
    with pytest.raises(InputError, match="`network`: is a dict, not a torch module"):
        probes.measure_run(probes.Source(saved, network={}), tmp_path / "out")  # type: ignore[arg-type]
    with pytest.raises(InputError, match="settings: is a dict"):
        probes.measure_run(saved, tmp_path / "out", settings={"etas": [0.1]})  # type: ignore[arg-type]
    assert not (tmp_path / "out").exists()
