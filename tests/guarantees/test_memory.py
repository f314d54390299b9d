"""How many sets of a network's parameters are held while the grid is measured, the network's own among them."""

from __future__ import annotations

from itertools import chain
from typing import Any

import numpy as np
import pytest
import torch

from probes.measures.settings import SliceSettings
from probes.networks.perceptron import Perceptron, PerceptronSpec
from probes.slices import slice as slices
from tests.support.live_memory import LiveBytes

LAYERS, WIDTH = 32, 48
LITTLE = 0.4  # of a set: twelve layers, or six in float64; outputs, four examples' activations


@pytest.fixture(autouse=True)
def parameters_dominate(monkeypatch: pytest.MonkeyPatch) -> None:
    """What has a fixed size is small beside the parameters, as it is in networks that matter."""
    monkeypatch.setattr("probes.evaluation.reductions._BLOCK", 1 << 10)
    monkeypatch.setattr("probes.evaluation.directions._KEPT_NOISE", 0)


def sets_on_the_grid(monkeypatch: pytest.MonkeyPatch, **options: Any) -> float:
    """The peak while the grid is measured, in sets of the parameters."""
    torch.manual_seed(0)
    widths = (*[WIDTH] * LAYERS, 4)
    network = Perceptron(PerceptronSpec(widths=widths, activation="relu", biases=(True,) * LAYERS)).eval()
    following = {name: tensor.detach() * 1.01 for name, tensor in network.named_parameters()}
    one_set = sum(tensor.nbytes for tensor in network.parameters())
    x, y = torch.randn(4, WIDTH), torch.arange(4)
    settings: dict[str, Any] = {"ladder": False, "spectra": "none", "split": "none", "spot_check": False}
    settings |= {
        "etas_at_once": 1,
        "limit": False,
        "curvature": None,
        "ascent_steps": 2,
        "restarts": 1,
        "samples": 4,
    }
    update = options.get("direction") == "update"
    visit, peaks = slices._visit, []

    def watched(*arguments: Any) -> None:
        live.restart()
        visit(*arguments)
        peaks.append(live.peak / one_set)

    monkeypatch.setattr(slices, "_visit", watched)
    with LiveBytes(chain(network.parameters(), following.values())) as live:
        slices.measure_slice(
            network,
            x,
            y,
            settings=SliceSettings(etas=np.array([0.0, 1e-3, 1e-2]), **settings | options),
            following=following if update else None,
        )
    return 1 + update + max(peaks)


@pytest.mark.parametrize(
    ("direction", "most"),
    [
        ("gradient", 4),  # the network, its gradient, the moved weights, their gradient
        ("noise", 4),
        ("update", 5),  # and the next network
        ("adversarial", 6),  # the best change and the one that is tried, and the gradient that leads it
    ],
)
@pytest.mark.parametrize("ladder", [False, True])
def test_sets_of_the_parameters(
    direction: str, most: int, ladder: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    spectra = "weights" if ladder else "none"
    held = sets_on_the_grid(monkeypatch, direction=direction, ladder=ladder, spectra=spectra)
    assert held <= most + LITTLE


@pytest.mark.parametrize("objective", ["output", "breakdown"])
def test_of_adversarial_objectives(objective: str, monkeypatch: pytest.MonkeyPatch) -> None:
    assert sets_on_the_grid(monkeypatch, direction="adversarial", objective=objective) <= 6 + LITTLE


def test_of_one_layer_alone_the_others_gradients_are_not_computed(monkeypatch: pytest.MonkeyPatch) -> None:
    assert sets_on_the_grid(monkeypatch, layers="first") <= 3 + LITTLE


def test_what_is_not_perturbed_has_no_copy(monkeypatch: pytest.MonkeyPatch) -> None:
    assert sets_on_the_grid(monkeypatch, layers="first", perturb=("*0.weight",)) <= 2 + LITTLE
