"""Where slices start: loss and accuracy of the frozen networks, beside what an output that knows nothing comes to."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import xarray as xr

from analysis.wording import number
from trust import measurements as variables

__all__ = ["Start", "chance_lines", "start_table", "starts"]


@dataclass(frozen=True)
class Start:
    """A frozen network at η = 0; NaN is what is not known.

    Attributes:
        checkpoint: its label.
        loss: the full-batch mean loss.
        chance: the loss of a constant output.
        accuracy: the share of examples classified rightly.
        first: whether it may be a network that has not learnt yet: of several the first, or one of step 0.
    """

    checkpoint: str
    loss: float
    chance: float
    accuracy: float
    first: bool


def starts(measurements: xr.Dataset) -> list[Start]:
    """One for each checkpoint."""
    names = (variables.LOSS, variables.CHANCE_LOSS, variables.ACCURACY)
    columns = [_at_zero(measurements, name).tolist() for name in names]
    labels = [str(label) for label in measurements["checkpoint"].values]
    steps = np.asarray(measurements.coords.get(variables.STEP, np.full(len(labels), np.nan)))
    first = [step == 0 or (place == 0 and len(labels) > 1) for place, step in enumerate(steps)]
    return [Start(*row) for row in zip(labels, *columns, first, strict=True)]


def _at_zero(measurements: xr.Dataset, name: str) -> npt.NDArray[np.float64]:
    if name not in measurements:
        return np.full(measurements.sizes["checkpoint"], np.nan)
    found = measurements[name]
    return np.asarray(found.isel(eta=0) if "eta" in found.dims else found, dtype=np.float64)


def start_table(measurements: xr.Dataset) -> list[list[str]]:
    """One row a checkpoint: loss, the loss of chance, accuracy."""
    heading = ["checkpoint", "loss at η = 0", "loss of chance", "accuracy"]
    return [heading] + [
        [one.checkpoint, number(one.loss), number(one.chance), number(one.accuracy)]
        for one in starts(measurements)
    ]


def chance_lines(measurements: xr.Dataset) -> list[str]:
    """A sentence for each checkpoint that should have learnt, and whose loss is no better than that of chance."""
    return [
        f"the loss at {one.checkpoint} is {number(one.loss)}, no better than chance ({number(one.chance)}): if the"
        " network had learnt, it is not run as it was trained (another activation, other data, another loss?)"
        for one in starts(measurements)
        if one.loss >= one.chance and not one.first
    ]
