"""The registry, and each claim's two sides, premises and constants against closed forms and plain NumPy."""

from __future__ import annotations

import json
import subprocess
import sys
from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pytest
import torch
import xarray as xr

import trust.claims.registry
from analysis import Status, judge
from analysis.verdicts import Verdict
from probes.measures.settings import SliceSettings
from probes.networks.perceptron import Perceptron, PerceptronSpec
from probes.slices.slice import measure_slice
from tests.analysis.synthetic import measured
from trust.claims import all_claims

ETAS = np.array([0.0, 0.001, 0.01, 0.05])
CLAIMS = all_claims()


def verdict(claim: str, measurements: xr.Dataset) -> Verdict:
    (found,) = judge(measurements, [CLAIMS[claim]])
    json.dumps(found.to_json(), allow_nan=False)
    return found


def status(claim: str, measurements: xr.Dataset) -> Status:
    return verdict(claim, measurements).status


# The registry


def test_the_claims_are_there_in_order() -> None:
    assert list(CLAIMS) == [
        "theorem1-function",
        "theorem1-function-layerwise",
        "theorem1-jacobian",
        "theorem1-jacobian-gated",
        "deep-relative-trust",
        "lemma1",
        "lemma2",
        "lemma2-trusted",
        "lemma2-with-constant",
        "lemma2-calibrated",
        "slice-curvature",
        "euclidean-trust",
        "input-sensitivity",
        "spectral-product",
        "neyshabur",
        "telescoped",
        "path-metric",
        "path-metric-direct",
        "linearisation-remainder",
        "agd-majorisation",
    ]
    for claim in CLAIMS.values():
        assert claim.source
        assert claim.statement
        assert claim.left


def offered(*values: object) -> object:
    entries = [
        SimpleNamespace(name=f"e{k}", value="package:claim", load=lambda v=v: v) for k, v in enumerate(values)
    ]
    return lambda *, group: entries if group == "trust.claims" else []


def test_one_object_through_an_entry_point_adds_a_claim(monkeypatch: pytest.MonkeyPatch) -> None:
    mine = replace(
        CLAIMS["deep-relative-trust"], id="mine", bound=lambda m: CLAIMS["lemma2"].measured(m) * 0 - 9
    )
    other = replace(mine, id="other")
    monkeypatch.setattr(trust.claims.registry, "entry_points", offered(mine, [other]))
    assert list(all_claims()) == [*CLAIMS, "mine", "other"]
    found = {v.claim: v.status for v in judge(measured(ETAS))}
    assert found["mine"] is Status.REFUTED


def test_entry_points_that_clash_or_are_no_claims_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(
        trust.claims.registry, "entry_points", offered(replace(CLAIMS["lemma2"], source="me"))
    )
    with pytest.raises(ValueError, match="lemma2 is there already"):
        all_claims()
    monkeypatch.setattr(trust.claims.registry, "entry_points", offered("text"))
    with pytest.raises(ValueError, match="is a str, not a Claim"):
        all_claims()


def test_claims_need_no_torch() -> None:
    code = "import sys; from trust.claims import all_claims; all_claims(); print('torch' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "False"


# Theorem 1, closed forms: κ = 3, α = 1/2, β = 1, two layers


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
        "theorem1-function-layerwise",
        "theorem1-jacobian",
        "theorem1-jacobian-gated",
    ):
        assert status(claim, measured(ETAS)) is Status.HOLDS
        assert status(claim, measured(ETAS, condition_number=np.inf)) in (
            Status.VACUOUS,
            Status.PREMISE_FAILS,
        )
        assert status(claim, measured(ETAS, condition_number=1e9)) is Status.VACUOUS
        change = {"output_change": 1e5, "jacobian_change": 1e5}
        assert status(claim, measured(ETAS, **change)) is Status.REFUTED
        missing = ("output_change", "jacobian_change")
        found = verdict(claim, measured(ETAS, drop=missing))
        assert found.status is Status.NOT_MEASURED
        assert found.remark.startswith(("add --samples N", "add --jacobian N"))
        noisy = measured(ETAS, output_noise_floor=1.0)  # all of it may be noise
        assert status(claim, noisy) is Status.NOT_MEASURED
        for overflow in (np.inf, np.nan):
            blown = measured(ETAS, output_change=overflow, jacobian_change=overflow)
            assert status(claim, blown) is Status.NOT_MEASURED


