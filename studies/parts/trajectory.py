"""Training followed at some of its steps: loss, gradient and the top of the Hessian's spectrum there."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
import torch
import xarray as xr

from probes.checkpoints.adam import adam_state
from probes.checkpoints.checkpoint import read_checkpoint
from probes.data.dataset import DataSet
from probes.data.losses import resolve_loss
from probes.evaluation.curvature import HessianOperator, Preconditioned, adam_diagonal, eigenpairs
from probes.evaluation.curvature.batches import gradient_sharpness
from probes.evaluation.curvature.traces import tangent_kernel_trace
from probes.evaluation.evaluator import Evaluator
from probes.networks.kinds import build
from probes.runs.training import DivergedError, train
from probes.runs.training_settings import TrainingSettings

__all__ = ["Crossing", "Follower", "even_steps", "follow", "ratio_from_crossing"]

Floats = npt.NDArray[np.float64]

_TOLERANCE = 1e-3
"""Residual of an eigenvector, relative to its eigenvalue; the eigenvalue's own error is of its square."""


def even_steps(total: int, points: int) -> list[int]:
    """So many steps from 0 to ``total``, evenly."""
    return sorted({round(k * total / (points - 1)) for k in range(points)})


class Follower:
    """A network that is put at one checkpoint after the other, and measured on all data."""

    def __init__(self, settings: TrainingSettings, data: DataSet) -> None:
        """Make the network and what evaluates it."""
        self.network = build(settings.network)
        self.data = data
        _, loss = resolve_loss(settings.loss, data.y)
        self.evaluator = Evaluator(self.network, data.batches, None, loss)
        self.operator = HessianOperator(self.evaluator)
        self.starts: dict[str, torch.Tensor] = {}

    def put(self, file: Path) -> None:
        """At the weights of a checkpoint."""
        self.network.load_state_dict(read_checkpoint(file).tensors)

    def outputs(self) -> torch.Tensor:
        """Of all examples, in float64."""
        with torch.no_grad():
            found: torch.Tensor = self.network(self.data.x).double()
        return found

    def at(self, file: Path) -> dict[str, float]:
        """``loss``, ``accuracy``, ``gradient_norm``, ``sharpness`` and, with Adam's state, ``preconditioned``."""
        self.put(file)
        found = self.evaluator.evaluate(self.evaluator.frozen, wanted=self.operator.names)
        state = adam_state(file)
        own = {
            "loss": found.loss,
            "accuracy": found.accuracy,
            "gradient_norm": float(self.operator.flatten(found.gradients).double().norm()),
            "sharpness": self._top("sharpness", self.operator),
            "preconditioned": math.nan,
        }
        if state is not None:
            diagonal = adam_diagonal(state, self.operator)
            own["preconditioned"] = self._top("preconditioned", Preconditioned(self.operator, diagonal))
        return own

    def batch_sharpness(self, size: int, count: int) -> float:
        """E[gᵀHg/‖g‖²] over random batches, H and g the batch's own; one of all examples is taken once."""
        random = np.random.default_rng(0)
        found = []
        for _ in range(count if size < len(self.data) else 1):
            rows = np.sort(random.choice(len(self.data), size, replace=False)).tolist()
            found.append(gradient_sharpness(self.operator, rows))
        known = [one for one in found if not math.isnan(one)]
        return float(np.mean(known)) if known else math.nan

    def kernel_trace(self, signs: int) -> float:
        """The trace of the neural tangent kernel, Σ_i ‖∂f(x_i)/∂W‖², by Hutchinson's estimator."""
        names = self.operator.names
        return tangent_kernel_trace(self.evaluator, self.evaluator.frozen, names, signs, 0)[0]

    def _top(self, name: str, operator: HessianOperator | Preconditioned) -> float:
        found = eigenpairs(operator, 1, start=self.starts.get(name), tolerance=_TOLERANCE)
        self.starts[name] = found.vectors
        return float(found.values[0])


def follow(
    settings: TrainingSettings,
    folder: Path,
    data: DataSet,
    *,
    points: int,
    more: Callable[[Follower], dict[str, float]] = lambda _: {},
) -> xr.Dataset:
    """Train, and measure at evenly spaced steps.

    Args:
        settings: of epochs of one step; when checkpoints are saved is replaced.
        folder: for the checkpoints.
        data: what it is trained on.
        points: at how many steps.
        more: what else is measured there.

    Returns:
        What :meth:`Follower.at` and ``more`` give, along ``point``, and the ``step`` there; NaN from where training
        diverged on.
    """
    steps = even_steps(settings.epochs, points)
    files: Sequence[Path] = []
    try:
        files = train(settings, folder, data=data)
    except DivergedError:
        files = sorted(folder.glob("*.safetensors"))
    follower = Follower(settings, data)
    rows = [{**follower.at(file), **more(follower)} for file in files]
    names = rows[0].keys()
    columns = {name: np.full(len(steps), np.nan) for name in names}
    for k, row in enumerate(rows):
        for name in names:
            columns[name][k] = row[name]
    found = {name: ("point", values) for name, values in columns.items()}
    found["step"] = ("point", np.array(steps, dtype=float))
    return xr.Dataset(found, {"point": np.arange(len(steps))})


@dataclass(frozen=True)
class Crossing:
    """Where a run first reached its threshold, and how it went on.

    Attributes:
        step: of the first measurement at or above the threshold; NaN where there is none.
        ratio: the median of curvature over threshold from there on, up to the goal; NaN where nothing is left.
    """

    step: float
    ratio: float


def ratio_from_crossing(
    steps: Floats, ratio: Floats, accuracy: Floats, *, goal: float | None = None
) -> Crossing:
    """Judge one run at the edge: from the first crossing to the goal in accuracy.

    Args:
        steps: of the measurements (n,).
        ratio: curvature over threshold there, NaN where it is not known.
        accuracy: there.
        goal: at which training counts as done; None: at its end.
    """
    with np.errstate(invalid="ignore"):
        above = np.flatnonzero(ratio >= 1)
        done = np.flatnonzero(accuracy >= (math.inf if goal is None else goal))
    if not len(above):
        return Crossing(math.nan, math.nan)
    first, last = above[0], done[0] if len(done) else len(steps) - 1
    window = ratio[first : last + 1]
    window = window[~np.isnan(window)]
    return Crossing(float(steps[first]), float(np.median(window)) if len(window) else math.nan)
