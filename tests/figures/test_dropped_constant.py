"""The study's small multiples: each network in its place, medians as lines, and everything between in a band."""

import numpy as np
import xarray as xr

from figures import draw_dropped_constant, numbers_of_dropped_constant

NETWORKS = {"a": (2, "plain"), "b": (16, "plain"), "c": (16, "residual")}
QUANTITIES = ["constant", "frozen_constant", "mean_example", "median_example", "theorem1b"]


def found() -> xr.Dataset:
    rng = np.random.default_rng(0)
    middle = 10.0 ** rng.uniform(0, 2, (3, 4, 2, 5, 1))
    depths, kinds = zip(*NETWORKS.values(), strict=True)
    accuracy = rng.uniform(size=(3, 4, 1)) * np.array([0.9, 1.0, 1.1])
    return xr.Dataset(
        {
            "value": (
                ("network", "checkpoint", "place", "quantity", "statistic"),
                middle * [0.5, 1.0, 3.0],
            ),
            "accuracy": (("network", "checkpoint", "statistic"), accuracy),
        },
        {
            "network": list(NETWORKS),
            "depth": ("network", list(depths)),
            "kind": ("network", list(kinds)),
            "checkpoint": np.linspace(0, 1, 4),
            "place": ["largest", "input"],
            "quantity": QUANTITIES,
            "statistic": ["low", "median", "high"],
        },
    )


def test_each_network_has_its_place_and_its_numbers():
    data = found()
    figure = draw_dropped_constant(data)
    figure.draw_without_rendering()
    shown = [ax for ax in figure.axes if ax.axison]
    accuracy = data.accuracy.sel(statistic="median").isel(checkpoint=-1).values
    titles = [
        f"{depth} layers, {kind} (accuracy {a:.2f})"
        for (depth, kind), a in zip(NETWORKS.values(), accuracy, strict=True)
    ]
    assert [ax.get_title() for ax in shown] == titles
    assert [bool(ax.get_ylabel()) for ax in shown] == [True, False, True]
    assert [bool(ax.get_xlabel()) for ax in shown] == [True, False, True]
    for place, ax in enumerate(shown):
        value = data.value.isel(network=place).sel(place="largest")
        for quantity, line, band in zip(QUANTITIES, ax.lines[:5], ax.collections, strict=True):
            np.testing.assert_array_equal(line.get_xdata(), data.checkpoint)
            np.testing.assert_array_equal(line.get_ydata(), value.sel(quantity=quantity, statistic="median"))
            ys = band.get_paths()[0].vertices[:, 1]
            assert ys.min() == value.sel(quantity=quantity).min()
            assert ys.max() == value.sel(quantity=quantity).max()
    (legend,) = figure.legends
    assert legend.get_window_extent().x0 >= 0
    numbers = numbers_of_dropped_constant(data)
    assert len(numbers) == 3 * 5 * 3 * 4
    one = numbers[(numbers.panel == "16 layers, residual") & (numbers.series == "C, residuals held, high")]
    np.testing.assert_array_equal(one.y, data.value[2, :, 0, 1, 2])


def test_what_is_not_known_is_drawn_as_a_gap():
    data = found()
    data["value"][1] = np.nan
    figure = draw_dropped_constant(data)
    figure.draw_without_rendering()
    assert [len(ax.texts) for ax in figure.axes if ax.axison] == [0, 1, 0]
