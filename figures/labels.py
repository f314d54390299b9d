"""What to call checkpoints, layers and claims, and where checkpoints lie on an axis of training."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, TypeVar

import numpy as np
import numpy.typing as npt
import xarray as xr
from matplotlib.axes import Axes
from matplotlib.ticker import MaxNLocator

from trust import measurements as variables

__all__ = [
    "USUAL_ETA",
    "Progress",
    "at_even_steps",
    "checkpoint_names",
    "checkpoint_position",
    "checkpoint_title",
    "claim_label",
    "eta_title",
    "evenly_chosen",
    "label_of",
    "nearest_eta",
    "set_progress_axis",
    "shortened",
    "training_progress",
    "weight_layers",
]

T = TypeVar("T")

_LETTER = 0.06
"""Inches of a letter of a tick's label."""
_SLANTING = 0.22
"""Inches that a slanting one takes."""

USUAL_ETA = 0.01
"""The η that is shown where only one is."""

_CLAIMS = {
    "theorem1-function": "Theorem 1",
    "theorem1-function-injective": "Theorem 1, injective",
    "theorem1-function-layerwise": "Theorem 1, layerwise",
    "theorem1-jacobian": "Theorem 1",
    "theorem1-jacobian-gated": "Theorem 1, gated",
    "spectral-product": "spectral product",
    "neyshabur": "Neyshabur et al.",
    "pattern-response": "pattern, linear response",
    "pattern-telescoped": "pattern-telescoped",
    "telescoped": "telescoped",
    "residual-telescoped": "residual telescoped",
    "residual-spectral": "residual spectral",
    "path-metric": "path metric (ℓ1, equal signs)",
    "path-metric-midpoint": "path metric (ℓ1)",
    "path-metric-direct": "path metric (ℓ1, no premise)",
    "input-sensitivity": "input sensitivity",
    "deep-relative-trust": "deep relative trust",
    "euclidean-trust": "Euclidean trust",
}


@dataclass(frozen=True)
class Progress:
    """Where each checkpoint lies in training.

    Attributes:
        name: ``step``, ``epoch`` or ``checkpoint`` (its position, counted from 0, where neither is known).
        values: one a checkpoint.
        labels: the checkpoints' names, to stand at positions, which say nothing by themselves; else none.
    """

    name: str
    values: npt.NDArray[np.float64]
    labels: tuple[str, ...] = ()

    @property
    def title(self) -> str:
        """The axis label."""
        return {"step": "training step", "epoch": "epoch", "checkpoint": "checkpoint (in training order)"}[
            self.name
        ]


def training_progress(data: xr.Dataset) -> Progress:
    """The training step of each checkpoint if all are known, else the epoch, else its position."""
    for name in ("step", "epoch"):
        if name in data.coords and data[name].dims == ("checkpoint",):
            values = np.asarray(data[name].values, dtype=np.float64)
            if np.isfinite(values).all() and np.unique(values).size == values.size:
                return Progress(name, values)
    labels = tuple(map(shortened, checkpoint_names(data)))
    return Progress("checkpoint", np.arange(data.sizes["checkpoint"], dtype=np.float64), labels)


def set_progress_axis(ax: Axes, progress: Progress) -> None:
    """Make x the axis of training: its label, and a scale that shows the first checkpoints apart.

    Checkpoints tend to lie closer together early in training, so steps are linear up to 10 and logarithmic
    from there. Positions have the checkpoints' names, as many as there is room for. A single one beside which
    nothing else is drawn has its own place alone.
    """
    ax.set_xlabel(progress.title)
    drawn = ax.dataLim.intervalx
    if progress.values.size == 1 and not (drawn[1] > drawn[0]):
        (value,) = progress.values.tolist()
        ax.set_xlim(value - 1, value + 1)
        ax.set_xticks([value], [progress.labels[0] if progress.labels else f"{value:g}"])
        return
    if progress.labels:
        _write_names(ax, progress)
        return
    if progress.name != "step":
        ax.xaxis.set_major_locator(MaxNLocator(nbins=6, integer=True))
        return
    ax.set_xscale("symlog", linthresh=10, linscale=0.6)
    ends = ax.dataLim.intervalx
    furthest = max(10.0, *(float(end) for end in (*ends, *progress.values) if np.isfinite(end)))
    ax.set_xlim(-1.0, furthest * 1.3)