@pytest.mark.parametrize(
    ("attribute", "value", "premise", "claims"),
    [
        ("architecture", "ResNet", "plain chain", "function layerwise jacobian gated"),
        ("residual", "true", "plain chain", "function layerwise jacobian gated"),
        ("norm", "batch", "plain chain", "function layerwise jacobian gated"),
        ("biases", "true", "no biases", "function layerwise jacobian"),
    ],
)
def test_structural_premises(attribute: str, value: str, premise: str, claims: str) -> None:
    ids = {"function": "theorem1-function", "layerwise": "theorem1-function-layerwise"}
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
                assert found.status is Status.PREMISE_FAILS
                assert found.premises["transmission"] is False
                assert "vacuous" in found.remark


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
        assert "add --spectra slice" in found.remark


# Gradient claims


def test_deep_relative_trust_is_judged_by_its_constant() -> None:
    D = np.expm1(2 * np.log1p(ETAS))
    for constant, expected in ((0.9, Status.HOLDS), (1.1, Status.REFUTED), (1e-8, Status.VACUOUS)):
        found = verdict("deep-relative-trust", measured(ETAS, gradient_change=constant * D[None, :, None]))
        assert found.status is expected
        assert found.log10_constant == pytest.approx(np.log10(constant))
        assert found.worst_log10_ratio == pytest.approx(np.log10(constant))
    near = measured(ETAS, gradient_change=1.1 * D[None, :, None], noise_floor=0.09 * D[-1])
    assert status("deep-relative-trust", near) is Status.HOLDS  # within its noise
    assert status("deep-relative-trust", measured(ETAS, noise_floor=1e9)) is Status.NOT_MEASURED
    assert status("deep-relative-trust", measured(ETAS, gradient_change=np.inf)) is Status.NOT_MEASURED


def test_a_bias_counts_for_lemma1_but_not_for_depth() -> None:
    change = np.expm1(np.log1p(ETAS))[None, :, None] * np.array([0.9, 100.0])
    measurements = measured(ETAS, is_weight=[True, False], gradient_change=change)
    found = verdict("deep-relative-trust", measurements)
    assert (found.status, found.log10_constant) == (Status.HOLDS, pytest.approx(np.log10(0.9)))
    assert verdict("lemma2-calibrated", measurements).log10_constant == pytest.approx(2)


def test_a_dead_network_proves_nothing() -> None:
    zero = (
        "relative_perturbation",
        "perturbation_norm",
        "gradient_change",
        "gradient_difference",
        "gradient_norm",
    )
    zero += ("output_change", "jacobian_change", "slope", "slope_at_zero", "step_limit", "curvature")
    zero += ("noise_floor", "loss_noise_floor", "output_noise_floor")
    unknown = ("gradient_cosine", "perturbation_cosine")
    dead = measured(ETAS, loss=2.3, **dict.fromkeys(zero, 0.0), **dict.fromkeys(unknown, np.nan))
    for found in judge(dead):
        assert found.status in (Status.NOT_MEASURED, Status.PREMISE_FAILS), found
    limits = {v.claim: v for v in judge(dead)}
    assert limits["lemma2"].premises["descent direction"] is False


def test_lemma1_holds_exactly_and_speaks_only_of_what_the_grid_resolves() -> None:
    fine = (0.0, *np.geomspace(1e-4, 0.05, 12))
    exact = measured(fine)
    assert status("lemma1", exact) is Status.HOLDS
    assert status("lemma1", exact.assign(loss=exact.loss + 100 * exact.eta**2)) is Status.REFUTED
    leap = measured((0.0, 0.001, 1.0))
    found = verdict("lemma1", leap.assign(loss=leap.loss + 1e6 * (leap.eta == 1)))
    assert found.status is not Status.REFUTED
    restricted = exact.copy()
    restricted["gradient_difference"] = exact["gradient_difference"].where(
        exact["layer"] == "layers.0.weight"
    )
    found = verdict("lemma1", restricted.assign(slope=np.nan * exact.slope))
    assert (found.status, "--layers all" in found.remark) == (Status.NOT_MEASURED, True)


def test_lemma1_of_a_concave_slice_holds() -> None:
    fine = (0.0, *np.geomspace(1e-4, 0.05, 12))
    exact = measured(fine)
    slope = float(exact.slope_at_zero[0])
    concave = exact.assign(loss=exact.loss[0, 0] + slope * exact.eta - exact.eta**2 + 0 * exact.loss)
    concave["slope"] = slope - 2 * exact.eta + 0 * exact.slope
    assert status("lemma1", concave) is Status.HOLDS


