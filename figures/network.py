"""What the figures of one network are drawn from."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field

import pandas as pd  # type: ignore[import-untyped, unused-ignore]
import xarray as xr

__all__ = ["Network"]


@dataclass(frozen=True)
class Network:
    """One network, measured at its checkpoints, and what was derived from the measurements.

    Attributes:
        title: its name in figures, such as ``16 layers``.
        measurements: dims checkpoint, eta, layer, example; the variables of docs/measurements.md.
        summary: ``deep_relative_trust`` (checkpoint, eta), ``above_noise`` (checkpoint, eta, layer) and the
            effective constants ``constant`` (checkpoint, layer), ``constant_limit`` (checkpoint, layer).
        limits: ``lemma2``, ``calibrated``, ``curvature``, ``measured``, ``searched_to`` (checkpoint).
        history: columns step, epoch, loss, accuracy: the training run; None where unknown.
        envelopes: for each claim's id ``log10_measured``, ``log10_measured_median`` and ``log10_bound``
            over (checkpoint, eta) or (checkpoint, eta, layer), where known ``premises_hold`` too, and
            the attribute ``subject``.
        slack: ``log10_rung`` and ``premises_hold`` (rung, checkpoint, eta), ``share`` (cause, checkpoint, eta);
            None where the run did not measure the ladder.
    """

    title: str
    measurements: xr.Dataset
    summary: xr.Dataset
    limits: xr.Dataset
    history: pd.DataFrame | None = None
    envelopes: Mapping[str, xr.Dataset] = field(default_factory=dict)
    slack: xr.Dataset | None = None

    @property
    def slug(self) -> str:
        """The title as part of a file's name."""
        return re.sub(r"[^a-z0-9]+", "-", self.title.lower()).strip("-") or "network"
