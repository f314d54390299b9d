"""``probe study edge-of-stability``: does full-batch training hold the sharpness at each optimiser's own threshold?

Perceptrons are trained by gradient descent, Adam and sharpness-aware minimisation at three steps each, with half the
squared distance to one-hot labels, and by gradient descent with cross-entropy. Two solvers follow the gradient flow, of
which gradient descent is too coarse a picture where it rides the edge.
"""

from __future__ import annotations

import math
import shutil
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import numpy.typing as npt
import xarray as xr
from torch import Tensor

from analysis.wording import number
from figures.panels import Panel, Series, draw_panels, numbers_of_panels
from probes.data.dataset import DataSet
from probes.runs.optimizers import check_installed
from probes.runs.training_settings import TrainingSettings
from studies.frame import Conclusion, Coordinates, Interval, Study, banded, interval
from studies.parts.conclusions import ends_by_name, runs_where
from studies.parts.networks import perceptron
from studies.parts.trajectory import Follower, even_steps, follow, ratio_from_crossing
from trust.edge import adam_edge, gd_edge, sam_edge

__all__ = ["EdgeOfStability", "Preset"]

Floats = npt.NDArray[np.float64]
SOLVERS = {"flow": "Runge-Kutta", "exponential-euler": "exponential Euler", "sgd": "gradient descent"}


@dataclass(frozen=True)
class Case:
    """What is trained at three steps.

    Attributes:
        title: in figure and table.
        optimizer: its name.
        activation: of the hidden layers.
        loss: its name.
        edge: how the threshold is written.
        goal: the accuracy at which training counts as done, and up to which the edge is judged; None: to the end.
        share: of the preset's steps that it is trained for.
    """

    title: str
    optimizer: str
    activation: str = "tanh"
    loss: str = "half-square"
    edge: str = "2/η"
    goal: float | None = None
    share: float = 1.0


CASES = {
    "gd-tanh": Case("gradient descent, tanh", "sgd"),
    "gd-relu": Case("gradient descent, ReLU", "sgd", "relu"),
    "gd-cross-entropy": Case("cross-entropy", "sgd", loss="cross-entropy", goal=0.99, share=0.2),
    "adam": Case("Adam", "adam", edge="38/η"),
    "sam": Case("SAM", "sam", edge="SAM's edge"),
}
_SOLVED = "solvers"


@dataclass(frozen=True)
class Preset:
    """How large the study is.

    Attributes:
        width: of the two hidden layers.
        examples: trained on.
        steps: of training.
        points: at how many of them curvature is measured.
        rates: three steps η for each case.
        rho: of SAM.
        time: for how long the flow is followed.
        step: of exponential Euler, and of gradient descent beside it.
        eigenpairs: along which exponential Euler is exact.
    """

    width: int
    examples: int
    steps: int
    points: int
    rates: tuple[tuple[str, tuple[float, float, float]], ...]
    rho: float
    time: float
    step: float
    eigenpairs: int


_QUICK = (
    ("gd-tanh", (0.05, 0.1, 0.15)),
    ("gd-relu", (0.05, 0.1, 0.2)),
    ("gd-cross-entropy", (0.3, 0.6, 1.0)),
    ("adam", (3e-4, 1e-3, 3e-3)),
    ("sam", (0.025, 0.05, 0.1)),
)
_PAPER = (
    ("gd-tanh", (0.01, 0.015, 0.02)),
    ("gd-relu", (0.01, 0.015, 0.02)),
    ("gd-cross-entropy", (0.05, 0.1, 0.2)),
    ("adam", (3e-5, 1e-4, 3e-4)),
    ("sam", (0.01, 0.015, 0.02)),
)
PRESETS = {
    "toy": Preset(8, 40, 15, 4, _QUICK, 0.1, 1.0, 0.25, 5),
    "quick": Preset(32, 500, 3000, 61, _QUICK, 0.1, 30.0, 0.2, 10),
    "paper": Preset(200, 5000, 10_000, 101, _PAPER, 0.1, 100.0, 0.02, 20),
}


