"""The claims about outputs: both sides against plain NumPy, statuses, attained cases and the ladder's order."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
import xarray as xr

from analysis import Status
from probes.measures.settings import SliceSettings
from probes.slices.slice import measure_slice
from tests.trust.claims.examples import CLAIMS, status, verdict
from tests.trust.claims.slices import (
    ETAS,
    LADDER,
    PATHS,
    Array,
    Case,
    case_of,
    measured,
    network_of,
    states,
    top,
    with_values,
)

OUTPUT = ["spectral-product", "neyshabur", "telescoped"]
BETAS = {"relu": 1.0, "tanh": 1.0, "identity": 1.0, "leaky_relu:0.5": 1.0, "leaky_relu:3": 3.0}


def path_norm(chain: list[tuple[Array, Array]]) -> float:
    v = np.ones(chain[0][0].shape[1])
    for W, b in chain:
        v = np.abs(W) @ v + np.abs(b)
    return float(v.sum())


def path_products(chain: list[tuple[Array, Array]]) -> Array:
    """Every product, unit by unit."""
    into = [[1.0] for _ in range(chain[0][0].shape[1])]
    for W, b in chain:
        into = [[W[i, j] * p for j, ps in enumerate(into) for p in ps] + [float(b[i])] for i in range(len(b))]
    return np.array([p for ps in into for p in ps])


def sides(claim: str, case: Case, row: int, e: int) -> tuple[float, Any]:
    """Measured and bound, from the statement."""
    x, eta, L = case.x[e], float(ETAS[row]), case.depth
    before, after = case.before, case.after[row]
    h = states(case, before, x)
    f, change = h[-1], states(case, after, x)[-1] - h[-1]
    size = float(np.linalg.norm(f))
    beta = [BETAS[case.activation]] * (L - 1) + [1.0]
    w = [top(W) for W, _ in before]
    rho = [top(V - W) / top(W) for (W, _), (V, _) in zip(before, after, strict=True)]
    product, lipschitz = float(np.prod(w)), float(np.prod(w) * np.prod(beta))
    length = float(np.linalg.norm(x))
    left = float(np.linalg.norm(change)) / size
    if claim == "spectral-product":
        return left, length * lipschitz * (np.prod([1 + r for r in rho]) - 1) / size
    if claim == "neyshabur":
        small = all(r <= 1 / L for r in rho)
        return left, np.e * length * product * sum(rho) / size if small else np.inf
    if claim == "telescoped":
        total = 0.0
        for k in range(L):
            (W, b), (V, c) = before[k], after[k]
            part = float(np.linalg.norm((V - W) @ h[k])) + float(np.linalg.norm(c - b))
            for j in range(k + 1, L):
                part *= beta[j] * top(after[j][0])
            total += part * beta[k]
        return left, total / size
    if claim in PATHS:
        left = float(np.abs(change).sum()) / size
        scale = max(float(np.abs(x).max()), 1.0)
        if claim != "path-metric-midpoint":
            return left, scale * float(np.abs(path_products(after) - path_products(before)).sum()) / size
        middle = [
            tuple(
                np.where(a * b > 0, np.minimum(abs(a), abs(b)), 0.0) for a, b in zip(one, other, strict=True)
            )
            for one, other in zip(before, after, strict=True)
        ]
        return left, scale * (path_norm(before) + path_norm(after) - 2 * path_norm(middle)) / size  # type: ignore[arg-type]
    if claim == "linearisation-remainder":
        linear = np.zeros_like(f)
        for k in range(L):  # of a deep linear network: one changed factor at a time
            g = (after[k][0] - before[k][0]) @ h[k]
            for j in range(k + 1, L):
                g = before[j][0] @ g
            linear = linear + g
        bracket = np.prod([1 + r for r in rho]) - 1 - sum(rho)
        return float(np.linalg.norm(change - linear)) / size, length * product * bracket / size
    if claim == "input-sensitivity":
        step = 1e-6  # the gradient of ‖f − y‖² by central differences is good to 1e-9
        gradient = np.array(
            [
                sum(s * np.sum((states(case, before, x + s * d)[-1] - case.y[e]) ** 2) for s in (1, -1))
                for d in step * np.eye(len(x))
            ]
        )
        shifted = states(case, before, x + eta * length * gradient / np.linalg.norm(gradient))[-1]
        return float(np.linalg.norm(shifted - f)) / size, lipschitz * eta * length / size
    raise AssertionError(claim)


FULL: dict[str, dict[str, Any]] = {
    "tanh": {"activation": "tanh"},
    "leaky": {"activation": "leaky_relu:3", "direction": "noise"},
    "relu, biases": {"activation": "relu", "biases": True, "scale": 0.4},
    "relu": {"activation": "relu", "direction": "noise", "seed": 5},
    "biases fixed": {"activation": "tanh", "biases": True, "settings": {"biases": "fixed"}},
    "linear": {"activation": "identity"},
    "adversarial": {"activation": "tanh", "direction": "adversarial", "restarts": 1, "ascent_steps": 3},
}


def full(name: str) -> Case:
    options = FULL[name].copy()
    extra = options.pop("settings", {})
    if extra:  # ``biases`` is a setting too
        network = network_of((4, 5, 4, 3), "tanh", biases=True)
        rng = np.random.default_rng(0)
        data = [torch.from_numpy(rng.normal(size=(6, n))) for n in (4, 3)]
        return measured(network, *data, **extra)
    return case_of(**options)


@pytest.mark.parametrize("name", FULL)
def test_both_sides_agree_with_plain_numpy(name: str) -> None:
    case = full(name)
    for claim in [*OUTPUT, *PATHS, "input-sensitivity", "linearisation-remainder"]:
        if claim == "linearisation-remainder" and case.activation != "identity":
            continue  # its left side is another one there
        left = CLAIMS[claim].measured(case.found).isel(checkpoint=0)
        right = CLAIMS[claim].bound(case.found).isel(checkpoint=0)
        left, right = xr.broadcast(left, right)
        assert left.sizes == {"eta": 4, "example": 6}
        for row in range(1, 5):
            for e in range(6):
                expected = sides(claim, case, row, e)
                at = {"eta": row - 1, "example": e}
                rtol = 1e-6 if claim == "input-sensitivity" else 1e-10
                np.testing.assert_allclose(10.0 ** float(left[at]), expected[0], rtol=rtol, err_msg=claim)
                np.testing.assert_allclose(10.0 ** float(right[at]), expected[1], rtol=1e-10, err_msg=claim)


def test_input_moves_at_least_as_a_gradient_does() -> None:
    """The left side of input-sensitivity exactly, where the gradient is known by hand: f = Wx, loss ‖f − y‖²/3."""
    case = case_of((4, 3), "identity")
    W = case.before[0][0]
    found = CLAIMS["input-sensitivity"].measured(case.found).isel(checkpoint=0)
    for row, e in [(1, 0), (3, 4)]:
        x, y = case.x[e], case.y[e]
        g = W.T @ (W @ x - y)
        shift = W @ (ETAS[row] * np.linalg.norm(x) * g / np.linalg.norm(g))
        expected = np.linalg.norm(shift) / np.linalg.norm(W @ x)
        assert 10.0 ** float(found[row - 1, e]) == pytest.approx(expected, rel=1e-10)


def test_statuses_on_networks_that_meet_the_premises() -> None:
    relu = case_of(activation="relu").found
    for claim in ("input-sensitivity", "spectral-product", "neyshabur", "telescoped", "path-metric-midpoint"):
        assert status(claim, relu) is Status.HOLDS, claim
    biased = case_of(activation="relu", biases=True).found
    for claim in ("input-sensitivity", "telescoped", "path-metric-midpoint"):
        assert status(claim, biased) is Status.HOLDS, claim
    for claim in ("spectral-product", "neyshabur", "linearisation-remainder", "agd-majorisation"):
        found = verdict(claim, biased)
        assert (found.status, found.premises["no biases"]) == (Status.PREMISE_FAILS, False)


def test_what_is_far_too_large_refutes() -> None:
    found = case_of(activation="relu").found
    huge = with_values(
        found, output_change=1e9, input_response=1e9, output_difference_l1=1e9, opposite_signs=0.0
    )
    for claim in ("input-sensitivity", "spectral-product", "neyshabur", "telescoped", *PATHS):
        assert status(claim, huge) is Status.REFUTED, claim
    tiny = with_values(found, output_change=1e-9, input_response=1e-9, output_difference_l1=1e-9)
    for claim in ("spectral-product", "telescoped", "path-metric-midpoint"):
        assert verdict(claim, tiny).worst_log10_ratio < -6, claim
        assert status(claim, tiny) is Status.HOLDS, claim


def test_a_bound_that_the_triangle_inequality_beats_is_useless() -> None:
    found = case_of(activation="relu").found
    ladder = ("spectral-product", "neyshabur", "telescoped", "path-metric-midpoint")
    for claim in (*ladder, "residual-telescoped", "residual-spectral"):
        bound = 10.0 ** float(CLAIMS[claim].bound(found).min())
        outputs = 3**0.5 if "path" in claim else 1.0  # ‖·‖₁ ≤ √3 ‖·‖₂
        for growth, expected in ((0.99, Status.USELESS), (1.01, Status.HOLDS)):
            # the triangle inequality's 1 + ‖f̃‖/‖f‖ just below the smallest bound, and just above it
            ratio = growth * bound / outputs - 1
            own = with_values(found, output_growth=ratio, output_change=1e-12, output_difference_l1=1e-12)
            own["output_noise_floor"] = 0 * found.output_noise_floor
            assert status(claim, own) is expected, (claim, growth)


def test_the_growth_of_the_output() -> None:
    case = case_of(activation="tanh")
    for row in range(5):
        for e in range(6):
            lengths = [
                np.linalg.norm(states(case, chain, case.x[e])[-1]) for chain in (case.before, case.after[row])
            ]
            found = float(case.found.output_growth[0, row, e])
            assert found == pytest.approx(lengths[1] / lengths[0], rel=1e-12)


def test_what_was_not_measured_says_what_to_add() -> None:
    for settings in ({"ladder": False}, {"spectra": "none"}):
        network = network_of((4, 5, 3), "relu")
        x, y = torch.randn(6, 4).double(), torch.randn(6, 3).double()
        options = SliceSettings(etas=ETAS, limit=False, curvature=None, samples=6, **settings)
        found = measure_slice(network, x, y, settings=options, loss="mse")
        for claim in LADDER:
            verdicts = verdict(claim, found)
            if verdicts.status is Status.PREMISE_FAILS:  # no option would help
                assert verdicts.remark.endswith(": not measured"), claim
                continue
            assert verdicts.status is Status.NOT_MEASURED, claim
            assert "`ladder=False`" in verdicts.remark or "100,000 paths" in verdicts.remark
        assert verdict("linearisation-remainder", found).remark == "linear: not measured"


def test_a_network_of_many_paths_has_no_direct_metric() -> None:
    found = case_of((4, 20, 20, 20, 20, 3), "relu").found
    assert status("path-metric-midpoint", found) in (Status.HOLDS, Status.USELESS)
    direct = verdict("path-metric-direct", found)
    assert (direct.status, "100,000 paths" in direct.remark) == (Status.NOT_MEASURED, True)
    assert verdict("path-metric", found).remark == "equal signs: not measured"


def test_the_direct_metric_is_refuted_by_a_sign() -> None:
    """The counterexample of the claim's own mend: W = (1, 1), W̃ = (−1, −1), which the midpoint survives."""
    network = network_of((1, 1, 1), "relu")
    with torch.no_grad():
        for parameter in network.parameters():
            parameter.fill_(1.0)
    x, y = torch.ones(2, 1).double(), torch.zeros(2, 1).double()
    opposite = {name: -p.detach().clone() for name, p in network.named_parameters()}
    found = measured(
        network, x, y, etas=np.array([0.0, 1.0, 2.0]), direction="update", following=opposite
    ).found
    assert float(found["log10_path_difference"][0, 2]) == -np.inf  # Φ = Φ̃, yet f̃ = 0 ≠ f
    np.testing.assert_array_equal(found["opposite_signs"][0], [0, 0, 2])
    assert status("path-metric-direct", found) is Status.REFUTED
    assert status("path-metric-midpoint", found) is Status.HOLDS
    # as published, with its premise: it speaks of η = 1 alone, where W̃ = 0 and nothing is left of f
    own = verdict("path-metric", found)
    assert (own.status, "50%" in own.remark) == (Status.HOLDS, True)
    assert own.worst_log10_ratio == pytest.approx(0.0, abs=1e-6)  # attained


