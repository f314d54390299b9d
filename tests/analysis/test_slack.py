"""The ladder's shares against loops over a two-layer example; infinity, missing numbers and planted inversions."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import xarray as xr

from analysis import CAUSES, RUNGS, envelope, inversions, slack
from analysis.tables import slack_table
from analysis.wording import inversion_lines
from tests.analysis.synthetic import measured
from trust.claims import Claim, Premise, all_claims

ETAS = (0.0, 0.01, 0.1, 0.5)
L, N = 2, 3
SIZES, STEPS = np.array([2.0, 3.0]), np.array([0.4, 0.9])  # ‖W_k‖₂; ‖ΔW_k‖₂ at η = 1
RELATIVE, STEP_KAPPA = np.array([0.7, 1.1]), np.array([3.0, 1.5])
KAPPA, AFTER = np.array([2.0, 1.8]), 2.5
X, F = np.array([1.0, 2.0, 3.0]), np.array([0.5, 1.0, 4.0])
CHANGE = np.array([0.01, 0.03, 0.02])  # of the output, at η = 1
RESPONSE = np.array([[0.1, 0.2, 0.5], [0.3, 0.4, 0.2]])  # ‖ΔW_l h_{l−1}(x)‖ at η = 1


def run(**replaced: Any) -> xr.Dataset:
    """One checkpoint of two layers: leaky ReLU of slope ½, then none; any variable can be replaced."""
    eta = np.array(ETAS)
    base = measured(
        ETAS,
        examples=N,
        spectral_norm=SIZES,
        condition_number=KAPPA,
        direction_condition_number=STEP_KAPPA,
        perturbed_condition_number=AFTER,
        relative_perturbation=eta[:, None] * RELATIVE,
        output_change=eta[:, None] * CHANGE,
    )
    grid, sample = ("checkpoint", "eta", "layer"), ("checkpoint", "example")
    ladder: dict[str, tuple[tuple[str, ...], Any]] = {
        "operator_norm": (("checkpoint", "layer"), SIZES[None]),
        "perturbation_operator_norm": (grid, eta[None, :, None] * STEPS),
        "perturbed_operator_norm": (grid, SIZES + eta[None, :, None] * STEPS),
        "perturbation_response": ((*grid, "example"), eta[None, :, None, None] * RESPONSE),
        "input_norm": (sample, X[None]),
        "output_norm": (sample, F[None]),
    }
    assert not set(replaced) - set(ladder) - set(base)
    found = base.assign(ladder)
    for name, value in replaced.items():
        found[name] = found[name].copy(data=np.broadcast_to(value, found[name].shape))
    return found


def rungs(eta: float, i: int) -> list[float]:
    """All rungs of one example, by hand."""
    telescoped = 0.0
    for layer in range(L):
        term = eta * RESPONSE[layer, i]
        for later in range(layer + 1, L):
            term *= SIZES[later] + eta * STEPS[later]
        telescoped += term / F[i]
    product, layers, whole, spread = 1.0, 1.0, 1.0, 1.0
    for k, alpha in enumerate((0.5, 1.0)):
        product *= SIZES[k]
        spread *= 1 + eta * STEPS[k] / SIZES[k]
        layers *= KAPPA[k] / alpha
        whole *= 1 + STEP_KAPPA[k] * eta * RELATIVE[k]
    spectral = X[i] * product * (spread - 1) / F[i]
    trust = (1 + eta * RELATIVE[0]) * (1 + eta * RELATIVE[1]) - 1
    worst = max(*KAPPA, *STEP_KAPPA, AFTER)
    return [eta * CHANGE[i], telescoped, spectral, layers * (whole - 1), (worst**2 / 0.5) ** L * trust]


def found_of(measurements: xr.Dataset) -> xr.Dataset:
    found = slack(measurements)
    assert found is not None
    return found


def test_each_rung_is_the_mean_of_logs_by_hand() -> None:
    found = found_of(run())
    assert tuple(found["rung"].values) == RUNGS
    assert tuple(found["cause"].values) == CAUSES
    for e, eta in enumerate(ETAS[1:]):
        for r in range(len(RUNGS)):
            mean = sum(np.log10(rungs(eta, i)[r]) for i in range(N)) / N
            assert float(found["log10_rung"][r, 0, e]) == pytest.approx(mean, abs=1e-12)
        for c in range(len(CAUSES)):
            share = found["log10_rung"][c + 1, 0, e] - found["log10_rung"][c, 0, e]
            assert float(found["share"][c, 0, e]) == float(share)
    assert bool((found["examples"] == N).all())
    assert bool(found["premises_hold"].all())


def test_shares_add_up_to_the_whole_gap() -> None:
    found = found_of(run())
    gap = found["log10_rung"].sel(rung="theorem1-function") - found["log10_rung"].sel(rung="measured")
    for total in (found["share"].sum("cause"), found["total"], found["finite_total"]):
        np.testing.assert_allclose(total, gap, rtol=0, atol=1e-12)


def test_all_rungs_are_of_the_same_examples() -> None:
    change = np.array(ETAS)[:, None] * CHANGE
    change[:, 1] = 1e-15  # below the noise
    found = found_of(run(output_change=change))
    assert bool((found["examples"] == 2).all())
    for r in range(3):
        mean = (np.log10(rungs(0.1, 0)[r]) + np.log10(rungs(0.1, 2)[r])) / 2
        assert float(found["log10_rung"][r, 0, 1]) == pytest.approx(mean, abs=1e-12)


@pytest.mark.parametrize("odd", [np.nan, np.inf])
def test_a_rung_that_is_odd_at_one_example_leaves_it_out_everywhere(odd: float) -> None:
    found = found_of(run(input_norm=np.array([1.0, odd, 3.0])))
    assert bool((found["examples"] == 2).all())
    assert bool(np.isfinite(found["log10_rung"]).all())
    mean = (np.log10(rungs(0.1, 0)[0]) + np.log10(rungs(0.1, 2)[0])) / 2
    assert float(found["log10_rung"][0, 0, 1]) == pytest.approx(mean, abs=1e-12)


@pytest.mark.parametrize("kappa", [2.0, np.inf])
def test_nothing_is_told_beyond_infinity(kappa: float) -> None:
    """The layerwise bound is infinite; the published one is finite, or infinite too."""
    narrowing = run(condition_number=np.array([kappa, 2.0])).assign_coords(rows=("layer", [4, 5]))
    found = found_of(narrowing)
    published = found["log10_rung"].sel(rung="theorem1-function")
    assert bool((np.isfinite(published) if np.isfinite(kappa) else np.isposinf(published)).all())
    share = found["share"].values[:, 0]
    assert np.isfinite(share[:2]).all()
    assert np.isposinf(share[2]).all()
    assert np.isnan(share[3]).all()
    assert bool(np.isposinf(found["total"]).all())
    np.testing.assert_allclose(found["finite_total"][0], share[:2].sum(0))
    assert not found["premises_hold"].sel(rung="theorem1-function-layerwise").any()
    assert bool(found["premises_hold"].sel(rung="telescoped").all())


def test_a_rung_that_is_not_known_anywhere_spoils_only_its_own_shares() -> None:
    found = found_of(run(input_norm=np.nan))
    assert np.isnan(found["share"].values[1:3]).all()
    assert np.isfinite(found["share"].values[[0, 3]]).all()
    assert bool((found["examples"] == N).all())


def test_without_evidence_there_is_no_number() -> None:
    found = found_of(run(output_change=0.0))
    for name in ("log10_rung", "share", "total", "finite_total"):
        assert bool(found[name].isnull().all()), name


def test_a_run_without_the_ladder_has_no_slack() -> None:
    assert slack(measured(ETAS)) is None
    assert slack(run().drop_vars("perturbation_response")) is None


def test_the_order_of_the_example_does_not_invert() -> None:
    assert inversions(run()) == []


def test_a_planted_inversion_is_found_where_it_is_worst() -> None:
    response = np.array(ETAS)[:, None, None] * RESPONSE
    response[2, 0, 1], response[1, 0, 2] = 50.0, 5.0
    planted = run(perturbation_response=response)
    (found,) = inversions(planted)
    assert (found.lower, found.upper, found.checkpoint) == ("telescoped", "spectral-product", "c0")
    assert (found.points, found.eta, found.example) == (2, 0.1, 1)
    bound, spectral = response[2, :, 1] @ [SIZES[1] + 0.1 * STEPS[1], 1.0] / F[1], rungs(0.1, 1)[2]
    assert found.excess == pytest.approx(np.log10(bound / spectral), abs=1e-12)
    planted.attrs["biases"] = "true"  # then the spectral product is not claimed
    assert inversions(planted) == []


def test_a_change_above_a_bound_is_found_beyond_its_allowance_alone() -> None:
    steps = np.array(ETAS)[:, None] * CHANGE
    steps[3, 0] = rungs(0.5, 0)[1] * 1.2
    (found,) = inversions(run(output_change=steps))
    assert (found.lower, found.upper, found.eta, found.example) == ("measured", "telescoped", 0.5, 0)
    assert found.excess == pytest.approx(np.log10(1.2), abs=1e-9)
    telescoped = all_claims()["telescoped"]
    for noise, count in ((0.1, 0), (0.01, 1)):
        claim = Claim(
            **{**vars(telescoped), "log10_allowance": lambda m, noise=noise: 0 * m["output_change"] + noise}
        )
        assert len(inversions(run(output_change=steps), [claim])) == count


def test_a_layerwise_form_above_the_published_one_is_found() -> None:
    claims = all_claims()
    lowered = Claim(**{**vars(claims["theorem1-function"]), "bound": c_low})
    (found,) = inversions(run(), [claims["theorem1-function-layerwise"], lowered])
    assert (found.lower, found.upper) == ("theorem1-function-layerwise", "theorem1-function")
    assert (found.points, found.example, found.excess) == (3, None, pytest.approx(0.5))


def c_low(measurements: xr.Dataset) -> xr.DataArray:
    """A bound below the layerwise one, and above what was measured."""
    return all_claims()["theorem1-function-layerwise"].bound(measurements) - 0.5


def test_envelopes_say_of_what_they_are_and_whether_premises_hold() -> None:
    truth = xr.DataArray(
        [[1.0, 0.0, np.nan]], {"checkpoint": ["c0"], "eta": list(ETAS[1:])}, ("checkpoint", "eta")
    )
    claim = all_claims()["telescoped"]
    found = envelope(run(), Claim(**{**vars(claim), "premises": (Premise("p", "", lambda _: truth),)}))
    assert found is not None
    assert found.attrs == {"claim": "telescoped", "subject": "function"}
    np.testing.assert_array_equal(found["premises_hold"], truth)


def test_examples_with_nothing_measured_make_no_envelope_infinite() -> None:
    change = np.array(ETAS)[:, None] * CHANGE
    change[1:, 0] = np.inf  # f(x) = 0
    claim = all_claims()["telescoped"]
    found = envelope(run(output_change=change, output_norm=np.array([0.0, 1.0, 4.0])), claim)
    assert found is not None
    assert float(found["log10_bound"][0, 1]) == pytest.approx(max(np.log10(rungs(0.1, i)[1]) for i in (1, 2)))
    found = envelope(run(output_norm=0.0), claim)
    assert found is not None
    assert bool(np.isposinf(found["log10_bound"]).all())


def test_the_table_has_a_row_a_checkpoint_at_the_chosen_eta() -> None:
    found = found_of(run().assign_coords(rows=("layer", [4, 5])))
    heading, row = slack_table(found, eta=0.09)
    assert heading == ["checkpoint", "measured (η = 0.1)", *CAUSES, "total", "published bound"]
    measured_mean, alignment, norms = (
        float(found[name][k, 0, 1]) for name, k in (("log10_rung", 0), ("share", 0), ("share", 1))
    )
    shares = [f"{alignment:.2g}", f"{norms:.2g}", "(∞)", "–", "∞"]
    assert row[:1] + row[2:-1] == ["c0", *shares]
    assert float(row[1]) == pytest.approx(10**measured_mean, rel=1e-2)
    assert float(row[-1]) == pytest.approx(10 ** float(found["log10_rung"][-1, 0, 1]), rel=1e-2)


def test_inversions_are_reported_in_words() -> None:
    response = np.array(ETAS)[:, None, None] * RESPONSE
    response[2, 0, 1] = 50.0
    (line,) = inversion_lines(inversions(run(perturbation_response=response)))
    assert "telescoped is above spectral-product at 1 point of c0, most at η = 0.1, example 1, by 10^" in line
