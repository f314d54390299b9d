"""What a slice is taken along, and of which layers."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import xarray as xr

from probes import InputError, SliceSettings, measure_slice
from tests.probes.slices.examples import ETAS, measured, reference_of
from tests.support.reference import arrays, make, make_data, step


def test_noise_moves_every_layer_by_eta_and_is_seeded() -> None:
    network, (x, y) = make(), make_data()
    one = measured(network, x, y, direction="noise", seed=3)
    np.testing.assert_allclose(one["relative_perturbation"], np.tile(ETAS[:, None], (1, 6)), rtol=1e-12)
    xr.testing.assert_identical(one, measured(network, x, y, direction="noise", seed=3))
    other = measured(network, x, y, direction="noise", seed=4)
    assert not np.allclose(one["loss"][1:], other["loss"][1:], rtol=1e-9)
    # a random direction is nearly orthogonal to the gradient: cos of a matrix of 48 entries is about 1/√48
    assert abs(float(one["perturbation_cosine"].sel(layer="layers.0.weight"))) < 5 / np.sqrt(48)


def test_the_update_lands_on_the_next_checkpoint() -> None:
    network, following, (x, y) = make(seed=0), make(seed=5), make_data()
    settings: dict[str, Any] = {"direction": "update", "dtype": "float64", "limit": False, "curvature": None}
    after = dict(following.named_parameters())
    relative = [
        float((after[name].detach() - tensor).norm() / tensor.norm())
        for name, tensor in network.state_dict().items()
        if tensor.ndim == 2
    ]
    etas = np.array([0.0, max(relative)])

    def run(grid: Any) -> xr.Dataset:
        options = SliceSettings(etas=grid, **settings)
        return measure_slice(network, x, y, settings=options, following=after).isel(checkpoint=0)

    size = float(run(etas)["update_size"])
    assert size == pytest.approx(max(relative), rel=1e-5)  # float32 norms here
    found = run(np.array([0.0, size]))
    loss, gradients, _ = reference_of(following, x, y).run(arrays(following))
    assert float(found["loss"][1]) == pytest.approx(loss, rel=1e-12)
    for name, g in gradients.items():
        assert float(found["gradient_norm"].sel(layer=name)[1]) == pytest.approx(np.linalg.norm(g), rel=1e-10)
    with pytest.raises(InputError, match="no weight matrix differs"):
        measure_slice(
            network,
            x,
            y,
            settings=SliceSettings(etas=etas, **settings),
            following=dict(network.named_parameters()),
        )
    with pytest.raises(InputError, match="at least two"):
        measure_slice(network, x, y, settings=SliceSettings(etas=etas, **settings))


def test_fixed_biases_stay() -> None:
    network, (x, y) = make(), make_data()
    found = measured(network, x, y, biases="fixed")
    reference, tensors = reference_of(network, x, y), arrays(network)
    base = reference.run(tensors)[1]
    weights = {name: g for name, g in base.items() if name.endswith("weight")}
    loss, gradients, _ = reference.run(step(tensors, weights, 0.5))
    assert float(found["loss"][-1]) == pytest.approx(loss, rel=1e-10)
    is_bias = ~found["is_weight"].values
    assert is_bias.sum() == 3
    assert (found["relative_perturbation"].values[:, is_bias] == 0).all()
    change = np.linalg.norm(gradients["layers.0.bias"] - base["layers.0.bias"])
    expected = change / np.linalg.norm(base["layers.0.bias"])
    assert float(found["gradient_change"].sel(layer="layers.0.bias")[-1]) == pytest.approx(expected, rel=1e-8)
    assert found.attrs["biases_moved"] == "false"
    assert measured(network, x, y).attrs["biases_moved"] == "true"


def test_measuring_some_layers_changes_no_number() -> None:
    network, (x, y) = make(), make_data()
    whole = measured(network, x, y)
    for layers, kept in (("first", ["layers.0.weight"]), ("*.bias", [f"layers.{k}.bias" for k in range(3)])):
        part = measured(network, x, y, layers=layers)
        xr.testing.assert_identical(part["loss"], whole["loss"])
        for name in whole["layer"].values:
            expected = whole["gradient_change"].sel(layer=name)
            if name in kept:
                xr.testing.assert_identical(part["gradient_change"].sel(layer=name), expected)
            else:
                assert np.isnan(part["gradient_change"].sel(layer=name)).all()
    with pytest.raises(InputError, match="matches no layer"):
        measured(network, x, y, layers="nothing*")
