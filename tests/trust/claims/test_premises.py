"""Premises of the claims about outputs: activations, architecture, and how far a step may go."""

from __future__ import annotations

import numpy as np
import pytest
import xarray as xr

from analysis import Status
from tests.trust.claims.examples import CLAIMS, status, verdict
from tests.trust.claims.slices import LADDER, PATHS, case_of, with_activation, with_values


def test_small_rho_ends_at_one_over_the_depth() -> None:
    case = case_of(activation="tanh", direction="gradient")
    own = case.found.isel(layer=np.flatnonzero(case.found["is_weight"].values))
    unit = xr.ones_like(own["perturbation_operator_norm"])
    size = own["operator_norm"] * (unit.eta / 0.3 / 3)  # ρ = 1/L exactly at η = 0.3
    exact = case.found.assign(perturbation_operator_norm=unit * size)
    premise = {p.name: p for p in CLAIMS["neyshabur"].premises}["small ρ"]
    truth = premise.check(exact).isel(checkpoint=0)
    assert [bool(v) for v in truth] == [True, True, True, False]
    bound = CLAIMS["neyshabur"].bound(exact).isel(checkpoint=0)
    assert np.isfinite(bound.isel(eta=[0, 1, 2])).all()
    assert np.isposinf(bound.isel(eta=3)).all()
    found = verdict("neyshabur", exact)
    assert (found.status, found.premises["small ρ"]) == (Status.HOLDS, True)
    assert "75%" in found.remark
    beyond = verdict("neyshabur", with_values(exact, perturbation_operator_norm=1e3))
    assert (beyond.status, beyond.premises["small ρ"]) == (Status.PREMISE_FAILS, False)
    one_is_enough = exact.copy()
    places = 1e3 * (one_is_enough["layer"] == "layers.1.weight")
    one_is_enough["perturbation_operator_norm"] = exact["perturbation_operator_norm"] + places
    assert verdict("neyshabur", one_is_enough).premises["small ρ"] is False


@pytest.mark.parametrize(
    ("premise", "true", "false"),
    [
        ("1-Lipschitz", ["relu", "tanh", "sigmoid", "softplus", "identity", "leaky_relu:0.1"],
         ["gelu", "silu", "leaky_relu:3", "selu", "", "somebody's"]),
        ("φ(0) = 0", ["relu", "tanh", "gelu", "leaky_relu:3"], ["sigmoid", "softplus", "softplus:2", ""]),
        ("ReLU", ["relu", "identity"], ["leaky_relu:0.1", "gelu", "tanh", ""]),
        ("linear", ["identity"], ["relu", "leaky_relu:1", "tanh", ""]),
    ],
)  # fmt: skip
def test_activation_premises(premise: str, true: list[str], false: list[str]) -> None:
    found = case_of().found
    (check,) = {p.check for c in LADDER for p in CLAIMS[c].premises if p.name == premise}
    for names, truth in ((true, True), (false, False)):
        for name in names:
            hidden_linear = premise == "ReLU" and name == "identity"  # linear hidden layers are no ReLU
            value = bool(check(with_activation(found, name)).all())
            assert value is (truth and not hidden_linear), name
    claims = [c for c in LADDER if premise in {p.name for p in CLAIMS[c].premises}]
    assert claims
    for claim in claims:
        for name in false[:1]:
            verdicts = verdict(claim, with_activation(found, name))
            assert verdicts.premises[premise] is False
            assert verdicts.status is Status.PREMISE_FAILS


def test_unknown_activations_bound_nothing() -> None:
    found = with_activation(case_of().found, "somebody's")
    for claim in ("spectral-product", "telescoped", "input-sensitivity", "neyshabur"):
        assert np.isposinf(CLAIMS[claim].bound(found)).all(), claim
        lean = found.drop_vars("input_response")
        if claim != "input-sensitivity":
            assert np.isposinf(CLAIMS[claim].bound(lean)).all()
    # what a hidden layer does is all that telescoped has to know
    assert status("telescoped", found) is Status.VACUOUS


@pytest.mark.parametrize(
    ("attribute", "value", "premise"),
    [
        ("architecture", "ResNet", "plain chain"),
        ("residual", "true", "plain chain"),
        ("norm", "batch", "plain chain"),
        ("biases", "true", "no biases"),
    ],
)
def test_structural_premises(attribute: str, value: str, premise: str) -> None:
    found = case_of(activation="identity").found.assign_attrs({attribute: value})
    for claim in LADDER:
        named = {p.name for p in CLAIMS[claim].premises}
        if premise in named:
            verdicts = verdict(claim, found)
            assert verdicts.premises[premise] is False, claim
            assert verdicts.status is Status.PREMISE_FAILS
        else:
            assert claim in ("input-sensitivity", "telescoped", *PATHS)
            assert premise == "no biases"
