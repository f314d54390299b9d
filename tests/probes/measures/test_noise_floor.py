"""The noise floor is rounding, all of it, and nothing else."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
import xarray as xr
from torch import Tensor, nn

from analysis import Status, check_measurements, judge, summarise
from analysis.constants import constants_known
from analysis.selfchecks import Outcome
from analysis.wording import gradientless, noise_line
from probes import SliceSettings, measure_slice
from probes.measures import noise_floor
from probes.measures.noise_floor import two_precisions
from tests.probes.slices.examples import measured
from tests.support.reference import make, make_data
from trust.claims.quantities import whole_noise


def test_the_noise_floor_is_rounding_and_nothing_else() -> None:
    network, (x, y) = make(), make_data()
    single, exact = measured(network, x, y, dtype="float32"), measured(network, x, y)
    # sums of 37 terms: a few units of rounding, never a thousand
    assert 2**-30 < float(single["noise_floor"].max()) < 1000 * 2**-24
    assert float(exact["noise_floor"].max()) < 1000 * 2**-53
    assert float(single["loss_noise_floor"]) < 100 * 2**-24


def test_the_noise_floor_sees_what_repetition_cannot() -> None:
    network, (x, y) = make((6, 3)), make_data()
    with torch.no_grad():
        network.layers[0].bias += 1e6  # softmax ignores it, but float32 rounds outputs of this size to 1/16
    single, exact = measured(network, x, y, dtype="float32"), measured(network, x, y)
    error = abs(single["gradient_norm"][0] / exact["gradient_norm"][0] - 1)
    assert (error > 1e-4).all()
    # the relative error of a norm is at most that of the vector; the sample is the whole data here
    assert (error <= single["noise_floor"] * 1.001).all()
    assert float(single["noise_floor"].max()) < 0.2


@pytest.mark.parametrize(
    ("examples", "points", "sampled"), [(40, 3, 8), (100, 21, 10), (37, 999, 37), (900, 99, 200)]
)
def test_the_sample_in_float64_is_small_beside_the_slice(
    examples: int, points: int, sampled: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One of 200 evaluations of an example, within its bounds and the data."""
    network, (x, y) = make((6, 3)), make_data()
    rows = torch.arange(examples) % len(x)
    seen: list[int] = []

    def counted(evaluator: Any, count: int, *, together: bool) -> Any:
        seen.append(count)
        return two_precisions(evaluator, count, together=together)

    monkeypatch.setattr(noise_floor, "two_precisions", counted)
    etas = np.concatenate([[0.0], np.geomspace(1e-4, 0.1, points - 1)])
    measured(network, x[rows], y[rows], dtype="float32", etas=etas, measure=("breakdown",))
    assert seen == [sampled]


class Attention(nn.Module):
    """One head over the rows of an example; softmax does not see what the key's bias adds to all its arguments."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(3)
        self.query, self.key, self.value, self.out = (nn.Linear(6, 6) for _ in range(4))
        self.head = nn.Linear(6, 3)

    def forward(self, x: Tensor) -> Tensor:
        scores = self.query(x) @ self.key(x).transpose(1, 2)
        found: Tensor = self.head(self.out(scores.softmax(-1) @ self.value(x)).tanh().mean(1))
        return found


def attention_slice(**settings: Any) -> xr.Dataset:
    torch.manual_seed(4)
    x, y = torch.randn(40, 5, 6), torch.randint(0, 3, (40,))
    chosen = SliceSettings(**{"etas": np.array([0.0, 1e-4, 1e-2, 0.1]), **settings})
    network = Attention()
    following = {
        name: (parameter + 0.01 * torch.randn_like(parameter)).detach()
        for name, parameter in network.named_parameters()
    }
    return measure_slice(network, x, y, settings=chosen, following=following)


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("direction", ["gradient", "noise", "update"])
def test_a_gradient_that_is_zero_by_construction_has_no_floor(dtype: str, direction: str) -> None:
    """Rounding alone against rounding alone is a floor of 6e8, or of any size."""
    found = attention_slice(dtype=dtype, direction=direction)
    without = found["noise_floor"].isnull().values[0]
    assert found["layer"].values[without].tolist() == ["key.bias"]
    assert float(found["noise_floor"].max()) < 1e-4
    assert gradientless(found) == ["key.bias"]
    assert "key.bias is zero but for rounding" in noise_line(found)
    # what depends on it: no constant, no angle, and no step along rounding
    key = found.sel(layer="key.bias")
    assert np.isnan(summarise(found)["constant"].sel(layer="key.bias")).all()
    assert np.isnan(key["perturbation_cosine"]).all()
    assert bool((key["perturbation_norm"] == 0).all()) is (direction == "gradient")
    assert constants_known(found)
    assert bool((whole_noise(found) < 1e-4 * found["gradient_norm"].isel(eta=0).max("layer")).all())
    assert {row.outcome for row in check_measurements(found)} <= {Outcome.PASSED, Outcome.COARSE}
    trust = next(one for one in judge(found) if one.claim == "deep-relative-trust-fitted")
    assert trust.status is not Status.NOT_MEASURED


def test_a_small_gradient_is_not_taken_for_none() -> None:
    """Sigmoids make the first gradients small, by factors and not by cancellation: they have a floor like any other."""
    torch.manual_seed(5)
    parts: list[nn.Module] = []
    for _ in range(12):
        parts += [nn.Linear(6, 6), nn.Sigmoid()]
    x, y = torch.randn(40, 6), torch.randint(0, 3, (40,))
    settings = SliceSettings(etas=np.array([0.0, 1e-3]), ladder=False)
    found = measure_slice(nn.Sequential(*parts, nn.Linear(6, 3)), x, y, settings=settings)
    sizes = found["gradient_norm"].isel(checkpoint=0, eta=0)
    assert float(sizes.min() / sizes.max()) < 1e-9
    assert float(found["noise_floor"].max()) < 1e-3
    assert bool(found["noise_floor"].notnull().all())
