"""``probe study network-specific-rate``: Fromage's rate from Lemma 2, for each network its own, or one searched for?

Networks are trained by Fromage along a cosine from several rates, of which the one that is best on held-out examples
counts as searched for. Beside it: from half of Lemma 2's limit and from all of it, which know nothing but the number of
weight tensors, and steps that are as long as the limit measured on the way.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path

import numpy as np
import numpy.typing as npt
import xarray as xr
from torch import Tensor
from torch.optim.lr_scheduler import CosineAnnealingLR, LRScheduler

from analysis.wording import number
from figures.panels import Panel, draw_panels, numbers_of_panels
from probes.data.dataset import DataSet, load_data
from probes.errors import InputError, mention
from probes.networks.images import ConvSpec
from probes.networks.specs import NetworkSpec
from probes.networks.transformer import TransformerSpec
from studies.frame import Conclusion, Coordinates, Study, banded, interval
from studies.parts.conclusions import beside_paper, ends_by_name, runs_where
from studies.parts.networks import perceptron
from studies.parts.stepped import Stepped
from trust.descent import lemma2_step_limit
from trust.optim import Fromage, MeasuredLimit, half_lemma2_schedule, weight_count

__all__ = ["NetworkSpecificRate", "Preset"]

Floats = npt.NDArray[np.float64]
_CONTEXT = 32
"""Characters in an example of text."""
_SEARCHED = "searched for"
_HALF, _WHOLE, _MEASURED = "half of Lemma 2's limit", "Lemma 2's limit", "the measured limit"
_LOOSE = 0.5
"""From this share of the score on, noise hides everything."""
_SHOWN = 4.0
"""How many times the error at the best rate is drawn."""
_FIXED = 0.01
"""The rate that suits most networks, as the paper has it."""


@dataclass(frozen=True)
class Preset:
    """How large the study is; all of it was settled before anything was trained.

    Attributes:
        tasks: names of :data:`TASKS`.
        width: of hidden layers, and of the transformer half of it.
        steps: of training.
        batch_size: of training; of text an eighth of it.
        examples: trained on.
        held_out: so many to choose the rate by, and as many others to judge by.
        rates: searched among.
    """

    tasks: tuple[str, ...]
    width: int
    steps: int
    batch_size: int
    examples: int
    held_out: int
    rates: tuple[float, ...]


def _plain(depth: int, *, residual: bool = False) -> Callable[[Preset, DataSet], NetworkSpec]:
    return lambda size, data: perceptron(data, width=size.width, depth=depth, residual=residual)


TASKS: dict[str, tuple[str, Callable[[Preset, DataSet], NetworkSpec]]] = {
    "perceptron-2": ("perceptron, 2 layers", _plain(2)),
    "perceptron-4": ("perceptron, 4 layers", _plain(4)),
    "perceptron-8": ("perceptron, 8 layers", _plain(8)),
    "perceptron-16": ("perceptron, 16 layers", _plain(16)),
    "residual-24": ("residual, 24 layers", _plain(24, residual=True)),
    "conv": ("convolutions", lambda size, data: ConvSpec()),
    "conv-bn": ("convolutions, batch norm", lambda size, data: ConvSpec(norm="batch")),
    "text": (
        "transformer on text",
        lambda size, data: TransformerSpec(context=_CONTEXT, width=size.width // 2),
    ),
}
"""By name the title, and the network for the data."""
_ALL = tuple(TASKS)
_RATES = (0.005, 0.01, 0.02, 0.04, 0.08, 0.16, 0.32)
PRESETS = {
    "toy": Preset(("perceptron-2", "text"), 8, 6, 16, 40, 20, (0.01, 0.1)),
    "quick": Preset(_ALL, 64, 800, 125, 3000, 1000, _RATES),
    "paper": Preset(_ALL, 256, 5000, 125, 3000, 1000, (0.0025, *_RATES, 0.64)),
}


class NetworkSpecificRate(Study):
    """What a rate that needs no search costs on examples that were not seen."""

    name = "network-specific-rate"
    question = (
        "How near does Lemma 2's limit, which knows the depth alone, come to a rate that was searched for?"
    )
    presets = PRESETS
    caveats = (
        "Tasks, depths, rates and the measure of success were settled before any of them was trained. The score is the"
        " error on test examples, of text the loss; the rate with the best mean over seeds on other held-out examples"
        " is the one searched for.",
        "Noise is how far apart the seeds of the best rate are. Seeds share the test examples, and of 1,000 examples an"
        " error of 5 % is known to ± 0.7 points.",
        "Rates are a factor of 2 apart, so that a finer search could find a little better ones. Small networks, short"
        " trainings; in longer ones smaller rates can catch up.",
        "The figure ends at four times the error at the best rate. Rates fall along a cosine; the measured limit's"
        " steps have no schedule, and no end.",
        "The text is the one that comes with Python, and differs a little between its versions.",
    )

    def runs(self, size: Preset) -> list[Coordinates]:
        """Each task at each rate, and by each rule (whose rate is 0 here)."""
        ways = [(_SEARCHED, rate) for rate in size.rates]
        ways += [(rule, 0.0) for rule in (_HALF, _WHOLE, _MEASURED)]
        return [{"task": task, "rule": rule, "lr": lr} for task in size.tasks for rule, lr in ways]

    def measure(self, size: Preset, run: Coordinates, folder: Path, data: DataSet) -> xr.Dataset:
        """``eta`` at the start, ``depth``, and of each part of the data (part) ``loss`` and ``accuracy``."""
        task, rule = str(run["task"]), str(run["rule"])
        x, y = _examples(task, data)
        spec = TASKS[task][1](size, data)
        rows, wanted = slice(size.examples), size.examples + 2 * size.held_out
        if len(x) < wanted:
            raise InputError(
                f"{mention('data', data.spec)}: for {task} {wanted} examples are needed, and there are {len(x)}"
            )
        batch = max(1, size.batch_size // 8) if task == "text" else size.batch_size
        training = Stepped(spec, x[rows], y[rows], batch_size=batch, seed=int(run["seed"]))
        optimizer = Fromage(training.weights, lr=_FIXED)
        depth = weight_count(optimizer)
        rate = float(lemma2_step_limit(depth=depth)) if rule == _WHOLE else float(run["lr"])
        optimizer.param_groups[0]["lr"] = rate
        if rule == _MEASURED:
            follower = MeasuredLimit(optimizer)
            for _ in range(size.steps):
                training.draw()
                follower.step(training.gradients)
        else:
            schedule: LRScheduler = CosineAnnealingLR(optimizer, size.steps)
            if rule == _HALF:
                schedule = half_lemma2_schedule(optimizer, total=size.steps)
            rate = optimizer.param_groups[0]["lr"]
            for _ in range(size.steps):
                training.draw()
                training.gradients()
                optimizer.step()
                schedule.step()
        ends = [0, size.examples, size.examples + size.held_out, size.examples + 2 * size.held_out]
        scores = [training.score(x[a:b], y[a:b]) for a, b in pairwise(ends)]
        loss, accuracy = np.array(scores).T
        return xr.Dataset(
            {"eta": rate, "depth": depth, "loss": ("part", loss), "accuracy": ("part", accuracy)},
            coords={"part": ["train", "select", "test"]},
        )

    def conclude(self, size: Preset, found: xr.Dataset) -> Conclusion:
        """A row a task: what each rule loses against the rate that was searched for."""
        tasks = [Task.of(name, size, found) for name in size.tasks]
        heading = [
            "task",
            "tensors",
            "best rate",
            "half of Lemma 2's",
            "score at the best",
            "the seeds' spread",
        ]
        rows = [[*heading, *(f"{rule}: loses" for rule in tasks[0].losses)]]
        numbers: dict[str, float] = {}
        for task in tasks:
            shown = [task.title, str(task.depth), f"{task.best:g}", number(task.half, 2)]
            shown += [interval(task.scores).shown(), number(task.noise, 2)]
            rows.append([*shown, *(interval(loss).shown() for loss in task.losses.values())])
            numbers |= {f"{task.name}/best": task.best, f"{task.name}/half": task.half}
            numbers |= {f"{task.name}/noise": task.noise}
            cells = {f"{task.name}/{rule}": interval(loss) for rule, loss in task.losses.items()}
            numbers |= ends_by_name({f"{task.name}/score": interval(task.scores), **cells})
        panels = [_panel(task) for task in tasks]
        figure = draw_panels(panels, columns=min(3, len(panels)), height=1.8)
        return Conclusion(_answer(tasks), numbers, rows, figure, numbers_of_panels(panels))


@dataclass(frozen=True)
class Task:
    """What the runs of one task say; scores are test errors in per cent, of text test losses.

    Attributes:
        name: of the task.
        title: in figure and table.
        depth: weight tensors.
        best: the rate with the best mean on the examples to choose by.
        half: half of Lemma 2's limit.
        scores: at the best rate, of each seed.
        losses: by rule, how much larger each seed's score is than at the best rate.
        by_rate: each rate's scores.
        by_rule: each rule's.
    """

    name: str
    title: str
    depth: int
    best: float
    half: float
    scores: Floats
    losses: Mapping[str, Floats]
    by_rate: Mapping[float, Floats]
    by_rule: Mapping[str, Floats]

    @classmethod
    def of(cls, name: str, size: Preset, found: xr.Dataset) -> Task:
        """Choose the rate on one part of the data, and judge on another."""
        own = runs_where(found, task=name)
        by_rate = {rate: runs_where(own, rule=_SEARCHED, lr=rate) for rate in size.rates}
        best = min(size.rates, key=lambda rate: float(_score(name, by_rate[rate], "select").mean()))
        scores = _score(name, by_rate[best], "test")
        rules = {rule: runs_where(own, rule=rule) for rule in (_HALF, _WHOLE, _MEASURED)}
        tested = {rule: _score(name, runs, "test") for rule, runs in rules.items()}
        others = {**tested, f"always {_FIXED:g}": _score(name, by_rate[_FIXED], "test")}
        return cls(
            name,
            TASKS[name][0],
            int(own["depth"].values[0]),
            best,
            float(rules[_HALF]["eta"].values[0]),
            scores,
            {rule: other - scores for rule, other in others.items()},
            {rate: _score(name, runs, "test") for rate, runs in by_rate.items()},
            tested,
        )

    @property
    def noise(self) -> float:
        """How far apart the seeds are at the best rate."""
        return float(np.ptp(self.scores))

    def behind(self, rule: str) -> bool:
        """Whether the median seed loses more than the noise."""
        return bool(np.median(self.losses[rule]) > self.noise)


def _examples(task: str, data: DataSet) -> tuple[Tensor, Tensor]:
    if task != "text":
        return data.x.float(), data.y
    text = load_data("text")
    return text.x[:, :_CONTEXT], text.y[:, :_CONTEXT]


def _score(task: str, runs: xr.Dataset, part: str) -> Floats:
    """Of each seed; infinite where training led to no numbers."""
    own = runs.sel(part=part)
    found = own["loss"].values if task == "text" else 100 * (1 - own["accuracy"].values)
    return np.where(np.isfinite(own["loss"].values), found, math.inf)


def _panel(task: Task) -> Panel:
    rates = list(task.by_rate)
    line = banded("along a cosine from η", rates, [interval(one) for one in task.by_rate.values()])
    at = {_HALF: task.half, _WHOLE: 2 * task.half}
    points = [banded(rule, [eta], [interval(task.by_rule[rule])], line="") for rule, eta in at.items()]
    unit = "test loss" if task.name == "text" else "test error, %"
    levels = {_MEASURED: float(np.median(task.by_rule[_MEASURED]))}
    most = None if task.name == "text" else (0.0, min(100.0, _SHOWN * float(np.median(task.scores))))
    return Panel(task.title, "η", unit, [line, *points], log_x=True, levels=levels, limits=most)


def _answer(tasks: list[Task]) -> str:
    lines = []
    for rule in tasks[0].losses:
        behind = [task.behind(rule) for task in tasks]
        lost = [
            f"{task.title} {number(float(np.median(task.losses[rule])), 2)} (noise {number(task.noise, 2)})"
            for task in tasks
            if task.behind(rule)
        ]
        where = f" Behind: {', '.join(lost)}." if lost else ""
        says = f"{rule[0].upper()}{rule[1:]} is within the seeds' noise of the rate that was searched for"
        lines.append(beside_paper(says, behind, "tasks") + where)
    spans = [f"{task.title} {number(task.half / task.best, 2)}" for task in tasks]
    lines.append(f"Half of Lemma 2's limit over the best rate: {', '.join(spans)}.")
    loose = [task.title for task in tasks if task.noise > _LOOSE * float(np.median(task.scores))]
    if loose:
        lines.append(
            f"Seeds differ by more than half of the score, so that nothing is told, in: {', '.join(loose)}."
        )
    return "\n".join(lines)
