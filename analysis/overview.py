"""A run as figures of it take it, analysed only as far as is asked."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING

import xarray as xr

from analysis.constants import summarise
from analysis.step_limits import step_limits

if TYPE_CHECKING:
    import pandas as pd

__all__ = ["Overview"]


@dataclass(frozen=True)
class Overview:
    """A run with its constants and step limits, without any verdict.

    Attributes:
        title: what the run is called.
        measurements: of the run.
        history: the training run (step, epoch, loss, accuracy); None where it is not known.
    """

    title: str
    measurements: xr.Dataset
    history: pd.DataFrame | None = None

    @cached_property
    def summary(self) -> xr.Dataset:
        """What :func:`analysis.summarise` finds."""
        return summarise(self.measurements)

    @cached_property
    def limits(self) -> xr.Dataset:
        """What :func:`analysis.step_limits` finds."""
        return step_limits(self.measurements)
