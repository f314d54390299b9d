"""A network that went through ``torch.compile`` is measured as it was before, and left as it was found."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
import xarray as xr
from torch import Tensor, nn

from probes import SliceSettings, measure_slice
from probes.checkpoints.checkpoint import read_checkpoint
from probes.networks.frozen_network import load_network
from tests.conftest import Probe
from tests.support.reference import make_data
from tests.support.traces import picture

SETTINGS = SliceSettings(etas=np.array([0.0, 0.01]), jacobian=2)


@torch.compile
def bent(x: Tensor) -> Tensor:
    """A compiled function inside of a forward method."""
    return torch.tanh(x)


class Bending(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        return bent(x)


def plain() -> nn.Sequential:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        return nn.Sequential(
            nn.Linear(6, 5), nn.Sequential(nn.Tanh(), nn.Linear(5, 5)), nn.Tanh(), nn.Linear(5, 3)
        )


def inside(network: nn.Sequential) -> nn.Module:
    network[1] = torch.compile(network[1])
    return network


def in_place(network: nn.Sequential) -> nn.Module:
    network[1].compile()
    network.compile()
    return network


def functions(network: nn.Sequential) -> nn.Module:
    network[2] = Bending()
    return network


COMPILED: dict[str, Callable[[nn.Sequential], nn.Module]] = {
    "outside": lambda network: torch.compile(network),
    "inside": inside,
    "both": lambda network: torch.compile(inside(network)),
    "in place": in_place,
    "functions": functions,
}


@pytest.fixture(scope="module")
def expected() -> xr.Dataset:
    return measure_slice(plain(), *make_data(), settings=SETTINGS)


@pytest.mark.parametrize("way", COMPILED)
def test_it_is_measured_as_before_and_left_as_found(way: str, expected: xr.Dataset) -> None:
    network = COMPILED[way](plain())
    before, modules = picture(network), [id(module) for module in network.modules()]
    calls = [module._compiled_call_impl for module in network.modules()]
    found = measure_slice(network, *make_data(), settings=SETTINGS)
    xr.testing.assert_identical(found.drop_attrs(), expected.drop_attrs())
    assert found.attrs["structure"] == expected.attrs["structure"]  # it could be watched
    assert picture(network) == before
    assert [id(module) for module in network.modules()] == modules
    assert [module._compiled_call_impl for module in network.modules()] == calls
    names = {name: f"layer {k}" for k, (name, _) in enumerate(network.named_parameters())}
    renamed = measure_slice(network, *make_data(), settings=SETTINGS, names=names)
    assert sorted(renamed["layer"].values) == sorted(names.values())


@pytest.mark.parametrize("way", COMPILED)
def test_its_checkpoint_and_what_makes_it(way: str, probe: Probe, data: Path, tmp_path: Path) -> None:
    torch.save(COMPILED[way](plain()).state_dict(), tmp_path / "net.pt")
    frozen = load_network(read_checkpoint(tmp_path / "net.pt"), network=lambda: COMPILED[way](plain()))
    assert list(frozen.names.values()) == [name for name, _ in plain().named_parameters()]
    assert not any("Optimized" in type(module).__name__ for module in frozen.network.modules())
    (tmp_path / "net.py").write_text(
        "from tests.probes.evaluation.test_compiled import COMPILED, plain\n"
        f"def make(): return COMPILED[{way!r}](plain())\n"
    )
    shown = probe("layers", tmp_path / "net.pt", "--network", f"{tmp_path / 'net.py'}:make", "--data", data)
    assert shown.exit_code == 0, shown.output
    assert [line.split()[0] for line in shown.stdout.splitlines()[2:8]] == list(frozen.names)
