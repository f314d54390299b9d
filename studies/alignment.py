"""``probe study alignment``: do layers align as sharpness rises, and does it depend on how much data there is?

Perceptrons are trained by full-batch gradient descent on squared errors. At the same checkpoints are measured the
Hessian's largest eigenvalue, the alignment of the layers' Jacobians, and the slack of the product bound
∏β‖W_k‖₂ over ‖A_L ··· A_1‖₂, of which the alignment is a factor: (∏β‖W_k‖₂ / ∏‖A_k‖₂) · (∏‖A_k‖₂ / ‖A_L ··· A_1‖₂).
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
import torch
import xarray as xr
from torch import Tensor, nn

from analysis.wording import number
from figures.panels import Panel, Series, draw_panels, numbers_of_panels
from probes.checkpoints.checkpoint import read_checkpoint
from probes.data.dataset import DataSet
from probes.data.losses import LOSSES
from probes.evaluation.curvature import HessianOperator, eigenpairs
from probes.evaluation.evaluator import Evaluator
from probes.measures.alignment import alignment_of
from probes.measures.alignment.layer_jacobians import layer_jacobians
from probes.networks.kinds import build
from probes.networks.perceptron import PerceptronSpec
from probes.networks.structure import read_structure
from probes.runs.training import TrainingSettings, train
from studies.frame import Conclusion, Coordinates, Interval, Study, banded, interval
from studies.parts.conclusions import ends_by_name, runs_where
from studies.parts.statistics import power_law, rank_correlation
from trust import measurements as variables
from trust.residual_bounds import log10_structure_lipschitz

__all__ = ["PRESETS", "Alignment", "Preset", "rise"]

Floats = npt.NDArray[np.float64]
_CLASSES = 10
_MEASURED = ("sharpness", "alignment", "layers", "jacobian", "slack", "overlap")
_REPORTED = (0.74, 0.98)
"""R² of the power laws that Lowell and Kastner (2024) report."""


@dataclass(frozen=True)
class Preset:
    """How large the study is.

    Attributes:
        pool: side of the squares of pixels that are averaged.
        width: of the hidden layers.
        depth: weight matrices.
        activations: of the networks that are followed through training.
        sizes: examples that are trained on; the first activation with each, the others with ``base``.
        base: a size.
        rate: of gradient descent on half the squared distance to the one-hot target.
        steps: of training.
        checkpoints: that are measured, in equal ratios of steps; fewer where these are one step.
        sample: examples at which Jacobians are taken.
    """

    pool: int
    width: int
    depth: int
    activations: tuple[str, ...]
    sizes: tuple[int, ...]
    base: int
    rate: float
    steps: int
    checkpoints: int
    sample: int


PRESETS = {
    "toy": Preset(7, 6, 3, ("tanh", "relu"), (20, 40, 60), 40, 0.1, 12, 6, 5),
    "quick": Preset(2, 32, 3, ("tanh", "relu"), (125, 250, 500, 1000, 2000), 500, 0.1, 3000, 41, 50),
    "paper": Preset(1, 200, 4, ("tanh", "relu"), (312, 625, 1250, 2500, 5000), 5000, 0.02, 20000, 41, 100),
}


class Alignment(Study):
    """Sharpness, alignment and slack through training, and alignment against the number of examples."""

    name = "alignment"
    question = (
        "Do layers' Jacobians align as sharpness rises, what has that to do with a bound's slack, and is it a power of"
        " the number of examples?"
    )
    presets = PRESETS
    caveats = (
        "Alignment is the mean over examples of log10(‖A_L ··· A_1‖₂ / ∏‖A_k‖₂): 0 where layers are aligned. It is one"
        " of two factors of the slack, so that some correlation of the two is by construction.",
        "The correlation's interval resamples checkpoints as if they were independent; within a run they are not.",
        "A rise of both is no cause. What is told of the cause is arithmetic: how much of the Jacobian's growth is"
        " alignment, how much its layers' own.",
        "Lowell and Kastner train by gradient flow and judge other networks and data; their R² are of their own measure"
        " of alignment.",
    )

    def runs(self, size: Preset) -> list[Coordinates]:
        """The first activation with every number of examples, the others with one, the longest first."""
        first, *others = size.activations
        pairs = [(first, count) for count in sorted(size.sizes, reverse=True)]
        pairs += [(one, size.base) for one in others]
        return [{"activation": activation, "examples": count} for activation, count in pairs]

    def measure(self, size: Preset, run: Coordinates, folder: Path, data: DataSet) -> xr.Dataset:
        """:data:`_MEASURED`, all but the first two in log10 and means over examples, ``loss`` and ``step``."""
        own = _squared(data, size, int(run["examples"]))
        settings = TrainingSettings(
            network=PerceptronSpec(
                widths=(own.x.shape[1], *[size.width] * (size.depth - 1), _CLASSES),
                activation=str(run["activation"]),
                biases=(True,) * size.depth,
            ),
            data=own.spec,
            loss="mse",
            optimizer="sgd",
            lr=size.rate * _CLASSES / 2,  # the loss is a mean over outputs of whole squares
            lr_decay=1.0,
            epochs=size.steps,
            batch_size=len(own),
            checkpoints=",".join(map(str, _steps(size))),
            seed=int(run["seed"]),
        )
        files = train(settings, folder / "checkpoints", data=own)
        rows, start = [], None
        for file in files:
            checkpoint = read_checkpoint(file)
            network = build(settings.network)
            network.load_state_dict(dict(checkpoint.tensors))
            row, start = _measured(network.eval(), own, size.sample, start)
            rows.append({"step": int(checkpoint.details["step"]), **row})
        return xr.Dataset({name: ("checkpoint", [row[name] for row in rows]) for name in rows[0]})

    def conclude(self, size: Preset, found: xr.Dataset) -> Conclusion:
        """How all three move together, and the power law."""
        cases = {name: runs_where(found, activation=name, examples=size.base) for name in size.activations}
        followed = xr.concat(list(cases.values()), "run")
        pooled = rank_correlation(followed["slack"].values, followed["alignment"].values)
        by_case = {name: _through_training(size, own) for name, own in cases.items()}
        law = _law(size, found)
        numbers = {f"slack/{end}": getattr(pooled, end) for end in ("low", "middle", "high")}
        for name, cells in by_case.items():
            numbers |= ends_by_name({f"{name}/{what}": one for what, one in cells.items()})
        numbers |= {f"law/{what}": value for what, value in law.items()}
        rows = [["network", *(_TITLES[what] for what in next(iter(by_case.values())))]]
        rows += [[name, *(one.shown() for one in cells.values())] for name, cells in by_case.items()]
        panels = _panels(size, cases, found, law)
        return Conclusion(
            _answer(size, pooled, by_case, law),
            numbers,
            rows,
            draw_panels(panels),
            numbers_of_panels(panels),
        )


def _steps(size: Preset) -> list[int]:
    """When checkpoints are kept, an epoch being a step: early ones close to each other."""
    return sorted({0, *np.geomspace(1, size.steps, size.checkpoints - 1).round().astype(int).tolist()})


def _squared(data: DataSet, size: Preset, count: int) -> DataSet:
    """The first examples, pooled, with one-hot targets."""
    x, y = data.x[:count].flatten(1).float(), data.y[:count]
    side = math.isqrt(x.shape[1])
    pooled = nn.functional.avg_pool2d(x.view(-1, 1, side, side), size.pool).flatten(1)
    return DataSet(f"{data.spec}, pooled by {size.pool}", pooled, _one_hot(y))


def _one_hot(labels: Tensor) -> Tensor:
    return nn.functional.one_hot(labels.long(), _CLASSES).float()


def _measured(
    network: nn.Module, data: DataSet, sample: int, start: Tensor | None
) -> tuple[dict[str, float], Tensor]:
    """One checkpoint's numbers, and the sharpest direction for the search at the next."""
    evaluator = Evaluator(network, data.x, data.y, LOSSES["mse"], dtype=torch.float64, chunk=1000)
    pairs = eigenpairs(HessianOperator(evaluator), 1, start=start)
    reading = read_structure(evaluator)
    parts = [alignment_of(part) for _, part in layer_jacobians(evaluator, reading, sample)]
    whole, norm, own, overlap = (
        np.concatenate([part[name] for part in parts])
        for name in (
            variables.WHOLE_JACOBIAN_ALIGNMENT,
            variables.JACOBIAN_NORM,
            variables.LAYER_JACOBIAN_NORM,
            variables.SINGULAR_VECTOR_OVERLAP,
        )
    )
    assert reading.structure is not None
    weights = [evaluator.frozen[name] for name in reading.structure.weights]
    norms = [float(torch.linalg.matrix_norm(weight, 2)) for weight in weights]
    with np.errstate(divide="ignore"):
        jacobian = np.log10(norm)
    known = np.isfinite(whole) & np.isfinite(jacobian)  # an example whose units are all off has no alignment
    bound = float(log10_structure_lipschitz(reading.structure, norms=norms))
    numbers = {
        "loss": evaluator.loss(evaluator.frozen),
        "sharpness": float(pairs.values[0]) if bool(pairs.converged[0]) else math.nan,
        "alignment": _mean(whole[known]),
        "layers": _mean(np.log10(own[known]).sum(1)),
        "jacobian": _mean(jacobian[known]),
        "slack": _mean(bound - jacobian[known]),
        "overlap": _mean(overlap[known, :-1]),
    }
    return numbers, pairs.vectors[:, 0]


