"""Runs side by side, a colour a run: breakdown along the last slices, constants and step limits through training."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import pandas as pd  # type: ignore[import-untyped, unused-ignore]
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import LogLocator

from figures import style
from figures.curves import Curve, in_panel, table
from figures.drawing import draw_curve, note_if_empty, set_log_limits
from figures.labels import (
    Progress,
    checkpoint_names,
    set_progress_axis,
    shortened,
    training_progress,
    weight_layers,
)
from figures.legends import EVERYBODYS, gathered_legend
from figures.network import Network
from figures.slices import breakdown_curves, trust_curves
from figures.steps import INFINITE, UNREACHED, ZERO, draw_arrows, unreached_limits
from figures.zeros import show_zeros

__all__ = [
    "draw_compared_breakdown",
    "draw_compared_constants",
    "draw_compared_limits",
    "numbers_of_compared_breakdown",
    "numbers_of_compared_constants",
    "numbers_of_compared_limits",
]

_LARGEST = "largest_constant"
_DASH, _GAP = 3.0, 1.5
_ALIKE = 0.05
"""Lines that are nowhere further apart than this share of their height hide each other."""
_MARKERS = "osDv^P*X"


def draw_compared_breakdown(networks: Sequence[Network]) -> Figure:
    """The input layer's breakdown of each run's last checkpoint along η, its deep relative trust dashed.

    Args:
        networks: with ``gradient_change`` among the measurements, ``deep_relative_trust`` and ``above_noise`` in the
            summary.
    """
    with style.context():
        figure, ax = _new()
        ax.set_xscale("log")
        ax.set_yscale("log")
        pairs = _breakdowns(networks)
        looks = _looks(networks)
        for (curve, _), look in zip(pairs, looks, strict=True):
            draw_curve(ax, curve, color=look["color"], label=curve.panel)
        _draw_dashed(ax, [trust for _, trust in pairs], looks, "deep relative trust (dashed)")
        ax.set_xlabel("perturbation strength η")
        ax.xaxis.set_major_locator(LogLocator(numticks=7))
        ax.set_ylabel("gradient breakdown, input layer,\nlast checkpoint")
        curves = [curve for pair in pairs for curve in pair]
        set_log_limits(ax, curves, lower=1e-2, upper=10.0)
        return _finished(figure, ax, curves, "no breakdown was measured")


def draw_compared_constants(networks: Sequence[Network]) -> Figure:
    """Each run's effective constant at η₀, of its worst layer, through training; dashed, the model's 1.

    Args:
        networks: with ``largest_constant`` (checkpoint) in the summary.
    """
    with style.context():
        figure, ax = _new()
        ax.set_yscale("log")
        curves = _constants(networks)
        for curve, look in zip(curves, _looks(networks), strict=True):
            draw_curve(ax, curve, overflow="infinite", label=curve.panel, **look)
        ax.axhline(1.0, color="black", linestyle="--", linewidth=1.0, label="deep relative trust: $C = 1$")
        ax.yaxis.set_major_locator(LogLocator(numticks=6))
        ax.set_ylabel(r"effective constant $C$ at $\eta_0$")
        set_progress_axis(ax, _progress(networks))
        return _finished(figure, ax, curves, "no constant could be measured")


def draw_compared_limits(networks: Sequence[Network]) -> Figure:
    """Each run's measured step limit through training, and dashed what Lemma 2 allows.

    Where the loss had not come back when the search ended, an arrow points upwards from there.

    Args:
        networks: with ``measured``, ``searched_to`` and ``lemma2`` (checkpoint) among the limits.
    """
    with style.context():
        figure, ax = _new()
        ax.set_yscale("log")
        triples = _limits(networks)
        looks = _looks(networks)
        for (measured, beyond, _), look in zip(triples, looks, strict=True):
            draw_curve(ax, measured, overflow=INFINITE, label=measured.panel, zero=ZERO, **look)
            draw_arrows(ax, beyond, color=look["color"], label=UNREACHED)
        _draw_dashed(ax, [lemma2 for *_, lemma2 in triples], looks, "Lemma 2 (dashed)", zero=ZERO)
        ax.yaxis.set_major_locator(LogLocator(numticks=6))
        ax.set_ylabel("measured step limit on η")
        set_progress_axis(ax, _progress(networks))
        curves = [curve for triple in triples for curve in triple]
        return _finished(figure, ax, curves, "no step limit is known")


def numbers_of_compared_breakdown(networks: Sequence[Network]) -> pd.DataFrame:
    """What ``draw_compared_breakdown`` draws, one row a point; ``panel`` says of which run."""
    return table(curve for pair in _breakdowns(networks) for curve in pair)


def numbers_of_compared_constants(networks: Sequence[Network]) -> pd.DataFrame:
    """What ``draw_compared_constants`` draws, one row a point; ``panel`` says of which run."""
    return table(_constants(networks))


def numbers_of_compared_limits(networks: Sequence[Network]) -> pd.DataFrame:
    """What ``draw_compared_limits`` draws, one row a point; ``panel`` says of which run."""
    return table(curve for triple in _limits(networks) for curve in triple)


def _breakdowns(networks: Sequence[Network]) -> list[tuple[Curve, Curve]]:
    """For each run the last checkpoint's breakdown and deep relative trust."""
    found = []
    for network in networks:
        data, summary = network.measurements, network.summary
        curve = breakdown_curves(data, summary, weight_layers(data)[0])[-1]
        trust = trust_curves(data, summary)[-1]
        found.append((replace(curve, panel=network.title), replace(trust, panel=network.title)))
    return found


