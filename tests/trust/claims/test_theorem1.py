"""Theorem 1's claims against closed forms (κ = 3, α = 1/2, β = 1, two layers) and plain NumPy; premises, statuses."""

from __future__ import annotations

import json

import numpy as np
import pytest

from analysis import Status, judge
from tests.analysis.synthetic import measured
from tests.trust.claims.examples import CLAIMS, ETAS, real, status, verdict


def one_point(claim: str, **replaced: object) -> float:
    """The bound at η = 0.05, the last one."""
    bound = CLAIMS[claim].bound(measured(ETAS, **replaced))  # type: ignore[arg-type]
    bound = bound.isel({dim: -1 if dim == "eta" else 0 for dim in bound.dims})
    return float(10.0**bound)


def test_published_bounds() -> None:
    D2, D1 = 1.05**2 - 1, 0.05
    assert one_point("theorem1-function") == pytest.approx((9 / 0.5) ** 2 * D2, rel=1e-12)
    assert one_point("theorem1-function", perturbed_condition_number=6.0) == pytest.approx(
        72**2 * D2, rel=1e-12
    )
    assert one_point("theorem1-jacobian") == pytest.approx((9 / 0.5) ** 2 * D2, rel=1e-12)
    last = CLAIMS["theorem1-jacobian"].bound(measured(ETAS)).isel(layer=1, eta=-1)
    assert float(10 ** last[0]) == pytest.approx(18 * D1, rel=1e-12)


def test_kappa_is_of_each_eta() -> None:
    perturbed = np.array([1.0, 2.0, 2.0, 7.0])[None, :, None]
    bound = 10 ** CLAIMS["theorem1-function"].bound(measured(ETAS, perturbed_condition_number=perturbed))[0]
    D = (1 + ETAS[1:]) ** 2 - 1
    np.testing.assert_allclose(bound, (np.array([9, 9, 49]) / 0.5) ** 2 * D, rtol=1e-12)


def test_layerwise_and_gated_bounds() -> None:
    moved = (1 + 3 * 0.05) ** 2 - 1
    assert one_point("theorem1-function-layerwise") == pytest.approx((2 / 0.5) * 2 * moved, rel=1e-12)
    gated = one_point("theorem1-jacobian-gated", gate_change=0.2, perturbed_condition_number=9.0)
    assert gated == pytest.approx(18**2 * ((1.05 * 1.2) ** 2 - 1), rel=1e-12)  # no W̃ in its κ


def test_relu_is_modelled_in_the_published_form_alone() -> None:
    relu = {"activation": ["relu", "identity"]}
    assert one_point("theorem1-function", **relu) == pytest.approx(9**2 * (1.05**2 - 1), rel=1e-12)
    assert one_point("theorem1-function-layerwise", **relu) == np.inf
    found = verdict("theorem1-function", measured(ETAS, **relu))
    assert found.status is Status.PREMISE_FAILS
    assert found.premises["transmission"] is False
    assert "holds all the same" in found.remark


def test_theorem1_statuses() -> None:
    for claim in (
        "theorem1-function",
        "theorem1-function-injective",
        "theorem1-function-layerwise",
        "theorem1-jacobian",
        "theorem1-jacobian-gated",
    ):
        assert status(claim, measured(ETAS)) is Status.HOLDS
        assert status(claim, measured(ETAS, condition_number=np.inf)) in (
            Status.VACUOUS,
            Status.PREMISE_FAILS,
        )
        far = measured(ETAS, condition_number=1e9)
        assert verdict(claim, far).worst_log10_ratio < -8
        assert status(claim, far) is Status.HOLDS
        useless = verdict(claim, far.assign(output_growth=1 + 0 * far.output_change)).status
        assert useless is (Status.USELESS if "function" in claim else Status.HOLDS)
        change = {"output_change": 1e5, "jacobian_change": 1e5}
        assert status(claim, measured(ETAS, **change)) is Status.REFUTED
        missing = ("output_change", "jacobian_change")
        found = verdict(claim, measured(ETAS, drop=missing))
        assert found.status is Status.NOT_MEASURED
        assert found.remark.startswith(("add `samples=N`", "add `jacobian=N`"))
        noisy = measured(ETAS, output_noise_floor=1.0)  # all of it may be noise
        assert status(claim, noisy) is Status.NOT_MEASURED
        for overflow in (np.inf, np.nan):
            blown = measured(ETAS, output_change=overflow, jacobian_change=overflow)
            assert status(claim, blown) is Status.NOT_MEASURED


