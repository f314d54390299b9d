"""The dataset of a slice: what it holds beside the measures' variables, and that these carry their meaning."""

from __future__ import annotations

import numpy as np

from probes.evaluation.directions import hash_of
from tests.probes.slices.examples import ETAS, measured
from tests.support.reference import make, make_data
from trust import measurements as variables


def test_coordinates_say_what_each_layer_is() -> None:
    network, (x, y) = make((6, 8, 3), "tanh"), make_data()
    found = measured(network, x, y, samples=4)
    assert found["eta"].values.tolist() == ETAS.tolist()
    assert found["example"].values.tolist() == [0, 1, 2, 3]
    names = ["layers.0.weight", "layers.0.bias", "layers.1.weight", "layers.1.bias"]
    assert found["layer"].values.tolist() == names
    assert found["is_weight"].values.tolist() == [True, False, True, False]
    assert found["rows"].values.tolist() == [8, 0, 3, 0]
    assert found["columns"].values.tolist() == [6, 0, 8, 0]
    assert found["activation"].values.tolist() == ["tanh", "", "identity", ""]
    assert found["treatment"].values.tolist() == ["perturbed"] * 4


def test_attributes_say_what_was_measured() -> None:
    network, (x, y) = make((6, 8, 3), norm="batch", bias=False), make_data()
    attributes = measured(network, x, y, chunk=10, seed=2**40, biases="fixed").attrs
    expected = {
        "architecture": "perceptron",
        "residual": "false",
        "norm": "batch",
        "biases": "true",  # the batch norm's
        "biases_moved": "false",
        "batchnorm": "running statistics",
        "direction": "gradient",
        "objective": "",
        "dtype": "float64",
        "epsilon": 2.0**-52,
        "device": "cpu",
        "chunk": 10,
        "processes": 1,
        "seed": str(2**40),  # a file's attributes hold 32 bits
        "number_of_examples": len(x),
        "outputs": "yes",
    }
    assert {name: attributes[name] for name in expected} == expected


def test_the_directions_hash_tells_directions_apart() -> None:
    network, (x, y) = make((6, 3)), make_data()
    hashes = {
        measured(network, x, y, direction=direction, seed=seed).attrs["direction_hash"]
        for direction, seed in (("gradient", 0), ("gradient", 1), ("noise", 0), ("noise", 1))
    }
    assert len(hashes) == 3  # the gradient has no seed
    assert hash_of({}) not in hashes


def test_variables_carry_their_units_and_meaning() -> None:
    network, (x, y) = make((6, 3)), make_data()
    found = measured(network, x, y)
    for name in (variables.LOSS, variables.GRADIENT_CHANGE, variables.RELATIVE_PERTURBATION):
        assert found[name].attrs == name.attributes
        assert found[name].attrs["long_name"]
    assert found["eta"].attrs == variables.ETA.attributes
    assert np.isfinite(found["loss"]).all()