def test_euclidean_trust_is_judged_where_it_was_not_fitted() -> None:
    etas = np.array([0.0, 0.01, 0.02, 0.03, 0.04])
    base = measured(etas)
    moved = np.sqrt((base.perturbation_norm.values[0] ** 2).sum(-1))
    for powers, expected in (((0, 1), Status.HOLDS), ((0, 2), Status.REFUTED), ((0, 0.5), Status.HOLDS)):
        change = 3.0 * moved ** powers[1] / np.sqrt(2)
        found = verdict("euclidean-trust", measured(etas, gradient_difference=change[None, :, None]))
        assert found.status is expected
        ratio = 3.0 * moved[1:3] ** (powers[1] - 1)
        assert found.log10_constant == pytest.approx(np.log10(ratio.max()))
        assert found.holds_fraction == (0.0 if expected is Status.REFUTED else 1.0)
    assert status("euclidean-trust", measured((0.0, 0.1))) is Status.NOT_MEASURED
    change = base.gradient_difference.values.copy()
    change[..., 0] = np.nan
    assert status("euclidean-trust", measured(etas, gradient_difference=change)) is Status.NOT_MEASURED


# Step limits


def test_lemma2_against_the_measured_limit() -> None:
    limit = 2**0.5 - 1
    for where, expected in ((2 * limit, Status.HOLDS), (0.5 * limit, Status.REFUTED), (1e7, Status.VACUOUS)):
        found = verdict("lemma2", measured(ETAS, step_limit=where))
        assert found.status is expected
        assert found.worst_log10_ratio == pytest.approx(np.log10(limit / where))
    assert (
        status("lemma2", measured(ETAS, step_limit=0.997 * limit)) is Status.HOLDS
    )  # as near as it is searched
    assert status("lemma2", measured(ETAS, step_limit=0.0)) is Status.REFUTED


def test_a_loss_that_never_returned() -> None:
    far = measured(ETAS, step_limit=np.nan, step_limit_searched_to=8.0)
    assert status("lemma2", far) is Status.HOLDS
    near = verdict("lemma2", measured(ETAS, step_limit=np.nan, step_limit_searched_to=0.1))
    assert (near.status, near.worst_log10_ratio) == (Status.NOT_MEASURED, pytest.approx(np.nan, nan_ok=True))


def test_limits_without_a_search_say_so() -> None:
    for claim in ("lemma2", "lemma2-with-constant", "lemma2-calibrated", "slice-curvature"):
        found = verdict(claim, measured(ETAS, drop=("step_limit", "step_limit_searched_to")))
        assert found.status is Status.NOT_MEASURED
        assert "--no-limit" in found.remark


def test_descent_premise() -> None:
    for cosines in ([-0.1, 1.0], [0.0, 1.0], [np.nan, 1.0], [np.nan, np.nan]):
        found = verdict("lemma2", measured(ETAS, perturbation_cosine=cosines, step_limit=1.0))
        assert (found.status, found.premises["descent direction"]) == (Status.PREMISE_FAILS, False)
    still = measured(ETAS).perturbation_norm.values.copy()
    still[..., 0] = 0  # no angle, but it does not move either
    resting = measured(ETAS, perturbation_cosine=[np.nan, 1.0], perturbation_norm=still, step_limit=1.0)
    assert status("lemma2", resting) is Status.HOLDS


def test_step_size_premise() -> None:
    found = verdict("lemma2", measured(ETAS, relative_perturbation=2 * ETAS[None, :, None], step_limit=1.0))
    assert (found.status, found.premises["step size"]) == (Status.PREMISE_FAILS, False)
    assert (
        status("lemma2", measured(ETAS, relative_perturbation=np.inf, step_limit=1.0)) is Status.PREMISE_FAILS
    )


def test_lemma2_with_theorem1s_constant() -> None:
    C = 18.0**2
    found = verdict("lemma2-with-constant", measured(ETAS, step_limit=1.0))
    assert found.log10_constant == pytest.approx(np.log10(C))
    assert found.worst_log10_ratio == pytest.approx(np.log10((1 + 1 / C) ** 0.5 - 1))
    assert found.status is Status.HOLDS
    nothing = verdict("lemma2-with-constant", measured(ETAS, condition_number=np.inf))
    assert nothing.status is Status.VACUOUS
    assert nothing.to_json()["constant"] is None


def calibrated(growth: float, **replaced: object) -> xr.Dataset:
    """C_l(η) = 4 (1 + growth·η)."""
    D = np.expm1(2 * np.log1p(ETAS))
    return measured(ETAS, gradient_change=(4 * (1 + growth * ETAS) * D)[None, :, None], **replaced)  # type: ignore[arg-type]


def test_calibrated_limit_and_its_premise() -> None:
    limit = 1.25**0.5 - 1  # 0.118: all η are inside
    found = verdict("lemma2-calibrated", calibrated(0.0, step_limit=1.0))
    assert (found.status, found.log10_constant) == (Status.HOLDS, pytest.approx(np.log10(4)))
    assert found.worst_log10_ratio == pytest.approx(np.log10(limit))
    assert status("lemma2-calibrated", calibrated(0.0, step_limit=0.01)) is Status.REFUTED
    faster = verdict("lemma2-calibrated", calibrated(1.0, step_limit=0.01))
    assert (faster.status, faster.premises["no faster than C·D"]) == (Status.PREMISE_FAILS, False)
    assert "inequality fails" in faster.remark
    assert status("lemma2-calibrated", calibrated(-1.0, step_limit=1.0)) is Status.HOLDS


