"""The float64 spot check: what rounding does away from η = 0, which the noise floor of η = 0 does not know."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
import xarray as xr
from torch import Tensor, nn
from torch.nn.functional import cross_entropy

from probes import SliceSettings, measure_slice
from probes.measures.etas import parse_etas
from probes.measures.spot_check import checked_rows, spot_check_examples
from probes.runs.estimate import gradients_per_slice
from tests.support.reference import make, make_data
from trust.claims.quantities import rounding_share

ETAS = np.array([0.0, 1e-4, 1e-3, 1e-2, 0.1])
LEAN: dict[str, Any] = {
    "ladder": False,
    "spectra": "none",
    "split": "none",
    "limit": False,
    "curvature": None,
    "samples": 2,
}
SCALE = 1.01


class Rough(nn.Module):
    """In float32 another function than in float64, by one per cent: an error that can be computed in any precision."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(1)
        self.first, self.last = nn.Linear(5, 7), nn.Linear(7, 3)

    def forward(self, x: Tensor) -> Tensor:
        found: Tensor = self.last((self.first(x) * (1.0 if x.dtype == torch.float64 else SCALE)).tanh())
        return found


def by_hand(direction: str, count: int) -> dict[str, Tensor]:
    """The error at the last η of ETAS by a loop of its own, both functions in float64."""
    x, y = data(count)
    network = Rough()
    exact = {name: tensor.detach().double() for name, tensor in network.named_parameters()}

    def gradient(at: dict[str, Tensor], scale: float, inputs: Tensor, labels: Tensor) -> dict[str, Tensor]:
        leaves = {name: tensor.clone().requires_grad_(True) for name, tensor in at.items()}
        hidden = (inputs @ leaves["first.weight"].T + leaves["first.bias"]) * scale
        outputs = hidden.tanh() @ leaves["last.weight"].T + leaves["last.bias"]
        grads = torch.autograd.grad(cross_entropy(outputs, labels), list(leaves.values()))
        return dict(zip(leaves, grads, strict=True))

    def against(gradients: dict[str, Tensor]) -> dict[str, Tensor]:
        return {name: -exact[name].norm() * g / g.norm() for name, g in gradients.items()}

    few = x[: spot_check_examples(count)].double(), y[: spot_check_examples(count)]
    before = [gradient(exact, scale, *few) for scale in (SCALE, 1.0)]
    if direction == "gradient":
        d = against(gradient(exact, SCALE, x.double(), y))
        turn = {name: against(before[1])[name] - against(before[0])[name] for name in exact}
    else:
        d, turn = noise(network), dict.fromkeys(exact, torch.zeros(()))
    eta = float(ETAS[-1])
    moved = {name: exact[name] + eta * d[name] for name in exact}
    beside = {name: moved[name] + eta * turn[name] for name in exact}
    pair = gradient(moved, SCALE, *few), gradient(beside, 1.0, *few)
    return {name: (pair[0][name] - pair[1][name]).norm() / before[1][name].norm() for name in exact}


def noise(network: nn.Module) -> dict[str, Tensor]:
    from probes.evaluation.directions import noise_direction

    frozen = {name: tensor.detach() for name, tensor in network.named_parameters()}
    return {name: part.double() for name, part in noise_direction(frozen, list(frozen), seed=0).items()}


def data(count: int) -> tuple[Tensor, Tensor]:
    torch.manual_seed(2)
    return torch.randn(count, 5), torch.randint(0, 3, (count,))


@pytest.mark.parametrize("direction", ["gradient", "noise"])
@pytest.mark.parametrize("count", [30, 120])
def test_it_is_the_difference_between_two_precisions_on_a_few_examples(direction: str, count: int) -> None:
    settings = SliceSettings(etas=ETAS, direction=direction, **LEAN)
    found = measure_slice(Rough(), *data(count), settings=settings)["gradient_change_error"][0]
    expected = by_hand(direction, count)
    for name, value in expected.items():
        assert float(found.sel(layer=name)[-1]) == pytest.approx(float(value), rel=1e-3), name
    assert found.notnull().any("layer").values.tolist() == [False, False, True, True, True]


def test_the_direction_that_rounding_turns_matters_most() -> None:
    """Nearly all of the error at large η comes from a direction that is off by the noise floor."""
    slices = measure_slice(Rough(), *data(120), settings=SliceSettings(etas=ETAS, **LEAN))
    floor = slices["noise_floor"][0]
    assert float((slices["gradient_change_error"][0, -1] / floor).min()) > 0.1


def test_bfloat16_is_as_far_from_float64_as_the_check_says() -> None:
    network, (x, y) = make((6, *[16] * 5, 3)), make_data()
    coarse, exact = (
        measure_slice(network, x.float(), y, settings=SliceSettings(etas=parse_etas("log"), **LEAN, **given))
        for given in ({"precision": "bfloat16"}, {"dtype": "float64"})
    )
    share = rounding_share(coarse)[0]
    change, truth = coarse["gradient_change"][0], exact["gradient_change"][0]
    evident = truth >= 10 * coarse["noise_floor"][0]
    actual = (abs(change - truth) / truth).where(evident).max("layer")
    for row in checked_rows(parse_etas("log"))[1:]:  # below, the change is no evidence in bfloat16
        assert 0.01 * actual[row] <= share[row] <= 100 * actual[row]
    assert float(share.max()) > 1e-3
    single = measure_slice(network, x.float(), y, settings=SliceSettings(etas=parse_etas("log"), **LEAN))
    double = rounding_share(exact)[0]
    assert float(double.max()) < 1e-3 * float(rounding_share(single)[0].max()) < float(share.max())


def test_which_rows_and_how_many_examples() -> None:
    assert checked_rows(parse_etas("log")) == [10, 15, 20]
    assert checked_rows(np.array([0.0, 1e-4])) == [1]
    assert checked_rows(np.array([0.0, 1e-4, 1e-2])) == [1, 2]
    assert [spot_check_examples(count) for count in (3, 60, 700, 5000, 60000)] == [3, 50, 70, 200, 200]


@pytest.mark.parametrize("examples", [200, 1000, 5000, 60000])
def test_it_costs_less_than_a_tenth_of_a_default_run(examples: int) -> None:
    chosen = {"etas": parse_etas("log")}
    without = gradients_per_slice(SliceSettings(**chosen, spot_check=False), examples)
    assert without < gradients_per_slice(SliceSettings(**chosen), examples) < 1.1 * without


def test_it_can_be_left_out_and_takes_what_other_measures_take() -> None:
    network, (x, y) = make((6, 8, 3)), make_data()

    def slice_of(**settings: Any) -> xr.Dataset:
        chosen = {"etas": ETAS, **LEAN, **settings}
        return measure_slice(network, x.float(), y, settings=SliceSettings(**chosen))

    assert "gradient_change_error" not in slice_of(spot_check=False)
    first = slice_of(layers="first")["gradient_change_error"]
    assert first.notnull().any(["checkpoint", "eta"]).values.tolist() == [True, False, False, False]
    adversarial = slice_of(direction="adversarial", ascent_steps=2, restarts=0, samples=5)
    assert bool(adversarial["gradient_change_error"].isel(eta=-1).notnull().all())
