"""Minor ticks as one line of marks an axis, while a figure is saved."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
from matplotlib.axis import Axis
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import Locator, NullLocator

__all__ = ["MinorTicks"]


class MinorTicks:
    """The minor ticks of a figure, which log axes have by the hundred.

    To matplotlib each is a mark, a grid line and two labels, all placed again whenever anything asks how large the
    axis is. Where no minor tick has a label or a grid line only the mark is ever seen, and all marks of an axis can be
    drawn as one line's markers: the picture is the same in half of the time.
    """

    def __init__(self, figure: Figure) -> None:
        """Those of all axes of the figure, colour bars and insets too."""
        axes = [one for ax in figure.axes for one in (ax, *ax.child_axes)]
        self._locators: list[tuple[Any, Axis, Locator]] = [
            (ax, axis, axis.get_minor_locator())
            for ax in dict.fromkeys(axes)
            for axis in (ax.xaxis, ax.yaxis)
            if not isinstance(axis.get_minor_locator(), NullLocator)
        ]

    def give_up(self) -> bool:
        """Leave alone those that are more than marks, as can be told when the axes have their sizes.

        Returns:
            Whether there were any.
        """
        before = len(self._locators)
        plain = {
            id(axis.minor): _only_marks(axis) for _, axis, _ in self._locators
        }  # axes may share their ticks
        self._locators = [one for one in self._locators if plain[id(one[1].minor)]]
        return len(self._locators) < before

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
    places = np.asarray(axis.get_minorticklocs())
    if len(places) and any(axis.get_minor_formatter().format_ticks(places.tolist())):
        return False
    one = axis.get_minor_ticks(1)[0]
    return one.tick1line.get_visible() and not (one.gridline.get_visible() or one.tick2line.get_visible())


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
