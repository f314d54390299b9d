"""``probe study fixed-point``: do Fromage's iterates converge, oscillate or shrink?

A referee: any fixed point W* of Fromage has W* = W*/√(1 + η²), so it is zero. Perceptrons are trained with constant and
with falling rates, by the full batch and by mini-batches, and their iterates are followed over windows of a few steps.
"""

from __future__ import annotations

import shutil
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path

import numpy as np
import torch
import xarray as xr

from figures.panels import Panel, draw_panels, numbers_of_panels
from probes.checkpoints.checkpoint import read_checkpoint
from probes.data.dataset import DataSet
from probes.runs.training import TrainingSettings, train
from studies.frame import Conclusion, Coordinates, Interval, Study, banded, interval
from studies.parts.conclusions import ends_by_name, runs_where
from studies.parts.networks import perceptron

__all__ = ["PRESETS", "FixedPoint", "Preset"]

_WINDOW = 16
_CASES = {
    (batch, rate): f"{batch} batch, {rate} η"
    for batch in ("full", "mini")
    for rate in ("constant", "falling")
}
_STEP, _DIRECT, _LOSS, _NORM = "step", "directness", "loss", "norm"
_SHOWN = {
    _STEP: ("a step, relative to the weights", True),
    _DIRECT: (f"{_WINDOW} steps' net way over their length", True),
    _LOSS: ("training loss", True),
    _NORM: ("norm, relative to the start", False),
}


@dataclass(frozen=True)
class Preset:
    """How large the study is.

    Attributes:
        width: of the hidden layers.
        depth: weight matrices.
        examples: trained on.
        batch_size: of mini-batches.
        steps: of training.
        windows: how many stretches of steps are followed, evenly.
        lr: the constant rate, and the falling one's first.
        last: what the falling rate has fallen to, of its first.
    """

    width: int
    depth: int
    examples: int
    batch_size: int
    steps: int
    windows: int
    lr: float = 0.01
    last: float = 1e-3


PRESETS = {
    "toy": Preset(8, 3, 60, 20, 60, 2),
    "quick": Preset(64, 3, 1000, 100, 3000, 13),
    "paper": Preset(784, 3, 5000, 250, 30000, 25),
}


class FixedPoint(Study):
    """Where Fromage's iterates go."""

    name = "fixed-point"
    question = "Fromage's only fixed point is zero: do its iterates converge, oscillate or shrink?"
    presets = PRESETS
    caveats = (
        "The net way is that between the ends of 16 steps: 1 is a straight line, 1/4 a random walk. Below"
        " 0.18 it is called to and fro, above 0.5 a drift.",
        "A step's length is the rate by construction: with a falling rate steps die out wherever the iterates are.",
    )

    def runs(self, size: Preset) -> list[Coordinates]:
        """Each batch with each rate."""
        return [{"batch": batch, "rate": rate} for batch, rate in _CASES]

    def measure(self, size: Preset, run: Coordinates, folder: Path, data: DataSet) -> xr.Dataset:
        """Each quantity (window), and the steps at which windows begin."""
        few = data.head(size.examples)
        starts = np.linspace(0, size.steps - _WINDOW, size.windows).astype(int)
        wanted = sorted({int(start) + k for start in starts for k in range(_WINDOW + 1)})
        full, falling = run["batch"] == "full", run["rate"] == "falling"
        settings = TrainingSettings(
            network=perceptron(few, width=size.width, depth=size.depth),
            data=data.spec,
            examples=size.examples,
            lr=size.lr,
            lr_decay=size.last ** (1 / size.steps) if falling else 1.0,
            epochs=size.steps,
            epoch_steps=1,  # the rate falls from step to step
            batch_size=size.examples if full else size.batch_size,
            checkpoints=",".join(map(str, wanted)),
            seed=int(run["seed"]),
        )
        files = dict(zip(wanted, train(settings, folder / "checkpoints", data=few), strict=True))
        losses = np.genfromtxt(folder / "checkpoints" / "training.csv", delimiter=",", names=True)["loss"]
        origin = _weights(files[0])
        found: dict[str, list[float]] = {name: [] for name in _SHOWN}
        for start in starts:
            path = [_weights(files[int(start) + k]) for k in range(_WINDOW + 1)]
            ways = [float((b - a).norm()) for a, b in pairwise(path)]
            found[_STEP].append(ways[0] / float(path[0].norm()))
            found[_DIRECT].append(float((path[-1] - path[0]).norm()) / sum(ways))
            found[_LOSS].append(float(np.mean(losses[start : start + _WINDOW])))
            found[_NORM].append(float(path[0].norm() / origin.norm()))
        shutil.rmtree(folder / "checkpoints")  # hundreds, of which nothing else is asked
        return xr.Dataset({name: ("window", values) for name, values in found.items()}, {"window": starts})

    def conclude(self, size: Preset, found: xr.Dataset) -> Conclusion:
        """Where each case ends."""
        starts = found["window"].values
        own = {case: runs_where(found, batch=case[0], rate=case[1]) for case in _CASES}
        cells = {
            (case, name): [interval(own[case][name].isel(window=k)) for k in range(len(starts))]
            for case in _CASES
            for name in _SHOWN
        }
        panels = [
            Panel(
                title,
                "steps",
                "",
                [banded(_CASES[case], starts, cells[case, name]) for case in _CASES],
                log_y=log,
            )
            for name, (title, log) in _SHOWN.items()
        ]
        ends = {(case, name): each[-1] for (case, name), each in cells.items()}
        table = [
            ["case", *(f"{title}, at the end" for title, _ in _SHOWN.values())],
            *([_CASES[case], *(ends[case, name].shown(3) for name in _SHOWN)] for case in _CASES),
        ]
        lines = []
        for case, title in _CASES.items():
            step, direct, norm = (ends[case, name] for name in (_STEP, _DIRECT, _NORM))
            way = (
                "to and fro"
                if direct.high < 0.18
                else "a drift"
                if direct.low > 1 / 2
                else "much like a random walk"
            )
            lines.append(
                f"With a {title}: the last window's steps are {step.shown()} of the weights, and their net way is"
                f" {direct.shown()} of their length, which is {way}; norms are {norm.shown()} of the start."
            )
        rising = [
            _CASES[case] for case in _CASES if cells[case, _LOSS][-1].low > _rise_from(cells[case, _LOSS])
        ]
        shrunk = [_CASES[case] for case in _CASES if ends[case, _NORM].high < 1]
        lines.append(
            "So none converges at a constant η: steps stay as long as η says. "
            + (f"The loss ends above ten times its least with a {' and a '.join(rising)}. " if rising else "")
            + (
                f"Iterates shrink with a {' and a '.join(shrunk)}."
                if shrunk
                else "None shrinks towards zero."
            )
        )
        numbers = ends_by_name({f"{'/'.join(case)}/{name}": one for (case, name), one in ends.items()})
        return Conclusion("\n".join(lines), numbers, table, draw_panels(panels), numbers_of_panels(panels))


def _rise_from(losses: Sequence[Interval]) -> float:
    """Ten times the least median on the way."""
    return 10 * min(one.middle for one in losses)


def _weights(file: Path) -> torch.Tensor:
    """All of a checkpoint's parameters as one vector, in float64."""
    return torch.cat([tensor.double().flatten() for tensor in read_checkpoint(file).tensors.values()])
