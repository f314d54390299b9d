"""One call to each figure: the same as a report's, from measurements alone."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
import torch
import xarray as xr
from matplotlib.figure import Figure

from analysis import find
from figures import draw_figure1, draw_ladder
from figures.envelopes import about
from probes import InputError, SliceSettings, measure_slice
from studies import show


@pytest.fixture(scope="module")
def found() -> xr.Dataset:
    """Everything that figures show, of one network."""
    torch.manual_seed(0)
    network = torch.nn.Sequential(torch.nn.Linear(4, 6), torch.nn.ReLU(), torch.nn.Linear(6, 3))
    settings = SliceSettings(etas=[0, 1e-4, 0.01, 0.1], pattern=5, split="slice", jacobian=2)
    return measure_slice(network, torch.randn(20, 4), torch.arange(20) % 3, settings=settings)


def lines(figure: Figure) -> list[np.ndarray]:
    """What a figure's lines show."""
    return [np.asarray(line.get_xydata()) for ax in figure.axes for line in ax.lines]


ONE: dict[str, tuple[Callable[[xr.Dataset], Figure], int]] = {
    "figure1": (show.figure1, 3),
    "limits": (show.limits, 1),
    "constants": (show.constants, 1),
    "split": (show.split, 1),
    "residuals_held": (show.residuals_held, 2),
    "ladder": (show.ladder, 1),
    "slack": (show.slack, 1),
    "labels": (show.labels, 1),
    "jacobian": (show.jacobian, 1),
}


@pytest.mark.parametrize("name", ONE)
def test_each_figure_takes_one_call(name: str, found: xr.Dataset) -> None:
    draw, least = ONE[name]
    before = found.copy(deep=True)
    figure = draw(found)
    figure.draw_without_rendering()
    assert len(figure.axes) >= least
    assert (
        any(np.isfinite(points).all(1).any() for points in lines(figure) if points.size)
        or figure.axes[0].patches
    )
    xr.testing.assert_identical(found, before)
    assert set(ONE) | {"comparison", "network"} == set(show.__all__)


def test_it_is_the_figure_of_the_report(found: xr.Dataset) -> None:
    findings = find(found, title="")
    pairs = [
        (show.figure1(found), draw_figure1([findings])),
        (show.ladder(found), draw_ladder(about(findings.envelopes, "function", layered=False))),
    ]
    for one, other in pairs:
        drawn = lines(one)
        assert len(drawn) > 3
        for mine, theirs in zip(drawn, lines(other), strict=True):
            np.testing.assert_array_equal(mine, theirs)


def test_several_runs_stand_beside_each_other(found: xr.Dataset) -> None:
    figure = show.figure1({"one": found, "another": found})
    assert [ax.get_title(loc="left") for ax in figure.axes if ax.get_title(loc="left")][:2] == [
        "one",
        "another",
    ]
    assert len(show.limits({"one": found, "another": found}).axes) == 2
    compared = show.comparison({"one": found, "another": found})
    assert set(compared) == {"breakdown", "constants", "limits"}


@pytest.mark.parametrize(
    ("name", "setting"),
    [
        ("split", "split='small'"),
        ("residuals_held", "split='slice'"),
        ("ladder", "samples=200"),
        ("slack", "ladder=True"),
        ("labels", "pattern=50"),
        ("jacobian", "jacobian=8"),
    ],
)
def test_what_was_not_measured_is_said(name: str, setting: str) -> None:
    torch.manual_seed(0)
    network = torch.nn.Sequential(torch.nn.Linear(4, 6), torch.nn.ReLU(), torch.nn.Linear(6, 3))
    split = "small" if name == "residuals_held" else "none"
    settings = SliceSettings(etas=[0, 1e-4, 0.01], split=split, ladder=False, samples=0)
    bare = measure_slice(network, torch.randn(20, 4), torch.arange(20) % 3, settings=settings)
    with pytest.raises(InputError, match=f"measure it with `{setting}`$"):
        ONE[name][0](bare)


@pytest.mark.parametrize("given", ["x", {"a run": "x"}, None])
def test_what_are_no_measurements_is_said_in_a_line(given: object) -> None:
    for call in (show.figure1, show.limits, show.comparison):
        with pytest.raises(InputError, match="not measurements; give the dataset that probes"):
            call(given)  # type: ignore[operator]


def test_a_module_and_data_are_one_call_too() -> None:
    torch.manual_seed(0)
    network = torch.nn.Sequential(torch.nn.Linear(4, 6), torch.nn.ReLU(), torch.nn.Linear(6, 3))
    x, y = torch.randn(20, 4), torch.arange(20) % 3
    settings = SliceSettings(etas=[0, 1e-4, 0.01])
    drawn = show.network(network, x, y, settings=settings)
    expected = show.figure1(measure_slice(network, x, y, settings=settings))
    for one, other in zip(lines(drawn), lines(expected), strict=True):
        np.testing.assert_array_equal(one, other)
    by_default, whole = show.network(network, x, y), show.figure1(measure_slice(network, x, y))
    for one, other in zip(lines(by_default), lines(whole), strict=True):
        np.testing.assert_array_equal(one, other)
    with pytest.raises(InputError, match="not a torch module"):
        show.network({}, x, y)  # type: ignore[arg-type]
