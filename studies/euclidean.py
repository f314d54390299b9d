"""``probe study euclidean``: which model of trust predicts the slice beyond its fit?

Along a slice each model has one constant, fitted at the smaller half of the η and judged at the larger. There two
shapes compete: the product of deep relative trust, and a line, which is what Euclidean smoothness, layerwise (L₀, L₁)
smoothness (Gluon, arXiv 2505.13416) and a quadratic loss all are at one checkpoint. These come apart across training:
constants fitted at every other checkpoint are judged at the ones between.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
import xarray as xr
from scipy.optimize import nnls

from figures.panels import Panel, draw_panels, numbers_of_panels
from probes.data.dataset import DataSet
from probes.runs.results import load
from probes.runs.run import measure_run
from probes.runs.source import Source
from probes.runs.training import TrainingSettings, train
from studies.frame import Conclusion, Coordinates, Interval, Study, banded, interval
from studies.parts.conclusions import beside_paper, ends_by_name, runs_where
from studies.parts.networks import bare_slice, perceptron
from trust import measurements as variables
from trust.claims.quantities import above_noise, log10_trust, perturbed

__all__ = ["PRESETS", "Euclidean", "Preset", "across", "along"]

Floats = npt.NDArray[np.float64]
_NETWORKS = {"2-layer": (2, False), "16-layer": (16, False), "16-layer-residual": (16, True)}
_SHAPES = {"product": "a product over layers", "line": "a line"}
_MODELS = {
    "trust": "deep relative trust",
    "euclidean": "Euclidean",
    "layerwise": "layerwise $(L_0, L_1)$",
    "quadratic": "quadratic",
}
_STAGES = {"start": "the first third of training", "end": "the last third"}


@dataclass(frozen=True)
class Preset:
    """How large the study is.

    Attributes:
        width: of the hidden layers.
        optimizers: with their rates.
        batch_size: of training.
        epochs: of a network, by its name.
        epoch_steps: steps of an epoch (None: one pass over the data).
        checkpoints: that are measured, evenly.
        examples: measured; None for all.
        etas: of the slices, from 1e-4 to 0.1 in equal ratios.
    """

    width: int
    optimizers: Mapping[str, float]
    batch_size: int
    epochs: Mapping[str, int]
    epoch_steps: int | None
    checkpoints: int
    examples: int | None
    etas: int


PRESETS = {
    "toy": Preset(8, {"fromage": 0.01}, 500, {"2-layer": 1}, 4, 4, 50, 6),
    "quick": Preset(
        64,
        {"fromage": 0.01, "adam": 0.001},
        125,
        {"2-layer": 10, "16-layer": 40, "16-layer-residual": 10},
        None,
        9,
        1000,
        12,
    ),
    "paper": Preset(
        784,
        {"fromage": 0.01, "adam": 0.001, "momentum": 0.01},
        250,
        dict.fromkeys(_NETWORKS, 10),
        240,
        11,
        None,
        20,
    ),
}


class Euclidean(Study):
    """Models of how the gradient changes, judged where they were not fitted."""

    name = "euclidean"
    question = "Do trainable deep networks violate Euclidean smoothness, and which model predicts the slice?"
    presets = PRESETS
    caveats = (
        "Errors are root mean squares of log10(measured / model) over η above the noise: 0.3 is a factor of 2. What is"
        " shown of a network is the median over its weight matrices.",
        "A bound holds with a large enough constant; what is judged is whether one constant tells the size.",
        "The quadratic model has no constant to fit: it goes on from the change at the smallest η of each slice, and"
        " across training it knows each checkpoint, as the others do not.",
    )

    def runs(self, size: Preset) -> list[Coordinates]:
        """The networks with each optimiser."""
        return [
            {"network": name, "optimizer": optimizer}
            for name in reversed(list(size.epochs))
            for optimizer in size.optimizers
        ]

    def measure(self, size: Preset, run: Coordinates, folder: Path, data: DataSet) -> xr.Dataset:
        """``along`` (shape, checkpoint) and ``across`` (model), medians over layers, and ``accuracy`` (checkpoint)."""
        checkpoints, results = folder / "checkpoints", folder / "measurements"
        train(_training(size, run, data), checkpoints, data=data)
        etas = np.concatenate([[0.0], np.geomspace(1e-4, 0.1, size.etas)])
        settings = bare_slice(etas, samples=1)
        measure_run(Source((str(checkpoints),), examples=size.examples), results, settings=settings)
        found = load(results)
        own = perturbed(found)
        weights = np.flatnonzero(own[variables.IS_WEIGHT].values)
        seen = above_noise(own).transpose("checkpoint", "eta", "layer").values[..., weights]
        change = own[variables.GRADIENT_CHANGE].transpose("checkpoint", "eta", "layer").values[..., weights]
        change = np.where(seen & np.isfinite(change) & (change > 0), change, np.nan)
        trust = 10.0 ** log10_trust(own).transpose("checkpoint", "eta").values
        moved = own[variables.PERTURBATION_NORM].transpose("checkpoint", "eta", "layer").values
        sizes = found[variables.GRADIENT_NORM].isel(eta=0).transpose("checkpoint", "layer").values[:, weights]
        whole = np.sqrt(np.nansum(moved**2, axis=2))
        by_shape = [
            [
                _median([along(change[k, :, place], model[k]) for place in range(len(weights))])
                for k in range(len(change))
            ]
            for model in (trust, whole)
        ]
        by_model = [
            _median(
                [
                    across(name, change[..., p], trust, whole, moved[..., weights[p]], sizes[:, p])
                    for p in range(len(weights))
                ]
            )
            for name in _MODELS
        ]
        return xr.Dataset(
            {
                "along": (("shape", "checkpoint"), by_shape),
                "across": ("model", by_model),
                "accuracy": ("checkpoint", found[variables.TRAIN_ACCURACY].values),
            },
            {"shape": list(_SHAPES), "model": list(_MODELS)},
        )

    def conclude(self, size: Preset, found: xr.Dataset) -> Conclusion:
        """Which model errs least, and where."""
        cases = [(name, optimizer) for name in size.epochs for optimizer in size.optimizers]
        count = found.sizes["checkpoint"]
        third = max(count // 3, 1)
        own = {case: runs_where(found, network=case[0], optimizer=case[1]) for case in cases}
        stages = {"start": slice(0, third), "end": slice(count - third, count)}
        cells: dict[tuple[tuple[str, str], str], Interval] = {
            (case, f"{shape}/{stage}"): interval(
                own[case]["along"].sel(shape=shape).isel(checkpoint=part).median("checkpoint")
            )
            for case in cases
            for shape in _SHAPES
            for stage, part in stages.items()
        }
        cells |= {
            (case, model): interval(own[case]["across"].sel(model=model))
            for case in cases
            for model in _MODELS
        }
        shares = np.linspace(0, 1, count)
        panels = [
            Panel(
                f"{name}, {optimizer}",
                "share of training",
                "error beyond the fit, orders",
                [
                    banded(
                        title,
                        shares,
                        [
                            interval(own[name, optimizer]["along"].sel(shape=shape).isel(checkpoint=k))
                            for k in range(count)
                        ],
                    )
                    for shape, title in _SHAPES.items()
                ],
                log_y=True,
            )
            for name, optimizer in cases
        ]
        places = np.arange(len(cases))
        panels.append(
            Panel(
                "across training",
                "",
                "error at other checkpoints, orders",
                [
                    banded(title, places + 0.12 * (k - 1.5), [cells[case, model] for case in cases], line="")
                    for k, (model, title) in enumerate(_MODELS.items())
                ],
                log_y=True,
                ticks=[f"{name}, {optimizer}" for name, optimizer in cases],
            )
        )
        columns = [f"{shape}/{stage}" for stage in _STAGES for shape in _SHAPES]
        heading = [f"{_SHAPES[shape]}, {_STAGES[stage]}" for stage in _STAGES for shape in _SHAPES]
        table = [["network", "optimiser", *heading, *(f"{title}, across" for title in _MODELS.values())]]
        table += [[*case, *(cells[case, name].shown() for name in (*columns, *_MODELS))] for case in cases]
        numbers = ends_by_name({f"{'/'.join(case)}/{name}": one for (case, name), one in cells.items()})
        answer = _answer(cases, own, cells)
        return Conclusion(answer, numbers, table, draw_panels(panels, columns=3), numbers_of_panels(panels))


def _training(size: Preset, run: Coordinates, data: DataSet) -> TrainingSettings:
    name, optimizer = str(run["network"]), str(run["optimizer"])
    depth, residual = _NETWORKS[name]
    return TrainingSettings(
        network=perceptron(data, width=size.width, depth=depth, residual=residual),
        data=data.spec,
        optimizer=optimizer,
        lr=size.optimizers[optimizer],
        lr_decay=0.95,
        epochs=size.epochs[name],
        epoch_steps=size.epoch_steps,
        batch_size=size.batch_size,
        checkpoints=str(size.checkpoints),
        seed=int(run["seed"]),
    )


def _median(values: list[float]) -> float:
    known = [value for value in values if not math.isnan(value)]
    return float(np.median(known)) if known else math.nan


def _halves(change: Floats) -> tuple[npt.NDArray[np.intp], npt.NDArray[np.intp]]:
    """Of the η at which a change is known the smaller, to fit, and the larger, to judge."""
    places = np.flatnonzero(~np.isnan(change))
    return places[: len(places) // 2], places[len(places) // 2 :]


def _error(logarithms: Floats) -> float:
    return float(np.sqrt(np.mean(logarithms**2)))


def along(change: Floats, model: Floats) -> float:
    """Of c · model(η), c fitted at the smaller η: its error at the larger ones, in orders of magnitude.

    Args:
        change: ‖g̃ − g‖/‖g‖ at each η; NaN where it is not known.
        model: at each η.
    """
    fit, test = _halves(change)
    if not len(fit):
        return math.nan
    ratio = np.log10(change / model)
    return _error(ratio[test] - np.mean(ratio[fit]))


def across(model: str, change: Floats, trust: Floats, whole: Floats, moved: Floats, sizes: Floats) -> float:
    """Of constants fitted at every other checkpoint's smaller η: the error at the larger ones of those between.

    Args:
        model: a name of the study's models.
        change: ‖g̃_l − g_l‖/‖g_l‖ (checkpoint, eta) of one layer; NaN where it is not known.
        trust: ∏(1 + r_k) − 1, likewise.
        whole: ‖ΔW‖ of all layers, likewise.
        moved: ‖ΔW_l‖, likewise.
        sizes: ‖g_l‖ (checkpoint).
    """
    halves = [_halves(one) for one in change]
    fit = [(k, e) for k in range(0, len(change), 2) for e in halves[k][0]]
    test = [(k, e) for k in range(1, len(change), 2) for e in halves[k][1]]
    if not fit or not test:
        return math.nan
    absolute = change * sizes[:, None]
    if model == "quadratic":
        first = [halves[k][0][0] if len(halves[k][0]) else 0 for k in range(len(change))]
        logs = [
            math.log10(change[k, e] / change[k, first[k]] * whole[k, first[k]] / whole[k, e]) for k, e in test
        ]
        return _error(np.array(logs))
    if model == "layerwise":
        slopes = np.array([absolute[k, e] / moved[k, e] for k, e in fit])
        rows = np.array([[1.0, sizes[k]] for k, _ in fit]) / slopes[:, None]  # relative errors count
        constants, _ = nnls(rows, np.ones(len(rows)))
        constants = constants / np.exp(
            np.mean(np.log(rows @ constants))
        )  # as for the others, no error on average
        logs = [
            math.log10(absolute[k, e] / (moved[k, e] * (constants[0] + constants[1] * sizes[k])))
            for k, e in test
        ]
        return _error(np.array(logs))
    ratio = np.log10(change / trust if model == "trust" else absolute / whole)
    constant = np.mean([ratio[place] for place in fit])
    return _error(np.array([ratio[place] - constant for place in test]))


def _answer(
    cases: list[tuple[str, str]],
    own: Mapping[tuple[str, str], xr.Dataset],
    cells: Mapping[tuple[tuple[str, str], str], Interval],
) -> str:
    pairs = [
        (cells[case, f"product/{stage}"], cells[case, f"line/{stage}"]) for case in cases for stage in _STAGES
    ]
    product, line = sum(a.high < b.low for a, b in pairs), sum(b.high < a.low for a, b in pairs)
    lines = [
        f"Along the slice a product tells more than a line in {product} of {len(pairs)} cases (network, optimiser,"
        f" third of training), and less in {line}; in the others the seeds' ranges overlap. Errors are in orders of"
        " magnitude."
    ]
    for case in cases:
        network, optimizer = case
        accuracy = interval(own[case]["accuracy"].isel(checkpoint=-1))
        parts = [
            f"in {title} a product errs by {cells[case, f'product/{stage}'].shown()} orders and a line by"
            f" {cells[case, f'line/{stage}'].shown()}"
            for stage, title in _STAGES.items()
        ]
        ranked = sorted(
            (
                model
                for model in ("trust", "euclidean", "layerwise")
                if not math.isnan(cells[case, model].middle)
            ),
            key=lambda model: cells[case, model].middle,
        )
        best = ", ".join(
            f"{_MODELS[model].replace('$', '')} {cells[case, model].shown()}" for model in ranked
        )
        lines.append(
            f"{network}, {optimizer} (to accuracy {accuracy.shown()}): along the slice, {'; '.join(parts)}. Across"
            f" training, from least to most: {best}."
        )
    worse = [case for case in cases if cells[case, "euclidean"].low > cells[case, "trust"].high]
    named = " and ".join(f"{name} by {optimizer}" for name, optimizer in worse)
    where = f" ({named})" if worse else ""
    lines.append(
        "Whether Euclidean smoothness is violated: one Euclidean constant for all of training errs more than deep"
        f" relative trust in every seed in {len(worse)} of {len(cases)} cases{where}; along one slice neither can be"
        " told from the other in most."
    )
    errors = [
        own[case]["across"].sel(model=["trust", "euclidean"]).transpose("run", ...).values for case in cases
    ]
    trust, euclidean = np.concatenate(errors).T
    lines.append(
        beside_paper(
            "The paper has deep relative trust, not one Euclidean constant, describe how far gradients change; across"
            " training, that it errs less",
            np.where(np.isnan(trust + euclidean), np.nan, trust > euclidean),
            "runs",
        )
    )
    return "\n".join(lines)
