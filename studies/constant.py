"""``probe study constant``: what is the dropped constant made of, for other networks and optimisers, at equal accuracy?

Perceptrons of 2 to 50 layers, plain, residual and normalised, convolutional networks, a residual one of 16 layers and a
transformer are trained by several optimisers. The effective constant is taken apart (THEORY 4 to 6) at the start, where
training first reaches two accuracies, and at the end. Beside it stand the slices of Figure 1, at the end of training.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import xarray as xr

from figures.panels import Panel, Series, draw_panels, numbers_of_panels
from probes.checkpoints.checkpoint import read_checkpoint
from probes.data.dataset import DataSet, load_data
from probes.networks.named import NAMED
from probes.networks.specs import NetworkSpec
from probes.runs.results import load
from probes.runs.run import measure_run
from probes.runs.source import Source
from probes.runs.training import DivergedError, TrainingSettings, train
from studies.dropped_constant import QUANTITIES, taken_apart
from studies.frame import Conclusion, Interval, Study, banded, interval
from studies.grid import Coordinates
from studies.pieces import bare_slice, ends_by_name, perceptron, runs_where
from trust import measurements as variables
from trust.measurements import SMALL_ETA

__all__ = ["PRESETS", "Constant", "Preset"]

_PERCEPTRONS = {
    "2-layer": (2, False, "none"),
    "3-layer": (3, False, "none"),
    "16-layer": (16, False, "none"),
    "50-layer": (50, False, "none"),
    "16-layer-residual": (16, True, "none"),
    "16-layer-batch-norm": (16, False, "batch"),
    "16-layer-layer-norm": (16, False, "layer"),
}
_TITLES = {"momentum": "SGD, momentum 0.9", "adam": "Adam", "fromage": "Fromage", "lars": "LARS"}
_RATES = {"momentum": 0.01, "adam": 0.001, "fromage": 0.01, "lars": 0.01}
_GOALS = {"char-transformer": (0.3, 0.4)}
"""Accuracies at which networks are compared, where they are not those of images."""
_IMAGE_GOALS = (0.5, 0.9)
_STAGES = ("start", "first", "second", "end")
_PARTS = ("constant", "mean_example", "cancellation", "residuals")
_SMALL = np.array([0.1 * SMALL_ETA, SMALL_ETA, 10 * SMALL_ETA])


@dataclass(frozen=True)
class Preset:
    """How large the study is.

    Attributes:
        width: of perceptrons' hidden layers.
        epochs: of each network, by its name.
        optimizers: whose networks are compared.
        batch_size: of training.
        epoch_steps: steps of an epoch (None: one pass over the data).
        checkpoints: among which those of the accuracies are looked for, evenly.
        examples: measured; None for all.
        etas: of Figure 1's slices, from 3e-3 to 0.3 in equal ratios.
    """

    width: int
    epochs: Mapping[str, int]
    optimizers: tuple[str, ...]
    batch_size: int
    epoch_steps: int | None
    checkpoints: int
    examples: int | None
    etas: int


PRESETS = {
    "toy": Preset(8, {"2-layer": 1}, ("momentum", "fromage"), 500, 6, 4, 50, 2),
    "quick": Preset(
        64,
        {"2-layer": 10, "16-layer": 60, "16-layer-batch-norm": 10, "16-layer-residual": 10},
        ("momentum", "fromage"),
        125,
        None,
        41,
        1000,
        7,
    ),
    "paper": Preset(
        784,
        dict.fromkeys([*_PERCEPTRONS, "conv", "conv-bn", "residual16", "char-transformer"], 10),
        tuple(_TITLES),
        250,
        240,
        41,
        None,
        15,
    ),
}


class Constant(Study):
    """The split of C over architectures and optimisers, at equal accuracy."""

    name = "constant"
    question = "What is the dropped constant made of, and do norms, residuals or the optimiser reduce it?"
    presets = PRESETS
    caveats = (
        "Accuracy is that on the training set, at checkpoints: a stage is the first checkpoint that reaches it. Where a"
        " network does not reach it, nothing stands there.",
        "C is at η₀ = 1e-4 at the input layer; it has no limit as η → 0 behind ReLU's kinks.",
        "One rate an optimiser, none of them tuned to a network.",
    )

    def runs(self, size: Preset) -> list[Coordinates]:
        """The networks with each optimiser."""
        return [
            {"network": name, "optimizer": optimizer} for name in size.epochs for optimizer in size.optimizers
        ]

    def measure(self, size: Preset, run: Coordinates, folder: Path, data: DataSet) -> xr.Dataset:
        """``value`` (stage, quantity) of the input layer, ``accuracy`` (stage), ``breakdown`` (eta) at the end."""
        name = str(run["network"])
        own = load_data("text") if name == "char-transformer" else data
        etas = np.geomspace(3e-3, 0.3, size.etas)
        nothing = np.full((len(_STAGES), len(QUANTITIES)), np.nan)
        accuracy, breakdown = np.full(len(_STAGES), np.nan), np.full(size.etas, np.nan)
        try:
            files = train(_training(size, run, own), folder / "checkpoints", data=own)
        except DivergedError:
            files = []
        if files:
            reached = np.array([read_checkpoint(file).details["train_accuracy"] for file in files])
            places = _stages(reached, _GOALS.get(name, _IMAGE_GOALS))
            wanted = sorted({place for place in places if place is not None})
            settings = bare_slice(
                np.concatenate([[0.0], _SMALL, etas]),
                split="small",
                split_examples=size.examples or len(own),
                jacobian=4 if name != "char-transformer" else 0,
            )
            source = Source(tuple(str(files[place]) for place in wanted), examples=size.examples)
            measure_run(source, folder / "measurements", settings=settings)
            found = load(folder / "measurements")
            apart = taken_apart(found)["value"].sel(place="input").transpose("checkpoint", "quantity").values
            for stage, place in enumerate(places):
                if place is not None:
                    nothing[stage], accuracy[stage] = apart[wanted.index(place)], reached[place]
            first = int(np.flatnonzero(found[variables.IS_WEIGHT].values)[0])
            breakdown = found[variables.GRADIENT_CHANGE].isel(checkpoint=-1, layer=first).values[-size.etas :]
        return xr.Dataset(
            {
                "value": (("stage", "quantity"), nothing),
                "accuracy": ("stage", accuracy),
                "breakdown": ("eta", breakdown),
            },
            {"stage": list(_STAGES), "quantity": list(QUANTITIES), "eta": etas},
        )

    def conclude(self, size: Preset, found: xr.Dataset) -> Conclusion:
        """C and its parts at each stage, and the slices beside each other."""
        cases = {
            (name, optimizer): runs_where(found, network=name, optimizer=optimizer)
            for name in size.epochs
            for optimizer in size.optimizers
        }
        cells = {
            (*case, stage, part): interval(own["value"].sel(stage=stage, quantity=part))
            for case, own in cases.items()
            for stage in _STAGES
            for part in QUANTITIES
        }
        panels = _panels(size, cases, cells, found["eta"].values)
        table = [["network", "optimiser", "stage", "accuracy", *(QUANTITIES[part] for part in _PARTS)]]
        for (name, optimizer), own in cases.items():
            for stage in _STAGES:
                accuracy = interval(own["accuracy"].sel(stage=stage)).shown()
                parts = [cells[name, optimizer, stage, part].shown() for part in _PARTS]
                table.append([name, _TITLES[optimizer], stage, accuracy, *parts])
        numbers = ends_by_name({"/".join(key): one for key, one in cells.items()})
        return Conclusion(
            _answer(size, cases, cells),
            numbers,
            table,
            draw_panels(panels, columns=len(size.epochs), height=1.7),
            numbers_of_panels(panels),
        )


Cases = Mapping[tuple[str, str], xr.Dataset]
Cells = Mapping[tuple[str, str, str, str], Interval]


def _spec(size: Preset, name: str, data: DataSet) -> NetworkSpec:
    inputs = math.prod(data.x.shape[1:])
    if name not in _PERCEPTRONS:
        return NAMED[name](inputs, int(data.y.max()) + 1, "none")
    depth, residual, norm = _PERCEPTRONS[name]
    return perceptron(data, width=size.width, depth=depth, residual=residual, norm=norm)


def _training(size: Preset, run: Coordinates, data: DataSet) -> TrainingSettings:
    name, optimizer = str(run["network"]), str(run["optimizer"])
    return TrainingSettings(
        network=_spec(size, name, data),
        data=data.spec,
        optimizer=optimizer,
        lr=_RATES[optimizer],
        lr_decay=0.95,
        epochs=size.epochs[name],
        epoch_steps=size.epoch_steps,
        batch_size=size.batch_size,
        checkpoints=str(size.checkpoints),
        seed=int(run["seed"]),
    )


def _stages(reached: np.ndarray, goals: tuple[float, ...]) -> list[int | None]:
    """The checkpoints of the start, of the first that reach each goal, and of the end."""
    firsts = [int(np.argmax(reached >= goal)) if (reached >= goal).any() else None for goal in goals]
    return [0, *firsts, len(reached) - 1]


def _panels(size: Preset, cases: Cases, cells: Cells, etas: np.ndarray) -> list[Panel]:
    """A column a network: C, its three parts through training, and the slice of Figure 1."""
    panels = []
    for part in _PARTS:
        for name in size.epochs:
            series = [
                banded(
                    _TITLES[optimizer],
                    range(len(_STAGES)),
                    [cells[name, optimizer, stage, part] for stage in _STAGES],
                )
                for optimizer in size.optimizers
            ]
            title = name if part == _PARTS[0] else ""
            label = QUANTITIES[part] if name == next(iter(size.epochs)) else ""
            goals = _GOALS.get(name, _IMAGE_GOALS)
            ticks = ["start", *(f"{goal:g}" for goal in goals), "end"]
            panels.append(Panel(title, "", label, series, log_y=True, ticks=ticks))
    for name in size.epochs:
        series = [
            banded(
                _TITLES[optimizer],
                etas,
                [interval(cases[name, optimizer]["breakdown"].isel(eta=k)) for k in range(len(etas))],
            )
            for optimizer in size.optimizers
        ]
        if name in _PERCEPTRONS:
            allowed = (1 + etas) ** _PERCEPTRONS[name][0] - 1
            series.append(Series("deep relative trust, C = 1", etas, allowed, line="--", mark=False))
        label = "input layer's breakdown" if name == next(iter(size.epochs)) else ""
        panels.append(Panel("", "η", label, series, log_x=True, log_y=True))
    return panels


def _answer(size: Preset, cases: Cases, cells: Cells) -> str:
    lines = [
        "At the input layer, where training first reaches the second accuracy (0.9 for images), medians and ranges over"
        " seeds:"
    ]
    for name in size.epochs:
        parts = []
        for optimizer in size.optimizers:
            C = cells[name, optimizer, "second", "constant"]
            if math.isnan(C.middle):
                best = interval(cases[name, optimizer]["accuracy"].isel(stage=-1))
                parts.append(f"{_TITLES[optimizer]} does not get there (it ends at {best.shown()})")
                continue
            own = cases[name, optimizer]["value"].sel(stage="second", quantity="constant").values
            there, whole = int(np.isfinite(own).sum()), len(own)
            few = "" if there == whole else f", in the {there} of {whole} seeds that get there"
            split = " × ".join(cells[name, optimizer, "second", part].shown() for part in _PARTS[1:])
            parts.append(
                f"C is {C.shown()} with {_TITLES[optimizer]} (C_ex × cancellation × residuals: {split}{few})"
            )
        lines.append(f"{name}: {'; '.join(parts)}.")
    return "\n".join(lines)
