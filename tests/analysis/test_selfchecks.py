"""The self-checks pass what is right, say when the grid is too coarse, and catch planted faults."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
import torch
import xarray as xr

from analysis import check_measurements
from analysis.selfchecks import Outcome
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
    assert outcomes(risen) == {"lemma1": Outcome.FAILED, "integral": Outcome.FAILED}


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
    assert set(outcomes(blown).values()) == {Outcome.COARSE}


def test_unmeasured_slopes_are_not_measured() -> None:
    assert set(outcomes(measured(FINE, slope=np.nan)).values()) == {Outcome.NOT_MEASURED}


def network_slice(
    depth: int,
    activation: str,
    direction: str,
    dtype: str,
    grid: str,
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
        etas=parse_etas(grid), direction=direction, dtype=dtype, samples=2,
        limit=False, curvature=False, ladder=False, spectra="none",
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
    assert set(found.values()) <= {Outcome.PASSED, Outcome.COARSE}
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
    assert outcomes(measurements) == {"lemma1": Outcome.PASSED, "integral": Outcome.COARSE}


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
    assert outcomes(single)["lemma1"] is Outcome.FAILED
