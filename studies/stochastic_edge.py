"""``probe study stochastic-edge``: what batches do to sharpening, and which curvature settles at 2/η.

Tanh perceptrons are trained on half the squared distance to one-hot labels by plain SGD with batches of several sizes,
the full batch the largest. On the way are measured the full loss's sharpness, the curvature that batches meet along
their own gradients, and the trace of the neural tangent kernel.
"""

from __future__ import annotations

import shutil
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
import xarray as xr
from scipy.stats import spearmanr

from analysis.wording import number
from figures.panels import Panel, Series, draw_panels, numbers_of_panels
from probes.data.dataset import DataSet
from probes.runs.training_settings import TrainingSettings
from studies.frame import Conclusion, Coordinates, Interval, Study, banded, interval
from studies.parts.conclusions import ends_by_name, runs_where
from studies.parts.networks import perceptron
from studies.parts.trajectory import Follower, even_steps, follow
from trust.edge import gd_edge

__all__ = ["Preset", "StochasticEdge", "noise_kernel"]

Floats = npt.NDArray[np.float64]
_SHOWN = {
    "batch_sharpness": "batch sharpness over 2/η",
    "sharpness": "sharpness over 2/η",
    "noise": "noise kernel, η tr Θ/(2BnC)",
    "loss": "training loss",
}
_BATCHES, _SIGNS = 32, 4
"""Batches, and vectors of signs, that an estimate is the mean of."""


@dataclass(frozen=True)
class Preset:
    """How large the study is.

    Attributes:
        width: of the two hidden layers.
        examples: trained on.
        batch_sizes: the last one is all examples.
        rates: steps η.
        steps: of training, the same number for every batch size.
        points: at how many of them curvature is measured.
    """

    width: int
    examples: int
    batch_sizes: tuple[int, ...]
    rates: tuple[float, ...]
    steps: int
    points: int


PRESETS = {
    "toy": Preset(8, 40, (4, 40), (0.05,), 12, 3),
    "quick": Preset(32, 500, (4, 16, 64, 500), (0.05, 0.1, 0.2), 3000, 21),
    "paper": Preset(200, 5000, (8, 32, 128, 512, 5000), (0.01, 0.02, 0.04), 20_000, 41),
}


class StochasticEdge(Study):
    """Sharpness, batch sharpness and the tangent kernel's trace against batch size."""

    name = "stochastic-edge"
    question = "Which curvature do small batches hold at 2/η, and how much do they slow sharpening?"
    data = "mnist-14x14"
    presets = PRESETS
    caveats = (
        f"Batch sharpness is E[g·Hg/‖g‖²] over {_BATCHES} random batches of the size trained with, H and g the batch's"
        " own. With the full batch it is the curvature along the gradient, which oscillates about its edge.",
        "All sizes take the same number of steps, so small batches see fewer examples.",
        "The noise kernel's norm is taken for small steps, where it is η tr Θ/(2BnC), Θ the neural tangent kernel over"
        " n examples of C outputs, as if outputs had a kernel each; its edge, at 1, is that of Agarwala and Pennington"
        " for square loss.",
    )

    def runs(self, size: Preset) -> list[Coordinates]:
        """Each size of batch at each step."""
        return [{"batch": batch, "lr": lr} for batch in size.batch_sizes for lr in size.rates]

    def measure(self, size: Preset, run: Coordinates, folder: Path, data: DataSet) -> xr.Dataset:
        """What :func:`~studies.parts.trajectory.follow` finds, ``batch_sharpness``, the kernel's trace, ``outputs``."""
        few = data.head(size.examples)
        batch, lr = int(run["batch"]), float(run["lr"])
        settings = TrainingSettings(
            network=perceptron(few, width=size.width, depth=3, activation="tanh"),
            data=few.spec,
            examples=size.examples,
            loss="half-square",
            optimizer="sgd",
            lr=lr,
            lr_decay=1.0,
            epochs=size.steps,
            epoch_steps=1,
            batch_size=None if batch == size.examples else batch,
            checkpoints=",".join(map(str, even_steps(size.steps, size.points))),
            seed=int(run["seed"]),
        )

        def more(follower: Follower) -> dict[str, float]:
            return {
                "batch_sharpness": follower.batch_sharpness(batch, _BATCHES),
                "kernel": follower.kernel_trace(_SIGNS),
            }

        found = follow(settings, folder / "checkpoints", few, points=size.points, more=more)
        shutil.rmtree(folder / "checkpoints")  # nothing else is asked of them
        return found.assign(outputs=settings.network.outputs)

    def conclude(self, size: Preset, found: xr.Dataset) -> Conclusion:
        """What settles where."""
        cells = {
            (batch, lr): judged(runs_where(found, batch=batch, lr=lr), batch, lr, size.examples)
            for lr in size.rates
            for batch in size.batch_sizes
        }
        ends = {key: {name: _late(own[name]) for name in _SHOWN} for key, own in cells.items()}
        panels = _panels(size, cells)
        order = {lr: _ranks(found, lr) for lr in size.rates}
        numbers = {
            f"{lr:g}/{batch}/{name}": one for (batch, lr), own in ends.items() for name, one in own.items()
        } | {f"{lr:g}/sharpening": interval(ranks) for lr, ranks in order.items()}
        heading = ["η", "batch", *(f"{title}, late" for title in _SHOWN.values())]
        table = [
            [f"{lr:g}", str(batch), *(one.shown(3) for one in own.values())]
            for (batch, lr), own in ends.items()
        ]
        return Conclusion(
            _answer(size, ends, order),
            ends_by_name(numbers),
            [heading, *table],
            draw_panels(panels, columns=len(size.rates), height=1.7),
            numbers_of_panels(panels),
        )


