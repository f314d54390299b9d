"""``probe study depth``: how deep a perceptron each optimiser can train (Figure 3 of the paper).

Multilayer perceptrons of one width and growing depth are trained on MNIST by SGD with momentum, Adam and Fromage, each
at three rates that fall by a factor an epoch. Of Fromage's networks the step limit is measured too, before training and
after, for Lemma 2 to stand beside it.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import xarray as xr

from analysis.wording import number
from figures.panels import Panel, Series, draw_panels, numbers_of_panels
from probes.checkpoints.checkpoint import read_checkpoint
from probes.data.dataset import DataSet
from probes.runs.results import load
from probes.runs.run import measure_run
from probes.runs.source import Source
from probes.runs.training import DivergedError, TrainingSettings, train
from studies.frame import Conclusion, Coordinates, Interval, Study, banded, interval
from studies.parts.conclusions import beside_paper, ends_by_name
from studies.parts.networks import bare_slice, perceptron
from trust import measurements as variables
from trust.descent import lemma2_step_limit
from trust.measurements import SMALL_ETA

__all__ = ["Depth", "Preset"]

_TITLES = {"momentum": "SGD, momentum 0.9", "adam": "Adam", "fromage": "Fromage"}
_RATES = {"momentum": (1.0, 0.1, 0.01), "adam": (0.01, 0.001, 0.0001), "fromage": (0.1, 0.01, 0.001)}
_TRAINED = 0.5  # an accuracy that chance does not reach


@dataclass(frozen=True)
class Preset:
    """How large the study is.

    Attributes:
        width: of the hidden layers.
        depths: numbers of hidden layers; the output layer is not counted, as in the paper.
        examples: trained on; None for all.
        batch_size: of training.
        epochs: how many.
        epoch_steps: steps of an epoch (None: one pass over the data).
        measured: examples on which limits are measured.
    """

    width: int
    depths: tuple[int, ...]
    examples: int | None
    batch_size: int
    epochs: int
    epoch_steps: int | None
    measured: int


PRESETS = {
    "toy": Preset(8, (1, 3), 100, 50, 2, None, 50),
    "quick": Preset(64, (1, 2, 4, 8, 12, 16, 24, 32), 2000, 125, 100, None, 500),
    "paper": Preset(784, (1, *range(5, 51, 5)), None, 250, 100, 240, 1000),
}


class Depth(Study):
    """Accuracy after training against depth, for three optimisers at three rates each."""

    name = "depth"
    question = "How deep a perceptron can SGD, Adam and Fromage train, and what do step limits say of it?"
    presets = PRESETS
    caveats = (
        "The best rate is that of the highest median accuracy on the training set, at each depth: three rates an"
        " optimiser is a coarse search, and no other knob was turned.",
        "A network with weights that are no numbers counts as one that guesses.",
        "Published: width 784, batches of 250, 100 epochs of 60,000 images. The published figure is smoothed by a line"
        " over ten depths, and three points were set by hand; here nothing is.",
    )

    def runs(self, size: Preset) -> list[Coordinates]:
        """The deepest first: they take longest."""
        return [
            {"optimizer": optimizer, "lr": lr, "depth": depth}
            for depth in reversed(size.depths)
            for optimizer, rates in _RATES.items()
            for lr in rates
        ]

    def measure(self, size: Preset, run: Coordinates, folder: Path, data: DataSet) -> xr.Dataset:
        """``accuracy`` after training, whether it ``diverged``, and Fromage's ``limit`` (stage)."""
        few = data.head(size.examples)
        accuracy, diverged = 1 / (int(data.y.max()) + 1), True
        checkpoints = folder / "checkpoints"
        try:
            files = train(_training(size, run, data), checkpoints, data=few)
            accuracy, diverged = float(read_checkpoint(files[-1]).details["train_accuracy"]), False
        except DivergedError:
            files = []
        found = {"accuracy": accuracy, "diverged": float(diverged)}
        limits = [math.nan, math.nan]
        if run["optimizer"] == "fromage" and files:
            settings = bare_slice(np.array([0.0, SMALL_ETA]), limit=True, samples=1)
            source = Source((str(checkpoints),), examples=size.measured)
            measure_run(source, folder / "measurements", settings=settings)
            limits = load(folder / "measurements")[variables.STEP_LIMIT].values.tolist()
        return xr.Dataset({**found, "limit": ("stage", limits)})

    def conclude(self, size: Preset, found: xr.Dataset) -> Conclusion:
        """Which optimiser trains how deep."""
        seeds = len(np.unique(found["seed"]))
        depths = sorted(size.depths)
        cells = {
            (optimizer, lr, depth): interval(found["accuracy"].values[_where(found, optimizer, lr, depth)])
            for optimizer, rates in _RATES.items()
            for lr in rates
            for depth in depths
        }
        best = {
            optimizer: {
                depth: max(rates, key=lambda lr: cells[optimizer, lr, depth].middle) for depth in depths
            }
            for optimizer, rates in _RATES.items()
        }
        limits = [
            {
                depth: interval(found["limit"].values[_where(found, "fromage", 0.01, depth), stage])
                for depth in depths
            }
            for stage in (0, 1)
        ]
        panels = _panels(depths, cells, best, limits)
        numbers = ends_by_name({f"{name}/{lr:g}/{depth}": one for (name, lr, depth), one in cells.items()})
        measured = [
            (found["limit"].values[_where(found, "fromage", 0.01, depth), 1], _lemma2(depth))
            for depth in depths
        ]
        beyond = [np.where(np.isnan(own), np.nan, own < lemma2) for own, lemma2 in measured]
        paper = beside_paper(
            "The paper's Lemma 2, with the constant that it drops, has every relative step below 2^(1/L) − 1 lower the"
            " loss, here after training by η = 0.01",
            np.concatenate(beyond),
            "networks",
        )
        beside = _fromage_beside_others(depths, cells, best)
        return Conclusion(
            f"{_answer(depths, cells, best, limits, seeds)}\n{beside}\n{paper}",
            numbers,
            _table(depths, cells, best, limits),
            draw_panels(panels, columns=3),
            numbers_of_panels(panels),
        )


