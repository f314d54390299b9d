"""Minor ticks as one line of marks an axis, while a figure is saved."""

from __future__ import annotations

import math
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
from matplotlib.axis import Axis
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import Locator, NullFormatter, NullLocator

__all__ = ["MinorTicks"]


class MinorTicks:
    """The minor ticks of a figure, which log axes have by the hundred.

    To matplotlib each is a mark, a grid line and two labels, all placed again whenever anything asks how large the
    axis is. Where no minor tick has a label or a grid line only the mark is ever seen, and all marks of an axis can be
    drawn as one line's markers: the picture is the same in half of the time.
    """

    def __init__(self, figure: Figure) -> None:
        """Those of all axes of the figure, colour bars and insets too, that are only marks."""
        axes = dict.fromkeys(one for ax in figure.axes for one in (ax, *ax.child_axes))
        both = [(ax, axis) for ax in axes for axis in (ax.xaxis, ax.yaxis)]
        some = [one for one in both if not isinstance(one[1].get_minor_locator(), NullLocator)]
        plain = {id(axis.minor): _only_marks(axis) for _, axis in some}  # which axes may share
        self._locators: list[tuple[Any, Axis, Locator]] = [
            (ax, axis, axis.get_minor_locator()) for ax, axis in some if plain[id(axis.minor)]
        ]

    @contextmanager
    def hidden(self) -> Iterator[None]:
        """While it is open none of them is there, which changes no layout: marks are not asked for."""
        for _, axis, _ in self._locators:
            axis.set_minor_locator(NullLocator())
        try:
            yield
        finally:
            for _, axis, locator in self._locators:
                axis.set_minor_locator(locator)

    @contextmanager
    def as_marks(self) -> Iterator[None]:
        """While it is open they are lines of marks, where they are now: no limits may change meanwhile."""
        marks = [_marks(ax, axis) for ax, axis, _ in self._locators]
        try:
            with self.hidden():
                yield
        finally:
            for mark in marks:
                mark.remove()


def _only_marks(axis: Axis) -> bool:
    """Whether nothing but marks on the usual side is seen of an axis' minor ticks."""
    if not isinstance(axis.get_minor_formatter(), NullFormatter) and _labelled(axis):
        return False
    one = axis.get_minor_ticks(1)[0]
    return one.tick1line.get_visible() and not (one.gridline.get_visible() or one.tick2line.get_visible())


def _labelled(axis: Axis) -> bool:
    """Whether a minor tick may have a label: on a log axis that depends on its ends alone."""
    low, high = sorted(axis.get_view_interval())
    if axis.get_scale() != "log" or not 0 < low < high < math.inf:
        return True
    decades = 10.0 ** np.arange(math.floor(math.log10(low)), math.ceil(math.log10(high)))
    places = np.outer(decades, np.arange(2, 10)).ravel()
    inside = places[(places >= low) & (places <= high)]
    return any(axis.get_minor_formatter().format_ticks(inside.tolist()))


def _marks(ax: Any, axis: Axis) -> Line2D:
    """The marks of an axis' minor ticks, as matplotlib itself draws each of them."""
    low, high = sorted(axis.get_view_interval())
    places = np.asarray(axis.get_minorticklocs())
    places = places[(places >= low) & (places <= high)]
    pattern = axis.get_minor_ticks(1)[0].tick1line
    zeros = np.zeros_like(places)
    line = Line2D(*((places, zeros) if axis is ax.xaxis else (zeros, places)))
    line.update_from(pattern)
    ax.add_artist(line)
    line.set_transform(pattern.get_transform())
    line.set(zorder=axis.get_zorder(), clip_on=False, in_layout=False)
    return line