def _mean(values: Floats) -> float:
    return float(values.mean()) if values.size else math.nan


def rise(sharpness: Floats, edge: float) -> slice:
    """Where sharpness rises: from its least below the edge to the first checkpoint across it, or to its largest."""
    below = np.flatnonzero(sharpness < edge)
    if not len(below):
        return slice(0, 0)
    crossed = np.flatnonzero(sharpness[below[0] :] >= edge)
    end = int(below[0] + crossed[0]) if len(crossed) else len(sharpness) - 1
    low = int(below[0] + np.nanargmin(sharpness[below[0] : end + 1]))
    return slice(low, low + int(np.nanargmax(sharpness[low : end + 1])) + 1)


_TITLES = {
    "reached": "largest λ_max over 2/η",
    "slack": "slack and alignment, rank correlation",
    "correlation": "λ_max and alignment during the rise",
    "sharpness": "λ_max's rise, orders",
    "jacobian": "‖J‖'s",
    "alignment": "of that alignment",
    "layers": "of that ‖A_k‖",
    "start": "alignment at the start",
    "end": "at the end",
}


def _through_training(size: Preset, own: xr.Dataset) -> dict[str, Interval]:
    """What is said of one network, over its seeds; growth is that during the rise."""
    edge = _edge(size)
    found: dict[str, list[float]] = {what: [] for what in _TITLES}
    for k in range(own.sizes["run"]):
        one = {name: own[name].isel(run=k).values for name in _MEASURED}
        part = rise(one["sharpness"], edge)
        rising = {name: values[part] for name, values in one.items()}
        found["reached"].append(float(np.nanmax(one["sharpness"])) / edge)
        found["correlation"].append(rank_correlation(rising["sharpness"], rising["alignment"]).middle)
        found["slack"].append(rank_correlation(one["slack"], one["alignment"]).middle)
        rising["sharpness"] = np.log10(rising["sharpness"])
        for name in ("sharpness", "jacobian", "alignment", "layers"):
            values = rising[name]
            found[name].append(float(values[-1] - values[0]) if len(values) else math.nan)
        found["start"].append(float(one["alignment"][0]))
        found["end"].append(float(one["alignment"][-1]))
    return {what: interval(values) for what, values in found.items()}