Cells = Mapping[tuple[str, float, int], Interval]
Best = Mapping[str, Mapping[int, float]]
Limits = Sequence[Mapping[int, Interval]]


def _where(found: xr.Dataset, optimizer: str, lr: float, depth: int) -> np.ndarray:
    same = (found["optimizer"] == optimizer) & (found["lr"] == lr) & (found["depth"] == depth)
    return np.asarray(same.values)


def _lemma2(depth: int) -> float:
    """Lemma 2's limit with its constant as the paper drops it, for so many hidden layers and the output's."""
    return float(lemma2_step_limit(depth=depth + 1))


def _training(size: Preset, run: Coordinates, data: DataSet) -> TrainingSettings:
    return TrainingSettings(
        network=perceptron(data, width=size.width, depth=int(run["depth"]) + 1),
        data=data.spec,
        examples=size.examples,
        optimizer=str(run["optimizer"]),
        lr=float(run["lr"]),
        lr_decay=0.95,
        epochs=size.epochs,
        epoch_steps=size.epoch_steps,
        batch_size=size.batch_size,
        checkpoints="2",
        seed=int(run["seed"]),
    )


def _panels(depths: list[int], cells: Cells, best: Best, limits: Limits) -> list[Panel]:
    x, y = "hidden layers", "training accuracy"
    rates = _RATES["fromage"]
    lemma = Series("Lemma 2's limit", depths, [_lemma2(depth) for depth in depths], mark=False)
    return [
        Panel(
            "best of three rates",
            x,
            y,
            [
                banded(_TITLES[name], depths, [cells[name, best[name][d], d] for d in depths])
                for name in _RATES
            ],
            limits=(0, 1.02),
        ),
        Panel(
            "Fromage's rates",
            x,
            y,
            [
                banded(f"η = {lr:g}", depths, [cells["fromage", lr, d] for d in depths], shade=k / len(rates))
                for k, lr in enumerate(rates)
            ],
            limits=(0, 1.02),
        ),
        Panel(
            "step limits, η = 0.01",
            x,
            "relative step",
            [
                banded("measured, before training", depths, [limits[0][d] for d in depths]),
                banded("measured, after", depths, [limits[1][d] for d in depths]),
                lemma,
            ],
            log_y=True,
            levels={f"η = {lr:g}, a rate": lr for lr in rates},
        ),
    ]


