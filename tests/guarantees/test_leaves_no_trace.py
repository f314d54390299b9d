"""The probe leaves the network and the random state as it found them, also after an exception."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch

from probes import InputError, SliceSettings, measure_slice
from probes.data.losses import LOSSES
from tests.support.reference import make_data
from tests.support.traces import picture, subject

SETTINGS = SliceSettings(etas=np.array([0.0, 0.1]), jacobian=2, limit=False, chunk=20)


@pytest.mark.parametrize("direction", ["gradient", "noise"])
def test_after_a_measurement(direction: str) -> None:
    network, (x, y) = subject(), make_data()
    before, x0, y0 = picture(network), x.clone(), y.clone()
    settings = SliceSettings(etas=SETTINGS.etas, jacobian=2, direction=direction)
    measure_slice(network, x, y, settings=settings)
    assert picture(network) == before
    assert torch.equal(x, x0)
    assert torch.equal(y, y0)
    assert x.requires_grad is False


class PlantedError(Exception):
    """None that a slower way answers, as it does what vmap cannot go through."""


def test_after_an_exception_wherever_it_strikes() -> None:
    network, (x, y) = subject(), make_data()
    before = picture(network)
    calls = 0

    def loss(outputs: Any, targets: Any) -> Any:
        nonlocal calls
        calls += 1
        if calls == last:
            torch.rand(3)
            raise PlantedError
        return LOSSES["cross-entropy"](outputs, targets)

    last = -1
    measure_slice(network, x, y, settings=SETTINGS, loss=loss)
    total = calls
    assert total > 12
    for last in np.linspace(1, total, 12).astype(int):
        calls = 0
        with pytest.raises(PlantedError):
            measure_slice(network, x, y, settings=SETTINGS, loss=loss)
        assert picture(network) == before, last


def test_after_an_exception_in_the_network() -> None:
    network, (x, y) = subject(), make_data()
    calls = 0

    def planted(*_: Any) -> None:
        nonlocal calls
        calls += 1
        if calls == last:
            raise RuntimeError("planted")

    last = -1
    network.layers[1].register_forward_hook(planted)
    before = picture(network)
    measure_slice(network, x, y, settings=SETTINGS)
    total = calls
    for last in np.linspace(1, total, 12).astype(int):
        calls = 0
        with pytest.raises((RuntimeError, InputError), match="planted"):
            measure_slice(network, x, y, settings=SETTINGS)
        assert picture(network) == before, last