def _edge(size: Preset) -> float:
    """2/η, in the units of the loss that is trained on."""
    return 2 / (size.rate * _CLASSES / 2)


def _law(size: Preset, found: xr.Dataset) -> dict[str, float]:
    own = found.isel(run=np.flatnonzero(found["activation"].values == size.activations[0]))
    return power_law(own["examples"].values, own["alignment"].isel(checkpoint=-1).values)


def _panels(
    size: Preset, cases: Mapping[str, xr.Dataset], found: xr.Dataset, law: Mapping[str, float]
) -> list[Panel]:
    steps = next(iter(cases.values()))["step"].isel(run=0).values + 1  # a log axis has no place for 0

    def through(name: str, scale: float = 1.0) -> list[Series]:
        return [
            banded(
                activation,
                steps,
                [interval(own[name].isel(checkpoint=k) / scale) for k in range(len(steps))],
                mark=False,
            )
            for activation, own in cases.items()
        ]

    scatter = [
        Series(activation, own["alignment"].values.ravel(), own["slack"].values.ravel(), line="")
        for activation, own in cases.items()
    ]
    first = size.activations[0]
    with_sizes = found.isel(run=np.flatnonzero(found["activation"].values == first))
    sizes = np.array(sorted(size.sizes), dtype=float)
    ends = [interval(runs_where(with_sizes, examples=n)["alignment"].isel(checkpoint=-1)) for n in sizes]
    logs = np.log10(sizes)
    fitted = law["intercept"] + law["exponent"] * logs
    return [
        Panel(
            "sharpness over 2/η",
            "1 + steps",
            "λ_max η / 2",
            through("sharpness", _edge(size)),
            log_x=True,
            levels={"2/η": 1.0},
        ),
        Panel("alignment", "1 + steps", "log10(‖J‖ / ∏‖A_k‖)", through("alignment"), log_x=True),
        Panel("all checkpoints", "alignment, orders", "slack of ∏β‖W_k‖, orders", scatter),
        Panel(
            f"{first}, at the end",
            "log10(examples)",
            "log10(‖J‖ / ∏‖A_k‖)",
            [
                banded(first, logs, ends, line=""),
                Series("power law", logs, fitted, line="--", mark=False),
            ],
        ),
    ]


