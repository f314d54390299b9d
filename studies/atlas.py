"""``probe study atlas``: what the toolkit says of networks that others trained, beside our own.

Of each network, before training and after it where it is ours: how large and deep it is, the effective constant and
what it is made of, step limits in relative units, and the slack of the bounds that apply. Then weights are rounded,
pruned and made noisy until the loss gives way, and several numbers say beforehand where (:mod:`studies.levels`).
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
from analysis.constants import ORDER_ONE
from analysis.wording import number
from figures.panels import Panel, Series, draw_panels, numbers_of_panels
from probes.checkpoints.checkpoint import read_checkpoint
from probes.data.dataset import DataSet, load_data
from probes.measures.settings import SliceSettings
from probes.networks.frozen_network import load_network
from probes.networks.named import NAMED
from probes.runs.training import TrainingSettings, train
from probes.slices.slice import measure_slice
from studies.frame import Conclusion, Coordinates, Interval, Study, interval
from studies.levels import (
    GIVEN_WAY,
    PREDICTORS,
    RUNGS,
    equal_perturbation,
    first_rise,
    is_known,
    log10_bound,
    predicted,
)
from studies.others import OTHERS, UNREAD, is_installed
from studies.pieces import bare_slice, beside_paper, perceptron
from studies.statistics import rank_correlation
from trust import measurements as variables
from trust.claims.quantities import depth, effective_constant
from trust.descent import lemma2_step_limit
from trust.measurements import SMALL_ETA

__all__ = ["KINDS", "PRESETS", "QUANTITIES", "Atlas", "Preset"]

_STAGES = ("start", "trained")
KINDS = {
    "quantize": {"direction": "quantize"},
    "quantize-channel": {"direction": "quantize", "granularity": "channel"},
    "prune": {"direction": "prune"},
    "filter-noise": {"direction": "filter-noise"},
}
_CALLED = {
    "quantize": "rounding",
    "quantize-channel": "by channel",
    "prune": "pruning",
    "filter-noise": "noise",
}
_LADDER = {"quantize": (16.0, 6.0, 3.0), "prune": (10.0, 50.0, 90.0), "filter-noise": (1.0, 10.0, 100.0)}
"""The levels at which bounds are measured; between them and below they are interpolated."""
QUANTITIES = (
    *("weights", "depth", "loss", "chance", "accuracy"),
    *("constant", "breakdown", "mean_example", "cancellation", "residuals"),
    *("lemma2", "calibrated", "curvature", "predicted", "measured"),
    *(f"slack_{name}" for name in RUNGS),
)
_SLACK_ETA = 0.01
_GROUPS = {"start": "ours, before training", "trained": "ours, trained", "others": "trained by others"}
_OWN = {
    "2-layer": "--depth 2 --width 64",
    "16-layer": "--depth 16 --width 64",
    "conv": "--network conv",
    "residual16": "--network residual16",
    "char-transformer": "--network char-transformer --data text",
}


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
        " in the paper preset alone, since its bounds take ten minutes.",
        "Batches are small (8 to 32 examples of others, so that a network takes a minute), and so are full-batch"
        " gradients' minima: C and limits are those of these examples.",
        "C is the largest of the weight matrices at η₀ = 1e-4; its factors are those of its layer over the first few"
        " examples, whose own C need not be that of all. ≥ where the gradient has changed by half of its norm there.",
        "Depth counts every use of a weight matrix, as deep relative trust does: of a recurrent network one a time"
        " step, of three towers side by side all.",
        "Where a loss gives way was defined before looking, as were all thresholds: a tenth of chance's loss. Biases"
        " and norm layers stay as they are; those along the gradient move. Bounds are measured at three levels and"
        " interpolated.",
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
        stages = list(_STAGES) if name in size.own else ["trained"]
        return xr.concat(parts, "stage").assign_coords(stage=stages)

    def conclude(self, size: Preset, found: xr.Dataset) -> Conclusion:
        """The table, and which number predicts where a loss gives way."""
        rows = _rows(size, found)
        table = [_HEADING, *(_row(*key, own) for key, own in rows.items())]
        table += [
            [
                name,
                f"not installed: `pip install --no-deps {OTHERS[name].install}`",
                *[""] * (len(_HEADING) - 2),
            ]
            for name in size.others
            if not is_installed(name) and not any(key[0] == name for key in rows)
        ]
        scores = _scores(rows)
        numbers = {
            f"{name}/{stage}/{quantity}": interval(own["value"].sel(quantity=quantity)).middle
            for (name, stage), own in rows.items()
            for quantity in QUANTITIES
        }
        numbers |= {f"{one}/{part}": value for one, score in scores.items() for part, value in score.items()}
        panels = _panels(size, rows)
        return Conclusion(
            "\n".join([*_like_the_paper(size, rows), *_who_predicts(scores, rows), *_unread()]),
            numbers,
            table,
            draw_panels(panels, columns=2),
            numbers_of_panels(panels),
        )


Rows = Mapping[tuple[str, str], xr.Dataset]
"""By network and stage, over seeds."""


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


def _rows(size: Preset, found: xr.Dataset) -> dict[tuple[str, str], xr.Dataset]:
    there = set(found["network"].values.tolist())
    rows: dict[tuple[str, str], xr.Dataset] = {}
    for name in (*size.own, *size.others):
        if name in there:
            own = found.isel(run=np.flatnonzero(found["network"].values == name))
            stages = _STAGES if name in size.own else _STAGES[1:]
            rows |= {(name, stage): own.sel(stage=stage) for stage in stages}
    return rows


_HEADING = [
    *("network", "weights", "L", "loss / chance", "C", "C_ex × cancellation × residuals", "Lemma 2's limit"),
    *("calibrated", "curvature's", "predicted", "measured", "slack: telescoped, spectral"),
    *(f"gives way: {_CALLED[kind]}" for kind in KINDS),
    "command",
]


def _row(name: str, stage: str, own: xr.Dataset) -> list[str]:
    cell: dict[str, Interval] = {
        quantity: interval(own["value"].sel(quantity=quantity)) for quantity in QUANTITIES
    }
    share = interval(own["value"].sel(quantity="loss") / own["value"].sel(quantity="chance"))
    cut_off = "≥ " if cell["breakdown"].high >= ORDER_ONE else ""
    slack = ", ".join(cell[f"slack_{rung}"].shown() for rung in RUNGS)
    ways = [interval(own["given_way"].sel(kind=kind)).shown() for kind in KINDS]
    is_own = name in _OWN
    return [
        f"{name}, {stage}" if is_own else f"{name}: {OTHERS[name].title}",
        f"{int(cell['weights'].middle):,}",
        f"{cell['depth'].middle:.0f}",
        share.shown(),
        cut_off + cell["constant"].shown(),
        " × ".join(cell[part].shown() for part in ("mean_example", "cancellation", "residuals")),
        cell["lemma2"].shown(),
        *(cell[part].shown() for part in ("calibrated", "curvature", "predicted", "measured")),
        slack if slack != ", ".join(["–"] * len(RUNGS)) else "not applicable",
        *ways,
        f"`probe train {_OWN[name]}`" if is_own else f"`python -m studies.others {name}`",
    ]


def _pairs(rows: Rows) -> tuple[np.ndarray, np.ndarray]:
    """Over networks as trained and kinds, medians over seeds: log10 of the measured r̄, and of the predicted."""
    measured, told = [], []
    for (_, stage), own in rows.items():
        if stage != "trained":
            continue
        for kind in KINDS:
            at = own.sel(kind=kind)
            measured.append(interval(at["given_way"]).middle)
            told.append([interval(at["predicted"].sel(predictor=one)).middle for one in PREDICTORS])
    return np.log10(np.array(measured)), np.log10(np.array(told).reshape(-1, len(PREDICTORS)))


def _scores(rows: Rows) -> dict[str, dict[str, float]]:
    """Of each predictor over all pairs that it speaks of, and over those of which all speak (``…/same``)."""
    measured, told = _pairs(rows)
    alike = np.isfinite(measured) & np.isfinite(told).all(1)
    scores = {}
    for k, name in enumerate(PREDICTORS):
        own = np.isfinite(measured) & np.isfinite(told[:, k])
        for among, chosen in (("", own), ("/alike", alike)):
            error = told[chosen, k] - measured[chosen]
            scores[f"{name}{among}"] = {
                "pairs": float(chosen.sum()),
                "rank": rank_correlation(told[chosen, k], measured[chosen]).middle,
                "error": float(np.median(np.abs(error))) if chosen.any() else math.nan,
                "bias": float(np.median(error)) if chosen.any() else math.nan,
            }
    return scores


def _panels(size: Preset, rows: Rows) -> list[Panel]:
    def middles(own: list[xr.Dataset], quantity: str) -> list[float]:
        return [interval(one["value"].sel(quantity=quantity)).middle for one in own]

    def points(x: str, y: str) -> list[Series]:
        """Of each group the networks."""
        own = {group: _of(size, rows, group) for group in _GROUPS}
        return [
            Series(label, middles(own[group], x), middles(own[group], y), line="")
            for group, label in _GROUPS.items()
            if own[group]
        ]

    def ways(x: str) -> list[Series]:
        """Of each group as trained where its losses give way, whatever is done."""
        found = []
        for group in ("trained", "others"):
            own = _of(size, rows, group)
            y = [interval(one["given_way"].sel(kind=kind)).middle for one in own for kind in KINDS]
            found.append(Series(_GROUPS[group], np.repeat(middles(own, x), len(KINDS)), y, line=""))
        return found

    depths = np.geomspace(2, max(middles(list(rows.values()), "depth")), 30)
    limit = [float(lemma2_step_limit(depth=one)) for one in depths]
    lemma2 = Series("Lemma 2, D = 1", depths, limit, line="--", mark=False)
    either: dict[str, Any] = {"log_x": True, "log_y": True}
    measured, told = _pairs(rows)
    both = [
        Series(text, 10**measured, 10 ** told[:, k], line="")
        for k, (name, text) in enumerate(PREDICTORS.items())
        if name in ("step limit", "trust", "telescoped")
    ]
    ends = [np.nanmin(10**measured), np.nanmax(10**measured)] if np.isfinite(measured).any() else [0.1, 1.0]
    both.append(Series("as measured", ends, ends, line=":", mark=False))
    one = {"the paper's: 1": 1.0}
    return [
        Panel("the constant", "depth L", "C", points("depth", "constant"), levels=one, **either),
        Panel("the constant", "weights", "C", points("weights", "constant"), levels=one, **either),
        Panel("step limit", "depth L", "measured", [*points("depth", "measured"), lemma2], **either),
        Panel(
            "where the loss gives way",
            "depth L",
            "relative perturbation r̄",
            [*ways("depth"), lemma2],
            **either,
        ),
        Panel("where the loss gives way", "weights", "relative perturbation r̄", ways("weights"), **either),
        Panel("the same, as predicted", "r̄ measured", "r̄ predicted", both, **either),
    ]


def _of(size: Preset, rows: Rows, group: str) -> list[xr.Dataset]:
    """The networks of a group."""
    return [own for (name, stage), own in rows.items() if (stage if name in size.own else "others") == group]


def _like_the_paper(size: Preset, rows: Rows) -> list[str]:
    """Whether others' networks are like the paper's claims, and like ours."""
    lines = []
    for group, label in _GROUPS.items():
        own = _of(size, rows, group)
        middle = {
            q: np.array([interval(one["value"].sel(quantity=q)).middle for one in own]) for q in QUANTITIES
        }
        if not own:
            lines.append("No network that others trained is installed.")
            continue
        C, limit = interval(middle["constant"]), interval(middle["measured"] / middle["lemma2"])
        lines.append(
            f"Networks {label} ({len(own)}, L from {min(middle['depth']):.0f} to {max(middle['depth']):.0f}): C is"
            f" {C.shown()}, and the measured step limit {limit.shown()} times Lemma 2's."
        )
        lines.append(
            beside_paper(
                "* The paper sets the constant to one, here to within a factor of two",
                np.where(np.isnan(middle["constant"]), np.nan, middle["constant"] > 2),
                "of them",
            )
        )
        lines.append(
            beside_paper(
                "* Lemma 2, with the constant that the paper drops, has every step below 2^(1/L) − 1 lower the loss",
                np.where(np.isnan(middle["measured"]), np.nan, middle["measured"] < middle["lemma2"]),
                "of them where the loss comes back",
            )
        )
        if group == "others":
            for quantity, what in (("depth", "depth"), ("weights", "the number of weights")):
                told = rank_correlation(middle[quantity], middle["constant"]).shown()
                lines.append(f"* Spearman's correlation of C with {what}, among them: {told}.")
    return [*lines, beside] if (beside := _beside_ours(size, rows)) else lines


def _beside_ours(size: Preset, rows: Rows) -> str:
    """How far others' networks are from ours, in the median."""

    def middles(group: str, quantity: str, over: str = "") -> float:
        values = [
            own["value"].sel(quantity=quantity) / (own["value"].sel(quantity=over) if over else 1)
            for own in _of(size, rows, group)
        ]
        return interval([interval(one).middle for one in values]).middle

    others = middles("others", "constant"), middles("others", "measured", "lemma2")
    if math.isnan(others[0]):
        return ""
    parts = [
        f"C {number(others[0] / middles(group, 'constant'), 2)} and measured over Lemma 2's limit"
        f" {number(others[1] / middles(group, 'measured', 'lemma2'), 2)} times that of networks {_GROUPS[group]}"
        for group in _STAGES
    ]
    return f"In the median those trained by others have {'; '.join(parts)}."


