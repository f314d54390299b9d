"""The search: theorems survive it, what is false does not, and only exact arithmetic is believed."""

from __future__ import annotations

import importlib
import math
from collections.abc import Callable
from dataclasses import replace
from fractions import Fraction
from typing import Any

import mpmath
import numpy as np
import pytest
import torch
import xarray as xr

from analysis.falsifier import Outcome, UnsupportedError, falsify, to_json
from analysis.falsifier.certify import Certificate, certify
from analysis.falsifier.intervals import UndecidedError, interval
from analysis.falsifier.numbers import Floats, Rationals, float_trial
from tests.analysis.falsifier import examples
from tests.support.clock import tick
from trust.claims import (
    CHAIN,
    NO_BIASES,
    Claim,
    Form,
    Premise,
    all_claims,
    log10,
    output_change,
    perturbed,
    weights,
)
from trust.claims.forms.trial import Trial

MP = mpmath.MPContext()
MP.prec = 200

THEOREMS: dict[str, tuple[tuple[int, ...], ...]] = {
    "theorem1-function-layerwise": ((1, 1), (1, 2), (1, 2, 2)),
    "theorem1-jacobian-gated": ((2, 1), (2, 2), (2, 1, 2)),
    "lemma1": ((1, 1),),
    "lemma2-trusted": ((1, 1),),
    "input-sensitivity": ((1, 1), (2, 2), (2, 2, 2)),
    "spectral-product": ((1, 1), (2, 2), (2, 2, 2)),
    "neyshabur": ((1, 1, 1), (2, 2, 2)),
    "telescoped": ((1, 1), (2, 2, 2)),
    "path-metric": ((1, 1), (1, 2, 1)),
    "linearisation-remainder": ((1, 1, 1), (2, 2, 2)),
    "agd-majorisation": ((1, 1), (1, 1, 1)),
}
REFUTED: dict[str, tuple[tuple[int, ...], ...]] = {
    "theorem1-function": ((2, 1),),
    "theorem1-jacobian": ((2, 1),),
    "deep-relative-trust": ((1, 1),),
    "lemma2": ((1, 1),),
    "lemma2-with-constant": ((1, 1),),
    "path-metric-direct": ((1, 2, 1),),
    "euclidean-trust": ((1, 1),),
    "slice-curvature": ((1, 1),),
}
UNMENDED = ("deep-relative-trust", "euclidean-trust", "slice-curvature")
"""Models and estimates: nothing that the claim says of itself makes them true."""


def search(claim: Claim, widths: tuple[tuple[int, ...], ...], *, most_rounds: int, **more: Any) -> Outcome:
    return falsify(claim, widths=widths, most_rounds=most_rounds, **more)


def test_every_form_is_on_one_of_the_two_lists() -> None:
    assert {*THEOREMS, *REFUTED} == set(examples.claims())


@pytest.mark.parametrize("id", THEOREMS)
def test_theorems_are_not_refuted(id: str) -> None:
    claim = examples.claims()[id]
    rounds = 1 if id.startswith("lemma") else 3
    found = search(claim, THEOREMS[id], most_rounds=rounds)
    assert found.certificate is None
    assert found.worst_log10_ratio <= 1e-5
    assert found.doubt == ""
    assert found.trials > 1000
    # the search comes close, wherever the bound is sharp: it does search where the premises hold
    assert found.worst_log10_ratio > -0.5


@pytest.fixture(scope="module")
def refuted() -> Callable[[str], Outcome]:
    known: dict[str, Outcome] = {}

    def get(id: str) -> Outcome:
        if id not in known:
            known[id] = search(examples.claims()[id], REFUTED[id], most_rounds=6)
        return known[id]

    return get


@pytest.mark.parametrize("id", REFUTED)
def test_false_claims_are_refuted(id: str, refuted: Callable[[str], Outcome]) -> None:
    found = refuted(id)
    assert found.certificate is not None
    assert found.certificate.refutes
    assert found.certificate.holds
    assert found.worst_log10_ratio > math.log10(1.01)
    ratio = found.certificate.ratio
    assert ratio is None or ratio >= Fraction(101, 100)


