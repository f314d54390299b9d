"""The claims on the ladder: both sides against plain NumPy, premises, statuses, noise, order, adversarial runs."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
import torch
import xarray as xr
from click.testing import CliRunner, Result
from torch import Tensor

import probes
import probes.slices.slice
from analysis import Status, judge
from analysis.verdicts import Verdict
from probes.cli.main import main
from probes.measures.bound_ingredients import BoundIngredients
from probes.measures.measure import Point
from probes.measures.settings import SliceSettings
from probes.networks.perceptron import Perceptron, PerceptronSpec
from probes.slices.slice import measure_slice
from trust.claims import all_claims

Array = npt.NDArray[np.float64]
CLAIMS = all_claims()
ETAS = np.array([0.0, 0.01, 0.1, 0.3, 0.4])
LADDER = [claim.id for claim in CLAIMS.values() if 80 <= claim.number < 90]
OUTPUT = ["spectral-product", "neyshabur", "telescoped"]
PATHS = ["path-metric", "path-metric-direct"]
BETAS = {"relu": 1.0, "tanh": 1.0, "identity": 1.0, "leaky_relu:0.5": 1.0, "leaky_relu:3": 3.0}


@dataclass
class Case:
    """What was measured, and the tensors that it was measured at, for references to start from."""

    found: xr.Dataset
    before: list[tuple[Array, Array]]
    after: list[list[tuple[Array, Array]]]
    x: Array
    y: Array
    activation: str

    @property
    def depth(self) -> int:
        return len(self.before)


def network_of(
    widths: tuple[int, ...], activation: str, *, biases: bool = False, seed: int = 0
) -> Perceptron:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        spec = PerceptronSpec(widths, activation, biases=(biases,) * (len(widths) - 1))
        return Perceptron(spec).double()


def case_of(
    widths: tuple[int, ...] = (4, 5, 4, 3),
    activation: str = "tanh",
    *,
    biases: bool = False,
    seed: int = 0,
    scale: float = 1.0,
    **settings: Any,
) -> Case:
    network = network_of(widths, activation, biases=biases, seed=seed)
    rng = np.random.default_rng(seed)
    x = torch.from_numpy(scale * rng.normal(size=(6, widths[0])))
    y = torch.from_numpy(rng.normal(size=(6, widths[-1])))
    return measured(network, x, y, **settings)


def measured(network: Perceptron, x: Tensor, y: Tensor, **settings: Any) -> Case:
    seen: list[Mapping[str, Tensor]] = []
    following = settings.pop("following", None)

    record = BoundIngredients.record

    def spy(self: BoundIngredients, point: Point) -> None:
        seen.append({name: tensor.clone() for name, tensor in point.moved.items()})
        record(self, point)

    settings = {"etas": ETAS, "dtype": "float64", "limit": False, "curvature": False, **settings}
    settings.setdefault("samples", 6)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(BoundIngredients, "record", spy)
        found = measure_slice(
            network, x, y, settings=SliceSettings(**settings), loss="mse", following=following
        )
    found.attrs["loss"] = "mse"  # as a run adds it

    def chain(tensors: Mapping[str, Tensor]) -> list[tuple[Array, Array]]:
        parts = []
        for k in range(network.spec.depth):
            weight = tensors[f"layers.{k}.weight"].detach().double().numpy()
            bias = tensors.get(f"layers.{k}.bias")
            parts.append((weight, np.zeros(len(weight)) if bias is None else bias.detach().double().numpy()))
        return parts

    before = chain(dict(network.named_parameters()))
    return Case(found, before, [chain(m) for m in seen], x.numpy(), y.numpy(), network.spec.activation)


def verdict(claim: str, measurements: xr.Dataset) -> Verdict:
    (found,) = judge(measurements, [CLAIMS[claim]])
    json.dumps(found.to_json(), allow_nan=False)
    return found


def status(claim: str, measurements: xr.Dataset) -> Status:
    return verdict(claim, measurements).status


def with_values(measurements: xr.Dataset, **values: Any) -> xr.Dataset:
    """A copy with some variables replaced, broadcast to their dims."""
    changed = measurements.copy()
    for name, value in values.items():
        changed[name] = xr.zeros_like(measurements[name]) + value
    return changed


def with_activation(measurements: xr.Dataset, name: str) -> xr.Dataset:
    names = [name if str(a) != "identity" else "identity" for a in measurements["activation"].values]
    return measurements.assign_coords(activation=("layer", names))


# Plain NumPy


def phi(name: str, z: Array) -> Array:
    if name.startswith("leaky_relu"):
        return np.where(z > 0, z, float(name.partition(":")[2]) * z)
    return {"relu": np.maximum(z, 0), "tanh": np.tanh(z), "identity": z}[name]


def states(case: Case, chain: list[tuple[Array, Array]], x: Array) -> list[Array]:
    """h_0, …, h_L, the last one without φ."""
    found = [x]
    for k, (W, b) in enumerate(chain):
        z = W @ found[-1] + b
        found.append(z if k == case.depth - 1 else phi(case.activation, z))
    return found


def top(W: Array) -> float:
    return float(np.linalg.svd(W, compute_uv=False)[0])


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
        if claim == "path-metric-direct":
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


def test_agd_sides_agree_with_plain_numpy() -> None:
    case = case_of((4, 4, 3), "tanh", direction="noise")
    left = CLAIMS["agd-majorisation"].measured(case.found).isel(checkpoint=0)
    right = CLAIMS["agd-majorisation"].bound(case.found).isel(checkpoint=0)
    count, L, dL = len(case.x), case.depth, 3

    def loss(chain: list[tuple[Array, Array]]) -> Any:
        ends = [states(case, chain, case.x[e])[-1] for e in range(count)]
        return sum(np.sum((end - y) ** 2) / (2 * dL) for end, y in zip(ends, case.y, strict=True)) / count

    for row in range(1, 5):
        steps = [V - W for (W, _), (V, _) in zip(case.before, case.after[row], strict=True)]
        t = 1e-5  # a central difference along ΔW, good to 1e-10 of a slope of order 1
        up, down = (
            loss([(W + s * D, b) for (W, b), D in zip(case.before, steps, strict=True)]) for s in (t, -t)
        )
        expected = loss(case.after[row]) - loss(case.before) - (up - down) / (2 * t)
        if expected > 0:
            assert 10.0 ** float(left[row - 1]) == pytest.approx(expected, rel=1e-4, abs=1e-9)
        else:
            assert np.isnan(left[row - 1])
        eta = L * max(top(D) * (D.shape[1] / D.shape[0]) ** 0.5 for D in steps)
        assert 10.0 ** float(right[row - 1]) == pytest.approx(0.5 * (np.exp(eta) - 1) ** 2, rel=1e-10)
    assert left.notnull().any()


# Premises


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


# Statuses


def test_statuses_on_networks_that_meet_the_premises() -> None:
    relu = case_of(activation="relu").found
    for claim in ("input-sensitivity", "spectral-product", "neyshabur", "telescoped", "path-metric"):
        assert status(claim, relu) is Status.HOLDS, claim
    biased = case_of(activation="relu", biases=True).found
    for claim in ("input-sensitivity", "telescoped", "path-metric"):
        assert status(claim, biased) is Status.HOLDS, claim
    for claim in ("spectral-product", "neyshabur", "linearisation-remainder", "agd-majorisation"):
        found = verdict(claim, biased)
        assert (found.status, found.premises["no biases"]) == (Status.PREMISE_FAILS, False)


def test_what_is_far_too_large_refutes() -> None:
    found = case_of(activation="relu").found
    huge = with_values(found, output_change=1e9, input_response=1e9, output_difference_l1=1e9)
    for claim in ("input-sensitivity", "spectral-product", "neyshabur", "telescoped", *PATHS):
        assert status(claim, huge) is Status.REFUTED, claim
    tiny = with_values(found, output_change=1e-9, input_response=1e-9, output_difference_l1=1e-9)
    for claim in ("spectral-product", "telescoped", "path-metric"):
        assert status(claim, tiny) is Status.VACUOUS, claim


def test_what_was_not_measured_says_what_to_add() -> None:
    for settings in ({"ladder": False}, {"spectra": "none"}):
        network = network_of((4, 5, 3), "relu")
        x, y = torch.randn(6, 4).double(), torch.randn(6, 3).double()
        options = SliceSettings(etas=ETAS, limit=False, curvature=False, samples=6, **settings)
        found = measure_slice(network, x, y, settings=options, loss="mse")
        for claim in LADDER:
            verdicts = verdict(claim, found)
            assert verdicts.status is Status.NOT_MEASURED, claim
            assert "--no-ladder" in verdicts.remark or "100,000 paths" in verdicts.remark


def test_a_network_of_many_paths_has_no_direct_metric() -> None:
    found = case_of((4, 20, 20, 20, 20, 3), "relu").found
    assert status("path-metric", found) in (Status.HOLDS, Status.VACUOUS)
    verdicts = verdict("path-metric-direct", found)
    assert (verdicts.status, "100,000 paths" in verdicts.remark) == (Status.NOT_MEASURED, True)


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
    assert status("path-metric-direct", found) is Status.REFUTED
    assert status("path-metric", found) is Status.HOLDS


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


# Noise


def test_nothing_below_ten_noise_floors_is_evidence() -> None:
    found = case_of(activation="relu", seed=5).found
    size = found["output_norm"]
    variables: dict[str, tuple[str, Any]] = {
        "spectral-product": ("output_change", 1.0),
        "neyshabur": ("output_change", 1.0),
        "telescoped": ("output_change", 1.0),
        "input-sensitivity": ("input_response", size),
        "path-metric": ("output_difference_l1", size),
        "path-metric-direct": ("output_difference_l1", size),
    }
    for claim, (variable, unit) in variables.items():
        for times, known in ((9.99, False), (10.01, True)):
            noisy = with_values(found, output_noise_floor=1e-3, **{variable: times * 1e-3 * unit})
            left = CLAIMS[claim].measured(noisy)
            assert bool(left.notnull().all()) is known, (claim, times)
            assert bool(left.notnull().any()) is known
            allowance = CLAIMS[claim].log10_allowance
            assert allowance is not None
            expected = np.log10(1 + 1e-3 * (1 + 2 / (times * 1e-3)))
            if claim in PATHS:
                floor = 3**0.5 * 1e-3  # ‖·‖₁ ≤ √3 ‖·‖₂ for three outputs
                expected = np.log10(1 + floor * (1 + 2 / (times * 1e-3)))
            np.testing.assert_allclose(allowance(noisy), expected, rtol=1e-12)
            if not known:
                assert status(claim, noisy) is Status.NOT_MEASURED
    for value in (np.inf, np.nan, 0.0):
        blown = with_values(found, output_change=value, input_response=value, output_difference_l1=value)
        for claim in variables:
            assert status(claim, blown) is Status.NOT_MEASURED


def test_what_noise_may_have_raised_refutes_nothing() -> None:
    found = case_of(activation="relu", seed=5).found
    bound = 10.0 ** CLAIMS["telescoped"].bound(found)
    full = bound.reindex(eta=found["eta"]).fillna(1.0).transpose(*found["output_change"].dims)
    floor = float(bound.min()) / 20
    # at the smallest bound noise may have added 2/20 and the floor itself, at all others less
    for factor, expected in ((1 + floor, Status.HOLDS), (1.5, Status.REFUTED)):
        near = with_values(found, output_change=factor * full, output_noise_floor=floor)
        assert status("telescoped", near) is expected
    exact = with_values(found, output_change=1.02 * full, output_noise_floor=0.0)
    assert status("telescoped", exact) is Status.REFUTED


def test_rounding_of_the_remainder_is_no_evidence() -> None:
    found = case_of(activation="identity").found
    own = found.isel(layer=np.flatnonzero(found["is_weight"].values))
    sizes = own["perturbed_operator_norm"].clip(min=own["operator_norm"]).prod("layer")
    rounding = 3 * 5 * 2.0**-52 * sizes * found["input_norm"]
    rounding = rounding.transpose(*found["linearisation_error"].dims)
    for times, known in ((9.99, False), (10.01, True)):
        left = CLAIMS["linearisation-remainder"].measured(
            with_values(found, linearisation_error=times * rounding)
        )
        assert bool(left.notnull().any()) is known
        assert bool(left.notnull().all()) is known


# Automatic gradient descent's majorisation


def rotation(first: int, second: int, size: int = 4) -> Tensor:
    """Orthogonal: swaps two unit vectors."""
    order = list(range(size))
    order[first], order[second] = order[second], order[first]
    return torch.eye(size, dtype=torch.float64)[order]


def majorised(
    *, weight: float = 1.0, x_scale: float = 1.0, y_scale: float = 1.0, second: float = 1.0, y: int = 1,
    activation: str = "identity", **settings: Any,
) -> xr.Dataset:  # fmt: skip
    """Every premise met: W_k = I (4 × 4), ‖x‖ = ‖y‖ = 2, ΔW_k = η·(orthogonal), ΔW_2ΔW_1 x ⟂ f − y."""
    network = network_of((4, 4, 4), activation)
    with torch.no_grad():
        for parameter in network.parameters():
            parameter.copy_(weight * torch.eye(4))
    basis = 2 * torch.eye(4, dtype=torch.float64)
    x, targets = x_scale * basis[[0, 0, 0]], y_scale * basis[[y] * 3]
    x[1], targets[1] = -x[1], -targets[1]
    # R_1 e_0 = e_2 and R_2 e_2 = e_2, so that ΔW_2ΔW_1 x is along e_2, and f − y along e_0 and e_1
    steps = {"layers.0.weight": rotation(0, 2), "layers.1.weight": second * rotation(0, 1)}
    following = {name: p.detach() + steps[name] for name, p in network.named_parameters()}
    settings.setdefault("etas", np.array([0.0, 0.01, 0.05, 0.2]))
    return measured(network, x, targets, direction="update", following=following, **settings).found


AGD = "agd-majorisation"


def test_the_majorisation_holds_where_every_premise_does() -> None:
    found = majorised()
    verdicts = verdict(AGD, found)
    assert verdicts.premises == dict.fromkeys((p.name for p in CLAIMS[AGD].premises), True)
    assert (verdicts.status, verdicts.remark) == (Status.HOLDS, "")
    # ½‖Δf‖²/4 with Δf = η·2e_2 + η·2e_1 + η²·2e_2, against ½(e^{2η} − 1)²
    eta = 0.2
    left = 0.5 * ((eta + eta**2) ** 2 + eta**2)
    assert 10.0 ** float(CLAIMS[AGD].measured(found)[0, -1]) == pytest.approx(left, rel=1e-9)
    assert 10.0 ** float(CLAIMS[AGD].bound(found)[0, -1]) == pytest.approx(0.5 * np.expm1(0.4) ** 2, rel=1e-9)
    raised = found.copy()
    raised["loss"] = found["loss"] + (found["eta"] == 0.2) * (np.expm1(0.4) ** 2)
    again = verdict(AGD, raised)
    assert again.status is Status.REFUTED
    assert again.worst_at["eta"] == 0.2


def test_the_majorisation_refutes_no_more_than_tolerances_and_noise_allow() -> None:
    found = majorised()
    eta = found["eta"]
    start, slope = found["loss"].isel(eta=0, drop=True), found["slope_at_zero"]
    exactly = np.expm1(2 * eta) ** 2
    for factor, expected in ((1.0, Status.HOLDS), (1.02, Status.HOLDS), (1.04, Status.REFUTED)):
        line = (start + eta * slope + factor * exactly).transpose(*found["loss"].dims)
        assert status(AGD, found.assign(loss=line)) is expected, factor
    noisy = with_values(found, loss_noise_floor=1.0)
    assert status(AGD, noisy) is Status.NOT_MEASURED
    concave = found.assign(loss=(start + eta * slope - eta**2).transpose(*found["loss"].dims))
    assert status(AGD, concave) is Status.NOT_MEASURED  # below its tangent there is nothing to bound


@pytest.mark.parametrize(
    ("premise", "options"),
    [
        ("scaled weights", {"weight": 1.01}),
        ("scaled data", {"x_scale": 1.01}),
        ("scaled data", {"y_scale": 0.99}),
        ("scaled step", {"second": 0.9}),
        ("orthogonal", {"y": 2}),
    ],
)
def test_each_scaling_fails_alone(premise: str, options: dict[str, Any]) -> None:
    found = verdict(AGD, majorised(**options))
    assert found.status is Status.PREMISE_FAILS
    assert [name for name, truth in found.premises.items() if truth is False] == [premise]
    assert found.remark.startswith(premise)


def test_scalings_may_be_off_by_a_thousandth() -> None:
    for options in ({"weight": 1.0005}, {"x_scale": 0.9995}, {"second": 0.9995}):
        assert status(AGD, majorised(**options)) is Status.HOLDS, options  # type: ignore[arg-type]


def test_the_other_losses_and_what_is_not_known() -> None:
    found = majorised()
    other = verdict(AGD, found.assign_attrs(loss="cross-entropy"))
    assert (other.status, other.premises["square loss"]) == (Status.PREMISE_FAILS, False)
    nameless = found.copy()
    del nameless.attrs["loss"]
    unknown = verdict(AGD, nameless)
    assert (unknown.status, unknown.premises["square loss"]) == (Status.NOT_MEASURED, None)
    for variable, premise in (
        ("linearisation_cosine", "orthogonal"),
        ("operator_norm", "scaled weights"),
        ("target_norm", "scaled data"),
    ):
        lost = verdict(AGD, found.drop_vars(variable))
        assert lost.premises[premise] is None
        assert lost.status is Status.NOT_MEASURED
    blind = verdict(AGD, with_values(found, linearisation_cosine=np.nan))
    assert (blind.status, blind.premises["orthogonal"]) == (Status.NOT_MEASURED, None)


def test_a_sample_cannot_speak_for_all_examples() -> None:
    """The loss is that of all data, so data that were looked at in part may be scaled, or not."""
    found = verdict(AGD, majorised(samples=2))
    assert found.status is Status.NOT_MEASURED
    assert found.premises["scaled data"] is None
    assert found.premises["orthogonal"] is None
    assert "--samples" in found.remark
    failing = verdict(AGD, majorised(samples=2, x_scale=1.01))
    assert (failing.status, failing.premises["scaled data"]) == (Status.PREMISE_FAILS, False)


def test_tanh_lets_the_majorisation_keep_its_premises() -> None:
    found = verdict(AGD, majorised(activation="tanh"))
    assert found.premises["φ(0) = 0"] is True
    assert found.premises["1-Lipschitz"] is True


# The ladder's order


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
                  "telescoped", "input-sensitivity", "linearisation-remainder", "path-metric"):  # fmt: skip
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


# The adversarial direction


def test_the_worst_perturbation_end_to_end() -> None:
    settings: dict[str, Any] = {"limit": True, "curvature": True, "restarts": 1, "ascent_steps": 5}
    etas = np.array([0.0, 0.01, 0.1])
    for activation, biases in (("relu", True), ("tanh", False)):
        worst = case_of(activation=activation, biases=biases, etas=etas, direction="adversarial", **settings)
        plain = case_of(activation=activation, biases=biases, etas=etas, **settings)
        found = worst.found.isel(checkpoint=0)
        limit = found["eta"] * (1 + 1e-6)
        assert bool((found["relative_perturbation"] <= limit).all())
        own = found.isel(layer=np.flatnonzero(found["is_weight"].values))
        assert bool((own["relative_perturbation"][1:] > 0).all())
        mean = found["output_change"].mean("example")
        downhill = plain.found.isel(checkpoint=0)["output_change"].mean("example")
        assert bool((mean >= downhill * (1 - 1e-9)).all())
        np.testing.assert_allclose(found["adversarial_value"][1:], mean[1:], rtol=1e-9)
        for row in (1, 2):
            for k, (W, _) in enumerate(worst.before):
                s = np.linalg.svd(worst.after[row][k][0] - W, compute_uv=False)
                at = {"eta": row, "layer": k}
                kappa = s[0] / s[-1] if s[-1] > 0 else np.inf
                assert float(own["perturbation_condition_number"][at]) == pytest.approx(kappa, rel=1e-6)
                assert float(own["perturbation_spectral_norm"][at]) == pytest.approx(s[0], rel=1e-9)
        for absent in ("slope", "slope_at_zero", "curvature", "perturbation_cosine"):
            assert found[absent].isnull().all(), absent
        for absent in ("step_limit", "step_limit_searched_to"):
            assert absent not in found
        # claims about slopes and limits along a line
        lines = [c for c in CLAIMS if CLAIMS[c].subject in ("step", "loss")]
        assert {*lines} >= {"lemma1", "lemma2", "lemma2-trusted", "slice-curvature", AGD}
        for claim in lines:
            one = verdict(claim, worst.found)
            allowed = {Status.NOT_MEASURED} | ({Status.PREMISE_FAILS} if claim == AGD else set())
            assert one.status in allowed, claim
            assert np.isnan(one.worst_log10_ratio), claim
        assert status("telescoped", worst.found) is Status.HOLDS


def test_each_eta_has_a_condition_number_of_its_own_in_theorem1() -> None:
    case = case_of((3, 4, 5), "leaky_relu:0.5", direction="adversarial", restarts=1, ascent_steps=3)
    bound = CLAIMS["theorem1-function-layerwise"].bound(case.found).isel(checkpoint=0)
    for row in range(1, 5):
        product, growth = 1.0, 1.0
        for k, (W, _) in enumerate(case.before):
            s = np.linalg.svd(W, compute_uv=False)
            d = np.linalg.svd(case.after[row][k][0] - W, compute_uv=False)
            product *= s[0] / s[-1] * (2 if k == 0 else 1)
            r = np.linalg.norm(case.after[row][k][0] - W) / np.linalg.norm(W)
            growth *= 1 + d[0] / d[-1] * r
        # κ(ΔW) of a nearly singular ΔW is good to κ · 1e-16
        np.testing.assert_allclose(10.0 ** bound.isel(eta=row - 1), product * (growth - 1), rtol=1e-6)


def probe(*arguments: object) -> Result:
    return CliRunner().invoke(main, [str(argument) for argument in arguments])


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A finished adversarial run of a trained network, and what it was made from."""
    base = tmp_path_factory.mktemp("adversarial")
    random = np.random.default_rng(0)
    y = np.arange(30) % 3
    np.savez(base / "data.npz", x=(random.normal(size=(30, 5)) + 3 * np.eye(5)[y]).astype(np.float32), y=y)
    made = probe(
        "train", "--depth", 2, "--width", 6, "--epochs", 2, "--batch-size", 10, "--checkpoints", 2,
        "--data", base / "data.npz", "--out", base / "net",
    )  # fmt: skip
    assert made.exit_code == 0, made.output
    files = sorted((base / "net").glob("*.safetensors"))
    done = probe(
        "run", files[-1], "--direction", "adversarial", "--etas", "0.01,0.1", "--restarts", 1,
        "--ascent-steps", 5, "--out", base / "run",
    )  # fmt: skip
    assert done.exit_code == 0, done.output
    return base


