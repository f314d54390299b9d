"""Envelopes: what was measured and what each claim allows, along one slice or through training.

Bounds reach 1e300 and beyond, so they arrive as log10 and are drawn on a linear axis of log10, ticked as
powers of ten. Where one runs far above the others the axis is cut, and says so.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd  # type: ignore[import-untyped, unused-ignore]
import xarray as xr
from matplotlib.axes import Axes
from matplotlib.ticker import FuncFormatter, LogLocator, MaxNLocator

from figures import style
from figures.curves import Curve, table
from figures.drawing import draw_curve, mark_edge, note_if_empty
from figures.labels import (
    checkpoint_names,
    checkpoint_position,
    claim_label,
    nearest_eta,
    training_progress,
)
from trust import measurements as variables

__all__ = [
    "Envelopes",
    "Panels",
    "about",
    "any_envelope",
    "cut_above",
    "draw_envelopes",
    "envelope_curves",
    "power_axis",
    "set_eta_axis",
    "training_curves",
]

Envelopes = Mapping[str, xr.Dataset]
"""For each claim's id ``log10_measured``, ``log10_measured_median`` and ``log10_bound``, and where known
``premises_hold`` (1, 0 or NaN) of the same dims; the attribute ``subject`` says what the claim speaks of."""

_WORST, _MEDIAN, _BOUND = "log10_measured", "log10_measured_median", "log10_bound"
_HOLD = "premises_hold"
_GAP = 8.0
"""How empty, in orders of magnitude, the axis may be before what lies above the gap is cut off."""
_TALL = 40.0
"""An axis of no more orders of magnitude than this is never cut."""
_HEADROOM = 2.0


def any_envelope(envelopes: Envelopes) -> xr.Dataset:
    """One of them, which has the coordinates of all.

    Raises:
        ValueError: there is none.
    """
    if not envelopes:
        raise ValueError("there is no claim to draw: give at least one envelope")
    return next(iter(envelopes.values()))


def about(envelopes: Envelopes, subject: str, *, layered: bool) -> dict[str, xr.Dataset]:
    """The envelopes of claims about ``subject``, with something measured, over layers or not."""
    return {
        claim: envelope
        for claim, envelope in envelopes.items()
        if envelope.attrs.get("subject", "function") == subject
        and "eta" in envelope.dims
        and ("layer" in envelope.dims) == layered
        and bool(envelope[_WORST].notnull().any())
    }


def envelope_curves(envelopes: Envelopes, checkpoint: str | int, layer: str = "") -> list[Curve]:
    """What was measured, once for all claims that speak of the same left side, then each claim's bound.

    Along η, at one checkpoint and of one layer. A left side is left out of which no claim has a finite bound anywhere,
    if another's has one.
    """
    first = any_envelope(envelopes)
    name = checkpoint_names(first)[checkpoint_position(first, checkpoint)]
    parts = {}
    for claim, envelope in envelopes.items():
        part = envelope.isel(checkpoint=checkpoint_position(envelope, checkpoint))
        parts[claim] = part.sel(layer=layer) if layer else part
    places = {
        claim: np.asarray(part[variables.ETA].values, dtype=np.float64) for claim, part in parts.items()
    }
    return _curves(
        parts, places, _measured_of(envelopes), x_name="eta", checkpoint=name, layer=layer, log_y=False
    )


def training_curves(envelopes: Envelopes, eta: float) -> list[Curve]:
    """The same through training, at the measured η nearest to ``eta``; every bound beyond the axis is marked."""
    progress = training_progress(any_envelope(envelopes))
    names = tuple(checkpoint_names(any_envelope(envelopes)))
    parts = {
        claim: envelope.isel(eta=nearest_eta(envelope, eta)).transpose("checkpoint")
        for claim, envelope in envelopes.items()
    }
    places = dict.fromkeys(envelopes, progress.values)
    looks = {"log_x": False, "log_y": False, "mark_all": True}
    return _curves(parts, places, _measured_of(envelopes), x_name=progress.name, checkpoint=names, **looks)


def _measured_of(envelopes: Envelopes) -> list[str]:
    """The claims whose left sides are drawn: beside a bound that is nowhere finite there is nothing to compare."""
    finite = [claim for claim, envelope in envelopes.items() if bool(np.isfinite(envelope[_BOUND]).any())]
    return finite or list(envelopes)


def _curves(
    parts: Mapping[str, xr.Dataset],
    places: Mapping[str, npt.NDArray[np.float64]],
    measured_of: Sequence[str],
    **common: Any,
) -> list[Curve]:
    measured: list[Curve] = []
    bounds: list[Curve] = []
    seen: list[npt.NDArray[np.float64]] = []
    for claim, part in parts.items():
        x = places[claim]
        values = {key: np.asarray(part[key].values, dtype=np.float64) for key in (_WORST, _MEDIAN, _BOUND)}
        if claim in measured_of and not any(
            np.array_equal(values[_WORST], other, equal_nan=True) for other in seen
        ):
            suffix = f" ({claim_label(claim)})" if seen else ""
            seen.append(values[_WORST])
            for key, word in ((_WORST, "measured, worst example"), (_MEDIAN, "measured, median")):
                measured.append(Curve(word + suffix, x, values[key], y_name=key, **common))
        premises = np.asarray(part[_HOLD].values, dtype=np.float64) if _HOLD in part else None
        bounds.append(Curve(claim, x, values[_BOUND], y_name=_BOUND, premises=premises, **common))
    return measured + bounds


def cut_above(curves: Sequence[Curve]) -> float:
    """Where the y axis of these curves is to end, in log10: infinite where all of them fit.

    A bound far above everything else would squeeze the rest into a line. If all would take more than forty
    orders of magnitude, what lies above the lowest gap of more than eight is cut off. One bound is always left.
    """
    ends = [
        (float(curve.y[curve.shown].min()), float(curve.y[curve.shown].max()), curve.y_name == _BOUND)
        for curve in curves
        if curve.shown.any()
    ]
    bounds = sorted((low, high) for low, high, is_bound in ends if is_bound)
    if not bounds or max(high for _, high, _ in ends) - min(low for low, _, _ in ends) <= _TALL:
        return math.inf
    reached = max((high for _, high, is_bound in ends if not is_bound), default=bounds[0][0])
    if bounds[0][0] > reached + _GAP:
        reached = bounds[0][1]
    for low, high in bounds:
        if low <= reached + _GAP:
            reached = max(reached, min(high, reached + _GAP))
    return math.ceil(reached + _HEADROOM) if any(high > reached for _, high in bounds) else math.inf


@dataclass(frozen=True)
class Panels:
    """The curves of a figure's panels, and what they share.

    Attributes:
        curves: of each panel, all with the same end of the axis.
        labels: of each claim in the legend.
        order: of the claims in the legend, from the lowest bound to the highest.
        note: which claims are drawn nowhere, and why.
        cut: the end of the axis, in log10; infinite where all fits.
    """

    curves: list[list[Curve]]
    labels: dict[str, str]
    order: list[str]
    cut: float
    note: str

    @classmethod
    def of(cls, panels: Iterable[Iterable[Curve]]) -> Panels:
        """Panels that are drawn beside each other."""
        given = [list(curves) for curves in panels]
        cut = cut_above([curve for curves in given for curve in curves])
        found = [[replace(curve, cut=cut) for curve in curves] for curves in given]
        everything = [curve for curves in found for curve in curves]
        labels, note = _bound_labels(everything)
        return cls(found, labels, _by_height(everything), cut, note)

    @property
    def lowest(self) -> float:
        """The lowest point, in log10."""
        parts = [curve.y[curve.shown] for curves in self.curves for curve in curves]
        return min((float(part.min()) for part in parts if part.size), default=0.0)

    def numbers(self) -> pd.DataFrame:
        """What is drawn, one row a point."""
        return table(curve for curves in self.curves for curve in curves)


def _bound_labels(curves: Iterable[Curve]) -> tuple[dict[str, str], str]:
    """For each claim its name in the legend, and what a reader must know of its line in all panels together.

    Those that are drawn in none are in a note instead, which says why.
    """
    own: dict[str, list[Curve]] = {}
    for curve in curves:
        if curve.y_name == _BOUND:
            own.setdefault(curve.series, []).append(curve)
    drawn = {claim: parts for claim, parts in own.items() if any(curve.shown.any() for curve in parts)}
    why: dict[str, list[str]] = {}
    for claim, parts in own.items():
        if claim not in drawn:
            infinite = any(curve.overflowed.any() for curve in parts)
            why.setdefault("infinite" if infinite else "no number", []).append(_label(claim, parts))
    note = "; ".join(f"{word}: {', '.join(claims)}" for word, claims in why.items())
    return {claim: _label(claim, parts) for claim, parts in drawn.items()}, note and f"Not drawn, {note}"


def _label(claim: str, parts: Sequence[Curve]) -> str:
    label = claim_label(claim)
    shown = np.concatenate([curve.y[curve.shown] for curve in parts])
    if shown.size and shown.min() > parts[0].cut:
        low, high = math.floor(shown.min()), math.ceil(shown.max())
        label += f": above, $10^{{{low}}}$ to $10^{{{high}}}$"
    seen = [(curve, curve.shown if shown.size else curve.placed) for curve in parts]
    known = [curve.premises[where] for curve, where in seen if curve.premises is not None]
    truths = np.concatenate(known) if known else np.ones(0)
    if truths.size and (truths != 1).any():
        word = "premise fails" if (truths == 0).any() else "premise not known"
        label += f" ({word})" if (truths != 1).all() else f" ({word} where faint)"
    return label


def _by_height(curves: Iterable[Curve]) -> list[str]:
    """The claims from the lowest bound to the highest, at small η or late in training; infinite ones last."""
    heights: dict[str, float] = {}
    for curve in curves:
        if curve.y_name == _BOUND:
            known = curve.y[curve.shown]
            if known.size:
                heights[curve.series] = float(known[0 if curve.log_x else -1])
            heights.setdefault(curve.series, math.inf)
    return sorted(heights, key=lambda claim: heights[claim])


def draw_envelopes(ax: Axes, panels: Panels, panel: int, claims: Sequence[str]) -> None:
    """What was measured in black, with a band from the median to the worst, and a line for each claim.

    A bound is thin and faint wherever one of its premises fails. Lines enter the legend from the lowest to
    the highest.

    Args:
        ax: where.
        panels: what the figure shows.
        panel: which of them this is.
        claims: all that are drawn: their colours depend on it.
    """
    curves = panels.curves[panel]
    looks = style.claim_looks(claims)
    greys = ["0.0", "0.45", "0.65"]
    left = [curve for curve in curves if curve.y_name != _BOUND]
    for k, (worst, median) in enumerate(zip(left[::2], left[1::2], strict=True)):
        grey = greys[min(k, len(greys) - 1)]
        both = worst.shown & median.shown
        ax.fill_between(worst.x, median.y, worst.y, where=both.tolist(), color=grey, alpha=0.15, linewidth=0)
        draw_curve(ax, worst, color=grey, label=worst.series)
        draw_curve(ax, median, color=grey, linestyle="--", linewidth=0.8, marker="", label=median.series)
    bounds = {curve.series: curve for curve in curves if curve.series in panels.labels}
    for claim in sorted(bounds, key=panels.order.index):
        color, dash = looks[claim]
        _draw_bound(ax, bounds[claim], color=color, dash=dash, label=panels.labels[claim])
    power_axis(ax)
    if math.isfinite(panels.cut):
        ax.set_ylim(panels.lowest - 0.05 * (panels.cut - panels.lowest), panels.cut)
    note_if_empty(ax, curves, "nothing that can be drawn")


def _draw_bound(ax: Axes, curve: Curve, *, color: Any, dash: Any, label: str) -> None:
    marker = "" if curve.log_x else "o"
    weak = ~curve.proven & curve.placed
    look: dict[str, Any] = {"linestyle": dash, "marker": marker, "markersize": 2.2, "marks": False}
    faint = {**look, "linewidth": 0.8, "alpha": 0.7, "markerfacecolor": "white", "markeredgewidth": 0.6}
    strong = {**look, "linewidth": 1.3}
    if weak.all() or not weak.any():
        draw_curve(ax, curve, color=color, label=label, **(faint if weak.any() else strong))
    else:
        draw_curve(ax, curve, color=color, label="_faint", **faint)
        held = replace(curve, y=np.where(weak, np.nan, curve.y), cut=math.inf)
        draw_curve(ax, held, color=color, label=label, **strong)
    for x in curve.x[curve.marked_above & curve.proven]:
        mark_edge(ax, float(x), color=color, label="bound turns infinite")
    for x in curve.x[curve.marked_above & ~curve.proven]:
        mark_edge(ax, float(x), color=color, label="bound ends: a premise fails")
    above = f"bound runs above $10^{{{curve.cut:g}}}$, where the axis is cut"
    for x in curve.x[curve.marked_above_axis]:
        mark_edge(ax, float(x), color=color, label=above, hollow=True)


def set_eta_axis(ax: Axes, curves: Sequence[Curve]) -> None:
    """The log axis of η, just wide enough for the curves."""
    ax.set_xscale("log")
    positive = [curve.x[curve.placed] for curve in curves]
    ends = np.concatenate(positive) if positive else np.empty(0)
    if ends.size and ends.min() < ends.max():
        ax.set_xlim(ends.min() / 1.3, ends.max() * 1.3)
    ax.xaxis.set_major_locator(LogLocator(numticks=7))
    ax.set_xlabel("perturbation strength η")


def power_axis(ax: Axes) -> None:
    """Ticks of log10 as powers of ten."""
    ax.yaxis.set_major_locator(MaxNLocator(nbins=5, integer=True, min_n_ticks=1))
    ax.yaxis.set_major_formatter(FuncFormatter(_power))


def _power(value: float, _: int | None = None) -> str:
    return f"$10^{{{value:g}}}$"
