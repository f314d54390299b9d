"""The published protocol at initialisation, against the numbers that the paper released."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from probes import SliceSettings, measure_slice
from probes.data.dataset import load_data
from probes.networks.perceptron import Perceptron, PerceptronSpec

ETAS = (0.001, 0.005, 0.010)
RELEASED = {2: (0.020, 0.099, 0.195), 16: (0.36, 1.06, 1.38)}  # the input layer's breakdown at these η


@pytest.mark.parametrize("depth", RELEASED)
def test_the_input_layers_breakdown_at_initialisation(depth: int) -> None:
    data = load_data("mnist")
    widths = (*[784] * depth, 10)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        network = Perceptron(PerceptronSpec(widths, "relu", biases=(True,) * depth))
    settings = SliceSettings(
        etas=np.array([0.0, *ETAS]), layers="first", samples=0, spectra="none", limit=False, curvature=None
    )
    every = 1 if depth == 2 else 2  # half the images, as many of each digit, move these numbers by a tenth
    x, y = data.x[::every], data.y[::every]
    found = measure_slice(network, x, y, settings=settings).isel(checkpoint=0)
    assert found.attrs["number_of_examples"] == 5000 // every
    assert float(found["loss"][0]) == pytest.approx(np.log(10), rel=0.02)
    measured = found["gradient_change"].sel(layer="layers.0.weight").values
    # other seeds and thousands of the 60,000 images: tens of per cent, where depths differ by factors
    np.testing.assert_allclose(measured[1:], RELEASED[depth], rtol=0.35)
