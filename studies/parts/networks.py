"""What several studies train and measure: perceptrons, rates that fall, slices of what is asked for alone."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import numpy.typing as npt

from probes.data.dataset import DataSet
from probes.measures.settings import SliceSettings
from probes.networks.perceptron import PerceptronSpec

__all__ = ["bare_slice", "dropped_rate", "perceptron"]


def perceptron(
    data: DataSet, *, width: int, depth: int, activation: str = "relu", **kind: Any
) -> PerceptronSpec:
    """A perceptron with biases for labelled data.

    Args:
        data: gives the inputs and the number of classes.
        width: of the hidden layers.
        depth: weight matrices.
        activation: of the hidden layers.
        kind: further fields, such as ``residual`` and ``norm``.
    """
    widths = (math.prod(data.x.shape[1:]), *[width] * (depth - 1), int(data.y.max()) + 1)
    return PerceptronSpec(widths=widths, activation=activation, biases=(True,) * depth, **kind)


def bare_slice(etas: npt.NDArray[np.float64], **more: Any) -> SliceSettings:
    """Loss and breakdown alone, and what is asked for besides; the clock must not decide the last digits."""
    without: dict[str, Any] = {"spectra": "none", "split": "none"}
    without |= dict.fromkeys(("limit", "spot_check", "ladder"), False)
    without["curvature"] = None
    return SliceSettings(**{"etas": etas, "etas_at_once": 1, **without, **more})


def dropped_rate(rate: float, step: int, steps: int) -> float:
    """The rate at a step of so many: constant, and a tenth in the last sixth, as Fromage's authors train their GAN."""
    return rate if step < steps - steps // 6 else rate / 10
