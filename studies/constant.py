"""``probe study constant``: what is the dropped constant made of, for other networks and optimisers, at equal accuracy?

Perceptrons of 2 to 50 layers, plain, residual and normalised, convolutional networks, a residual one of 16 layers and a
transformer are trained by several optimisers. The effective constant is taken apart (THEORY 3) at the start, where
training first reaches two accuracies, and at the end, over all measured examples. C at a tenth of η₀ stands beside it:
behind ReLU's kinks there is no limit as η → 0 to speak of before next to no example crosses one. Below are the slices
of Figure 1, at the end of training.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import xarray as xr

from analysis import split
from analysis.completion import completed
from analysis.constants import ORDER_ONE
from figures.panels import Panel, Series, draw_panels, numbers_of_panels
from probes.checkpoints.checkpoint import read_checkpoint
from probes.data.dataset import DataSet, load_data
from probes.networks.named import NAMED
from probes.networks.specs import NetworkSpec
from probes.runs.results import load
from probes.runs.run import measure_run
from probes.runs.source import Source
from probes.runs.training import DivergedError, TrainingSettings, train
from studies.frame import Conclusion, Coordinates, Interval, Study, banded, interval
from studies.parts.conclusions import beside_paper, ends_by_name, runs_where
from studies.parts.networks import bare_slice, perceptron
from trust import measurements as variables
from trust.claims.quantities import effective_constant
from trust.measurements import SMALL_ETA

__all__ = ["PRESETS", "Constant", "Preset"]

_KINDS = {"": (False, "none"), "-residual": (True, "none"), "-batch-norm": (False, "batch")}
_KINDS["-layer-norm"] = (False, "layer")
_PERCEPTRONS = {  # name: depth, residual, norm; two layers have no room for a residual one
    f"{depth}-layer{kind}": (depth, *of)
    for kind, of in _KINDS.items()
    for depth in (2, 3, 16, 50)
    if (depth, kind) != (2, "-residual")
}
_PLAIN = {name: f"{depth}-layer" for name, (depth, *_) in _PERCEPTRONS.items() if name != f"{depth}-layer"}
_PLAIN["conv-bn"] = "conv"
"""Beside which network one with norm layers or residual is held."""
_TITLES = {"momentum": "SGD, momentum 0.9", "adam": "Adam", "fromage": "Fromage", "lars": "LARS"}
_RATES = {"momentum": 0.01, "adam": 0.001, "fromage": 0.01, "lars": 0.01}
_GOALS = {"char-transformer": (0.3, 0.4)}
"""Accuracies at which networks are compared, where they are not those of images."""
_IMAGE_GOALS = (0.5, 0.9)
_STAGES = ("start", "first", "second", "end")
_PARTS = ("constant", "mean_example", "cancellation", "residuals")
QUANTITIES = {
    "constant": "C",
    "mean_example": "single examples, C_ex",
    "cancellation": "× cancellation",
    "residuals": "× residuals",
    "median_example": "median single example",
    "theorem1b": "Theorem 1b's own",
    "constant_below": "C at 1e-5",
    "breakdown": "breakdown at η₀",
}
_ONE = 2.0
_SHOWN = (*_PARTS, "constant_below")
_COLUMNS = 4
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
    "depths": Preset(  # what each takes to learn as well as it will at this width: deep plain ones are slow
        64,
        {
            "2-layer": 10,
            "16-layer": 60,
            "50-layer": 30,
            "2-layer-batch-norm": 10,
            "16-layer-batch-norm": 10,
            "50-layer-batch-norm": 25,
            "16-layer-residual": 10,
            "50-layer-residual": 10,
        },
        ("fromage",),
        125,
        None,
        41,
        2000,
        7,
    ),
    "paper": Preset(
        784,
        dict.fromkeys(
            [
                *("2-layer", "3-layer", "16-layer", "50-layer"),
                *("16-layer-residual", "16-layer-batch-norm", "16-layer-layer-norm"),
                *("conv", "conv-bn", "residual16", "char-transformer"),
            ],
            10,
        ),
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
        "C is at η₀ = 1e-4 at the input layer; it has no limit as η → 0 behind ReLU's kinks. ≥ marks it where, in a"
        " seed, the gradient has changed by half of its norm there already, so that C may be cut off.",
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
            apart = _taken_apart(found)
            for stage, place in enumerate(places):
                if place is not None:
                    nothing[stage], accuracy[stage] = apart[wanted.index(place)], reached[place]
            slices = found[variables.GRADIENT_CHANGE].isel(layer=_input_layer(found))
            breakdown = slices.isel(checkpoint=-1).values[-size.etas :]
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
        table = [["network", "optimiser", "stage", "accuracy", *(QUANTITIES[part] for part in _SHOWN)]]
        for (name, optimizer), own in cases.items():
            for stage in _STAGES:
                accuracy = interval(own["accuracy"].sel(stage=stage))
                parts = [_shown(cells, (name, optimizer, stage), part) for part in _SHOWN]
                table.append([name, _TITLES[optimizer], stage, accuracy.shown(), *parts])
        named = {"/".join(key): one for key, one in cells.items()}
        named |= {
            f"{name}/{optimizer}/{stage}/accuracy": interval(own["accuracy"].sel(stage=stage))
            for (name, optimizer), own in cases.items()
            for stage in _STAGES
        }
        C = found["value"].sel(stage="second", quantity="constant")
        paper = beside_paper(
            "The paper sets the constant to one, here to within a factor of two",
            (C > _ONE).where(C.notnull()),
            "networks where they get there",
        )
        return Conclusion(
            "\n".join([*_parts_of_each(size, cases, cells), *_beside_each_other(size, cases), paper]),
            ends_by_name(named),
            table,
            draw_panels(panels, columns=_COLUMNS, height=1.7, same_heights=True),
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


def _input_layer(found: xr.Dataset) -> int:
    return int(np.flatnonzero(found[variables.IS_WEIGHT].values)[0])


def _taken_apart(measurements: xr.Dataset) -> np.ndarray:
    """The quantities (checkpoint, quantity) of the input layer at η₀, all of the same examples."""
    layer = _input_layer(measurements)
    found = split(measurements)
    assert found is not None, "the split is measured"
    own = found.isel(layer=layer, eta=0)
    factor = 10.0 ** own["log10_factor"]
    quantities = {
        "constant": own["constant"],
        "mean_example": factor.sel(factor="single examples"),
        "cancellation": factor.sel(factor="cancellation"),
        "residuals": factor.sel(factor="residuals"),
        "median_example": own["example_constant"].sel(quantile=0.5),
        "theorem1b": own["jacobian_constant"],
        "constant_below": effective_constant(completed(measurements)).isel(layer=layer).sel(eta=_SMALL[0]),
        "breakdown": measurements[variables.GRADIENT_CHANGE].sel(eta=SMALL_ETA).isel(layer=layer),
    }
    return np.stack([quantities[name].values for name in QUANTITIES], axis=-1)


def _panels(size: Preset, cases: Cases, cells: Cells, etas: np.ndarray) -> list[Panel | None]:
    """So many networks side by side: a row an optimiser, C and its three factors, then their slices of Figure 1."""
    panels: list[Panel | None] = []
    names = list(size.epochs)
    for start in range(0, len(names), _COLUMNS):
        group = names[start : start + _COLUMNS]
        empty: list[Panel | None] = [None] * (_COLUMNS - len(group) if len(names) > _COLUMNS else 0)
        for optimizer in size.optimizers:
            panels += [_apart(name, optimizer, cells, label=name == group[0]) for name in group] + empty
        panels += [_slice(name, size, cases, etas, label=name == group[0]) for name in group] + empty
    return panels


def _apart(name: str, optimizer: str, cells: Cells, *, label: bool) -> Panel:
    series = [
        banded(
            QUANTITIES[part],
            range(len(_STAGES)),
            [cells[name, optimizer, stage, part] for stage in _STAGES],
            line="-" if part == "constant" else "--",
        )
        for part in _PARTS
    ]
    goals = _GOALS.get(name, _IMAGE_GOALS)
    return Panel(
        f"{name}\n{_TITLES[optimizer]}",
        "training accuracy",
        "constant, factors" if label else "",
        series,
        log_y=True,
        levels={"deep relative trust: 1": 1.0},
        ticks=["start", *(f"{goal:g}" for goal in goals), "end"],
    )


def _slice(name: str, size: Preset, cases: Cases, etas: np.ndarray, *, label: bool) -> Panel:
    series = [
        banded(
            f"breakdown, {_TITLES[optimizer]}",
            etas,
            [interval(cases[name, optimizer]["breakdown"].isel(eta=k)) for k in range(len(etas))],
        )
        for optimizer in size.optimizers
    ]
    if name in _PERCEPTRONS:
        allowed = (1 + etas) ** _PERCEPTRONS[name][0] - 1
        series.append(Series("allowed by deep relative trust", etas, allowed, line=":", mark=False))
    return Panel(name, "η", "input layer's breakdown" if label else "", series, log_x=True, log_y=True)


def _shown(cells: Cells, case: tuple[str, str, str], part: str) -> str:
    """An interval; with ≥ where the gradient has changed so far at η₀ that C may be cut off."""
    cut_off = cells[*case, "breakdown"].high >= ORDER_ONE and part in ("constant", "mean_example")
    return f"{'≥ ' if cut_off else ''}{cells[*case, part].shown()}"


def _parts_of_each(size: Preset, cases: Cases, cells: Cells) -> list[str]:
    """What C is made of in each network, at the second accuracy."""
    lines = [
        "At the input layer, where training first reaches the second accuracy (0.9 for images), medians and ranges over"
        " seeds, C = C_ex × cancellation × residuals:"
    ]
    for name in size.epochs:
        parts = []
        for optimizer in size.optimizers:
            own = cases[name, optimizer]
            C = own["value"].sel(stage="second", quantity="constant").values
            there, whole = int(np.isfinite(C).sum()), len(C)
            if not there:
                best = interval(own["accuracy"].sel(stage="end"))
                parts.append(f"{_TITLES[optimizer]} does not get there (it ends at {best.shown()})")
                continue
            few = "" if there == whole else f", in the {there} of {whole} seeds that get there"
            C_shown, *factors = (_shown(cells, (name, optimizer, "second"), part) for part in _PARTS)
            parts.append(f"C is {C_shown} with {_TITLES[optimizer]} ({' × '.join(factors)}{few})")
        lines.append(f"* {name}: {'; '.join(parts)}.")
    return lines


def _beside_each_other(size: Preset, cases: Cases) -> list[str]:
    """Whether norm layers, residual connections and the optimiser make C another, seed by seed, at equal accuracy."""
    pairs = [
        (f"{name} beside {_PLAIN[name]}, {_TITLES[optimizer]}", (name, optimizer), (_PLAIN[name], optimizer))
        for optimizer in size.optimizers
        for name in size.epochs
        if _PLAIN.get(name) in size.epochs
    ]
    pairs += [
        (f"{name}, {_TITLES[optimizer]} beside Fromage", (name, optimizer), (name, "fromage"))
        for optimizer in size.optimizers
        for name in size.epochs
        if optimizer != "fromage" and "fromage" in size.optimizers
    ]
    lines = ["Beside each other at that accuracy, seed by seed:"] if pairs else []
    for text, one, other in pairs:
        ratios = {
            part: interval(_ratio(cases[one], cases[other], part)) for part in (*_PARTS[:2], "constant_below")
        }
        if math.isnan(ratios["constant"].middle):
            lines.append(f"* {text}: cannot be told, in no seed do both get there.")
            continue
        known = int(np.isfinite(_ratio(cases[one], cases[other], "constant")).sum())
        over = f"{known} seeds" if known > 1 else "one seed alone"
        cut_off = any(
            interval(cases[case]["value"].sel(stage="second", quantity="breakdown")).high >= ORDER_ONE
            for case in (one, other)
        )
        lines.append(
            f"* {text}: C is {ratios['constant'].shown()} times as large ({_verdict(ratios['constant'])}), at 1e-5"
            f" {ratios['constant_below'].shown()} times ({_verdict(ratios['constant_below'])}), C_ex"
            f" {ratios['mean_example'].shown()} times ({_verdict(ratios['mean_example'])}); {over}"
            f"{', and one of the two may be cut off at η₀' if cut_off else ''}."
        )
    return lines


def _ratio(one: xr.Dataset, other: xr.Dataset, part: str) -> np.ndarray:
    """Of the same seeds."""
    sides = [each.sortby("seed")["value"].sel(stage="second", quantity=part).values for each in (one, other)]
    return np.asarray(sides[0] / sides[1])


def _verdict(ratio: Interval) -> str:
    if ratio.high < 1:
        return "less in every seed"
    return "more in every seed" if ratio.low > 1 else "either way"
