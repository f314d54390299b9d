"""``probe study learning-rates``: does one rate serve every task (the paper's Figure 4)?

Five optimisers train a convolutional classifier, an adversarial pair and a character transformer, each at rates around
the one that is usual for it. What counts is the best score over the score at a rate, so that 1 is the best rate of an
optimiser on a task, and 0 a training that diverged.
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
from probes.data.dataset import DataSet
from probes.networks.transformer import TransformerSpec
from probes.runs.optimizers import check_installed
from studies.frame import Conclusion, Coordinates, Study, banded, interval
from studies.parts.conclusions import beside_paper, ends_by_name, runs_where
from studies.parts.gan import GanSpec
from studies.parts.rate_scan import RateScan
from studies.parts.tasks import SCORES, TASKS, TaskSizes, real_images_distance

__all__ = ["LearningRates", "Preset"]

_USUAL = {
    "sgd": ("SGD", 0.1),
    "adam": ("Adam", 0.001),
    "fromage": ("Fromage", 0.01),
    "lars": ("LARS", 0.01),
    "lamb": ("LAMB", 0.01),
}
"""The names in figures, and the rates in the middle of what is tried."""
_TITLES = {"classify": "image classification", "generate": "image generation", "continue": "text"}
_DASHED = ("lars",)
"""Beside Fromage, which covers it."""
_DIVERGED = "diverged in a seed"
_BESIDE = 0.1
"""How far apart optimisers stand at one task."""
_NEAR = 0.9
"""Of the best score, where a rate serves."""


@dataclass(frozen=True)
class Preset:
    """How large the study is.

    Attributes:
        factors: what each optimiser's usual rate is multiplied by.
        sizes: of the tasks' networks and trainings.
    """

    factors: tuple[float, ...]
    sizes: TaskSizes


def _preset(
    factors: tuple[float, ...],
    channels: tuple[int, ...],
    steps: tuple[int, int, int],
    gan: GanSpec,
    *,
    images: int = 64,
    windows: int = 16,
    **transformer: int,
) -> Preset:
    network = TransformerSpec(**transformer)
    return Preset(factors, TaskSizes(images, channels, steps[0], gan, steps[1], windows, network, steps[2]))


_FINE = tuple(float(f"{10 ** (k / 4):.2g}") for k in range(-8, 9))
PRESETS = {
    "toy": _preset((0.1, 1, 10), (2,), (12, 6, 6), GanSpec(2, 4, 2), context=8, width=4, heads=1, blocks=1),
    "quick": _preset(
        (0.03, 0.1, 0.3, 1, 3, 10, 30),
        (8, 16),
        (1200, 1500, 600),
        GanSpec(),
        context=32,
        width=32,
        heads=2,
        blocks=2,
    ),
    "long": _preset(
        (0.1, 0.3, 1, 3, 10),
        (8, 16),
        (9600, 12000, 4800),
        GanSpec(),
        context=32,
        width=32,
        heads=2,
        blocks=2,
    ),
    "paper": _preset(
        _FINE, (16, 32), (20000, 20000, 10000), GanSpec(width=256), context=64, width=64, heads=4, blocks=2
    ),
}


class LearningRates(Study):
    """Best score over score against the rate, on three tasks."""

    name = "learning-rates"
    question = "Does one rate serve every task, by SGD, Adam, LARS, LAMB and Fromage (Figure 4)?"
    presets = PRESETS
    caveats = (
        "Best rates depend on how long one trains: the preset `long` has eight times the quick one's steps. Rates are"
        " each optimiser's usual one and others around it; they, networks and the quick preset's steps were chosen"
        " before any but the usual had been tried, `long` afterwards.",
        "Rates are constant but for the last sixth, at a tenth, as Fromage's authors have it in their adversarial task;"
        " nothing else is tuned: no weight decay, no bound on norms, no warm-up, and of the adversarial pair one rate"
        " for both. There Adam and LAMB go without momentum, as is usual.",
        "The Fréchet distance is that of MNIST's own classifier, not of Inception, and cannot be compared with"
        " published ones, nor between presets, whose classifiers are trained for other numbers of steps. The"
        " pair is of perceptrons on 14 × 14 pixels.",
        "Each optimiser is compared with its own best. The rate that serves all tasks best is chosen by the same scores"
        " by which it is then judged.",
        "Perplexity counts characters of Python's documentation, which differs a little between versions; 1 is the best"
        " there could be, so that its ratios to the best are larger than an error's.",
    )

    def runs(self, size: Preset) -> list[Coordinates]:
        """Each task by each optimiser at each rate.

        Raises:
            InputError: the library that has LAMB is not installed.
        """
        check_installed("lamb")
        return [
            {"task": task, "optimizer": name, "rate": rate}
            for task in TASKS
            for name in _USUAL
            for rate in _rates(size, name)
        ]

    def measure(self, size: Preset, run: Coordinates, folder: Path, data: DataSet) -> xr.Dataset:
        """``score``, smaller is better and infinite where training diverged, and ``floor``, of real images."""
        task = str(run["task"])
        score = TASKS[task](size.sizes, str(run["optimizer"]), float(run["rate"]), int(run["seed"]), data)
        floor = real_images_distance(size.sizes, data) if task == "generate" else math.nan
        return xr.Dataset({"score": score, "floor": floor})

    def conclude(self, size: Preset, found: xr.Dataset) -> Conclusion:
        """A row an optimiser and task, and a panel a task."""
        scans = {
            (task, name): RateScan(np.array(_rates(size, name)), _scores(size, found, task, name))
            for task in TASKS
            for name in _USUAL
        }
        floor = float(interval(found["floor"]).middle)
        heading = "task | optimiser | best rate | score there | at the usual rate, of the best | diverged"
        rows = [heading.split(" | ")]
        numbers: dict[str, float] = {"floor": floor}
        for (task, name), line in scans.items():
            title, usual = _USUAL[name]
            each = {
                "rate": line.best_rates,
                "score": interval(line.scores[line.best]),
                "usual": line.shares[line.place(usual)],
            }
            shown = [each["rate"].shown(), each["score"].shown(3), each["usual"].shown()]
            rows.append([SCORES[task], title, *shown, _diverged([line])])
            numbers |= ends_by_name({f"{task}/{name}/{what}": cell for what, cell in each.items()})
            numbers[f"{task}/{name}/diverged"] = float(np.isinf(line.scores).mean())
            numbers |= {
                f"{task}/{name}/{rate:g}": one.middle
                for rate, one in zip(line.rates, line.shares, strict=True)
            }
        panels = _panels(scans)
        return Conclusion(
            _answer(scans, floor), numbers, rows, draw_panels(panels), numbers_of_panels(panels)
        )


def _rates(size: Preset, name: str) -> list[float]:
    return [float(f"{_USUAL[name][1] * factor:.3g}") for factor in size.factors]


def _scores(size: Preset, found: xr.Dataset, task: str, name: str) -> np.ndarray:
    """Of an optimiser on a task (rate, seed)."""
    own = runs_where(found, task=task, optimizer=name)
    return np.array([own["score"].values[own["rate"].values == rate] for rate in _rates(size, name)])


Scans = Mapping[tuple[str, str], RateScan]


def _panels(scans: Scans) -> list[Panel]:
    panels = []
    for task, title in _TITLES.items():
        own = {name: scans[task, name] for name in _USUAL}
        series = [
            banded(_USUAL[name][0], one.rates, one.shares, line="--" if name in _DASHED else "-")
            for name, one in own.items()
        ]
        lost = sorted(
            {float(rate) for one in own.values() for rate in one.rates[np.isinf(one.scores).any(1)]}
        )
        series.append(Series(_DIVERGED, lost, np.zeros(len(lost)), line=""))
        shown = f"{title}: {SCORES[task]}"
        panels.append(Panel(shown, "rate", "best score / score", series, log_x=True, limits=(-0.05, 1.3)))
    best = [
        banded(
            title,
            np.arange(len(TASKS)) + _BESIDE * (place - (len(_USUAL) - 1) / 2),
            [scans[task, name].best_rates for task in TASKS],
            line="",
        )
        for place, (name, (title, _)) in enumerate(_USUAL.items())
    ]
    panels.append(
        Panel("best rates, with those of seeds", "", "rate", best, log_y=True, ticks=[*_TITLES.values()])
    )
    return panels


def _answer(scans: Scans, floor: float) -> str:
    own = {name: [scans[task, name] for task in TASKS] for name in _USUAL}
    common = {name: _common(three) for name, three in own.items()}
    serve = sum(worst >= _NEAR for _, worst in common.values())
    others = {name: _shares(name, three) for name, three in own.items() if name != "fromage"}
    apart = {name: number(_apart(three), 2) for name, three in own.items()}
    served = {name: f"{rate:g} ({number(worst, 2)})" for name, (rate, worst) in common.items()}
    return "\n".join(
        [
            _at_usual(own["fromage"]),
            f"On the same tasks the others, at their usual rates, reach {_listed(others, '; ')}.",
            "The one rate that serves all tasks best, and the best score over the score there on the task that it"
            f" serves worst: {_listed(served)}. That is {_NEAR:g} or more by {serve} of {len(served)} optimisers.",
            f"From task to task the best rates differ by a factor of up to {_listed(apart)}.",
            _at_ends(scans),
            *(_ranked(scans, task) for task in TASKS),
            f"Held-out real images have a distance of {number(floor, 2)}.",
            "Trainings that diverged, at any rate:"
            f" {_listed({name: _diverged(three) for name, three in own.items()})}.",
            beside_paper(
                "The paper has 0.01 the best power of ten for Fromage on every task",
                np.concatenate([_better_decade(one) for one in own["fromage"]]),
                "tasks and seeds",
            ),
        ]
    )


def _listed(texts: Mapping[str, str], between: str = ", ") -> str:
    return between.join(f"{_USUAL[name][0]} {text}" for name, text in texts.items())


def _at_usual(three: Sequence[RateScan]) -> str:
    """Of Fromage."""
    usual = _USUAL["fromage"][1]
    ends = [one.shares[one.place(usual)] for one in three]
    near = sum(one.middle >= _NEAR for one in ends)
    each = zip(_TITLES.values(), ends, three, strict=True)
    shown = "; ".join(f"{title} {end.shown()}, best at {one.best_rates.shown()}" for title, end, one in each)
    return (
        f"By Fromage at {usual:g}, its best score over its score there: {shown}. That is {_NEAR:g} or more on {near} of"
        f" {len(ends)} tasks."
    )


def _shares(name: str, three: Sequence[RateScan]) -> str:
    usual = _USUAL[name][1]
    shares = [number(one.shares[one.place(usual)].middle, 2) for one in three]
    return f"at {usual:g}: {', '.join(shares)}"


def _apart(three: Sequence[RateScan]) -> float:
    best = [one.rates[one.best] for one in three]
    return float(max(best) / min(best))


def _common(three: Sequence[RateScan]) -> tuple[float, float]:
    """The rate that serves the worst served task best, and how well."""
    worst = np.min([[share.middle for share in one.shares] for one in three], axis=0)
    place = int(np.argmax(worst))
    return float(three[0].rates[place]), float(worst[place])


def _at_ends(scans: Scans) -> str:
    found = [
        f"{_USUAL[name][0]} in {_TITLES[task]}"
        for (task, name), one in scans.items()
        if one.best in (0, len(one.rates) - 1)
    ]
    if not found:
        return "All best rates lie within what was tried."
    return f"At an end of what was tried, so that a better rate may lie beyond: {', '.join(found)}."


def _ranked(scans: Scans, task: str) -> str:
    scores = {name: scans[task, name].middle[scans[task, name].best] for name in _USUAL}
    order = sorted(scores, key=lambda name: float(scores[name]))
    shown = {name: number(float(scores[name]), 3) for name in order}
    return f"At the best rates, {SCORES[task]} in {_TITLES[task]}: {_listed(shown)}."


def _diverged(three: Sequence[RateScan]) -> str:
    return (
        f"{sum(int(np.isinf(one.scores).sum()) for one in three)} of {sum(one.scores.size for one in three)}"
    )


def _better_decade(line: RateScan) -> np.ndarray:
    """For each seed whether another power of ten is better than the usual rate."""
    tens = np.isclose(np.log10(line.rates) % 1, 0) | np.isclose(np.log10(line.rates) % 1, 1)
    better: np.ndarray = line.scores[tens].min(axis=0) < line.scores[line.place(_USUAL["fromage"][1])]
    return better
