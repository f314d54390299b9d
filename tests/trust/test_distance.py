"""Deep relative trust: closed forms, both ends of the float range, networks, bad input."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
import xarray as xr
from hypothesis import given, settings
from hypothesis import strategies as st

from trust import (
    deep_relative_trust,
    distance_between,
    euclidean_distance,
    log10_deep_relative_trust,
    relative_perturbations,
)


def test_closed_forms() -> None:
    assert deep_relative_trust([0.5, 1.0]) == pytest.approx(2.0, rel=1e-15)
    assert deep_relative_trust([]) == 0
    assert deep_relative_trust([0.0, 0.0]) == 0
    assert log10_deep_relative_trust([9.0, 9.1]) == pytest.approx(2, rel=1e-14)  # 10·10.1 − 1 = 100
    assert isinstance(deep_relative_trust([0.5]), float)


def test_tiny_perturbations_keep_their_digits() -> None:
    # ∏(1 + r) − 1 computed as it is written would give 0.
    assert deep_relative_trust([1e-20, 2e-20]) == pytest.approx(3e-20, rel=1e-14, abs=0)
    assert log10_deep_relative_trust([1e-20, 2e-20]) == pytest.approx(math.log10(3e-20), rel=1e-14)
    assert log10_deep_relative_trust([1e-320]) == pytest.approx(-320, abs=1e-3)  # subnormal: four digits


def test_huge_distances_stay_finite_in_log10() -> None:
    many = np.full(1000, 1e300)
    assert deep_relative_trust(many) == np.inf
    assert log10_deep_relative_trust(many) == pytest.approx(300_000, rel=1e-12)
    assert log10_deep_relative_trust([np.finfo(float).max]) == pytest.approx(308.2547, abs=1e-4)


def test_infinities() -> None:
    assert log10_deep_relative_trust([0.0, 0.0]) == -np.inf
    assert log10_deep_relative_trust([]) == -np.inf
    assert log10_deep_relative_trust([0.1, np.inf]) == np.inf
    assert deep_relative_trust([0.1, np.inf]) == np.inf


def test_axes_and_kinds() -> None:
    r = np.array([[0.5, 1.0], [0.0, 3.0]])
    np.testing.assert_allclose(deep_relative_trust(r), [2, 3])
    np.testing.assert_allclose(deep_relative_trust(r, axis=0), [0.5, 7])
    np.testing.assert_allclose(log10_deep_relative_trust(r, axis=0), np.log10([0.5, 7]))
    np.testing.assert_allclose(deep_relative_trust(xr.DataArray(r, dims=("eta", "layer"))), [2, 3])
    np.testing.assert_allclose(deep_relative_trust(torch.tensor(r, dtype=torch.bfloat16)), [2, 3])


@pytest.mark.parametrize("function", [deep_relative_trust, log10_deep_relative_trust])
@pytest.mark.parametrize(
    ("bad", "message"),
    [([-0.1], "negative"), ([0.1, np.nan], "1 NaN"), (0.5, "0 axes"), (None, "real numbers")],
)
def test_bad_input(function, bad: object, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        function(bad)


@settings(max_examples=200)
@given(r=st.lists(st.floats(0, 1e6), min_size=1, max_size=12), extra=st.floats(0, 1e6))
def test_properties(r: list[float], extra: float) -> None:
    """Σr ≤ D ≤ e^Σr − 1; log10 agrees; another layer composes as (1 + D)(1 + r) − 1."""
    D, log10_D = float(deep_relative_trust(r)), float(log10_deep_relative_trust(r))
    # expm1 of a sum s of up to 12·14 = 168 turns the sum's 12ε relative error into 168·12ε = 4.5e-13.
    tolerance = 1e-12
    assert sum(r) <= D * (1 + tolerance) + 1e-300
    assert log10_D <= sum(r) / math.log(10) + 1e-12 or math.expm1(sum(r)) * (1 + tolerance) >= D
    if D > 0:
        assert log10_D == pytest.approx(math.log10(D), rel=1e-12, abs=1e-12)
    longer = float(deep_relative_trust([*r, extra]))
    assert longer == pytest.approx(D + extra + D * extra, rel=tolerance, abs=0)


def networks() -> tuple[dict[str, object], dict[str, object]]:
    before = {
        "conv.weight": np.full((2, 3, 2, 2), 2.0),
        "conv.bias": np.zeros(2),
        "fc.weight": torch.eye(4, requires_grad=True),
        "fc.bias": torch.ones(4),
        "count": torch.tensor(3),
    }
    after = {
        "fc.bias": torch.ones(4) * 3,
        "fc.weight": torch.eye(4) * 1.5,
        "conv.bias": np.ones(2),
        "conv.weight": np.full((2, 3, 2, 2), 2.5),
        "count": torch.tensor(3),
    }
    return before, after


def test_distances_between_networks() -> None:
    before, after = networks()
    relative = relative_perturbations(before, after)
    assert list(relative) == ["conv.weight", "fc.weight"]
    assert relative == pytest.approx({"conv.weight": 0.25, "fc.weight": 0.5})
    everything = relative_perturbations(before, after, weights_only=False)
    assert everything["conv.bias"] == np.inf  # it was zero, and moved
    assert everything["fc.bias"] == pytest.approx(2)
    assert everything["count"] == 0
    assert distance_between(before, after) == pytest.approx(1.25 * 1.5 - 1)
    # 24 entries moved by 1/2, 2 by 1, 4 by 1/2, 4 by 2
    assert euclidean_distance(before, after) == pytest.approx(np.sqrt(24 / 4 + 2 + 4 / 4 + 4 * 4))
    assert distance_between(before, before) == 0
    assert euclidean_distance(before, before) == 0


def test_networks_that_do_not_match_are_refused_by_name() -> None:
    before, after = networks()
    with pytest.raises(ValueError, match=r"'fc.bias' is in before but not in after"):
        distance_between(before, {k: v for k, v in after.items() if k != "fc.bias"})
    with pytest.raises(ValueError, match=r"'extra' is in after but not in before"):
        relative_perturbations(before, {**after, "extra": 1.0})
    with pytest.raises(ValueError, match=r"'fc.weight' has shape \(4, 4\) before but \(4, 5\) after"):
        euclidean_distance(before, {**after, "fc.weight": np.ones((4, 5))})
    with pytest.raises(ValueError, match=r"'fc.weight' after has 16 NaN or infinite entries"):
        distance_between(before, {**after, "fc.weight": np.full((4, 4), np.nan)})
    with pytest.raises(ValueError, match="no weight matrices"):
        distance_between({"b": np.ones(3)}, {"b": np.ones(3)})
