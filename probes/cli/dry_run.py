"""``probe run --dry-run``: everything is read and checked, and said; nothing is measured and nothing written."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import xarray as xr

from probes.evaluation.frozen_state import mixes_examples
from probes.measures.layers import PERTURBED
from probes.measures.settings import SliceSettings
from probes.runs.estimate import about
from probes.runs.folder import RunFolder
from probes.runs.run import PreparedRun, prepare_run, slices
from probes.runs.source import Source

__all__ = ["DryRun", "dry_run"]

_FEW = 32  # examples on which a slice is tried out: enough to see what the loss depends on


@dataclass(frozen=True)
class DryRun:
    """What a run would do.

    Attributes:
        out: the folder that it would write.
        run: checkpoints, data, loss and settings.
        measured: for every checkpoint whether the folder holds it already.
        seconds: about how long the others will take; None where there are none, or it is not known.
        parameters: how many tensors the network has.
        perturbed: how many of them move.
        weights: how many are weight matrices.
        perturbed_weights: how many of these move.
    """

    out: Path
    run: PreparedRun
    measured: list[bool]
    seconds: float | None
    parameters: int
    perturbed: int
    weights: int
    perturbed_weights: int

    @property
    def remaining(self) -> int:
        """How many checkpoints are to be measured."""
        return self.measured.count(False)

    def lines(self) -> list[str]:
        """For reading."""
        run, settings = self.run, self.run.settings
        order = run.order.lines() if len(run.networks) > 1 else [f"checkpoint {run.order.paths[0]}"]
        known = f", {self.measured.count(True)} measured already" if any(self.measured) else ""
        return [
            "dry run: nothing is measured or written",
            *order,
            f"{self.perturbed} of {self.parameters} parameters are perturbed; L = {self.weights} weight matrices,"
            f" {self.perturbed_weights} of them perturbed",
            f"direction {settings.direction}, {_grid(settings)}",
            f"{len(run.data)} examples of {run.data.spec}, {run.loss.name}, {settings.dtype} on"
            f" {settings.device}, {settings.chunk} at once",
            f"{self.remaining} of {len(self.measured)} checkpoints to measure into {self.out}{known}",
            self._time(),
        ]

    def _time(self) -> str:
        if self.remaining == 0:
            return "nothing is left to measure"
        return (
            "how long it takes is not known" if self.seconds is None else about(self.seconds, self.remaining)
        )

    def to_json(self) -> dict[str, Any]:
        """One document."""
        run, settings = self.run, self.run.settings
        checkpoints = [
            {"checkpoint": record.label, "path": str(record.path), "measured": measured}
            for record, measured in zip(run.records, self.measured, strict=True)
        ]
        return {
            "dry_run": True,
            "out": str(self.out),
            "order": run.order.reason,
            "checkpoints": checkpoints,
            "remaining": self.remaining,
            "parameters": self.parameters,
            "perturbed": self.perturbed,
            "weight_matrices": self.weights,
            "weight_matrices_perturbed": self.perturbed_weights,
            "direction": settings.direction,
            "etas": settings.etas.tolist() if settings.levels is None else None,
            "levels": settings.levels,
            "data": run.data.spec,
            "examples": len(run.data),
            "loss": run.loss.name,
            "dtype": settings.dtype,
            "device": settings.device,
            "chunk": settings.chunk,
            "seconds": self.seconds,
        }


def dry_run(source: Source, settings: SliceSettings, out: Path) -> DryRun:
    """Do all that a run does before it measures, and try one slice on a few examples, for what it would refuse.

    Args:
        source: checkpoints, network, data and loss.
        settings: what would be measured.
        out: the results' folder, of which nothing is touched.

    Raises:
        InputError: anything that a run would refuse.
    """
    run = prepare_run(source, settings, out)
    measured = _measured_already(run, out)
    remaining = measured.count(False)
    seconds = run.seconds() * remaining if remaining else math.nan
    tried = _tried(run)
    weights, moved = tried["is_weight"].values, tried["treatment"].values == PERTURBED
    return DryRun(
        out,
        run,
        measured,
        None if math.isnan(seconds) else seconds,
        parameters=len(weights),
        perturbed=int(moved.sum()),
        weights=int(weights.sum()),
        perturbed_weights=int((weights & moved).sum()),
    )


def _measured_already(run: PreparedRun, out: Path) -> list[bool]:
    folder = RunFolder(out)
    if folder.recorded() is None:
        return [False] * len(run.records)
    folder.attach()
    return [folder.has_slice(place) for place in range(len(run.records))]


def _grid(settings: SliceSettings) -> str:
    """What is measured along the direction, in words."""
    if settings.levels is not None:
        return f"{len(settings.levels)} levels: {', '.join(f'{level:g}' for level in settings.levels)}"
    etas = settings.etas
    return f"{len(etas)} etas: 0 and from {etas[1]:g} to {etas[-1]:g}"


def _tried(run: PreparedRun) -> xr.Dataset:
    """The first checkpoint's slice at one η, on few examples unless all belong together."""
    settings, few = run.settings, len(run.data)
    if not mixes_examples(run.networks.load(0).network, settings.batchnorm):
        few = min(few, _FEW)
    trial = replace(
        settings,
        etas=settings.etas[:2].astype(np.float64),
        levels=None if settings.levels is None else settings.levels[:1],
        samples=min(settings.samples, few),
        jacobian=min(settings.jacobian, 1),
        pattern=min(settings.pattern, 1),
        alignment=min(settings.alignment, 1),
        spectra="none",
        split="none",
        limit=False,
        curvature=min(settings.curvature, 1) if settings.curvature else None,
        curvature_lowest=min(settings.curvature_lowest, 1),
        batch_sharpness=min(settings.batch_sharpness, 1),
        spot_check=False,
        ladder=False,
        ascent_steps=1,
        restarts=0,
    )
    small = replace(run, data=run.data.head(few), settings=trial)
    return next(slices(small, what="checking"))[1]
