"""Styles as plain rcParams dictionaries, used in a context, and colours for colour-blind readers too."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import AbstractContextManager
from itertools import cycle
from typing import Any

import matplotlib as mpl
import numpy as np
from matplotlib.colors import to_rgb

__all__ = [
    "COLUMN_WIDTH",
    "FULL_WIDTH",
    "PAPER",
    "RGB",
    "category_colors",
    "checkpoint_colors",
    "claim_looks",
    "context",
    "layer_colors",
    "shade",
]

RGB = tuple[float, float, float]

COLUMN_WIDTH = 3.3
"""Width in inches of a figure in one column of a paper."""
FULL_WIDTH = 6.75
"""Width in inches of a figure across the page."""

PAPER: Mapping[str, Any] = {
    "font.family": "sans-serif",
    "font.sans-serif": ["DejaVu Sans"],  # comes with matplotlib: the same figure on every machine
    "mathtext.fontset": "dejavusans",
    "font.size": 7.5,
    "axes.labelsize": 7.5,
    "axes.titlesize": 8,
    "axes.linewidth": 0.6,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.grid": True,
    "axes.axisbelow": True,
    "grid.linewidth": 0.4,
    "grid.color": "0.9",
    "xtick.labelsize": 7,
    "ytick.labelsize": 7,
    "xtick.major.width": 0.6,
    "ytick.major.width": 0.6,
    "xtick.minor.width": 0.4,
    "ytick.minor.width": 0.4,
    "xtick.major.size": 3,
    "ytick.major.size": 3,
    "xtick.minor.size": 1.5,
    "ytick.minor.size": 1.5,
    "legend.fontsize": 7,
    "legend.frameon": False,
    "legend.handlelength": 1.8,
    "legend.columnspacing": 1.2,
    "lines.linewidth": 1.0,
    "lines.markersize": 3.0,
    "figure.dpi": 100,
    "figure.facecolor": "white",
    "axes.facecolor": "white",
    "savefig.facecolor": "white",
    "savefig.bbox": None,
    "pdf.fonttype": 42,  # text stays text
    "svg.fonttype": "path",
    "svg.hashsalt": "deep-relative-trust",  # without it every SVG has new random ids
}
"""The one style of this project's figures."""


def context(**changes: Any) -> AbstractContextManager[None]:
    """A context in which new figures have the style ``PAPER``; the settings outside are left alone.

    Args:
        changes: further rcParams, with ``_`` for ``.`` (``font_size=9``).
    """
    settings: dict[Any, Any] = dict(PAPER)
    settings.update({key.replace("_", ".", 1): value for key, value in changes.items()})
    return mpl.rc_context(settings)


def _sampled(name: str, count: int, last: float) -> list[RGB]:
    positions = np.linspace(0.0, last, count) if count > 1 else np.zeros(count)
    return [tuple(float(part) for part in color[:3]) for color in mpl.colormaps[name](positions)]  # type: ignore[misc]


_START, _TURNS, _HUE = 1.75, -1.25, 2.2
_ON_WHITE, _ON_DARK = (0.12, 0.74), (0.42, 0.95)


def checkpoint_colors(count: int, *, on_dark: bool = False) -> list[RGB]:
    """One colour for each of ``count`` checkpoints in training order, dark to light, also for a dark background.

    A cubehelix (Green 2011, Bull. Astr. Soc. India 39): its lightness rises evenly, so that the order is seen in grey
    too, while the hue turns, so that neighbours among ten can be told apart, which those of the paper's viridis cannot.
    """
    darkest, lightest = _ON_DARK if on_dark else _ON_WHITE
    alone = 0.75 if on_dark else 0.3
    light = np.linspace(darkest, lightest, count) if count > 1 else np.full(count, alone)
    angle = 2 * np.pi * (_START / 3 + _TURNS * light)
    turns = np.stack([np.cos(angle), np.sin(angle)], axis=1)
    axes = np.array([[-0.14861, 1.78277], [-0.29227, -0.90649], [1.97294, 0.0]])
    colors = light[:, None] + _HUE * (light * (1 - light) / 2)[:, None] * (turns @ axes.T)
    return [tuple(float(part) for part in color) for color in colors.clip(0.0, 1.0)]  # type: ignore[misc]


def layer_colors(count: int) -> list[RGB]:
    """One colour for each of ``count`` layers, input to output: plasma, not to be taken for checkpoints."""
    return _sampled("plasma", count, 0.88)


def shade(place: float) -> RGB:
    """The colour at a place between 0 and 1 of one scale, dark to light: for things in an order."""
    return _sampled("viridis", 101, 0.9)[round(100 * min(max(place, 0.0), 1.0))]


_CODES = ["0173B2", "DE8F05", "029E73", "D55E00", "CC78BC", "CA9161", "FBAFE4", "949494", "ECE133", "56B4E9"]
_COLORBLIND: Sequence[RGB] = [to_rgb(f"#{code}") for code in _CODES]
"""seaborn's palette "colorblind"; to import seaborn, with all the statistics it needs, takes as long as a figure."""


def category_colors(names: Sequence[str]) -> dict[str, RGB]:
    """One colour for each name, from seaborn's colour-blind-safe palette (it repeats after ten)."""
    return dict(zip(names, cycle(_COLORBLIND), strict=False))


_PALETTE = (0, 1, 2, 3, 4, 5, 9, 6, 8, 7)  # of "colorblind"; its grey is last, since measurements are grey
_DARKER = {
    6: (0.36, 0.23, 0.61),
    8: (0.60, 0.57, 0.0),
}  # its pink and yellow would be lost on white, thin and faint
_DASHES: Sequence[Any] = (
    (0, (1, 1)),
    (0, (4, 1.5)),
    (0, (4, 1.2, 1, 1.2)),
    "-",
    (0, (6, 1, 1, 1, 1, 1)),
    (0, (2, 1)),
    (0, (9, 2)),
    (0, (3, 1, 3, 1, 1, 1)),
    (0, (1, 2.5)),
    (0, (7, 1, 2, 1)),
)
_LADDER = (
    "telescoped",
    "spectral-product",
    "theorem1-function-layerwise",
    "theorem1-function",
    "pattern-telescoped",
    "pattern-response",
)


def claim_looks(claims: Sequence[str]) -> dict[str, tuple[RGB, Any]]:
    """A colour and a dash pattern for each claim; the ladder's rungs always have the same, whatever stands beside."""
    own = {rung: place for place, rung in enumerate(_LADDER)}
    taken = {own[claim] for claim in claims if claim in own}
    free = iter(place for place in range(len(claims) + len(own)) if place not in taken)
    looks: dict[str, tuple[RGB, Any]] = {}
    for claim in claims:
        place = own[claim] if claim in own else next(free)
        hue = _PALETTE[place % len(_PALETTE)]
        color = _DARKER.get(hue, _COLORBLIND[hue])
        dash = _DASHES[(place + place // len(_DASHES)) % len(_DASHES)]  # another beside a colour's second use
        looks[claim] = (color, dash)
    return looks