class EdgeOfStability(Study):
    """The top eigenvalue of the Hessian, for Adam of the preconditioned one, against each optimiser's threshold."""

    name = "edge-of-stability"
    question = "Does full-batch training hold the sharpness at the threshold of its optimiser?"
    data = "mnist-14x14"
    presets = PRESETS
    caveats = (
        "The ratio to the threshold is the median over the measured steps from the first at which the threshold is"
        " crossed, to the end of training with square loss, to the goal in accuracy with cross-entropy: there the"
        " sharpness falls as the data is fitted, which is known and refutes nothing.",
        "Where the sharpness starts above the threshold, training has crossed it before its first step.",
        "The Hessian is blind to ReLU's kinks.",
    )

    def runs(self, size: Preset) -> list[Coordinates]:
        """The solvers, and each case at each of its steps.

        Raises:
            InputError: SAM's library is not installed.
        """
        for case in CASES.values():
            check_installed(case.optimizer)
        solved: list[Coordinates] = [{"case": _SOLVED, "lr": size.step}]
        return solved + [{"case": case, "lr": lr} for case, rates in size.rates for lr in rates]

    def measure(self, size: Preset, run: Coordinates, folder: Path, data: DataSet) -> xr.Dataset:
        """What is measured on the way (series, point), and the distance of outputs from the flow's (series, point)."""
        few = data.head(size.examples)
        case, lr, seed = str(run["case"]), float(run["lr"]), int(run["seed"])
        if case == _SOLVED:
            found = _solved(size, seed, folder, few)
        else:
            settings = _training(size, CASES[case], lr, seed, few)
            found = follow(settings, folder / "checkpoints", few, points=size.points)
            found = found.assign(time=found["step"] * lr).expand_dims(series=[CASES[case].optimizer])
        for path in folder.glob("checkpoints*"):
            shutil.rmtree(path)  # hundreds, of which nothing else is asked
        return found

    def conclude(self, size: Preset, found: xr.Dataset) -> Conclusion:
        """How far from its threshold each settles."""
        rows = [
            Row.of(case, lr, size, runs_where(found, case=case, lr=lr).sel(series=CASES[case].optimizer))
            for case, rates in size.rates
            for lr in rates
        ]
        solved = runs_where(found, case=_SOLVED)
        solved = solved.isel(point=np.isfinite(solved["time"].sel(series="flow").values[0]))
        panels = _panels(size, rows, solved)
        numbers = {f"{row.case}/{row.lr:g}/{name}": one for row in rows for name, one in row.judged.items()}
        numbers |= {
            f"{_SOLVED}/{name}/{what}": one
            for name in SOLVERS
            for what, one in _solver_ends(solved, name).items()
        }
        return Conclusion(
            _answer(size, rows, solved),
            ends_by_name(numbers),
            _table(rows),
            draw_panels(panels, columns=3, height=1.7),
            numbers_of_panels(panels),
        )


def _training(size: Preset, case: Case, lr: float, seed: int, data: DataSet) -> TrainingSettings:
    steps = round(size.steps * case.share)
    return TrainingSettings(
        network=perceptron(data, width=size.width, depth=3, activation=case.activation),
        data=data.spec,
        examples=size.examples,
        loss=case.loss,
        optimizer=case.optimizer,
        rho=size.rho if case.optimizer == "sam" else None,
        lr=lr,
        lr_decay=1.0,
        epochs=steps,
        epoch_steps=1,
        batch_size=None,
        checkpoints=",".join(map(str, even_steps(steps, size.points))),
        seed=seed,
    )


