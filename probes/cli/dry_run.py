"""``probe run --dry-run``: everything is read and checked, and said; nothing is measured and nothing written."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import xarray as xr

from probes.evaluation.frozen_state import mixes_examples
from probes.measures.layers import PERTURBED
from probes.measures.settings import SliceSettings
from probes.runs.planning import Planned
from probes.runs.run import Prepared, Source, plan, slices

__all__ = ["DryRun", "dry_run"]

_FEW = 32  # examples on which a slice is tried out: enough to see what the loss depends on


@dataclass(frozen=True)
class DryRun:
    """What a run would do.

    Attributes:
        out: the folder that it would write.
        prepared: checkpoints, data and loss.
        planned: the rest.
        parameters: how many tensors the network has.
        perturbed: how many of them move.
        weights: how many are weight matrices.
        perturbed_weights: how many of these move.
    """

    out: Path
    prepared: Prepared
    planned: Planned
    parameters: int
    perturbed: int
    weights: int
    perturbed_weights: int

    def lines(self) -> list[str]:
        """For reading."""
        settings, prepared, planned = self.planned.settings, self.prepared, self.planned
        labels = [frozen.label for frozen in prepared.networks]
        order = prepared.order.lines() if len(labels) > 1 else [f"checkpoint {prepared.order.paths[0]}"]
        etas = settings.etas
        remaining = planned.measured.count(False)
        known = f", {planned.measured.count(True)} measured already" if any(planned.measured) else ""
        estimate = planned.estimate
        return [
            "dry run: nothing is measured or written",
            *order,
            f"{self.perturbed} of {self.parameters} parameters are perturbed; L = {self.weights} weight matrices,"
            f" {self.perturbed_weights} of them perturbed",
            f"direction {settings.direction}, {len(etas)} etas: 0 and from {etas[1]:g} to {etas[-1]:g}",
            f"{len(prepared.data)} examples of {prepared.data.spec}, {prepared.loss}, {settings.dtype} on"
            f" {settings.device}, {settings.chunk} at once: {planned.choice.reason}",
            f"{remaining} of {len(planned.measured)} checkpoints to measure into {self.out}{known}",
            estimate.line() if estimate is not None and remaining else "nothing is left to measure",
        ]

    def to_json(self) -> dict[str, Any]:
        """One document."""
        settings, prepared, planned = self.planned.settings, self.prepared, self.planned
        estimate = planned.estimate
        checkpoints = [
            {"checkpoint": frozen.label, "path": str(path), "measured": measured}
            for frozen, path, measured in zip(
                prepared.networks, prepared.order.paths, planned.measured, strict=False
            )
        ]
        return {
            "dry_run": True,
            "out": str(self.out),
            "order": prepared.order.reason,
            "checkpoints": checkpoints,
            "remaining": planned.measured.count(False),
            "parameters": self.parameters,
            "perturbed": self.perturbed,
            "weight_matrices": self.weights,
            "weight_matrices_perturbed": self.perturbed_weights,
            "direction": settings.direction,
            "etas": settings.etas.tolist(),
            "data": prepared.data.spec,
            "examples": len(prepared.data),
            "loss": prepared.loss,
            "dtype": settings.dtype,
            "device": settings.device,
            "chunk": planned.choice.to_json(),
            "seconds": None if estimate is None else estimate.seconds,
            "memory_bytes": None if estimate is None else estimate.memory,
        }


def dry_run(source: Source, settings: SliceSettings, out: Path, *, auto_chunk: bool = False) -> DryRun:
    """Do all that a run does before it measures, and try one slice on a few examples, for what it would refuse.

    Args:
        source: checkpoints, network, data and loss.
        settings: what would be measured.
        out: the results' folder, of which nothing is touched.
        auto_chunk: as for :func:`probes.runs.run.measure_run`.

    Raises:
        InputError: anything that a run would refuse.
    """
    prepared, planned = plan(source, settings, out, auto_chunk=auto_chunk, estimate=True)
    tried = _tried(prepared, planned.settings)
    weights, moved = tried["is_weight"].values, tried["treatment"].values == PERTURBED
    return DryRun(
        out,
        prepared,
        planned,
        parameters=len(weights),
        perturbed=int(moved.sum()),
        weights=int(weights.sum()),
        perturbed_weights=int((weights & moved).sum()),
    )


def _tried(prepared: Prepared, settings: SliceSettings) -> xr.Dataset:
    """The first checkpoint's slice at one η, on few examples unless all belong together."""
    few = len(prepared.data)
    if not mixes_examples(prepared.networks.load(0).network, settings.batchnorm):
        few = min(few, _FEW)
    trial = replace(
        settings,
        etas=settings.etas[:2].astype(np.float64),
        samples=min(settings.samples, few),
        jacobian=min(settings.jacobian, 1),
        spectra="none",
        limit=False,
        curvature=False,
        ladder=False,
        ascent_steps=1,
        restarts=0,
    )
    small = replace(prepared, data=prepared.data.head(few))
    return next(slices(small, trial, what="checking"))[1]