def test_calibrated_limit_is_open_where_nothing_was_measured_below_it() -> None:
    steep = measured(ETAS, gradient_change=1e5 * ETAS[None, :, None], step_limit=1.0)  # limit far below 0.001
    found = verdict("lemma2-calibrated", steep)
    assert (found.status, found.premises["no faster than C·D"]) == (Status.NOT_MEASURED, None)
    assert "smaller η" in found.remark
    change = calibrated(0.0).gradient_change.values.copy()
    change[..., 1] = np.nan  # --layers first
    assert (
        status("lemma2-calibrated", measured(ETAS, gradient_change=change, step_limit=1.0))
        is Status.NOT_MEASURED
    )


def test_slice_curvature() -> None:
    exact = measured(ETAS)
    limit = float(exact.step_limit[0])
    assert status("slice-curvature", exact) is Status.HOLDS  # a parabola: equality
    assert status("slice-curvature", measured(ETAS, step_limit=0.9 * limit)) is Status.REFUTED
    coarse = verdict("slice-curvature", measured((0.0, 0.6 * limit), step_limit=0.9 * limit))
    assert (coarse.status, coarse.premises["small step"]) == (Status.PREMISE_FAILS, False)
    assert status("slice-curvature", measured(ETAS, slope=np.nan)) is Status.NOT_MEASURED
    slope = float(exact.slope_at_zero[0])
    concave = measured(ETAS, slope=slope * (1 + ETAS), step_limit=1.0)
    assert status("slice-curvature", concave) is Status.REFUTED  # promises descent for ever
    flat = measured(ETAS, slope=slope * (1 + ETAS), step_limit=np.nan, step_limit_searched_to=8.0)
    assert status("slice-curvature", flat) is Status.NOT_MEASURED


# Real slices


def real(
    widths: tuple[int, ...],
    activation: str = "leaky_relu:0.5",
    *,
    orthogonal: bool = False,
    direction: str = "noise",
    biases: bool = False,
    **rest: object,
) -> tuple[xr.Dataset, Perceptron]:
    torch.manual_seed(1)
    network = Perceptron(PerceptronSpec(widths, activation, biases=(biases,) * (len(widths) - 1)))
    if orthogonal:
        for tensor in network.parameters():
            torch.nn.init.orthogonal_(tensor)
    network = network.double()
    x, y = torch.randn(12, widths[0], dtype=torch.float64), torch.randint(0, widths[-1], (12,))
    settings = SliceSettings(
        etas=np.array([0.0, 1e-3, 1e-2, 0.1]),
        direction=direction,
        dtype="float64",
        samples=5,
        jacobian=3,
        spectra="slice",
        **rest,  # type: ignore[arg-type]
    )
    return measure_slice(network, x, y, settings=settings), network


def test_where_the_premises_hold_so_do_the_bounds() -> None:
    measurements, _ = real((3, 4, 6, 9), orthogonal=True)
    found = {v.claim: v for v in judge(measurements)}
    for claim in ("theorem1-function", "theorem1-function-layerwise", "theorem1-jacobian-gated"):
        assert found[claim].status is Status.HOLDS, found[claim]
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


def test_a_gradient_slice_of_a_deep_network_refutes_deep_relative_trust() -> None:
    measurements, _ = real((6, *[8] * 15, 4), direction="gradient", biases=True)
    found = {v.claim: v for v in judge(measurements)}
    trusted = found["deep-relative-trust"]
    assert trusted.status is Status.REFUTED
    relative = 10.0**trusted.log10_constant
    first = measurements.isel(eta=1, checkpoint=0)
    own = first.isel(layer=np.flatnonzero(first.is_weight.values))
    constant = float((own.gradient_change / (np.prod(1 + own.relative_perturbation.values) - 1)).max())
    assert relative == pytest.approx(constant, rel=1e-9)
    assert constant > 2
    assert found["lemma1"].status is Status.HOLDS
    assert found["theorem1-function"].status is Status.PREMISE_FAILS
    json.dumps([v.to_json() for v in found.values()], allow_nan=False)


def test_restricted_and_lean_runs_are_judged_without_a_traceback() -> None:
    for rest in ({"layers": "first"}, {"limit": False, "curvature": False}, {"biases": True}):
        measurements, _ = real((5, 4, 3), "relu", direction="gradient", **rest)
        found = judge(measurements)
        assert {v.claim for v in found} == set(CLAIMS)
        json.dumps([v.to_json() for v in found], allow_nan=False)