def test_a_run_of_the_worst_perturbation(folder: Path) -> None:
    found = probes.load(folder / "run")
    assert found.attrs["direction"] == "adversarial"
    assert found.attrs["objective"] == "output"
    # float32 rounds W + ΔW by 6e-8 of W, 6e-6 of the smaller step
    assert bool((found["relative_perturbation"] <= found["eta"] * (1 + 1e-5)).all())
    own = found["perturbation_norm"] <= found["eta"] * found["weight_norm"] * (1 + 1e-5)
    assert bool(own.all())
    file = sorted((folder / "net").glob("*.safetensors"))[-1]
    downhill = probe("run", file, "--etas", "0.01,0.1", "--out", folder / "gradient")
    assert downhill.exit_code == 0, downhill.output
    other = probes.load(folder / "gradient")
    mean = [one["output_change"].mean("example") for one in (found, other)]
    assert bool((mean[0] >= mean[1] * (1 - 1e-4)).all())
    assert "step_limit" not in found
    for verdicts in judge(found):
        claim = CLAIMS[verdicts.claim]
        if claim.subject == "step" or claim.id == "lemma1":
            assert verdicts.status is Status.NOT_MEASURED
        assert verdicts.status is not Status.REFUTED or claim.id in (
            "deep-relative-trust", "euclidean-trust"
        ), verdicts  # fmt: skip


def test_limit_has_no_worst_perturbation(folder: Path) -> None:
    refused = probe("limit", folder / "net", "--direction", "adversarial")
    assert refused.exit_code == 2
    assert refused.stdout == ""
    (line,) = refused.stderr.strip().splitlines()
    assert "--direction adversarial" in line
    assert "step limit" in line


def test_report_of_the_worst_perturbation(folder: Path) -> None:
    result = probe("report", folder / "run", "--out", folder / "report", "--format", "png", "--json")
    assert result.exit_code == 0, result.output
    document = json.loads(result.stdout)
    assert {verdict["claim"] for verdict in document["verdicts"]} == set(CLAIMS)
    assert all(Path(figure).is_file() for figure in document["figures"])
    assert (folder / "report" / "report.md").is_file()