def _answer(
    size: Preset,
    pooled: Interval,
    by_case: Mapping[str, Mapping[str, Interval]],
    law: Mapping[str, float],
) -> str:
    lines = [
        f"Over the checkpoints of all runs on {size.base} examples the rank correlation of the product bound's slack"
        f" and alignment is {pooled.shown()}, in brackets its 95 % bootstrap interval."
    ]
    for name, cells in by_case.items():
        lines.append(
            f"{name}: λ_max reaches {cells['reached'].shown()} of 2/η. While it rises to there, from its least, by"
            f" {cells['sharpness'].shown()} orders, its rank correlation with alignment is"
            f" {cells['correlation'].shown()}, and ‖J‖ grows by {cells['jacobian'].shown()} orders, of which alignment"
            f" is {cells['alignment'].shown()} and the layers' own norms {cells['layers'].shown()}."
            f" {_verdict(name, cells)}"
        )
    known = {name: number(value, 2) for name, value in law.items()}
    place = "inside" if _REPORTED[0] <= law["r2"] <= _REPORTED[1] else "outside"
    lines.append(
        f"Against the number of examples, {size.activations[0]}, after {size.steps} steps: ‖J‖/∏‖A_k‖ goes as"
        f" n^{known['exponent']} (95 % {known['exponent/low']} to {known['exponent/high']}), R² {known['r2']}"
        f" ({known['r2/low']} to {known['r2/high']}): {place}"
        f" the reported {_REPORTED[0]} to {_REPORTED[1]}. {_trend(law)}"
    )
    return "\n".join(lines)


_RISE = 0.05
"""Orders that the sharpness must rise by before anything is said of what rises with it."""


def _trend(law: Mapping[str, float]) -> str:
    if law["exponent/low"] > 0:
        return "With more examples layers are more aligned."
    if law["exponent/high"] < 0:
        return "With more examples layers are less aligned."
    return "Whether more examples align layers more or less cannot be told."


def _verdict(name: str, cells: Mapping[str, Interval]) -> str:
    correlation, jacobian, alignment = cells["correlation"], cells["jacobian"], cells["alignment"]
    if math.isnan(correlation.middle):
        return f"For {name} nothing can be told of the claim: sharpness hardly rises."
    if cells["sharpness"].high < _RISE:
        return f"For {name} nothing can be told of the claim: sharpness hardly rises."
    if not (correlation.low > 0 and alignment.low > 0):
        return (
            f"For {name} the claim does not hold here: alignment does not rise with sharpness in every seed, and most"
            " of the growth is the layers' own."
            if alignment.middle <= jacobian.middle / 2
            else f"For {name} the claim does not hold here: alignment does not rise with sharpness in every seed."
        )
    if jacobian.middle <= 0 or alignment.middle <= jacobian.middle / 2:
        return (
            f"For {name} the claim holds in part: alignment rises with sharpness in every seed, but most of the growth"
            " is the layers' own."
        )
    share = alignment.middle / jacobian.middle
    held = f"alignment rises with sharpness in every seed, and is {share:.0%} of the growth."
    return f"For {name} the claim holds: {held}"