def _who_predicts(scores: Mapping[str, Mapping[str, float]], rows: Rows) -> list[str]:
    measured, _ = _pairs(rows)
    never = int(np.isnan(measured).sum())
    lines = [
        f"The loss gives way (rises by {GIVEN_WAY:.0%} of chance's) at r̄ ="
        f" {interval(10**measured).shown()}, over {len(measured)} pairs of a trained network and what is done to it"
        f" ({never} of them never do). What each number says beforehand, over the pairs of which it speaks:"
    ]
    for name, text in PREDICTORS.items():
        own, alike = scores[name], scores[f"{name}/alike"]
        if not own["pairs"]:
            lines.append(f"* {text}: speaks of none.")
            continue
        side = "later" if own["bias"] > 0 else "earlier"
        lines.append(
            f"* {text}: off by {number(own['error'], 2)} orders of magnitude in the median,"
            f" {number(abs(own['bias']), 2)} {side} than it does, Spearman's correlation {number(own['rank'], 2)}"
            f" ({own['pairs']:.0f} pairs); over the {alike['pairs']:.0f} of which all speak"
            f" {number(alike['error'], 2)} orders, {number(alike['rank'], 2)}."
        )
    told = {name: scores[name] for name in PREDICTORS if name != "output" and scores[name]["pairs"]}
    if not told:
        return lines
    nearest = min(told, key=lambda name: told[name]["error"])
    ranks = {name: one["rank"] for name, one in told.items() if not math.isnan(one["rank"])}
    first = max(ranks, key=lambda name: ranks[name]) if ranks else None
    lines.append(
        f"Of those that take no pass of the changed network the nearest is: {PREDICTORS[nearest]}. "
        + (f"The one that orders best is: {PREDICTORS[first]}." if first else "None orders them.")
    )
    return lines


def _unread() -> list[str]:
    return ["In no row, and why:", *(f"* {name}: {why}." for name, why in UNREAD.items())]