def _deepest(depths: list[int], optimizer: str, cells: Cells, best: Best) -> int:
    """Up to which depth, without a gap, the best rate's median is above what chance reaches; 0 for none."""
    reached = 0
    for depth in depths:
        if cells[optimizer, best[optimizer][depth], depth].middle < _TRAINED:
            break
        reached = depth
    return reached


def _answer(depths: list[int], cells: Cells, best: Best, limits: Limits, seeds: int) -> str:
    parts = []
    for name, title in _TITLES.items():
        deepest = _deepest(depths, name, cells, best)
        last = cells[name, best[name][depths[-1]], depths[-1]]
        parts.append(
            f"{title} up to {deepest} hidden layers (at {depths[-1]} it reaches {last.shown()})"
            if deepest
            else f"{title} none of them (at {depths[-1]} it reaches {last.shown()})"
        )
    lines = [
        f"To a median training accuracy of {_TRAINED:g} or more, over {seeds} seeds: {'; '.join(parts)}."
    ]
    deep = depths[-1]
    lines.append(
        f"At {deep} hidden layers Lemma 2 allows a relative step of {number(_lemma2(deep), 2)}; the measured"
        f" limit is {limits[0][deep].shown()} before training and {limits[1][deep].shown()} after it at η = 0.01."
        f" At {depths[0]} it is {limits[0][depths[0]].shown()} and {limits[1][depths[0]].shown()}, Lemma 2's"
        f" {number(_lemma2(depths[0]), 2)}."
    )
    return "\n".join(lines)


def _fromage_beside_others(depths: list[int], cells: Cells, best: Best) -> str:
    """At which depths its best rate is above or below all others' in every seed."""
    above, below = [], []
    for depth in depths:
        own = cells["fromage", best["fromage"][depth], depth]
        others = [cells[name, best[name][depth], depth] for name in _RATES if name != "fromage"]
        if own.low > max(one.high for one in others):
            above.append(str(depth))
        elif own.high < max(one.low for one in others):
            below.append(str(depth))
    edges = [
        f"{_TITLES[name]} at {', '.join(str(d) for d in depths if best[name][d] in (min(rates), max(rates)))}"
        for name, rates in _RATES.items()
        if any(best[name][d] in (min(rates), max(rates)) for d in depths)
    ]
    return (
        "The paper has Fromage train deeper than the others. Its best rate is above both of theirs in every seed at"
        f" {', '.join(above) or 'no'} hidden layers, and below the better of them in every seed at"
        f" {', '.join(below) or 'none'}. The best rate is the least or the largest tried, so that a better one may lie"
        f" beyond, for {'; '.join(edges)}."
    )


def _table(depths: list[int], cells: Cells, best: Best, limits: Limits) -> list[list[str]]:
    rows = [["hidden layers", *_TITLES.values(), "Lemma 2's limit", "measured before", "measured after"]]
    for depth in depths:
        own = [
            f"{cells[name, best[name][depth], depth].shown()} at {best[name][depth]:g}" for name in _TITLES
        ]
        rows.append(
            [str(depth), *own, number(_lemma2(depth), 2), *(stage[depth].shown() for stage in limits)]
        )
    return rows