def _write_names(ax: Axes, progress: Progress) -> None:
    """Ticks with names, slanting where they have no room side by side."""
    figure = ax.get_figure(root=True)
    inches = ax.get_position().width * (figure.get_figwidth() if figure is not None else 1.0)
    count, longest = len(progress.labels), max(map(len, progress.labels))
    fit = count * (longest + 2) * _LETTER <= inches
    written = at_even_steps(count, count if fit else max(int(inches / _SLANTING), 1))
    look: dict[str, Any] = {} if fit else {"rotation": 30, "ha": "right", "rotation_mode": "anchor"}
    ax.set_xticks([progress.values[k] for k in written], [progress.labels[k] for k in written], **look)


def checkpoint_names(data: xr.Dataset) -> list[str]:
    """The checkpoints' own names, or their positions where they have none."""
    if "checkpoint" in data.coords:
        return [str(name) for name in np.atleast_1d(data["checkpoint"].values)]
    return [str(k) for k in range(data.sizes["checkpoint"])]


def label_of(data: xr.Dataset, checkpoint: int) -> str:
    """A short label of the checkpoint at position ``checkpoint``: its step or epoch, or else its name."""
    progress = training_progress(data)
    if progress.name == "checkpoint":
        return shortened(checkpoint_names(data)[checkpoint])
    return f"{progress.values[checkpoint]:g}"


def shortened(name: str, most: int = 18) -> str:
    """``name`` with its middle left out if it is longer than ``most`` characters."""
    return name if len(name) <= most else f"{name[: most // 2 - 1]}…{name[-(most // 2) :]}"


def weight_layers(data: xr.Dataset) -> list[str]:
    """The names of the weight matrices in forward order; all layers where data do not say which."""
    names = [str(name) for name in data["layer"].values]
    if variables.IS_WEIGHT not in data.coords:
        return names
    kept = np.asarray(data[variables.IS_WEIGHT].values, dtype=bool)
    return [name for name, weight in zip(names, kept, strict=True) if weight]


def checkpoint_position(data: xr.Dataset, checkpoint: str | int) -> int:
    """The position of a checkpoint given by name or position (negative ones count from the end).

    Raises:
        ValueError: there is none of that name or at that position.
    """
    count = data.sizes["checkpoint"]
    if isinstance(checkpoint, int):
        if not -count <= checkpoint < count:
            raise ValueError(f"there is no checkpoint {checkpoint}: there are {count}")
        return checkpoint % count
    names = checkpoint_names(data)
    if checkpoint not in names:
        raise ValueError(f"there is no checkpoint {checkpoint!r}: there are {', '.join(names[:6])}, …")
    return names.index(checkpoint)


def checkpoint_title(data: xr.Dataset, checkpoint: int) -> str:
    """A title for the checkpoint at position ``checkpoint``, such as ``step 96``."""
    name = training_progress(data).name
    return f"{name} {label_of(data, checkpoint)}" if name != "checkpoint" else label_of(data, checkpoint)


def evenly_chosen(items: Sequence[T], most: int) -> list[T]:
    """All of ``items``, or ``most`` of them, evenly spaced, the first and the last among them."""
    if len(items) <= most:
        return list(items)
    positions = np.linspace(0, len(items) - 1, most).round().astype(int)
    return [items[k] for k in positions]


def at_even_steps(count: int, most: int) -> list[int]:
    """The positions of at most ``most`` of ``count`` labels on an axis, the first always among them."""
    return list(range(0, count, -(-count // most)))


def claim_label(claim: str) -> str:
    """A claim's name in a legend; its id where it has no other."""
    return _CLAIMS.get(claim, claim)


def nearest_eta(data: xr.Dataset, eta: float) -> int:
    """The position of the measured η > 0 that is nearest to ``eta``.

    Raises:
        ValueError: no η > 0 was measured.
    """
    etas = np.asarray(data[variables.ETA].values, dtype=np.float64)
    if not (etas > 0).any():
        raise ValueError("no η > 0 was measured")
    return int(np.argmin(np.where(etas > 0, np.abs(etas - eta), np.inf)))


def eta_title(data: xr.Dataset, eta: float) -> str:
    """The measured η nearest to ``eta``, as figures name it."""
    return f"η = {float(data[variables.ETA].values[nearest_eta(data, eta)]):.3g}"
