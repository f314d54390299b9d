"""``probe study dropped-constant``: is the constant that the theory sets to one what (βκ²/α)^L speaks of?

Perceptrons of 2, 16 and 50 layers, plain, with batch norm and residual, are trained on MNIST by Fromage from several
seeds. At five checkpoints of each the effective constant is taken apart at η₀ = 1e-4, at the weight matrix where it is
largest and at the input layer, over all measured examples. C at a tenth and at ten times η₀ stands beside it: behind
ReLU's kinks there is no limit as η → 0 to speak of before next to no example crosses one.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import xarray as xr

from analysis import split
from analysis.completion import completed
from analysis.constants import ORDER_ONE
from analysis.wording import number
from probes.data.dataset import DataSet
from probes.networks.perceptron import PerceptronSpec
from probes.runs.results import load
from probes.runs.run import measure_run
from probes.runs.source import Source
from probes.runs.training import TrainingSettings, train
from studies.frame import Conclusion, Study
from studies.grid import Coordinates
from studies.pieces import bare_slice
from trust import measurements as variables
from trust.claims.quantities import effective_constant
from trust.measurements import SMALL_ETA

__all__ = ["PRESETS", "QUANTITIES", "DroppedConstant", "Preset"]

PLACES = {"largest": "of the largest C", "input": "input"}
"""The weight matrix where C is largest (of each seed and checkpoint its own), and the input layer."""
QUANTITIES = {
    "constant": "C",
    "frozen_constant": "C, residuals held",
    "mean_example": "single examples, C_ex",
    "cancellation": "× cancellation",
    "residuals": "× residuals",
    "median_example": "median single example",
    "theorem1b": "Theorem 1b's own",
    "constant_below": "C at 1e-5",
    "constant_above": "C at 1e-3",
    "breakdown": "breakdown",
}
_ETAS = np.array([0.0, 0.1 * SMALL_ETA, SMALL_ETA, 10 * SMALL_ETA])
_STATISTICS = ("low", "median", "high")
_CHECKPOINTS = 5


@dataclass(frozen=True)
class Preset:
    """How large the study is.

    Attributes:
        width: of the hidden layers.
        batch_size: of training.
        epoch_steps: steps that count as an epoch (None: one pass over the data).
        examples: how many are measured; None for all.
        split_examples: how many of them one by one.
        jacobian: of how many the Jacobians.
        schedule: for each network its epochs and the step size's decay.
    """

    width: int
    batch_size: int
    epoch_steps: int | None
    examples: int | None
    split_examples: int
    jacobian: int
    schedule: dict[str, tuple[int, float]]


_NETWORKS: dict[str, tuple[int, str]] = {  # name: depth and kind; two layers have no room for a residual one
    f"{depth}-layer{'' if kind == 'plain' else '-' + kind.replace(' ', '-')}": (depth, kind)
    for kind in ("plain", "batch norm", "residual")
    for depth in (2, 16, 50)
    if (depth, kind) != (2, "residual")
}

PRESETS = {
    "toy": Preset(
        width=6,
        batch_size=50,
        epoch_steps=4,
        examples=80,
        split_examples=80,
        jacobian=2,
        schedule=dict.fromkeys(("2-layer", "16-layer-residual"), (2, 0.9)),
    ),
    "quick": Preset(
        width=64,
        batch_size=125,
        epoch_steps=None,
        examples=2000,
        split_examples=2000,
        jacobian=4,
        # what each takes to learn as well as it will at this width: deep plain ones are slow
        schedule=dict.fromkeys(_NETWORKS, (10, 0.9))
        | {"16-layer": (60, 0.97), "50-layer": (30, 0.97), "50-layer-batch-norm": (25, 0.97)},
    ),
    "paper": Preset(
        width=784,
        batch_size=250,
        epoch_steps=240,
        examples=None,
        split_examples=500,
        jacobian=4,
        schedule=dict.fromkeys(_NETWORKS, (10, 0.9)),
    ),
}


class DroppedConstant(Study):
    """The effective constant taken apart, over depths, kinds of network and seeds."""

    name = "dropped-constant"
    question = "What is the constant that deep relative trust drops made of, at 2, 16 and 50 layers?"
    presets = PRESETS
    caveats = (
        "C is at η₀ = 1e-4: behind ReLU's kinks there is no limit as η → 0 before next to no example crosses one.",
    )

    def runs(self, size: Preset) -> list[Coordinates]:
        """The networks."""
        return [{"network": name} for name in size.schedule]

    def measure(self, size: Preset, run: Coordinates, folder: Path, data: DataSet) -> xr.Dataset:
        """``value`` (checkpoint, place, quantity) and ``accuracy`` (checkpoint)."""
        checkpoints, results = folder / "checkpoints", folder / "measurements"
        train(_training(size, run, data), checkpoints, data=data)
        settings = bare_slice(
            _ETAS, split="small", split_examples=size.split_examples, jacobian=size.jacobian
        )
        source = Source((str(checkpoints),), examples=size.examples)
        measure_run(source, results, settings=settings)
        return taken_apart(load(results))

    def conclude(self, size: Preset, found: xr.Dataset) -> Conclusion:
        """Medians and ranges over the seeds."""
        from figures.dropped_constant import draw_dropped_constant, numbers_of_dropped_constant

        names = list(size.schedule)
        grid = found.set_index(run=["network", "seed"]).unstack("run").sel(network=names)
        depths, kinds = zip(*(_NETWORKS[name] for name in names), strict=True)
        whole = over_seeds(grid).assign_coords(
            checkpoint=np.linspace(0.0, 1.0, grid.sizes["checkpoint"]),
            depth=("network", list(depths)),
            kind=("network", list(kinds)),
        )
        return Conclusion(
            _answer(whole, grid.sizes["seed"]),
            _numbers(whole),
            _table(whole),
            draw_dropped_constant(whole),
            numbers_of_dropped_constant(whole),
        )


def _training(size: Preset, run: Coordinates, data: DataSet) -> TrainingSettings:
    name = str(run["network"])
    depth, kind = _NETWORKS[name]
    epochs, decay = size.schedule[name]
    network = PerceptronSpec(
        widths=(math.prod(data.x.shape[1:]), *[size.width] * (depth - 1), 10),
        activation="relu",
        residual=kind == "residual",
        norm="batch" if kind == "batch norm" else "none",
        biases=(True,) * depth,
    )
    return TrainingSettings(
        network=network,
        data=data.spec,
        epochs=epochs,
        epoch_steps=size.epoch_steps,
        lr_decay=decay,
        batch_size=size.batch_size,
        checkpoints=str(_CHECKPOINTS),
        seed=int(run["seed"]),
    )


def taken_apart(measurements: xr.Dataset) -> xr.Dataset:
    """``value`` (checkpoint, place, quantity), and the share classified rightly as ``accuracy`` (checkpoint).

    All quantities of a place are of one and the same layer, as a split must be.
    """
    found = split(measurements)
    assert found is not None, "the split is measured by default"
    matrices = np.flatnonzero(found[variables.IS_WEIGHT].values)
    own = found.isel(layer=matrices, eta=0)
    whole = effective_constant(completed(measurements)).isel(layer=matrices)
    factor = 10.0 ** own["log10_factor"]
    quantities = {
        "constant": own["constant"],
        "frozen_constant": own["frozen_constant"],
        "mean_example": factor.sel(factor="single examples"),
        "cancellation": factor.sel(factor="cancellation"),
        "residuals": factor.sel(factor="residuals"),
        "median_example": own["example_constant"].sel(quantile=0.5),
        "theorem1b": own["jacobian_constant"],
        "constant_below": whole.sel(eta=_ETAS[1]),
        "constant_above": whole.sel(eta=_ETAS[3]),
        "breakdown": measurements[variables.GRADIENT_CHANGE].sel(eta=SMALL_ETA).isel(layer=matrices),
    }
    largest = own["constant"].fillna(-np.inf).argmax("layer")
    values = [
        xr.concat(
            [part.isel(layer=place).reset_coords(drop=True) for part in quantities.values()], "quantity"
        )
        for place in (largest, 0)
    ]
    value = xr.concat(values, "place", coords="minimal", compat="override").assign_coords(
        place=list(PLACES), quantity=list(QUANTITIES)
    )
    accuracy = measurements[variables.ACCURACY].isel(eta=0).reset_coords(drop=True)
    count = measurements.sizes["checkpoint"]
    return xr.Dataset({"value": value, "accuracy": accuracy}).assign_coords(checkpoint=np.arange(count))


def over_seeds(measured: xr.Dataset) -> xr.Dataset:
    """The median, the smallest and the largest over the seeds, as dim ``statistic``; of those that are known."""
    parts = [measured.min("seed"), measured.median("seed"), measured.max("seed")]
    return xr.concat(parts, "statistic").assign_coords(statistic=list(_STATISTICS))


def _numbers(found: xr.Dataset) -> dict[str, float]:
    """Every number by its name, such as ``16-layer/1/largest/constant/median``, 1 the end of training."""
    value = found["value"].transpose("network", "checkpoint", "place", "quantity", "statistic")
    named = {
        f"{network}/{share:g}/{place}/{quantity}/{statistic}": float(
            value.sel(network=network, checkpoint=share, place=place, quantity=quantity, statistic=statistic)
        )
        for network in value["network"].values
        for share in value["checkpoint"].values
        for place in PLACES
        for quantity in QUANTITIES
        for statistic in _STATISTICS
    }
    accuracy = found["accuracy"]
    return named | {
        f"{network}/{share:g}/accuracy/{statistic}": float(
            accuracy.sel(network=network, checkpoint=share, statistic=statistic)
        )
        for network in value["network"].values
        for share in value["checkpoint"].values
        for statistic in _STATISTICS
    }


def _title(one: xr.Dataset) -> str:
    return f"{int(one['depth'])} layers, {one['kind'].item()}"


def _table(found: xr.Dataset) -> list[list[str]]:
    """Start, middle and end of training: medians over the seeds, and in brackets the smallest and the largest."""
    rows = [["network", "layer", "of training", "accuracy", *QUANTITIES.values()]]
    count = found.sizes["checkpoint"]
    for network in range(found.sizes["network"]):
        one = found.isel(network=network)
        for place in PLACES:
            for k in dict.fromkeys((0, count // 2, count - 1)):
                at = one.isel(checkpoint=k)
                accuracy = number(float(at["accuracy"].sel(statistic="median")), 2)
                cells = [_interval(at["value"].sel(quantity=name, place=place)) for name in QUANTITIES]
                share = f"{float(at['checkpoint']):.0%}"
                rows.append([_title(one), PLACES[place], share, accuracy, *cells])
    return rows


def _interval(values: xr.DataArray) -> str:
    low, middle, high = (number(float(values.sel(statistic=name))) for name in _STATISTICS)
    return middle if low == high else f"{middle} ({low}–{high})"


def _answer(found: xr.Dataset, seeds: int) -> str:
    """A sentence for each network, from the start of training to its end."""
    lines = []
    for network in range(found.sizes["network"]):
        one = found.isel(network=network).sel(place="largest")
        parts = [
            f"{label} {_interval(own.isel(checkpoint=0))} → {_interval(own.isel(checkpoint=-1))}"
            for name, label in QUANTITIES.items()
            for own in [one["value"].sel(quantity=name)]
        ]
        accuracy = number(float(one["accuracy"].isel(checkpoint=-1).sel(statistic="median")), 2)
        lines.append(f"{_title(one)} (to accuracy {accuracy}): {'; '.join(parts)}.")
        worst = float(one["value"].sel(quantity="breakdown", statistic="high").max())
        if worst >= ORDER_ONE:
            lines.append(
                f"There the gradient has already changed by up to {number(worst)} of its norm: C is cut off."
            )
    heading = (
        f"At the layer of the largest C at η₀ = {SMALL_ETA:g}, medians and (smallest–largest) over {seeds} seeds,"
        " through training:"
    )
    return "\n".join([heading, *lines])
