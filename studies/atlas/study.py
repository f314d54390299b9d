"""``probe study atlas``: what the toolkit says of networks that others trained, beside our own.

Of each network, before training and after it where it is ours: how large and deep it is, the effective constant and
what it is made of, step limits in relative units, and the slack of the bounds that apply. Then weights are rounded,
pruned and made noisy until the loss gives way, and several numbers say beforehand where (:mod:`studies.atlas.levels`).
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
import xarray as xr
from torch import nn

from analysis import split, step_limits
from figures.panels import draw_panels, numbers_of_panels
from probes.checkpoints.checkpoint import read_checkpoint
from probes.data.dataset import DataSet, load_data
from probes.measures.settings import SliceSettings
from probes.networks.frozen_network import load_network
from probes.networks.named import NAMED
from probes.runs.training import TrainingSettings, train
from probes.slices.slice import measure_slice
from studies.atlas.answer import (
    HEADING,
    QUANTITIES,
    STAGES,
    like_the_paper,
    panels_of,
    row_of,
    rows_of,
    scores_of,
    unread,
    who_predicts,
)
from studies.atlas.levels import (
    GIVEN_WAY,
    KINDS,
    PREDICTORS,
    RUNGS,
    equal_perturbation,
    first_rise,
    is_known,
    log10_bound,
    predicted,
)
from studies.frame import Conclusion, Coordinates, Study, interval
from studies.others import OTHERS, is_installed
from studies.parts.networks import bare_slice, perceptron
from trust import measurements as variables
from trust.claims.quantities import depth, effective_constant
from trust.measurements import SMALL_ETA

__all__ = ["PRESETS", "Atlas", "Preset"]

_LADDER = {"quantize": (16.0, 6.0, 3.0), "prune": (10.0, 50.0, 90.0), "filter-noise": (1.0, 10.0, 100.0)}
"""The levels at which bounds are measured; between them and below they are interpolated."""
_SLACK_ETA = 0.01


@dataclass(frozen=True)
class Preset:
    """How large the study is.

    Attributes:
        own: how many steps each of our networks is trained.
        others: names of :data:`studies.others.OTHERS`, of which those are measured that are installed.
        width: of perceptrons.
        batch_size: of training.
        examples: of ours that are measured.
        factor: how many times the examples of others' networks.
    """

    own: Mapping[str, int]
    others: tuple[str, ...]
    width: int
    batch_size: int
    examples: int
    factor: int


_ALL = tuple(name for name, other in OTHERS.items() if other.packages)
_QUICK = tuple(name for name in _ALL if name != "crepe-full")  # whose bounds take ten minutes
_LONGER = {"2-layer": 2000, "16-layer": 10000, "conv": 2000, "residual16": 2000, "char-transformer": 5000}
PRESETS = {
    "toy": Preset({"2-layer": 100}, ("stand-in",), 8, 50, 20, 1),
    "quick": Preset(
        {"2-layer": 400, "16-layer": 2000, "conv": 200, "residual16": 100, "char-transformer": 200},
        _QUICK, 64, 125, 64, 1,
    ),
    "paper": Preset(_LONGER, _ALL, 784, 250, 1000, 8),
}  # fmt: skip


class Atlas(Study):
    """Our networks and those of others in one table."""

    name = "atlas"
    question = (
        "Do networks that others trained look like the paper's, and what tells beforehand how many bits, weights or"
        " how much noise they can do without?"
    )
    presets = PRESETS
    caveats = (
        "Others' networks are not given what they were trained on, nor always its loss: pictures are crops of three"
        " photographs, disturbed, and their labels what the network says to them undisturbed; sounds are made here"
        " (tones of known pitch, vowels); sentences are Python's documentation. EfficientNets see pictures of"
        " side 128. CREPE is judged by cross-entropy, and was trained by binary cross-entropy. At its full size it is"
        " in the paper preset alone, since its bounds take many minutes. R-net's pictures are disturbed so much that"
        " its loss is above chance's.",
        "Few examples are measured (by the quick preset 16 or 32 of others, so that a network takes a minute): C and"
        " limits are theirs.",
        "C is the largest of the weight matrices at η₀ = 1e-4; its factors are those of its layer over the first few"
        " examples, whose own C need not be that of all. ≥ where the gradient has changed by half of its norm there.",
        "Depth counts every use of a weight matrix, as deep relative trust does: of a recurrent network one a time"
        " step, of three towers side by side all.",
        "That a loss gives way at a tenth of chance's was settled first; at which number each predictor says so, after"
        " a first look at rounding in six networks, before any was scored. Biases and norm layers stay as they are;"
        " those along the gradient move. Bounds are measured at three levels and interpolated.",
        "Pairs of one network are not independent, which the bootstrap intervals of correlations do not know.",
        "The spectral product assumes that there are no biases: where there are, it is no bound, and stands here as a"
        " number that might predict.",
    )

    def runs(self, size: Preset) -> list[Coordinates]:
        """Ours, and those of others that are installed."""
        return [{"network": name} for name in (*size.own, *filter(is_installed, size.others))]

    def measure(self, size: Preset, run: Coordinates, folder: Path, data: DataSet) -> xr.Dataset:
        """``value`` (stage, quantity), and ``given_way`` and ``predicted`` (stage, kind, predictor), as r̄."""
        name, seed = str(run["network"]), int(run["seed"])
        if name in size.own:
            own = load_data("text") if name == "char-transformer" else data
            files = train(_training(size, name, own, seed), folder / "checkpoints", data=own)
            ends = (files[0], files[-1])
            few = own.head(size.examples)
            subjects = [load_network(read_checkpoint(file)).network.eval() for file in ends]
            x, y, loss = few.x, few.y, None
        else:
            other = OTHERS[name]
            network, (x, y) = other.loaded(examples=other.examples * size.factor, seed=seed)
            subjects, loss = [network], other.loss
        parts = [_measured(subject, x, y, loss, seed) for subject in subjects]
        stages = list(STAGES) if name in size.own else ["trained"]
        return xr.concat(parts, "stage").assign_coords(stage=stages)

    def conclude(self, size: Preset, found: xr.Dataset) -> Conclusion:
        """The table, and which number predicts where a loss gives way."""
        rows = rows_of((*size.own, *size.others), size.own, found)
        table = [HEADING, *(row_of(*key, own) for key, own in rows.items())]
        table += [
            [
                name,
                f"not installed: `pip install --no-deps {OTHERS[name].install}`",
                *[""] * (len(HEADING) - 2),
            ]
            for name in size.others
            if not is_installed(name) and not any(key[0] == name for key in rows)
        ]
        scores = scores_of(rows)
        numbers = {
            f"{name}/{stage}/{quantity}": interval(own["value"].sel(quantity=quantity)).middle
            for (name, stage), own in rows.items()
            for quantity in QUANTITIES
        }
        numbers |= {f"{one}/{part}": value for one, score in scores.items() for part, value in score.items()}
        panels = panels_of(size.own, rows)
        return Conclusion(
            "\n".join([*like_the_paper(size.own, rows), *who_predicts(scores, rows), *unread()]),
            numbers,
            table,
            draw_panels(panels, columns=2),
            numbers_of_panels(panels),
        )


def _training(size: Preset, name: str, data: DataSet, seed: int) -> TrainingSettings:
    inputs, outputs = math.prod(data.x.shape[1:]), int(data.y.max()) + 1
    return TrainingSettings(
        network=NAMED[name](inputs, outputs, "none")
        if name in NAMED
        else perceptron(data, width=size.width, depth=int(name.partition("-")[0])),
        data=data.spec,
        epochs=10,
        epoch_steps=max(1, size.own[name] // 10),
        batch_size=size.batch_size if name != "char-transformer" else min(size.batch_size, 32),
        checkpoints="2",
        seed=seed,
    )


def _measured(
    network: nn.Module, x: torch.Tensor, y: torch.Tensor, loss: str | None, seed: int
) -> xr.Dataset:
    """What one network gives."""

    def slice_of(settings: SliceSettings) -> xr.Dataset:
        return measure_slice(network, x, y, settings=settings, loss=loss)

    few = min(8, len(x))
    along = slice_of(
        bare_slice(
            np.array([0, SMALL_ETA, 1e-3, 1e-2, 0.1, 1.0]),
            split="small", split_examples=few, samples=few, limit=True, curvature=0,
        )
    )  # fmt: skip
    value = _along(network, along)
    known = is_known(along)
    if known:
        climbed = slice_of(
            bare_slice(np.array([0, SMALL_ETA, _SLACK_ETA]), samples=few, spectra="weights", ladder=True)
        )
        with np.errstate(divide="ignore"):
            change = np.log10(climbed[variables.OUTPUT_CHANGE].values[0, -1]).mean()
        value |= {f"slack_{name}": float(log10_bound(climbed, name)[-1] - change) for name in RUNGS}
    given, told = [], []
    for choice in KINDS.values():
        common: dict[str, Any] = {**choice, "samples": few, "biases": "fixed", "seed": seed, "split": "none"}
        common |= dict.fromkeys(("limit", "spot_check"), False) | {"curvature": None, "etas_at_once": 1}
        last = str(along["layer"].values[np.flatnonzero(along[variables.IS_WEIGHT].values)[-1]])
        levels = slice_of(SliceSettings(**common, layers=last, spectra="none", ladder=False))
        few_levels = _LADDER[choice["direction"]]
        ladder = slice_of(SliceSettings(**common, levels=few_levels)) if known else None
        rise = GIVEN_WAY * value["chance"]
        given.append(first_rise(equal_perturbation(levels), levels[variables.LOSS].values[0], rise))
        found = predicted(levels, ladder, value["measured"])
        told.append([found[name] for name in PREDICTORS])
    return xr.Dataset(
        {
            "value": ("quantity", [value[name] for name in QUANTITIES]),
            "given_way": ("kind", given),
            "predicted": (("kind", "predictor"), told),
        },
        {"quantity": list(QUANTITIES), "kind": list(KINDS), "predictor": list(PREDICTORS)},
    )


def _along(network: nn.Module, found: xr.Dataset) -> dict[str, float]:
    """What a slice along the gradient says; NaN for what it does not."""
    value = dict.fromkeys(QUANTITIES, math.nan)
    at_start = found.isel(checkpoint=0).sel(eta=0.0)
    value |= {
        "weights": float(sum(p.numel() for p in network.parameters())),
        "depth": float(depth(found)),
        "loss": float(at_start[variables.LOSS]),
        "chance": float(found[variables.CHANCE_LOSS].values[0]),
        "accuracy": float(at_start[variables.ACCURACY]),
    }
    limits = step_limits(found).isel(checkpoint=0)
    value |= {
        name: float(limits[name]) for name in ("lemma2", "calibrated", "curvature", "predicted", "measured")
    }
    constants = effective_constant(found).sel(eta=SMALL_ETA).isel(checkpoint=0)
    constants = constants.where(found[variables.IS_WEIGHT].values)
    if not bool(constants.notnull().any()):
        return value
    layer = int(np.nanargmax(constants.values))
    change = found[variables.GRADIENT_CHANGE].sel(eta=SMALL_ETA).isel(checkpoint=0, layer=layer)
    value |= {"constant": float(constants[layer]), "breakdown": float(change)}
    apart = split(found)
    if apart is not None:
        factors = 10.0 ** apart["log10_factor"].isel(checkpoint=0, eta=0, layer=layer)
        value |= dict(
            zip(("mean_example", "cancellation", "residuals"), factors.values.tolist(), strict=True)
        )
    return value