def _solved(size: Preset, seed: int, folder: Path, data: DataSet) -> xr.Dataset:
    """The flow by both solvers, and gradient descent of the same step, for as long."""
    base = _training(size, CASES["gd-tanh"], size.step, seed, data)
    every = math.ceil(size.time / size.step / (size.points - 1))
    steps = round(size.time / size.step) // every * every
    points = steps // every + 1
    shown = np.arange(points) * every
    parts: list[xr.Dataset] = []
    truth: list[Tensor] = []
    for name in SOLVERS:
        # the flow goes from one measured point to the next at once, and chooses its own steps between
        spaced = every if name == "flow" else 1
        settings = replace(
            base,
            optimizer=name,
            eigenpairs=size.eigenpairs if name == "exponential-euler" else None,
            lr=size.step * spaced,
            epochs=steps // spaced,
            checkpoints=",".join(str(step // spaced) for step in shown),
        )
        place = folder / f"checkpoints-{name}"
        own = follow(settings, place, data, points=points)
        follower = Follower(settings, data)
        outputs = []
        for file in sorted(place.glob("*.safetensors")):
            follower.put(file)
            outputs.append(follower.outputs())
        truth = truth or outputs
        apart = np.full(points, np.nan)
        apart[: len(outputs)] = [
            float((a - b).norm() / b.norm()) for a, b in zip(outputs, truth, strict=False)
        ]
        own = own.assign(time=("point", shown * size.step), apart=("point", apart))
        parts.append(own.expand_dims(series=[name]))
    return xr.concat(parts, "series")


@dataclass(frozen=True)
class Row:
    """One case at one step, over seeds.

    Attributes:
        case: its name.
        lr: η.
        own: what was measured (run, point).
        curvature: what the threshold is for (run, point).
        threshold: (run, point).
        judged: ``crossed`` (the step; NaN for seeds that never do), ``ratio`` since, ``highest``, ``last``,
            ``loss`` and ``accuracy`` at the end.
        arrived: how many seeds crossed it, and of how many.
    """

    case: str
    lr: float
    own: xr.Dataset
    curvature: Floats
    threshold: Floats
    judged: Mapping[str, Interval]
    arrived: tuple[int, int]

    @classmethod
    def of(cls, case: str, lr: float, size: Preset, own: xr.Dataset) -> Row:
        """Judge it."""
        made, norms = CASES[case], own["gradient_norm"].values
        curvature = own["preconditioned" if made.optimizer == "adam" else "sharpness"].values
        if made.optimizer == "sam":
            known = np.where(np.isnan(norms), 1.0, norms)
            threshold = np.asarray(sam_edge(step=lr, rho=size.rho, gradient_norm=known))
        else:
            edge = adam_edge(step=lr) if made.optimizer == "adam" else gd_edge(step=lr)
            threshold = np.full(curvature.shape, float(edge))
        crossings = [
            ratio_from_crossing(*one, goal=made.goal)
            for one in zip(own["step"].values, curvature / threshold, own["accuracy"].values, strict=True)
        ]
        ratio = curvature / threshold
        judged = {
            "crossed": interval([one.step for one in crossings]),
            "ratio": interval([one.ratio for one in crossings]),
            "highest": interval([_without_nan(one, np.nanmax) for one in ratio]),
            "last": interval(ratio[:, -1]),
            "loss": interval(own["loss"].values[:, -1]),
            "accuracy": interval(own["accuracy"].values[:, -1]),
        }
        arrived = sum(not math.isnan(one.step) for one in crossings), len(crossings)
        return cls(case, lr, own, curvature, threshold, judged, arrived)


def _without_nan(values: Floats, of: object) -> float:
    known = values[~np.isnan(values)]
    return float(known.max()) if len(known) else math.nan


def _solver_ends(solved: xr.Dataset, name: str) -> dict[str, Interval]:
    own = solved.sel(series=name)
    return {
        "sharpness": interval(own["sharpness"].values[:, -1]),
        "apart": interval(own["apart"].values[:, -1]),
        "worst": interval(own["apart"].max("point", skipna=False).values),
    }


def _panels(size: Preset, rows: Sequence[Row], solved: xr.Dataset) -> list[Panel]:
    above, below = [], []
    for case, rates in size.rates:
        losses, curvatures = [], []
        for k, lr in enumerate(rates):
            (row,) = [one for one in rows if (one.case, one.lr) == (case, lr)]
            steps, shade = row.own["step"].values[0], k / len(rates)
            label = ("smallest η", "middle η", "largest η")[k]
            losses.append(_line(label, steps, row.own["loss"].values, shade))
            curvatures.append(_line(label, steps, row.curvature, shade))
            middle = np.nanmedian(row.threshold, axis=0)
            curvatures.append(Series("its edge", steps, middle, line=":", mark=False, shade=shade))
        given = ", ".join(f"{lr:g}" for lr in rates)
        above.append(Panel(f"{CASES[case].title}\nη = {given}", "", "loss", losses, log_y=True))
        adams = CASES[case].optimizer == "adam"
        below.append(Panel("", "steps", "λ of P⁻¹H" if adams else "sharpness λ", curvatures, log_y=adams))
    losses, curvatures = [], []
    for name, title in SOLVERS.items():
        own = solved.sel(series=name)
        times = own["time"].values[0]
        losses.append(_line(title, times, own["loss"].values))
        curvatures.append(_line(title, times, own["sharpness"].values))
        if name == "sgd":
            edge = np.full(len(times), float(gd_edge(step=size.step)))
            curvatures.append(Series("its edge", times, edge, line=":", mark=False, shade=0.6))
    above.append(Panel(f"gradient flow\nh = η = {size.step:g}", "", "loss", losses, log_y=True))
    below.append(Panel("", "time ηt", "sharpness λ", curvatures))
    return [panel for k in (0, 3) for panel in (*above[k : k + 3], *below[k : k + 3])]


def _line(label: str, x: Floats, values: Floats, shade: float | None = None) -> Series:
    cells = [interval(values[:, k]) for k in range(values.shape[1])]
    return banded(label, x, cells, shade=shade, mark=False)


def _answer(size: Preset, rows: Sequence[Row], solved: xr.Dataset) -> str:
    lines = []
    for case in dict(size.rates):
        made = CASES[case]
        parts = []
        for row in rows:
            if row.case != case:
                continue
            j = row.judged
            if math.isnan(j["ratio"].middle):
                where = f"never arrives (at most {j['highest'].shown()})"
                if not math.isnan(j["crossed"].middle):
                    where = f"crosses after {made.goal:g} accuracy"
            else:
                where = f"{j['ratio'].shown(3)} from step {j['crossed'].shown(3)} on"
                if made.goal is not None:
                    fallen = j["last"].high < j["ratio"].low
                    where += f", then {'down to' if fallen else 'at the end'} {j['last'].shown()}"
            some, seeds = row.arrived
            few = f"in {some} of {seeds} seeds " if 0 < some < seeds else ""
            parts.append(f"η = {row.lr:g}: {few}{where}")
        what = "Preconditioned sharpness" if made.optimizer == "adam" else "Sharpness"
        lines.append(f"{made.title}: {what.lower()} over {made.edge}, {'; '.join(parts)}.")
    ends = {name: _solver_ends(solved, name) for name in SOLVERS}
    shares = {name: _percent(own["apart"]) for name, own in ends.items()}
    worst = _percent(ends["exponential-euler"]["worst"])
    flow, euler, plain = (ends[name]["sharpness"].shown() for name in SOLVERS)
    lines.append(
        f"Gradient flow to time {size.time:g} with steps of {size.step:g}, for which 2/η is"
        f" {number(float(gd_edge(step=size.step)), 3)}: exponential Euler ends {shares['exponential-euler']} % from"
        f" Runge-Kutta in function space (at worst, in its first steps, {worst} %), gradient descent {shares['sgd']} %."
        f" The solvers pass the edge, to sharpness {flow} and {euler}; gradient descent ends at {plain}."
    )
    return "\n".join(lines)


def _percent(share: Interval) -> str:
    return Interval(100 * share.low, 100 * share.middle, 100 * share.high).shown()


def _table(rows: Sequence[Row]) -> list[list[str]]:
    heading = [
        "trained by",
        "η",
        "seeds that cross",
        "at step",
        "over the edge since",
        "highest",
        "last",
        "accuracy",
    ]
    return [
        heading,
        *(
            [
                CASES[row.case].title,
                f"{row.lr:g}",
                "{} of {}".format(*row.arrived),
                *(row.judged[name].shown(3) for name in ("crossed", "ratio", "highest", "last", "accuracy")),
            ]
            for row in rows
        ),
    ]
