"""What a step limit costs where nothing but one small η is known: at most ten losses."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from probes.measures.settings import SliceSettings
from probes.measures.step_limit import find_step_limit
from probes.networks.images import ConvSpec
from probes.networks.kinds import build
from probes.networks.perceptron import PerceptronSpec
from probes.networks.transformer import TransformerSpec
from probes.slices.slice import measure_slice
from tests.probes.measures.curves import power, predict
from trust.measurements import SMALL_ETA

MOST = 10


@pytest.mark.parametrize("limit", [2e-3, 0.02, 0.1, 0.4, 0.7, 2.0])
@pytest.mark.parametrize(
    ("exponent", "dip"),
    [(0.5, 0.0), (1.0, 0.0), (2.0, 0.0), (5.0, 0.0), (12.0, 0.0), (2.0, 1.0), (12.0, 1.0)],
)
def test_of_losses_in_closed_form(limit: float, exponent: float, dip: float) -> None:
    curve = power(exponent, limit, dip)
    _, asked = predict(curve)
    found = find_step_limit(
        lambda eta: curve(eta)[0],
        start=1.0,
        slope=-1.0,
        guess=0.1,
        known={eta: curve(eta)[0] for eta in (SMALL_ETA, *asked)},
        slopes={eta: curve(eta)[1] for eta in (SMALL_ETA, *asked[:2])},
    )
    assert found.measured == pytest.approx(limit, rel=0.01)
    assert found.evaluations <= MOST


def images() -> tuple[Tensor, Tensor]:
    return torch.randn(60, 64), torch.arange(60) % 5


def perceptron(depth: int, **options: Any) -> nn.Module:
    widths = (64, *[24] * (depth - 1), 5)
    return build(PerceptronSpec(widths=widths, biases=(True,) * depth, **{"activation": "relu"} | options))


NETWORKS = {
    "2 layers": lambda: perceptron(2),
    "6 layers": lambda: perceptron(6),
    "12 layers": lambda: perceptron(12),
    "tanh": lambda: perceptron(4, activation="tanh"),
    "residual": lambda: perceptron(6, residual=True),
    "layer norm": lambda: perceptron(6, norm="layer"),
    "batch norm": lambda: perceptron(4, norm="batch"),
    "convolutions": lambda: build(ConvSpec(8, channels=(4, 4), outputs=5)),
    "transformer": lambda: build(TransformerSpec(vocabulary=11, context=6, width=8, heads=2)),
}


@pytest.mark.parametrize("steps", [0, 30])
@pytest.mark.parametrize("kind", NETWORKS)
def test_of_networks(kind: str, steps: int) -> None:
    torch.manual_seed(0)
    network = NETWORKS[kind]()
    x, y = images()
    if kind == "transformer":
        x, y = torch.randint(0, 11, (40, 6)), torch.randint(0, 11, (40, 6))
    optimizer = torch.optim.SGD(network.parameters(), lr=0.1)
    for _ in range(steps):
        optimizer.zero_grad()
        outputs = network(x)
        nn.functional.cross_entropy(outputs.flatten(0, -2), y.flatten()).backward()  # type: ignore[no-untyped-call]
        optimizer.step()
    settings = SliceSettings(
        etas=np.array([0.0, SMALL_ETA]),
        samples=1,
        ladder=False,
        split="none",
        spot_check=False,
        spectra="none",
    )
    found = measure_slice(network.eval(), x, y, settings=settings)
    assert math.isfinite(found["step_limit"].item())
    assert found["step_limit_evaluations"].item() <= MOST
    assert found["step_limit_clear_to"].item() > 0