class Network:
    """A witness's numbers with 200 bits, and nothing of the falsifier's."""

    def __init__(self, document: dict[str, Any]) -> None:
        def vector(values: list[str]) -> Any:
            return MP.matrix([self.number(value) for value in values])

        def matrix(rows: list[list[str]]) -> Any:
            return MP.matrix([[self.number(value) for value in row] for row in rows])

        self.W = [matrix(rows) for rows in document["weights"]]
        self.dW = [matrix(rows) for rows in document["perturbation"]]
        self.V = [W + dW for W, dW in zip(self.W, self.dW, strict=True)]
        none = [["0"] * len(rows) for rows in document["weights"]]
        self.b = [vector(values) for values in document.get("biases", none)]
        moved = document.get("bias_perturbation", none)
        self.c = [b + vector(values) for b, values in zip(self.b, moved, strict=True)]
        self.x = vector(document["input"])
        self.y = vector(document["target"]) if "target" in document else None
        name, _, slope = document["activation"].partition(":")
        self.slope = {"identity": MP.mpf(1), "relu": MP.mpf(0)}.get(name) if not slope else self.number(slope)
        self.curved = name == "tanh"
        assert self.curved or self.slope is not None

    @staticmethod
    def number(text: str) -> Any:
        value = Fraction(text)
        return MP.mpf(value.numerator) / value.denominator

    def run(self, W: list[Any], b: list[Any]) -> tuple[list[Any], list[Any]]:
        h, gates = [self.x], []
        for matrix, offset in zip(W, b, strict=True):
            z = matrix * h[-1] + offset
            assert all(value != 0 for value in z) or self.y is None, "at a kink"
            if self.curved:
                h.append(MP.matrix([MP.tanh(value) for value in z]))
                gates.append(MP.diag([1 - MP.tanh(value) ** 2 for value in z]))
                continue
            h.append(MP.matrix([value if value > 0 else self.slope * value for value in z]))
            gates.append(MP.diag([1 if value > 0 else self.slope for value in z]))
        return h, gates

    def jacobian(self, W: list[Any], b: list[Any]) -> Any:
        product = MP.eye(len(self.x))
        for gate, matrix in zip(self.run(W, b)[1], W, strict=True):
            product = gate * matrix * product
        return product

    def loss(self, W: list[Any]) -> Any:
        return MP.norm(self.run(W, self.b)[0][-1] - self.y) ** 2 / 2

    def gradient(self, W: list[Any], k: int) -> Any:
        h, gates = self.run(W, self.b)
        back = h[-1] - self.y
        for j in reversed(range(len(W))):
            back = gates[j] * back
            if j == k:
                return back * h[j].T
            back = W[j].T * back
        raise AssertionError

    def at(self, t: Any) -> list[Any]:
        return [W + t * dW for W, dW in zip(self.W, self.dW, strict=True)]

    def turn(self, t: Any) -> Any:
        """‖g(W + tΔW) − g(W)‖ over all layers."""
        layers = range(len(self.W))
        return MP.sqrt(
            sum(size(self.gradient(self.at(t), k) - self.gradient(self.W, k)) ** 2 for k in layers)
        )

    def slope_at(self, t: Any) -> Any:
        gradients = [self.gradient(self.at(t), k) for k in range(len(self.W))]
        return sum(
            sum(a * b for a, b in zip(g, dW, strict=True)) for g, dW in zip(gradients, self.dW, strict=True)
        )

    def relative(self) -> list[Any]:
        return [size(dW) / size(W) for W, dW in zip(self.W, self.dW, strict=True)]

    def trust(self) -> Any:
        return MP.fprod(1 + r for r in self.relative()) - 1

    def constant(self) -> Any:
        """(βκ²/α)^L."""
        largest = max(condition(M) for M in [*self.W, *self.V, *self.dW])
        alpha, beta = min(self.slope, 1), max(self.slope, 1)
        return (beta / alpha * largest**2) ** len(self.W)

    def cosine(self) -> Any:
        pairs = [(self.gradient(self.W, k), dW) for k, dW in enumerate(self.dW) if size(dW) > 0]
        return min(-sum(a * b for a, b in zip(g, dW, strict=True)) / size(g) / size(dW) for g, dW in pairs)

    def paths(self, W: list[Any], b: list[Any]) -> list[Any]:
        """For each path its product, the last unit changing fastest."""
        found = [[[MP.mpf(1)] if i == j else [] for i in range(len(self.x))] for j in range(len(self.x))]
        into = [[value for part in unit for value in part] for unit in found]
        for matrix, offset in zip(W, b, strict=True):
            into = [
                [matrix[i, j] * value for j in range(matrix.cols) for value in into[j]] + [offset[i]]
                for i in range(matrix.rows)
            ]
        return [value for unit in into for value in unit]


