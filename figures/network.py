"""What the figures of one network are drawn from."""

from __future__ import annotations

from typing import Protocol

import pandas as pd  # type: ignore[import-untyped, unused-ignore]
import xarray as xr

__all__ = ["Network"]


class Network(Protocol):
    """One network, measured at its checkpoints, and what was derived from the measurements.

    Anything with these attributes will do; ``analysis.Findings`` has them.
    """

    @property
    def title(self) -> str:
        """Its name in figures, such as ``16 layers``."""

    @property
    def measurements(self) -> xr.Dataset:
        """Dims checkpoint, eta, layer, example; the variables of docs/reference/variables.md."""

    @property
    def summary(self) -> xr.Dataset:
        """Deep relative trust and the effective constants.

        ``deep_relative_trust`` (checkpoint, eta), ``above_noise`` (checkpoint, eta, layer), ``constant`` (checkpoint,
        layer).
        """

    @property
    def limits(self) -> xr.Dataset:
        """``lemma2``, ``calibrated``, ``curvature``, ``measured``, ``searched_to`` (checkpoint)."""

    @property
    def history(self) -> pd.DataFrame | None:
        """Columns step, epoch, loss, accuracy: the training run; None where unknown."""
