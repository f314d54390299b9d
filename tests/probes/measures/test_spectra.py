"""Spectra against NumPy's."""

from __future__ import annotations

import numpy as np
import pytest

from tests.probes.slices.examples import measured, reference_of
from tests.support.reference import Tensors, arrays, make, make_data, step
from trust.claims.quantities import step_condition_number, weights


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


ETAS_FINE = np.array([0.0, 1e-6, 1e-4, 1e-2, 0.3])


@pytest.mark.parametrize("spectra", ["weights", "slice"])
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_the_realised_perturbations_spectra_are_bounded(
    dtype: str, spectra: str, record: list[Tensors]
) -> None:
    network, (x, y) = make((6, 8, 5, 3)), make_data()
    found = measured(
        network, x, y, spectra=spectra, dtype=dtype, etas=ETAS_FINE, direction="noise", ladder=True
    )
    epsilon = float(np.finfo(dtype).eps)
    before = arrays(network)
    finite = 0
    for row in range(1, len(ETAS_FINE)):
        for k in range(3):
            name = f"layers.{k}.weight"
            change = record[row][name] - before[name]
            values = np.linalg.svd(change, compute_uv=False)
            at = found.sel(layer=name).isel(eta=row)
            norm, kappa = (float(at[f"perturbation_{v}"]) for v in ("spectral_norm", "condition_number"))
            negligible = max(change.shape) * epsilon * np.linalg.norm(before[name], 2)
            assert norm >= values[0]
            assert kappa >= values[0] / values[-1]
            if values[-1] <= negligible:
                assert np.isinf(kappa)
            # rounding moves every entry of W̃ by at most half an ε of it
            rounding = epsilon / 2 * np.linalg.norm(record[row][name])
            assert norm <= (values[0] + 2 * rounding) * (1 + 1e-12)
            if spectra == "slice" and values[-1] > negligible:
                assert norm == pytest.approx(values[0], rel=1e-12)
                assert kappa == pytest.approx(values[0] / values[-1], rel=1e-9)
            elif values[-1] > negligible + 2 * rounding:
                worst = (values[0] + 2 * rounding) / (values[-1] - 2 * rounding)
                assert kappa <= worst * (1 + 1e-9)
                finite += 1
    assert finite or spectra == "slice"


def test_float32_and_float64_agree_as_far_as_rounding_lets_them(record: list[Tensors]) -> None:
    """|σ_i − σ'_i| ≤ T = ‖ΔW − ΔW'‖_F by Weyl, so κ and κ' differ by a factor of (1 + T/σ_min)/(1 − T/σ_min)."""
    network, (x, y) = make((6, 8, 5, 3)), make_data()
    moved, found = {}, {}
    for dtype in ("float32", "float64"):
        record.clear()
        found[dtype] = measured(network, x, y, spectra="slice", dtype=dtype, etas=ETAS_FINE, ladder=True)
        moved[dtype] = list(record)
    rounded = {name: tensor.astype(np.float32).astype(np.float64) for name, tensor in arrays(network).items()}
    agreed = 0
    for row in range(1, len(ETAS_FINE)):
        for k in range(3):
            name = f"layers.{k}.weight"
            changes = [
                moved["float32"][row][name] - rounded[name],
                moved["float64"][row][name] - arrays(network)[name],
            ]
            T = float(np.linalg.norm(changes[0] - changes[1]))
            # W̃ is rounded once, 2⁻²⁴ of it, and the gradient errs by some hundreds of that (sums of tens of terms)
            assert np.linalg.norm(moved["float32"][row][name]) * 2.0**-24 * (1 + 500 * ETAS_FINE[row]) >= T
            norms, kappas = (
                [float(found[d].sel(layer=name)[f"perturbation_{v}"][row]) for d in found]
                for v in ("spectral_norm", "condition_number")
            )
            assert abs(norms[0] - norms[1]) <= T + 1e-12 * norms[1]
            smallest = float(np.linalg.svd(changes[1], compute_uv=False)[-1])
            if np.isinf(kappas[0]):  # nothing is said, and only where rounding is as large as σ_min
                negligible = 8 * 2.0**-23 * np.linalg.norm(rounded[name], 2)
                assert smallest <= negligible + T + 1e-12
                continue
            assert smallest > T
            factor = (1 + T / smallest) / (1 - T / smallest) * (1 + 1e-9)
            assert kappas[1] / factor <= kappas[0] <= kappas[1] * factor
            agreed += 1
    assert agreed >= 2


def test_a_rank_one_gradient_has_no_condition_number_in_any_precision() -> None:
    network, (x, y) = make((6, 8, 3)), make_data(1)  # the gradient of one example has rank one
    for dtype in ("float32", "float64"):
        found = measured(network, x, y, dtype=dtype)
        assert np.isinf(found["direction_condition_number"].sel(layer="layers.0.weight"))
        assert np.isinf(found["perturbation_condition_number"].sel(layer="layers.0.weight")[1:]).all()


def test_what_does_not_move_has_no_step() -> None:
    network, (x, y) = make(), make_data()
    found = measured(network, x, y, perturb=("layers.1.*",), spectra="weights")
    still = found.sel(layer="layers.0.weight")
    assert (still["perturbation_spectral_norm"][1:] == 0).all()
    kappa = step_condition_number(weights(found.expand_dims("checkpoint"))).sel(layer="layers.0.weight")
    assert (kappa == 1).all()