def size(values: Any) -> Any:
    return MP.sqrt(MP.fsum(value**2 for value in values))


def condition(matrix: Any) -> Any:
    if size(matrix) == 0:
        return MP.mpf(1)
    values = sorted(MP.svd_r(matrix, compute_uv=False))
    return values[-1] / values[0]


def _two_sides(id: str, n: Network) -> tuple[Any, Any]:
    f, moved = n.run(n.W, n.b)[0][-1], n.run(n.V, n.c)[0][-1]
    if id == "theorem1-function":
        return size(moved - f) / size(f), n.constant() * n.trust()
    if id == "theorem1-jacobian":
        before = n.jacobian(n.W, n.b)
        return size(n.jacobian(n.V, n.c) - before) / size(before), n.constant() * n.trust()
    if id == "path-metric-direct":
        distance = sum(abs(a - b) for a, b in zip(n.paths(n.W, n.b), n.paths(n.V, n.c), strict=True))
        return sum(map(abs, moved - f)), max(1, *map(abs, n.x)) * distance
    if id == "deep-relative-trust":
        before = n.gradient(n.W, 0)
        return size(n.gradient(n.V, 0) - before) / size(before), n.trust()
    if id == "euclidean-trust":
        per_step = [n.turn(MP.mpf(1) / part) * part for part in (8, 4, 2)]
        return n.turn(MP.mpf(1)), max(per_step)
    if id == "slice-curvature":
        assert n.slope_at(0) < 0
        curvature = (n.slope_at(MP.mpf(1) / 100) - n.slope_at(0)) * 100
        assert curvature < -2 * n.slope_at(0)
        return n.loss(n.V), n.loss(n.W)
    assert n.cosine() > 0
    constant = 1 if id == "lemma2" else n.constant()
    assert max(n.relative()) < (1 + n.cosine() / constant) ** (MP.mpf(1) / len(n.W)) - 1
    return n.loss(n.V), n.loss(n.W)


@pytest.mark.parametrize("id", REFUTED)
def test_certificates_hold_by_another_computation(id: str, refuted: Callable[[str], Outcome]) -> None:
    certificate = refuted(id).certificate
    assert certificate is not None
    document = to_json(examples.claims()[id], certificate)
    left, right = _two_sides(id, Network(document))
    assert left >= right * MP.mpf("1.0099")
    for side, key in ((left, "left"), (right, "right")):
        low, high = document[key]
        assert MP.mpf(repr(low)) - MP.mpf(10) ** -40 <= side <= MP.mpf(repr(high)) + MP.mpf(10) ** -40
        assert high - low <= 1e-10 * max(1.0, abs(high))
    if document["ratio_at_least"] is not None:
        assert MP.mpf(repr(document["ratio_at_least"])) <= left / right


@pytest.mark.parametrize("id", REFUTED)
def test_what_mends_a_refuted_claim_is_a_claim(id: str) -> None:
    claims = examples.claims()
    claim = claims[id]
    assert claim.mend
    if id in UNMENDED:
        assert claim.mended_by == ""
    else:
        assert claim.mended_by in THEOREMS
    for other in all_claims().values():
        assert not other.mended_by or other.mended_by in claims