def noise_kernel(trace: Floats, *, step: float, batch: int, examples: int, outputs: int) -> Floats:
    """η tr Θ/(2BnC), the norm of the noise kernel for small steps; 0 for the full batch, which has no noise.

    Σ_α ηλ_α/(B(2 − ηλ_α)) over the eigenvalues λ of one output's Θ/n, where ηλ is small against 2. Outputs are taken to
    have a kernel each and no part in each other's, so that one's trace is a C-th of all. Batches are drawn without an
    example twice, which leaves the share (n − B)/(n − 1) of the noise. Square loss is said to fall on average where the
    norm is below 1.

    Args:
        trace: tr Θ = Σ_i ‖∂f(x_i)/∂W‖².
        step: η.
        batch: B.
        examples: n.
        outputs: C.
    """
    drawn = (examples - batch) / max(examples - 1, 1)
    return step * trace / (2 * batch * examples * outputs) * drawn


def judged(own: xr.Dataset, batch: int, lr: float, examples: int) -> dict[str, Floats]:
    """What is shown, each (run, point)."""
    edge = float(gd_edge(step=lr))
    return {
        "step": own["step"].values,
        "batch_sharpness": own["batch_sharpness"].values / edge,
        "sharpness": own["sharpness"].values / edge,
        "noise": noise_kernel(
            own["kernel"].values, step=lr, batch=batch, examples=examples, outputs=int(own["outputs"][0])
        ),
        "loss": own["loss"].values,
    }


def _late(values: Floats) -> Interval:
    """The median over the last third of the points, over seeds."""
    return interval(np.median(values[:, -(-2 * values.shape[1] // 3) :], axis=1))


def _ranks(found: xr.Dataset, lr: float) -> list[float]:
    """Of each seed the rank correlation of batch size with the growth of the sharpness since the start."""
    ranks = []
    for seed in np.unique(found["seed"]):
        own = runs_where(found, lr=lr, seed=seed)
        growth = own["sharpness"].values[:, -1] / own["sharpness"].values[:, 0]
        known = np.isfinite(growth)
        alike = known.sum() < 2
        ranks.append(
            np.nan if alike else float(spearmanr(own["batch"].values[known], growth[known]).statistic)
        )
    return ranks


def _panels(size: Preset, cells: dict[tuple[int, float], dict[str, Floats]]) -> list[Panel]:
    panels = []
    for name, title in _SHOWN.items():
        for lr in size.rates:
            series: list[Series] = []
            for k, batch in enumerate(size.batch_sizes):
                own = cells[batch, lr]
                values = own[name]
                if name == "noise" and batch == size.examples:
                    continue
                lines = [interval(values[:, p]) for p in range(values.shape[1])]
                shade = k / len(size.batch_sizes)
                series.append(banded(f"batch {batch}", own["step"][0], lines, shade=shade, mark=False))
            if name != "loss":
                steps = cells[size.batch_sizes[0], lr]["step"][0]
                series.append(Series("the edge", steps, np.ones(len(steps)), line=":", mark=False, shade=1.0))
            first, last = name == next(iter(_SHOWN)), name == "loss"
            panels.append(
                Panel(
                    f"η = {lr:g}" if first else "",
                    "steps" if last else "",
                    title if lr == size.rates[0] else "",
                    series,
                    log_y=name in ("loss", "noise"),
                )
            )
    return panels


_AT_EDGE = (0.9, 1.1)


def _answer(
    size: Preset, ends: dict[tuple[int, float], dict[str, Interval]], order: Mapping[float, Sequence[float]]
) -> str:
    lines = []
    for lr in size.rates:
        told = [
            f"{batch}: {ends[batch, lr]['batch_sharpness'].shown()} and {ends[batch, lr]['sharpness'].shown()}"
            for batch in size.batch_sizes
        ]
        lines.append(
            f"At η = {lr:g}, late in training, batch sharpness and sharpness over 2/η are, by batch size,"
            f" {'; '.join(told)}."
        )
    ranks = [one for ranks in order.values() for one in ranks if not np.isnan(one)]
    agree = sum(one > 0 for one in ranks)
    lines.append(
        f"Sharpening is slower with smaller batches in {agree} of {len(ranks)} comparisons of a step and a seed (rank"
        f" correlation of batch size and growth, median {number(float(np.median(ranks)) if ranks else np.nan, 2)})."
    )
    held = [
        (f"batches of {batch} at η = {lr:g}", what)
        for lr in size.rates
        for batch in size.batch_sizes
        for what, name in (("batch sharpness", "batch_sharpness"), ("sharpness", "sharpness"))
        if _AT_EDGE[0] <= ends[batch, lr][name].low and ends[batch, lr][name].high <= _AT_EDGE[1]
    ]
    at = "; ".join(f"{what} with {where}" for where, what in held)
    lines.append(
        f"So what is at 2/η in every seed, within {_AT_EDGE[0]:g} to {_AT_EDGE[1]:g} of it, is {at or 'nothing'}."
        " Whether the rest would get there with more steps is not known."
    )
    small = size.batch_sizes[0]
    noise = ", ".join(f"{ends[small, lr]['noise'].shown()} at η = {lr:g}" for lr in size.rates)
    lines.append(f"With batches of {small} the noise kernel's norm, whose edge is 1, is {noise}.")
    return "\n".join(lines)
