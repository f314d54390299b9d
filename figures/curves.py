"""Curves: what a figure draws, in one form that is both drawn and written down as numbers."""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass, replace
from typing import Literal

import numpy as np
import numpy.typing as npt
import pandas as pd  # type: ignore[import-untyped, unused-ignore]

__all__ = ["COLUMNS", "Curve", "in_panel", "table"]

COLUMNS = ("panel", "series", "checkpoint", "layer", "x_name", "x", "y_name", "y", "drawn_as")
"""Columns of every table of numbers, one row a point."""

Kind = Literal["line", "points", "bar", "error bars", "lower limits", "vertical line"]
Names = str | tuple[str, ...]
Floats = npt.NDArray[np.float64]


@dataclass(frozen=True)
class Curve:
    """Points that belong together, in order of x, and how honest axes treat each.

    Attributes:
        series: what it is, such as ``loss`` or ``deep relative trust``.
        x: positions.
        y: values; NaN where there is none.
        x_name: name of x in tables.
        y_name: name of y in tables.
        faded: True where a value is below its noise floor; None for nowhere.
        checkpoint: the name of the checkpoint it belongs to, or one for each point; empty for none.
        layer: the same of the layer.
        log_x: whether x is drawn on a log axis, which has no place for zero.
        log_y: the same for y.
        overflows: whether a missing value after a finite one means an overflow (otherwise only +inf does).
        mark_all: whether every overflow and every zero is marked (otherwise the first overflow).
        kind: what its points are drawn as; a vertical line has no y.
        panel: where it is drawn, in figures of several panels.
        premises: at each point 1 where the premises of a bound hold, 0 where one fails and NaN where it is not
            known; None for what has none.
        cut: where the y axis ends; the first value above it is marked at the edge.
    """

    series: str
    x: Floats
    y: Floats
    x_name: str
    y_name: str
    faded: npt.NDArray[np.bool_] | None = None
    checkpoint: Names = ""
    layer: Names = ""
    log_x: bool = True
    log_y: bool = True
    overflows: bool = False
    mark_all: bool = False
    kind: Kind = "line"
    panel: str = ""
    premises: Floats | None = None
    cut: float = math.inf

    @property
    def placed(self) -> npt.NDArray[np.bool_]:
        """Where x has a place on its axis."""
        finite = np.isfinite(self.x)
        return finite & (self.x > 0) if self.log_x else finite

    @property
    def shown(self) -> npt.NDArray[np.bool_]:
        """Where there is a point to draw: finite, and positive on log axes."""
        if self.kind == "vertical line":
            return self.placed
        finite = self.placed & np.isfinite(self.y)
        return finite & (self.y > 0) if self.log_y else finite

    @property
    def below_noise(self) -> npt.NDArray[np.bool_]:
        """The drawn points that lie below their noise floor."""
        return np.logical_and(self.shown, False if self.faded is None else self.faded)

    @property
    def overflowed(self) -> npt.NDArray[np.bool_]:
        """Where the value is +inf, or missing after a finite one where that means the same."""
        infinite = self.placed & np.isposinf(self.y)
        if not self.overflows:
            return infinite
        finite = np.isfinite(self.y)
        began = np.logical_or.accumulate(finite) if finite.size else finite
        return infinite | (self.placed & began & np.isnan(self.y))

    @property
    def marked_above(self) -> npt.NDArray[np.bool_]:
        """The overflows that get a mark at the upper edge."""
        return self._first_or_all(self.overflowed)

    @property
    def above_axis(self) -> npt.NDArray[np.bool_]:
        """The finite values that lie above the end of the axis."""
        return self.shown & (self.y > self.cut)

    @property
    def marked_above_axis(self) -> npt.NDArray[np.bool_]:
        """Those of them that get a mark at the upper edge."""
        return self._first_or_all(self.above_axis)

    def _first_or_all(self, where: npt.NDArray[np.bool_]) -> npt.NDArray[np.bool_]:
        return where if self.mark_all or not where.any() else where & (self.x == self.x[where].min())

    @property
    def proven(self) -> npt.NDArray[np.bool_]:
        """Where no premise is known to fail or unknown."""
        return np.ones(self.x.shape, dtype=np.bool_) if self.premises is None else self.premises == 1

    @property
    def marked_below(self) -> npt.NDArray[np.bool_]:
        """The zeros that get a mark in their strip."""
        if not (self.log_y and self.mark_all):
            return np.zeros(self.x.shape, dtype=np.bool_)
        return self.placed & np.isin(self.y, 0.0)

    def drawn_as(self) -> list[str]:
        """How each point is drawn.

        Its kind, ``below noise floor``, ``overflow`` and ``above the axis`` (at the edge), ``zero`` (in its strip),
        ``after overflow`` (past the mark) or ``not drawn``; of a bound that is drawn faint ``premise fails`` or
        ``premise not known``.
        """
        words = np.full(self.x.shape, "not drawn", dtype=object)
        words[self.shown] = self.kind
        words[self.below_noise] = "below noise floor"
        if self.premises is not None:
            words[self.shown & (self.premises == 0)] = "premise fails"
            words[self.shown & np.isnan(self.premises)] = "premise not known"
        words[self.above_axis] = "above the axis"
        words[self.overflowed] = "after overflow"
        words[self.marked_above] = "overflow"
        words[self.marked_below] = "zero"
        return [str(word) for word in words]


def in_panel(panel: str, curves: Iterable[Curve]) -> list[Curve]:
    """The same curves, each with the name of its panel."""
    return [replace(curve, panel=panel) for curve in curves]


def table(curves: Iterable[Curve]) -> pd.DataFrame:
    """The numbers of ``curves`` as a tidy table with ``COLUMNS``, one row a point."""
    parts = [
        pd.DataFrame(
            {
                "panel": curve.panel,
                "series": curve.series,
                "checkpoint": _each(curve.checkpoint),
                "layer": _each(curve.layer),
                "x_name": curve.x_name,
                "x": curve.x,
                "y_name": curve.y_name,
                "y": curve.y,
                "drawn_as": curve.drawn_as(),
            },
            columns=list(COLUMNS),
        )
        for curve in curves
        if curve.x.size
    ]
    return pd.concat(parts, ignore_index=True) if parts else pd.DataFrame(columns=list(COLUMNS))


def _each(names: Names) -> str | list[str]:
    return names if isinstance(names, str) else list(names)