def test_random_sampling_does_not_find_what_the_search_finds() -> None:
    """Generic networks of two layers obey Theorem 1b by the ten thousands, and the search's first rounds break it.

    Of one layer about one in a thousand breaks it: a gate flips, and κ happens to be small. Of two layers κ⁴
    hides the flip, unless κ is near 1 by construction.
    """
    rng = np.random.default_rng(0)
    count = 10_000
    for width, broken in ((2, True), (3, False)):
        shape = (2, count, width, width)
        W, direction = rng.standard_normal(shape), rng.standard_normal(shape)
        share = 10.0 ** rng.uniform(-3, -1, (count, 1, 1))
        sizes = [np.linalg.norm(M, axis=(2, 3), keepdims=True) for M in (W, direction)]
        none = torch.zeros(count, width, dtype=torch.float64)
        numbers = Floats(
            activation="leaky_relu:0.1",
            weights=list(torch.from_numpy(W)),
            changes=list(torch.from_numpy(share * direction * sizes[0] / sizes[1])),
            biases=[none, none],
            bias_changes=[none, none],
            x=torch.from_numpy(rng.standard_normal((count, width))),
            input_change=none,
            target=none,
        )
        left, right = examples.form("theorem1-jacobian").sides(float_trial(numbers))
        assert float((left / right).max()) < 0.5
        if broken:
            found = search(examples.claims()["theorem1-jacobian"], ((width,) * 3,), most_rounds=2)
            assert found.certificate is not None
            assert found.trials < count


def test_the_same_seed_finds_the_same_witness() -> None:
    claim = examples.claims()["theorem1-jacobian"]
    runs = [search(claim, ((2, 1),), most_rounds=2, seed=seed) for seed in (3, 3, 4)]
    first, again, other = ({**run.to_json(claim)} for run in runs)
    assert first == again
    assert first["certified"]
    assert first["trials"] != other["trials"] or first != other