@pytest.mark.parametrize(
    ("attribute", "value", "premise", "claims"),
    [
        ("architecture", "conv", "plain chain", "function injective layerwise jacobian gated"),
        ("residual", "true", "plain chain", "function injective layerwise jacobian gated"),
        ("norm", "batch", "plain chain", "function injective layerwise jacobian gated"),
        ("biases", "true", "no biases", "function injective layerwise jacobian"),
    ],
)
def test_structural_premises(attribute: str, value: str, premise: str, claims: str) -> None:
    ids = {"function": "theorem1-function", "layerwise": "theorem1-function-layerwise"}
    ids |= {"injective": "theorem1-function-injective"}
    ids |= {"jacobian": "theorem1-jacobian", "gated": "theorem1-jacobian-gated"}
    measurements = measured(ETAS, attributes={attribute: value})
    for short, claim in ids.items():
        found = verdict(claim, measurements)
        if short in claims.split():
            assert (found.status, found.premises[premise]) == (Status.PREMISE_FAILS, False)
        else:
            assert found.status is Status.HOLDS


def test_unknown_activations_bound_nothing() -> None:
    for name in ("", "somebody's"):
        for claim in CLAIMS:
            if claim.startswith("theorem1"):
                found = verdict(claim, measured(ETAS, activation=[name, "identity"]))
                assert found.status is Status.NOT_MEASURED
                assert found.premises["transmission"] is None
                assert "vacuous" in found.remark


def test_two_conventions_of_kappa() -> None:
    """Where a layer narrows, W has a kernel: its κ is infinite, or taken over min(m, n) singular values."""
    for widths in ({}, {"rows": [5, 7], "columns": [5, 5]}):
        square = measured(ETAS, **widths)
        bounds = [CLAIMS[f"theorem1-function{c}"].bound(square) for c in ("", "-injective")]
        np.testing.assert_array_equal(*bounds)
    shrinking = measured(ETAS, rows=[4, 3], columns=[5, 4])
    assert status("theorem1-function", shrinking) is Status.HOLDS
    assert status("theorem1-function-injective", shrinking) is Status.VACUOUS


def test_widths_decide_injectivity_and_valleys() -> None:
    shrinking = measured(ETAS, rows=[4, 3], columns=[5, 4])
    assert verdict("theorem1-function-layerwise", shrinking).premises["injective"] is False
    assert status("theorem1-function-layerwise", shrinking) is Status.PREMISE_FAILS
    assert status("theorem1-jacobian-gated", shrinking) is Status.HOLDS
    hill = measured(ETAS, rows=[6, 3], columns=[5, 6])  # grows, then shrinks: from layer 2 on it only shrinks
    found = verdict("theorem1-jacobian-gated", hill)
    assert found.status is Status.HOLDS
    assert "50%" in found.remark
    broken = hill.copy()
    broken["jacobian_change"] = hill["jacobian_change"].where(hill["rows"] == 3, 1e9)
    assert status("theorem1-jacobian-gated", broken) is Status.HOLDS  # only where the premise fails
    broken["jacobian_change"] = hill["jacobian_change"].where(hill["rows"] == 6, 1e9)
    assert status("theorem1-jacobian-gated", broken) is Status.REFUTED


def test_gates_beyond_the_sample_are_no_evidence() -> None:
    gates = np.zeros((1, ETAS.size, 2, 2))
    gates[..., 1] = np.nan
    change = np.broadcast_to(np.array([1e-3, 1e9]), gates.shape)
    assert (
        status("theorem1-jacobian-gated", measured(ETAS, gate_change=gates, jacobian_change=change))
        is Status.HOLDS
    )


