"""Premises of the claims about outputs: activations, architecture, and how far a step may go."""

from __future__ import annotations

import numpy as np
import pytest
import xarray as xr

from analysis import Status
from analysis.verdicts import Verdict
from tests.trust.claims.examples import CLAIMS, verdict
from tests.trust.claims.slices import LADDER, PATHS, case_of, with_activation, with_values
from trust.structure import Step, Structure


def fails_everywhere(one: Verdict) -> bool:
    """A premise fails at every η: ρ is small at some."""
    return False in {name: truth for name, truth in one.premises.items() if name != "small ρ"}.values()


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
         ["gelu", "silu", "leaky_relu:3", "selu"]),
        ("Lipschitz", ["relu", "gelu", "silu", "leaky_relu:3", "selu"], []),
        ("φ(0) = 0", ["relu", "tanh", "gelu", "leaky_relu:3"], ["sigmoid", "softplus", "softplus:2"]),
        ("ReLU", ["relu", "identity"], ["leaky_relu:0.1", "gelu", "tanh"]),
        ("linear", ["identity"], ["relu", "leaky_relu:1", "tanh"]),
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
    for name in ("", "somebody's"):  # unknown is not failed
        assert np.isnan(check(with_activation(found, name))).all()
        for claim in claims:
            unknown = verdict(claim, with_activation(found, name))
            assert unknown.premises[premise] is None
            assert (unknown.status is Status.PREMISE_FAILS) == fails_everywhere(unknown), claim
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
    one = verdict("telescoped", found)
    assert one.status is Status.NOT_MEASURED
    assert "Lipschitz: not known, add activations that are known" in one.remark


UNREAD = {"structure": "", "residual": "unknown", "norm": "unknown", "biases": "unknown"}


@pytest.mark.parametrize(
    ("attributes", "premise", "truth"),
    [
        ({"residual": "true"}, "chain", False),
        ({"norm": "batch"}, "chain", False),
        ({"residual": "unknown"}, "chain", None),
        ({"architecture": "Sequential"}, "chain", None),
        ({"architecture": "perceptron"}, "chain", None),  # in new results its structure would be there
        ({"biases": "true"}, "no biases", False),
        ({"biases": "unknown"}, "no biases", None),
    ],
)
def test_what_results_say_without_a_structure(
    attributes: dict[str, str], premise: str, truth: bool | None
) -> None:
    known = {"residual": "false", "norm": "none", "biases": "false"}
    found = case_of(activation="identity").found.assign_attrs({**UNREAD, **known, **attributes})
    for claim in LADDER:
        own = [p.name for p in CLAIMS[claim].premises if premise in p.name]
        assert own or (claim in ("input-sensitivity", "telescoped", *PATHS) and premise == "no biases")
        for name in own:
            verdicts = verdict(claim, found)
            assert verdicts.premises[name] is truth, (claim, name)
            assert (verdicts.status is Status.PREMISE_FAILS) == fails_everywhere(verdicts)
            if not fails_everywhere(verdicts):
                assert verdicts.status is Status.NOT_MEASURED
                assert "not known, add a network whose forward pass can be followed" in verdicts.remark


def test_results_from_before_structures_keep_their_verdicts() -> None:
    found = case_of(activation="identity").found
    known = {"residual": "false", "norm": "none", "biases": "false"}
    older = found.assign_attrs({**known, "architecture": "perceptron"})
    del older.attrs["structure"]
    older = older.drop_vars("uses")
    for claim in LADDER:
        assert verdict(claim, older) == verdict(claim, found)
    for kind, truth in (("Sequential", None), ("conv", False)):
        one = verdict("telescoped", older.assign_attrs(architecture=kind, residual="unknown"))
        assert one.premises["chain of layers"] is truth


STRUCTURES = {
    "convolutions and pooling": (
        [
            Step("weight", (0,), "a", form="convolution"),
            Step("activation", (1,), "relu"),
            Step("map", (2,), "avg_pool2d", factor=0.5),
            Step("weight", (3,), "b", form="vector"),
        ],
        False,
        True,
    ),
    "a matrix on positions": ([Step("weight", (0,), "a", form="positions")], False, True),
    "a skip": (
        [Step("weight", (0,), "a", form="vector"), Step("activation", (1,), "relu"), Step("sum", (0, 2))],
        False,
        False,
    ),
    "batch norm": ([Step("weight", (0,), "a", norm="n", form="vector")], False, False),
    "layer norm": ([Step("normalisation", (0,), "layer_norm"), Step("weight", (1,), "a")], False, False),
    "twice": ([Step("weight", (0,), "a"), Step("weight", (1,), "a")], False, False),
    "something": ([Step("weight", (0,), "a"), Step("other", (1,), "hardswish")], None, None),
    "a map first": ([Step("map", (0,), "div", factor=0.1), Step("weight", (1,), "a")], False, False),
    "nothing": ([], False, False),
}


@pytest.mark.parametrize("name", STRUCTURES)
def test_a_structure_is_a_chain_or_none(name: str) -> None:
    steps, perceptron, chain = STRUCTURES[name]
    text = Structure((Step("input"), *steps)).to_json()
    found = case_of(activation="identity").found.assign_attrs(structure=text)
    assert verdict("path-metric", found).premises["plain chain"] is perceptron
    assert verdict("telescoped", found).premises["chain of layers"] is chain


def test_a_matrix_that_is_used_twice_is_no_chain_whatever_else_is_known() -> None:
    found = case_of(activation="identity").found.assign_attrs(UNREAD)
    twice = found.assign_coords(uses=("layer", [1, 2, 1]))
    assert verdict("telescoped", found).premises["chain of layers"] is None
    assert verdict("telescoped", twice).premises["chain of layers"] is False


def test_pooling_counts_in_the_lipschitz_constant() -> None:
    found = case_of(activation="identity").found
    layers = [str(name) for name in found["layer"].values if bool(found["is_weight"].sel(layer=name))]

    def pooled(factor: float) -> xr.Dataset:
        steps = [Step("input")]
        for k, name in enumerate(layers):
            steps += [Step("weight", (2 * k,), name, form="vector")]
            steps += [Step("map", (2 * k + 1,), "pool", factor=factor)]
        return found.assign_attrs(structure=Structure(tuple(steps)).to_json())

    for claim in ("telescoped", "spectral-product", "input-sensitivity"):
        plain, small = (CLAIMS[claim].bound(one).values for one in (found, pooled(0.5)))
        # telescoped's terms have fewer factors behind later layers
        ratio = plain - small
        most = len(layers) * np.log10(2)
        assert (ratio <= most + 1e-12).all()
        assert (ratio >= (np.log10(2) if claim == "telescoped" else most) - 1e-12).all()
    assert verdict("neyshabur", pooled(0.5)).premises["1-Lipschitz"] is True
    assert verdict("neyshabur", pooled(2.0)).premises["1-Lipschitz"] is False
    assert verdict("linearisation-remainder", pooled(2.0)).premises["linear"] is False