@pytest.mark.parametrize("id", [*THEOREMS, *REFUTED])
def test_the_budget_is_kept(id: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Of trials to within a batch, and of seconds to within a batch and the certificates of its candidates."""
    claim = examples.claims()[id]
    found = falsify(claim, most_trials=200)
    assert found.trials < 200 + 64
    assert found.trials >= 200 or found.certificate is not None
    clock, shrinking = tick(monkeypatch, 1.0), importlib.import_module("analysis.falsifier.shrink")

    def slow(form: Form, numbers: Rationals) -> Certificate | None:
        clock.now += 1.0
        return certify(form, numbers)

    monkeypatch.setattr(shrinking, "certify", slow)
    found = falsify(claim, budget=5.0)
    assert 0 < found.trials <= 64 * 6
    assert found.seconds <= 5 + 1 + 3 * 6


@pytest.mark.parametrize(
    ("id", "widths", "most", "batch"),
    [
        ("spectral-product", (1, 1), 1, 64),
        ("spectral-product", (1, 1), 65, 64),
        ("theorem1-jacobian-gated", (2, 2, 2), 64 * 40 + 3, 1),  # L-BFGS, one network after the other
        ("spectral-product", (1, 1), 10_500, 32),  # differential evolution, at the end of the second lap
        ("", (1, 1), 65, 64),  # random steps instead of gradients
        ("", (1, 1), 10_500, 32),
    ],
)
def test_the_budget_in_trials_is_kept_everywhere(
    id: str, widths: tuple[int, ...], most: int, batch: int
) -> None:
    claim = examples.claims()[id] if id else _spectral(1.0)
    found = falsify(claim, widths=[widths], activation="leaky_relu:0.5", most_trials=most)
    assert most <= found.trials < most + batch


def test_without_a_limit_of_its_own_a_search_has_a_minute(monkeypatch: pytest.MonkeyPatch) -> None:
    claim = examples.claims()["spectral-product"]
    tick(monkeypatch, 20.0)
    assert falsify(claim, widths=[(1, 1)]).trials <= 64 * 3
    assert falsify(claim, widths=[(1, 1)], most_trials=1000).trials >= 1000
    assert falsify(claim, widths=[(1, 1)], most_rounds=1).trials >= 64 * 40
    assert falsify(claim, widths=[(1, 1)], most_trials=1000, budget=60.0).trials <= 64 * 3
    assert falsify(claim, widths=[(1, 1)], most_trials=0).trials == 0


def _claim(form: Form, id: str = "planted") -> Claim:
    return replace(examples.claims()["spectral-product"], id=id, form=form, mended_by="", mend="")


def _smaller_bound(id: str) -> Form:
    """0.9 times the bound."""
    form = examples.form(id)

    def sides(trial: Trial) -> tuple[Any, Any]:
        left, right = form.sides(trial)
        return left, right * 9 / 10

    return replace(form, sides=sides)


@pytest.mark.parametrize(
    "id", ["spectral-product", "input-sensitivity", "telescoped", "path-metric", "agd-majorisation"]
)
def test_a_sharp_bound_made_a_tenth_smaller_is_refuted(id: str) -> None:
    claim = _claim(_smaller_bound(id))
    found = search(claim, ((1, 1), (1, 1, 1)), most_rounds=4)
    assert found.certificate is not None
    assert Fraction(101, 100) <= (found.certificate.ratio or 2) <= Fraction(1112, 1000)


def test_a_theorem_without_its_premise_is_refuted() -> None:
    form = examples.form("neyshabur")
    without = replace(form, conditions=(), construct=lambda trial: trial)
    found = search(_claim(without), ((1, 1, 1, 1),), most_rounds=4, activation="identity")
    assert found.certificate is not None
    assert certify(form, found.certificate.numbers) is not None
    assert not certify(form, found.certificate.numbers).refutes  # type: ignore[union-attr]


def test_conditions_that_fail_or_are_undecided_certify_nothing() -> None:
    form = examples.form("lemma2")
    good = search(examples.claims()["lemma2"], ((1, 1),), most_rounds=2).certificate
    assert good is not None
    uphill = replace(good.numbers, changes=[-dW for dW in good.numbers.changes])
    far = replace(good.numbers, changes=[100 * dW for dW in good.numbers.changes])
    for numbers in (uphill, far):
        found = certify(form, numbers)
        assert found is not None
        assert not found.holds
        assert not found.refutes
    limit = replace(good, margins={"step size": interval(0)}, strict=frozenset({"step size"}))
    assert not limit.holds
    assert replace(limit, strict=frozenset()).holds
    around = replace(good, margins={"step size": interval(Fraction(1, 3)) - Fraction(1, 3)})
    assert not replace(around, strict=frozenset()).holds
    kink = replace(good.numbers, activation="relu", x=good.numbers.x * 0)
    assert certify(form, kink) is None
    assert certify(form, replace(good.numbers, activation="gelu")) is None
    wide = examples.form("theorem1-function-layerwise")
    assert certify(wide, examples.random_numbers((2, 1), "identity", 0)) is None  # it is not injective


@pytest.mark.parametrize("id", ["neyshabur", "agd-majorisation"])
def test_claims_for_1_lipschitz_functions_are_not_refuted_with_others(id: str) -> None:
    found = search(examples.claims()[id], ((1, 1, 1),), most_rounds=1, activation="leaky_relu:3")
    assert found.certificate is None


def test_ratios_of_certificates() -> None:
    good = search(examples.claims()["deep-relative-trust"], ((1, 1),), most_rounds=1).certificate
    assert good is not None
    one = interval(1)
    assert replace(good, left=one, right=interval(0)).ratio is None
    assert replace(good, left=one, right=interval(-1)).refutes
    assert replace(good, left=interval(0), right=interval(0)).ratio == 0
    assert not replace(good, left=interval(-1), right=interval(-2)).refutes
    assert not replace(good, left=interval(Fraction(1009, 1000)), right=one).refutes
    assert replace(good, left=interval(Fraction(102, 100)), right=one).refutes


# Claims of users, who give both sides on measurements alone


def _user(bound: Callable[[xr.Dataset], xr.DataArray], **more: Any) -> Claim:
    common: dict[str, Any] = {
        "id": "mine",
        "source": "me",
        "statement": "‖f̃ − f‖/‖f‖ ≤ Σ r_k",
        "left": "relative output change",
        "measured": output_change,
        "bound": bound,
        "premises": (CHAIN, NO_BIASES),
        "needs": ("output_change", "relative_perturbation"),
    }
    return Claim(**{**common, **more})


def _sum(measurements: xr.Dataset) -> xr.DataArray:
    return log10(perturbed(weights(measurements))["relative_perturbation"].sum("layer"))


def test_a_users_false_claim_is_refuted() -> None:
    found = search(_user(_sum), ((1, 1, 1),), most_rounds=2, activation="identity")
    assert found.certificate is not None
    document = to_json(_user(_sum), found.certificate)
    assert document["left"][0] >= 1.01 * document["right"][1]
    network = Network(document)
    before, after = network.run(network.W, network.b)[0][-1], network.run(network.V, network.c)[0][-1]
    assert size(after - before) / size(before) >= MP.mpf("1.0099") * sum(network.relative())


def _spectral(factor: float) -> Claim:
    def bound(measurements: xr.Dataset) -> xr.DataArray:
        own = perturbed(weights(measurements))
        sizes, steps = own["operator_norm"], own["perturbation_operator_norm"]
        return log10(factor * own["input_norm"] * ((sizes + steps).prod("layer") - sizes.prod("layer")))

    return _user(bound, measured=lambda m: log10(perturbed(m)["output_change"] * m["output_norm"]))


def test_a_users_theorem_is_not_refuted_and_half_of_it_is() -> None:
    widths = ((1, 1),)
    found = search(_spectral(1.0), widths, most_rounds=1, activation="identity")
    assert found.certificate is None
    assert found.doubt == ""
    assert -0.2 < found.worst_log10_ratio <= 1e-5
    assert search(_spectral(0.5), widths, most_rounds=1, activation="identity").certificate is not None


def test_a_users_premise_is_kept() -> None:
    never = Premise("never", "1 = 2", lambda m: CHAIN.check(m) & False)
    found = search(_user(_sum, premises=(CHAIN, never)), ((1, 1),), most_rounds=1)
    assert found.certificate is None
    assert found.worst_log10_ratio == -math.inf
    unknown = Premise("unknown", "who knows", lambda m: CHAIN.check(m).astype(float) * np.nan)
    assert search(_user(_sum, premises=(unknown,)), ((1, 1),), most_rounds=1).certificate is None


def _loses_the_interval(measurements: xr.Dataset) -> xr.DataArray:
    return xr.apply_ufunc(lambda a: np.asarray(a, dtype=np.float64), _sum(measurements))


def _scipys(measurements: xr.Dataset) -> xr.DataArray:
    return xr.apply_ufunc(np.arctan, _sum(measurements))


@pytest.mark.parametrize("bound", [_loses_the_interval, _scipys])
def test_a_formula_that_intervals_cannot_take_is_doubted(
    bound: Callable[[xr.Dataset], xr.DataArray],
) -> None:
    claim = _user(bound)
    found = search(claim, ((1, 1, 1),), most_rounds=1)
    assert found.certificate is None
    assert "intervals" in found.doubt
    document = found.to_json(claim)
    assert document["certified"] is False
    assert document["doubt"] == found.doubt
    assert document["witness"] is None


def test_claims_that_cannot_be_searched() -> None:
    for more in ({"needs": ("hessian",)}, {"premises": (Premise("p", "p", _sum, needs=("hessian",)),)}):
        with pytest.raises(UnsupportedError, match="hessian"):
            search(_user(_sum, **more), ((1, 1),), most_rounds=1)

    def broken(_: xr.Dataset) -> xr.DataArray:
        raise KeyError("nothing here")

    for more in ({"measured": broken}, {"premises": (Premise("p", "p", broken),)}):
        with pytest.raises(UnsupportedError, match="nothing here"):
            search(_user(_sum, **more), ((1, 1),), most_rounds=1)


def test_arguments_that_cannot_be_used() -> None:
    claim = examples.claims()["theorem1-function-layerwise"]
    for widths in ([], [()], [(3,)], [(2, 0)], [(2, 1)]):
        with pytest.raises(ValueError, match="widths"):
            falsify(claim, widths=widths, most_rounds=1)
    for activation in (
        "tanh",
        "gelu",
        "leaky_relu:0",
        "leaky_relu:x",
        "leaky_relu:1/0",
        "leaky_relu:1e99999999",
    ):
        with pytest.raises(ValueError, match="activation"):
            falsify(claim, activation=activation, most_rounds=1)
    direct = examples.claims()["path-metric-direct"]
    with pytest.raises(ValueError, match="widths"):
        falsify(direct, widths=[(16,) * 6], most_rounds=1)  # 16^6 paths


def test_torch_keeps_its_threads() -> None:
    before = torch.get_num_threads()
    with pytest.raises(UndecidedError):
        falsify(_claim(Form(lambda trial: _undecided())), most_rounds=1)
    assert torch.get_num_threads() == before


def _undecided() -> tuple[Any, Any]:
    raise UndecidedError("for a test")