@pytest.mark.parametrize(
    ("spectra", "truth"),
    [
        ({"direction_condition_number": 9.0}, True),  # κ = 9 ≥ (1 + η)/(½ − η)
        ({"direction_condition_number": 2.0}, None),  # κ(W̃) may be above 2, or not
        # one dominant layer at κ = 2 whose W̃ is far better conditioned than W
        (
            {
                "direction_condition_number": 1.0,
                "condition_number": [2.0, 1.0],
                "direction_spectral_norm": 0.0,
            },
            True,
        ),
    ],
)
def test_kappa_by_weyl(spectra: dict[str, object], truth: bool | None) -> None:
    found = verdict("theorem1-function", measured(ETAS, drop=("perturbed_condition_number",), **spectra))
    assert found.premises["kappa"] is truth
    assert found.status is (Status.NOT_MEASURED if truth is None else Status.HOLDS)
    if truth is None:
        assert "add `spectra='slice'`" in found.remark


def test_where_the_premises_hold_so_do_the_bounds() -> None:
    measurements, _ = real((3, 4, 6, 9), orthogonal=True)
    found = {v.claim: v for v in judge(measurements)}
    for claim in ("theorem1-function", "theorem1-function-layerwise", "theorem1-jacobian-gated"):
        expected = Status.USELESS if claim == "theorem1-function" else Status.HOLDS  # a slack of 10⁵
        assert found[claim].status is expected, found[claim]
        assert all(found[claim].premises.values())
        assert found[claim].worst_log10_ratio < 0
    json.dumps([v.to_json() for v in found.values()], allow_nan=False)


def test_bounds_agree_with_plain_numpy() -> None:
    """Everything again from the weights alone, one layer, example and η at a time."""
    measurements, network = real((3, 4, 6, 9))
    weights = [p.detach().numpy() for p in network.parameters()]
    spectra = [np.linalg.svd(w, compute_uv=False) for w in weights]
    steps = measurements["direction_condition_number"].values[0]
    alpha, beta, L = 0.5, 1.0, 3
    for i, eta in enumerate(measurements.eta.values[1:]):
        r = measurements.relative_perturbation.values[0, i + 1]
        np.testing.assert_allclose(r, eta, rtol=1e-9)
        moved = measurements.perturbed_condition_number.values[0, i + 1]
        kappa = max([s[0] / s[-1] for s in spectra] + list(steps) + list(moved))
        D = np.prod(1 + r) - 1
        expected = {"theorem1-function": (beta * kappa**2 / alpha) ** L * D}
        product = 1.0
        for k, s in enumerate(spectra):
            product *= s[0] / s[-1] / (alpha if k < L - 1 else 1.0)
        expected["theorem1-function-layerwise"] = product * (np.prod(1 + steps * r) - 1)
        expected["deep-relative-trust"] = D
        for claim, value in expected.items():
            bound = CLAIMS[claim].bound(measurements).isel(checkpoint=0, eta=i)
            np.testing.assert_allclose(10.0**bound, value, rtol=1e-10, err_msg=claim)
        frozen = max([s[0] / s[-1] for s in spectra] + list(steps))
        for layer in range(L):
            count = L - layer
            plain = (beta * kappa**2 / alpha) ** count * (np.prod(1 + r[layer:]) - 1)
            bound = CLAIMS["theorem1-jacobian"].bound(measurements).isel(checkpoint=0, eta=i, layer=layer)
            np.testing.assert_allclose(10.0**bound, plain, rtol=1e-10)
            for example in range(3):
                s = measurements.gate_change.values[0, i + 1, layer:, example]
                gated = (beta * frozen**2 / alpha) ** count * (np.prod((1 + r[layer:]) * (1 + s)) - 1)
                bound = CLAIMS["theorem1-jacobian-gated"].bound(measurements)
                value = bound.isel(checkpoint=0, eta=i, layer=layer, example=example)
                np.testing.assert_allclose(10.0**value, gated, rtol=1e-10)