def test_the_remainder_of_deep_linear_networks() -> None:
    for seed in range(2):
        for direction in ("gradient", "noise"):
            linear = case_of(activation="identity", seed=seed, direction=direction).found
            found = verdict("linearisation-remainder", linear)
            assert (found.status, found.holds_fraction) == (Status.HOLDS, 1.0)
    raised = with_values(linear, linearisation_error=1e3 * linear["output_norm"])
    assert status("linearisation-remainder", raised) is Status.REFUTED
    relu = verdict("linearisation-remainder", case_of(activation="relu").found)
    assert (relu.status, relu.premises["linear"]) == (Status.PREMISE_FAILS, False)
    one = verdict("linearisation-remainder", case_of((4, 3), "identity").found)
    assert one.status is Status.NOT_MEASURED  # no remainder, only rounding


def test_the_remainder_reaches_its_bound() -> None:
    """W_k = I and ΔW_k = ηW_k: the bound is attained, so that its rounding allowance is all that is left."""
    network = network_of((3, 3, 3, 3), "identity")
    with torch.no_grad():
        for parameter in network.parameters():
            parameter.copy_(torch.eye(3))
    twice = {name: 2 * p.detach() for name, p in network.named_parameters()}
    x = torch.randn(4, 3, generator=torch.Generator().manual_seed(0)).double()
    etas = np.array([0.0, 1e-7, 1e-6, 1e-4, 0.1])
    found = measured(network, x, x + 1, etas=etas, direction="update", following=twice).found
    verdicts = verdict("linearisation-remainder", found)
    assert verdicts.status is Status.HOLDS
    assert abs(verdicts.worst_log10_ratio) < 0.05
    left = CLAIMS["linearisation-remainder"].measured(found)[0]
    bound = CLAIMS["linearisation-remainder"].bound(found)[0]
    np.testing.assert_allclose(left[-1], bound[-1], atol=1e-12)
    allowance = CLAIMS["linearisation-remainder"].log10_allowance
    assert allowance is not None
    assert bool((left <= bound + allowance(found)[0]).where(left.notnull(), True).all())
    np.testing.assert_allclose(
        CLAIMS["spectral-product"].bound(found)[0, -1], np.log10(1.1**3 - 1), atol=1e-12
    )
    assert status("spectral-product", found) is Status.HOLDS  # attained too


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("direction", ["gradient", "noise", "adversarial"])
@pytest.mark.parametrize("seed", range(3))
def test_the_rungs_are_in_order(seed: int, direction: str, dtype: str) -> None:
    rng = np.random.default_rng(seed)
    widths = tuple(int(w) for w in np.sort(rng.integers(2, 7, size=int(rng.integers(2, 6)))))
    activation = str(rng.choice(["identity", "leaky_relu:0.5", "leaky_relu:3"]))
    found = case_of(
        widths, activation, seed=seed, scale=float(10.0 ** rng.uniform(-2, 2)), direction=direction,
        dtype=dtype, spectra="slice", restarts=1, ascent_steps=3, etas=np.array([0.0, 1e-5, 1e-2, 0.3]),
    ).found  # fmt: skip
    bounds = {}
    for claim in ("theorem1-function", "theorem1-function-layerwise", "spectral-product", "neyshabur",
                  "telescoped", "input-sensitivity", "linearisation-remainder", "path-metric-midpoint"):  # fmt: skip
        one = CLAIMS[claim]
        left, right = xr.broadcast(one.measured(found), one.bound(found))
        assert one.log10_allowance is not None
        slack = 1e-9 + one.log10_allowance(found).fillna(0.0)
        bounds[claim] = right
        verified = xr.ones_like(right, dtype=bool)
        for premise in one.premises:
            verified = verified & (premise.check(found).reindex_like(right, copy=False) == 1)
        if claim in ("theorem1-function", "theorem1-function-layerwise", "spectral-product", "telescoped"):
            assert bool(verified.all()), claim
            assert left.notnull().any()
        seen = verified & left.notnull()
        assert bool((left <= right + slack).where(seen, True).all()), claim
    ordered = [
        ("telescoped", "spectral-product"),
        ("theorem1-function-layerwise", "theorem1-function"),
    ]
    if activation == "identity":  # β = 1
        ordered.append(("spectral-product", "neyshabur"))
    for lower, upper in ordered:
        low, high = xr.broadcast(bounds[lower], bounds[upper])
        assert bool((low <= high + 1e-9).all()), (lower, upper)
