"""Slices at several η at once against slices at one after the other."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import xarray as xr

import probes.slices.slice
from probes import InputError, SliceSettings, measure_slice
from probes.evaluation.perturbed_weights import PerturbedWeights
from tests.probes.evaluation.test_at_once import Branching
from tests.probes.slices.examples import CASES
from tests.support.reference import make, make_data
from tests.support.traces import picture

ETAS = [0.0, *np.geomspace(1e-3, 0.5, 10)]


def measured(network: Any, **settings: Any) -> xr.Dataset:
    chosen = SliceSettings(**{"etas": ETAS, "dtype": "float64", "chunk": 10, "limit": False, **settings})
    return measure_slice(network, *make_data(), settings=chosen)


@pytest.mark.parametrize("case", ["plain", "residual", "layer norm"])
@pytest.mark.parametrize("layers", ["all", "first"])
def test_several_at_once_change_nothing_but_rounding(case: str, layers: str) -> None:
    network = make(**CASES[case])
    before = picture(network)
    found, alone = (measured(network, layers=layers, etas_at_once=count, split="slice") for count in (4, 1))
    assert picture(network) == before
    assert [one.attrs.pop("etas_at_once") for one in (found, alone)] == [4, 1]
    assert found.attrs == alone.attrs
    # what is measured of a change at 10⁻³ has 10³ times rounding's 1e-16 in it, and sums of them
    xr.testing.assert_allclose(found, alone, rtol=1e-11, atol=1e-12)


def test_the_points_come_in_groups_and_each_is_reported(monkeypatch: pytest.MonkeyPatch) -> None:
    groups: list[list[float]] = []
    reported: list[int] = []
    together = PerturbedWeights.evaluate_together

    def watched(line: PerturbedWeights, etas: Any, **options: Any) -> Any:
        groups.append(list(etas))
        return together(line, etas, **options)

    monkeypatch.setattr(PerturbedWeights, "evaluate_together", watched)
    settings = SliceSettings(etas=ETAS, etas_at_once=4, measure=("breakdown",))
    measure_slice(make(), *make_data(), settings=settings, progress=reported.append)
    assert groups == [ETAS[1:5], ETAS[5:8], ETAS[8:]]
    assert reported == [1] * 11


def test_what_cannot_be_done_at_once_is_done_one_after_the_other() -> None:
    network = Branching()
    found, alone = (measured(network, etas_at_once=count) for count in (4, 1))
    xr.testing.assert_identical(found, alone)
    assert found.attrs["etas_at_once"] == 1


@pytest.mark.parametrize(
    ("settings", "count"),
    [
        ({}, 7),
        ({"etas_at_once": 3}, 3),
        ({"etas": ETAS}, 1),
        ({"direction": "adversarial"}, 1),
        ({"measure": ("spectra",)}, 1),
    ],
)
def test_it_is_settled_where_there_are_many_etas(
    monkeypatch: pytest.MonkeyPatch, settings: dict[str, Any], count: int
) -> None:
    monkeypatch.setattr(probes.slices.slice, "fastest_count", lambda _: 7)
    x, y = make_data()
    chosen = SliceSettings(**{"etas": np.linspace(0, 1, 100), "matmul": "torch", **settings})
    batches, loss, _ = probes.slices.slice._given(make(), x, y, None)
    settled = probes.slices.slice.settled_at_once(chosen, make(), batches, loss, 37)
    assert settled == count


def test_none_at_once_is_refused() -> None:
    with pytest.raises(InputError, match="`etas_at_once=0`: must be at least 1"):
        SliceSettings(etas_at_once=0)
