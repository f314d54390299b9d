"""What to call checkpoints, layers and claims, and where checkpoints lie on an axis of training."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import xarray as xr

__all__ = ["Progress", "checkpoint_names", "claim_label", "label_of", "layer_label", "training_progress", "weight_layers"]

_CLAIMS = {
    "theorem1-function": "Theorem 1",
    "theorem1-function-layerwise": "Theorem 1, layerwise constants",
    "theorem1-jacobian": "Theorem 1",
    "theorem1-jacobian-gated": "Theorem 1, gated",
    "spectral-product": "spectral product",
    "neyshabur": "Neyshabur et al.",
    "telescoped": "telescoped",
    "path-metric": "path metric",
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
    """

    name: str
    values: npt.NDArray[np.float64]

    @property
    def title(self) -> str:
        """The axis label."""
        return {"step": "training step", "epoch": "epoch", "checkpoint": "checkpoint (in training order)"}[self.name]


def training_progress(data: xr.Dataset) -> Progress:
    """The training step of each checkpoint if all are known, else the epoch, else its position."""
    for name in ("step", "epoch"):
        if name in data.coords and data[name].dims == ("checkpoint",):
            values = np.asarray(data[name].values, dtype=np.float64)
            if np.isfinite(values).all() and np.unique(values).size == values.size:
                return Progress(name, values)
    return Progress("checkpoint", np.arange(data.sizes["checkpoint"], dtype=np.float64))


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
    """The names of the weight matrices in forward order; of all layers where the data do not say which they are."""
    names = [str(name) for name in data["layer"].values]
    if "is_weight" not in data.coords:
        return names
    kept = np.asarray(data["is_weight"].values, dtype=bool)
    return [name for name, weight in zip(names, kept, strict=True) if weight]


def layer_label(layers: Sequence[str], layer: str) -> str:
    """The number of ``layer`` among ``layers``, counted from 1 as in the paper."""
    return str(list(layers).index(layer) + 1)


def claim_label(claim: str) -> str:
    """A claim's name in a legend; its id where it has no other."""
    return _CLAIMS.get(claim, claim)