def _constants(networks: Sequence[Network]) -> list[Curve]:
    values = [network.summary[_LARGEST].values for network in networks]
    return _through_training(networks, values, "largest constant", "constant")


def _limits(networks: Sequence[Network]) -> list[tuple[Curve, Curve, Curve]]:
    """For each run the measured limits, how far was searched where there is none, and Lemma 2's."""
    values = {
        "measured": [network.limits["measured"].values for network in networks],
        "searched_to": [unreached_limits(network.limits) for network in networks],
        "lemma2": [network.limits["lemma2"].values for network in networks],
    }
    measured, beyond, lemma2 = (_through_training(networks, own, name, "eta") for name, own in values.items())
    beyond = [replace(curve, kind="lower limits") for curve in beyond]
    return list(zip(measured, beyond, lemma2, strict=True))


def _through_training(
    networks: Sequence[Network], values: Sequence[Any], series: str, quantity: str
) -> list[Curve]:
    found: list[Curve] = []
    for network, y in zip(networks, values, strict=True):
        own = _places(network, _progress(networks).name)
        common: dict[str, Any] = {"checkpoint": tuple(checkpoint_names(network.measurements))}
        common |= {"log_x": False, "mark_all": True}
        curve = Curve(series, own.values, np.asarray(y, np.float64), own.name, quantity, **common)
        found += in_panel(network.title, [curve])
    return found


def _progress(networks: Sequence[Network]) -> Progress:
    """The axis that all runs share: steps or epochs where all know theirs, else positions, with the names in common."""
    names = {training_progress(network.measurements).name for network in networks}
    name = names.pop() if len(names) == 1 else "checkpoint"
    places = [_places(network, name) for network in networks]
    longest = max(places, key=lambda place: place.values.size)
    agree = all(place.labels == longest.labels[: place.values.size] for place in places)
    return longest if agree else replace(longest, labels=())


def _places(network: Network, name: str) -> Progress:
    """A run's checkpoints on the axis of that name."""
    own = training_progress(network.measurements)
    if own.name == name:
        return own
    labels = tuple(map(shortened, checkpoint_names(network.measurements)))
    return Progress(name, np.arange(own.values.size, dtype=np.float64), labels)


def _looks(networks: Sequence[Network]) -> list[dict[str, Any]]:
    """A colour and a marker for each run, so that ten and more can be told apart."""
    colors = style.category_colors([str(place) for place in range(len(networks))])
    return [
        {"color": color, "marker": _MARKERS[place % len(_MARKERS)], "markersize": 3}
        for place, color in enumerate(colors.values())
    ]


def _draw_dashed(
    ax: Axes, curves: Sequence[Curve], looks: Sequence[dict[str, Any]], label: str, *, zero: str = "zero"
) -> None:
    """A dashed line for each run in its colour, in the legend once and in grey.

    The dashes of lines that lie on each other alternate, so that each is seen.
    """
    one = _DASH + _GAP
    for place, (curve, look) in enumerate(zip(curves, looks, strict=True)):
        alike = [k for k, other in enumerate(curves) if k == place or _lie_together(curve, other)]
        dashes = (-one * alike.index(place), (_DASH, one * len(alike) - _DASH))
        marker = "_" if curve.shown.sum() == 1 else ""  # no line is seen of a single point
        draw_curve(ax, curve, color=look["color"], linestyle=dashes, marker=marker, label="_", zero=zero)
    if any(curve.shown.any() for curve in curves):
        ax.plot([], [], color=EVERYBODYS, linestyle=(0, (_DASH, _GAP)), label=label)


def _lie_together(one: Curve, other: Curve) -> bool:
    """Whether two curves cannot be told apart where both have points."""
    (x, y), (u, v) = ((curve.x[curve.shown], curve.y[curve.shown]) for curve in (one, other))
    if not (x.size and u.size):
        return False
    both = (x >= u.min()) & (x <= u.max())
    return bool(both.any()) and np.allclose(y[both], np.interp(x[both], u, v), rtol=_ALIKE, atol=0.0)


def _new() -> tuple[Figure, Axes]:
    """A figure one column wide, with room for a legend below, and its axes."""
    figure = Figure(figsize=(style.COLUMN_WIDTH, 3.2), layout="constrained")
    return figure, figure.subplots()


def _finished(figure: Figure, ax: Axes, curves: Sequence[Curve], empty: str) -> Figure:
    """The figure, which says so where there is nothing to show, with its legend."""
    note_if_empty(ax, curves, empty)
    show_zeros([ax])
    gathered_legend(figure, [ax])
    return figure
