"""The predicted step limit on losses whose limit is known, and on networks against the search's."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
import xarray as xr
from hypothesis import given
from hypothesis import strategies as st
from torch import nn

from probes.measures.loss_search import Look
from probes.measures.predicted_limit import FIRST
from probes.measures.settings import SliceSettings
from probes.slices.slice import measure_slice
from tests.probes.measures.curves import power, predict


@pytest.mark.parametrize("limit", [2e-4, 2e-3, 0.02, 0.7, 4.0])
@pytest.mark.parametrize("exponent", [0.5, 1.0, 2.0, 5.0])
def test_powers_above_the_tangent(limit: float, exponent: float) -> None:
    found, asked = predict(power(exponent, limit))
    assert 0.8 <= found / limit < 1
    if exponent == 1 and limit == 0.02:
        assert len(asked) <= 3  # of a quadratic loss the second gradient lies at the limit already


@pytest.mark.parametrize("limit", [2e-3, 0.02, 0.2])
def test_a_descent_that_grows_steeper_first(limit: float) -> None:
    """The slope does not grow at the first gradient, or its secant is many times too large."""
    found, _ = predict(power(3.0, limit, dip=1.0))
    assert 0.8 <= found / limit < 1


@pytest.mark.parametrize("bad", [math.inf, math.nan])
@pytest.mark.parametrize("limit", [5e-4, 0.01, 0.06])
def test_a_loss_that_is_no_number_is_never_predicted(bad: float, limit: float) -> None:
    found, _ = predict(lambda eta: (1 - eta, -1.0) if eta < limit else (bad, bad))
    assert 0.5 * limit < found < limit  # a cliff tells nothing of where it is: six losses halve the bracket


def test_no_descent_that_is_seen_is_no_prediction() -> None:
    found, _ = predict(lambda eta: (1 + eta, -1.0 if eta == 0 else 1.0))
    assert found == 0


def test_never_back() -> None:
    found, _ = predict(lambda eta: (math.exp(-eta), -math.exp(-eta)))
    assert found > 1  # as far as six losses go


@given(
    bumps=st.lists(
        st.tuples(st.floats(1e-3, 0.1), st.floats(1e-3, 0.3), st.floats(0.05, 0.5)), min_size=0, max_size=3
    ),
    limit=st.floats(2e-3, 2.0),
)
def test_nothing_that_was_seen_to_rise_is_predicted(
    bumps: list[tuple[float, float, float]], limit: float
) -> None:
    """Whatever the loss; :func:`predict` asserts it."""

    def curve(eta: float) -> tuple[float, float]:
        loss, slope = 1 - eta + eta**2 / limit, -1 + 2 * eta / limit
        for height, place, share in bumps:
            bump = height * math.exp(-(((eta - place) / (share * place)) ** 2))
            loss, slope = loss + bump, slope - 2 * (eta - place) / (share * place) ** 2 * bump
        return loss, slope

    if curve(0.0)[1] < 0:
        predict(curve)


def found_of(**options: Any) -> xr.Dataset:
    torch.manual_seed(0)
    network = nn.Sequential(nn.Linear(6, 12), nn.Tanh(), nn.Linear(12, 4)).double()
    x, y = torch.randn(40, 6, dtype=torch.float64), torch.arange(40) % 4
    settings: dict[str, Any] = {"ladder": False, "spectra": "none", "curvature": None, "dtype": "float64"}
    etas = options.pop("etas", np.array([0.0, 1e-3, 1e-2, 0.1, 0.5, 1.0]))
    return measure_slice(network, x, y, settings=SliceSettings(etas=etas, **settings | options))


def test_of_a_network_it_is_near_the_measured_limit_and_safe() -> None:
    found = found_of()
    limit, predicted = found["step_limit"].item(), found["predicted_limit"].item()
    assert 0.8 * limit < predicted < 1.01 * limit
    assert found["predicted_limit_gradients"].item() == 2
    assert 0 <= found["predicted_limit_losses"].item() <= 6


def test_it_reads_nothing_of_the_grid() -> None:
    one, other = found_of(), found_of(etas=np.array([0.0, 1e-4]), layers="first")
    for name in ("predicted_limit", "predicted_limit_gradients", "predicted_limit_losses"):
        assert one[name].item() == other[name].item()


def test_its_slopes_are_those_of_finite_differences(monkeypatch: pytest.MonkeyPatch) -> None:
    taken: list[Look] = []

    def keep(loss: Callable[[float], float], looks: list[Look], **_: float) -> tuple[float, int]:
        taken.extend(looks)
        return 0.5, 0

    monkeypatch.setattr("probes.measures.predicted_limit.safe_step", keep)
    found_of()
    assert taken[0].eta == FIRST
    step = 1e-4  # central differences err by step² times the third derivative, and by rounding of some 1e-16/step
    for look in taken:
        etas = np.array([0.0, look.eta - step, look.eta, look.eta + step])
        losses = found_of(etas=etas, measure=("breakdown",))["loss"].values[0]
        assert look.loss == pytest.approx(losses[2], rel=1e-12)
        assert look.slope == pytest.approx((losses[3] - losses[1]) / (2 * step), rel=1e-4, abs=1e-7)


@pytest.mark.parametrize("seed", [0, 1, 2])
def test_where_the_loss_rises_at_once_there_is_nothing_to_predict(seed: int) -> None:
    found = found_of(direction="noise", seed=seed)
    rises = found["slope_at_zero"].item() >= 0
    assert (found["predicted_limit"].item() == 0) == rises
    assert found["predicted_limit_gradients"].item() == (0 if rises else 2)
