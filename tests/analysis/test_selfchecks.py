"""The self-checks pass what is right, say when the grid is too coarse, and catch planted faults."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
import torch
import xarray as xr

from analysis import check_measurements
from analysis.selfchecks import Outcome
from probes.evaluation.reductions import compare, norm
from probes.measures.etas import parse_etas
from probes.measures.settings import SliceSettings
from probes.networks.perceptron import Perceptron, PerceptronSpec
from probes.slices.slice import measure_slice
from tests.analysis.synthetic import measured
from trust.claims.resolution import slope_integral
from trust.optim import Fromage

FINE = (0.0, *np.geomspace(1e-4, 0.1, 15))


def outcomes(measurements: xr.Dataset) -> dict[str, Outcome]:
    return {check.check: check.outcome for check in check_measurements(measurements)}


def test_exact_measurements_pass_everywhere() -> None:
    for check in check_measurements(measured(FINE)):
        assert check.outcome is Outcome.PASSED, check
        assert check.resolved_to == FINE[-1]


def test_integral_is_exact_where_the_slope_is_linear() -> None:
    integral = check_measurements(measured(FINE))[1]
    assert integral.worst < 1e-10  # a trapezoid under a straight line


FAULTS = {
    "every slope": lambda m: m.assign(slope=m.slope * 1.3),
    "one slope": lambda m: m.assign(slope=m.slope.where(m.eta != FINE[7], m.slope * 1.3)),
    "sign of the slopes": lambda m: m.assign(slope=-m.slope, slope_at_zero=-m.slope_at_zero),
    "one loss": lambda m: m.assign(
        loss=m.loss.where(m.eta != FINE[9], 1.5 * m.loss - 0.5 * m.loss[0, 0] + 0.1)
    ),
    "every loss": lambda m: m.assign(loss=1.3 * m.loss),
    "difference too small": lambda m: m.assign(gradient_difference=m.gradient_difference / 3),
    "difference too large": lambda m: m.assign(gradient_difference=m.gradient_difference * 3),
}


@pytest.mark.parametrize("fault", FAULTS)
def test_planted_faults_are_caught(fault: str) -> None:
    assert Outcome.FAILED in outcomes(FAULTS[fault](measured(FINE))).values()


def test_lemma1_itself_catches_a_loss_that_rises_too_far() -> None:
    exact = measured(FINE)
    risen = exact.assign(loss=exact.loss + 100 * exact.eta**2)  # the slopes say nothing of it
    assert outcomes(risen) == {
        "lemma1": Outcome.FAILED,
        "integral": Outcome.FAILED,
        "cosines": Outcome.PASSED,
        "slopes": Outcome.PASSED,
    }


@pytest.mark.parametrize(
    ("fault", "check"),
    [("difference too small", "cosines"), ("difference too large", "cosines"), ("every slope", "slopes")],
)
def test_each_check_has_its_own_name(fault: str, check: str) -> None:
    """Numbers that contradict each other at one η are no breach of Lemma 1."""
    found = outcomes(FAULTS[fault](measured(FINE)))
    assert found.pop(check) is Outcome.FAILED
    assert (
        found.pop("lemma1") is Outcome.PASSED or check == "cosines"
    )  # whose bound the difference is part of


@pytest.mark.parametrize("epsilon", [2.0**-52, 2.0**-23])
def test_tolerance_follows_the_size_of_the_tensor(epsilon: float) -> None:
    """Squares of 1.28 million entries are not known to 100 ε of float64: their angle to themselves may be off 1."""
    rounded = measured(FINE, rows=1600, columns=800)
    rounded.attrs["epsilon"] = epsilon
    rounded["gradient_cosine"] = rounded.gradient_cosine.where(rounded.eta > 0, 1 - 5e-14)
    assert set(outcomes(rounded).values()) == {Outcome.PASSED}
    small = rounded.assign_coords(rows=("layer", [5, 5]), columns=("layer", [5, 5]))
    assert outcomes(small)["cosines"] is Outcome.FAILED  # 25 entries are known far better


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_norms_and_products_of_a_large_tensor_are_within_the_tolerance(dtype: torch.dtype) -> None:
    """What a run computes of a tensor of 1.28 million entries whose rounding has one sign."""
    gradient = torch.full((1600, 800), 0.1, dtype=dtype)
    pair, size = compare(gradient, gradient), float(norm(gradient))
    exact = measured(FINE, rows=1600, columns=800)
    cosine = float(pair.product) / float(pair.norm) / size
    exact["gradient_cosine"] = exact.gradient_cosine.where(exact.eta > 0, cosine)
    assert outcomes(exact)["cosines"] is Outcome.PASSED


def test_a_tiny_grid_in_single_precision_is_no_fault() -> None:
    """At η = 1e-8 a stored step is mostly rounding, which the length of the direction is read off."""
    measurements = network_slice(3, "tanh", "gradient", "float32", (0.0, 1e-8), 5)
    assert Outcome.FAILED not in outcomes(measurements).values()


def test_a_layer_that_is_not_measured_leaves_the_others_checked() -> None:
    frozen = measured(FINE)
    for name in ("gradient_norm", "gradient_difference", "gradient_change", "gradient_cosine"):
        frozen[name] = frozen[name].where(frozen.layer != "layers.0.weight")
    frozen["perturbation_norm"] = frozen.perturbation_norm.where(frozen.layer != "layers.0.weight", 0.0)
    frozen["slope"] = -(frozen.gradient_norm * frozen.weight_norm * frozen.gradient_cosine).sum("layer")
    assert outcomes(frozen)["slopes"] is Outcome.PASSED
    assert outcomes(frozen.assign(slope=1.3 * frozen.slope))["slopes"] is Outcome.FAILED


def test_a_leap_is_coarse_not_failed() -> None:
    exact = measured((0.0, 0.001, 0.002, 1.0))
    for name in ("slope", "gradient_difference", "gradient_change", "gradient_norm", "gradient_cosine"):
        exact[name][:, 3] = exact[name][:, 2]  # and by chance is over again at the other end
    spiked = exact.assign(loss=exact.loss + 1e6 * (exact.eta == 1.0))  # something happened in between
    found = {check.check: check for check in check_measurements(spiked)}
    assert found["integral"].outcome is Outcome.COARSE
    assert found["lemma1"].outcome is Outcome.COARSE
    assert found["integral"].resolved_to == 0.002


def test_overflow_is_coarse_not_failed() -> None:
    exact = measured(FINE)
    blown = exact.copy()
    for name in (
        "loss",
        "slope",
        "gradient_difference",
        "gradient_change",
        "gradient_norm",
        "gradient_cosine",
    ):
        blown[name] = exact[name].where(exact.eta < 0.05, np.nan if name != "loss" else np.inf)
    assert outcomes(blown) == {
        "lemma1": Outcome.COARSE,
        "integral": Outcome.COARSE,
        "cosines": Outcome.FINITE,
        "slopes": Outcome.FINITE,
    }


def test_unmeasured_slopes_are_not_measured() -> None:
    assert set(outcomes(measured(FINE, slope=np.nan)).values()) == {Outcome.NOT_MEASURED}


def network_slice(
    depth: int,
    activation: str,
    direction: str,
    dtype: str,
    grid: str | tuple[float, ...],
    steps: int,
    seed: int = 1,
    **rest: object,
) -> xr.Dataset:
    torch.manual_seed(seed)
    x, y = torch.randn(40, 12), torch.randint(0, 4, (40,))
    spec = PerceptronSpec((12, *[10] * (depth - 1), 4), activation, biases=(True,) * depth, **rest)  # type: ignore[arg-type]
    network = Perceptron(spec)

    def train(count: int) -> None:
        optimiser = Fromage(network.parameters(), lr=0.02)
        for _ in range(count):
            optimiser.zero_grad()
            torch.nn.functional.cross_entropy(network(x), y).backward()
            optimiser.step()

    network.eval()
    train(steps)
    before = {name: tensor.detach().clone() for name, tensor in network.state_dict().items()}
    train(2)
    after = {name: tensor.detach().clone() for name, tensor in network.named_parameters()}
    network.load_state_dict(before)
    settings = SliceSettings(  # losses, slopes and gradients are all that the checks look at
        etas=parse_etas(grid) if isinstance(grid, str) else np.array(grid), direction=direction, dtype=dtype, samples=2,
        limit=False, curvature=None, ladder=False, spectra="none",
    )  # fmt: skip
    return measure_slice(network, x, y, settings=settings, following=after)


KINDS = [  # and how deep
    ("relu", {}, 8),
    ("tanh", {"residual": True}, 8),
    ("leaky_relu:0.1", {"norm": "layer"}, 4),
]
CASES = [
    (2 if steps == 0 else deep, activation, direction, dtype, grid, steps, rest)
    for steps, (activation, rest, deep), (direction, dtype), grid in itertools.product(
        (0, 30),
        KINDS,
        (("gradient", "float32"), ("noise", "float64"), ("update", "float32")),
        ("log", "0.01,1", "0.1,0.3,0.9,2.7"),
    )
]


@pytest.mark.parametrize(("depth", "activation", "direction", "dtype", "grid", "steps", "rest"), CASES)
def test_real_slices_never_fail(
    depth: int, activation: str, direction: str, dtype: str, grid: str, steps: int, rest: dict[str, object]
) -> None:
    measurements = network_slice(depth, activation, direction, dtype, grid, steps, **rest)
    found = outcomes(measurements)
    assert Outcome.FAILED not in found.values()
    if grid == "0.01,1":
        assert found["integral"] is Outcome.COARSE


@pytest.mark.parametrize("seed", [3010, 3016, 3019, 3021])
def test_a_rough_slice_never_fails(seed: int) -> None:
    """A deep network with layer norm: nothing is wrong with its measurements but the grid.

    Its slopes go up and down from η to η, so that they are not monotone in between.
    """
    measurements = network_slice(
        16, "leaky_relu:0.1", "gradient", "float64", "log", 0, seed=seed, norm="layer"
    )
    found = outcomes(measurements)
    assert found.pop("integral") is Outcome.COARSE
    assert set(found.values()) == {Outcome.PASSED}


def test_where_the_slope_turns_the_integral_is_known_less_well() -> None:
    exact = measured(FINE)
    turned = exact.assign(slope=exact.slope.where(exact.eta != FINE[7], 1.3 * exact.slope))
    before, after = (slope_integral(m)["uncertainty"].isel(checkpoint=0).values for m in (exact, turned))
    steps = np.diff(FINE)
    slopes = exact.slope.values[0]
    np.testing.assert_allclose(np.diff(before)[1:], steps[1:] * np.abs(np.diff(slopes))[1:] / 2)
    jumps = np.abs(np.diff(turned.slope.values[0]))
    assert np.sign(np.diff(turned.slope.values[0]))[6:8].tolist() == [
        -1,
        1,
    ]  # down to the seventh, up after it
    for k in (6, 7):  # the intervals at its sides
        assert np.diff(after)[k] == pytest.approx(steps[k] * jumps[k - 1 : k + 2].max())


@pytest.mark.parametrize("fault", ["every loss", "one loss"])
def test_losses_that_are_wrong_in_a_real_slice_are_caught(fault: str) -> None:
    """Doubt about a rough slice leaves the check sharp where the slice is smooth."""
    measurements = network_slice(2, "tanh", "gradient", "float64", "log", 0)
    assert outcomes(measurements)["integral"] is Outcome.PASSED
    loss = measurements.loss
    start = loss.isel(eta=0, drop=True)
    faults = {
        "every loss": start + 1.3 * (loss - start),
        "one loss": loss.where(measurements.eta != measurements.eta[12], start),
    }
    found = outcomes(measurements.assign(loss=faults[fault]))
    assert found["integral"] is Outcome.FAILED


@pytest.mark.parametrize(
    "fault", ["every slope", "sign of the slopes", "difference too small", "difference too large"]
)
def test_faults_in_a_real_slice_are_caught(fault: str) -> None:
    measurements = network_slice(4, "relu", "gradient", "float32", "log", 10)
    assert Outcome.FAILED not in outcomes(measurements).values()
    assert Outcome.FAILED in outcomes(FAULTS[fault](measurements)).values()
    single = measurements.assign(
        slope=measurements.slope.where(measurements.eta != measurements.eta[6], 1.3 * measurements.slope)
    )
    assert outcomes(single)["slopes"] is Outcome.FAILED
