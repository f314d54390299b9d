"""Spectra against NumPy's."""

from __future__ import annotations

import numpy as np
import pytest

from tests.probes.slices.examples import measured, reference_of
from tests.support.reference import arrays, make, make_data, step


def test_spectra_against_numpy() -> None:
    network, (x, y) = make(), make_data()
    found = measured(network, x, y, spectra="slice")
    reference, tensors = reference_of(network, x, y), arrays(network)
    base = reference.run(tensors)[1]
    for k in range(3):
        name = f"layers.{k}.weight"
        layer = found.sel(layer=name)
        values = np.linalg.svd(tensors[name], compute_uv=False)
        assert float(layer["weight_norm"]) == pytest.approx(np.linalg.norm(tensors[name]), rel=1e-12)
        assert float(layer["spectral_norm"]) == pytest.approx(values[0], rel=1e-12)
        assert float(layer["condition_number"]) == pytest.approx(values[0] / values[-1], rel=1e-9)
        steps = np.linalg.svd(base[name], compute_uv=False) * np.linalg.norm(tensors[name])
        size = np.linalg.norm(base[name])
        assert float(layer["direction_spectral_norm"]) == pytest.approx(steps[0] / size, rel=1e-10)
        after = np.linalg.svd(step(tensors, base, 0.5)[name], compute_uv=False)
        condition = float(layer["perturbed_condition_number"][-1])
        assert condition == pytest.approx(after[0] / after[-1], rel=1e-8)
    # softmax's gradient sums to zero over the classes, so the last layer's has no full rank
    assert float(found["direction_condition_number"].sel(layer="layers.2.weight")) > 1e12
    assert np.isnan(found["spectral_norm"].sel(layer="layers.0.bias"))
