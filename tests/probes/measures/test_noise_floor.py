"""The noise floor is rounding, all of it, and nothing else."""

from __future__ import annotations

import torch

from tests.probes.slices.examples import measured
from tests.support.reference import make, make_data


def test_the_noise_floor_is_rounding_and_nothing_else() -> None:
    network, (x, y) = make(), make_data()
    single, exact = measured(network, x, y, dtype="float32"), measured(network, x, y)
    # sums of 37 terms: a few units of rounding, never a thousand
    assert 2**-30 < float(single["noise_floor"].max()) < 1000 * 2**-24
    assert float(exact["noise_floor"].max()) < 1000 * 2**-53
    assert float(single["loss_noise_floor"]) < 100 * 2**-24


def test_the_noise_floor_sees_what_repetition_cannot() -> None:
    network, (x, y) = make((6, 3)), make_data()
    with torch.no_grad():
        network.layers[0].bias += 1e6  # softmax ignores it, but float32 rounds outputs of this size to 1/16
    single, exact = measured(network, x, y, dtype="float32"), measured(network, x, y)
    error = abs(single["gradient_norm"][0] / exact["gradient_norm"][0] - 1)
    assert (error > 1e-4).all()
    # the relative error of a norm is at most that of the vector; the sample is the whole data here
    assert (error <= single["noise_floor"] * 1.001).all()
    assert float(single["noise_floor"].max()) < 0.2
