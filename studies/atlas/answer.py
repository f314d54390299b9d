"""What the atlas concludes: its table, its figure, and which number predicts where a loss gives way."""

from __future__ import annotations

import math
from collections.abc import Collection, Mapping, Sequence
from typing import Any

import numpy as np
import xarray as xr

from analysis.constants import ORDER_ONE
from analysis.wording import number
from figures.panels import Panel, Series
from studies.atlas.levels import GIVEN_WAY, KINDS, PREDICTORS, RUNGS
from studies.frame import Interval, interval
from studies.frame.commands import command_line
from studies.others import OTHERS, UNREAD
from studies.parts.conclusions import beside_paper
from studies.parts.statistics import rank_correlation
from trust.descent import lemma2_step_limit

__all__ = [
    "HEADING",
    "QUANTITIES",
    "STAGES",
    "Rows",
    "like_the_paper",
    "panels_of",
    "row_of",
    "rows_of",
    "scores_of",
    "unread",
    "who_predicts",
]

STAGES = ("start", "trained")
_CALLED = {
    "quantize": "rounding",
    "quantize-channel": "by channel",
    "prune": "pruning",
    "filter-noise": "noise",
}
QUANTITIES = (
    *("weights", "depth", "loss", "chance", "accuracy"),
    *("constant", "breakdown", "mean_example", "cancellation", "residuals"),
    *("lemma2", "calibrated", "curvature", "predicted", "measured"),
    *(f"slack_{name}" for name in RUNGS),
)
_GROUPS = {"start": "ours, before training", "trained": "ours, trained", "others": "trained by others"}
_OWN: dict[str, dict[str, object]] = {
    "2-layer": {"depth": 2, "width": 64},
    "16-layer": {"depth": 16, "width": 64},
    "conv": {"network": "conv"},
    "residual16": {"network": "residual16"},
    "char-transformer": {"network": "char-transformer", "data": "text"},
}


Rows = Mapping[tuple[str, str], xr.Dataset]
"""By network and stage, over seeds."""


def rows_of(
    names: Sequence[str], own_names: Collection[str], found: xr.Dataset
) -> dict[tuple[str, str], xr.Dataset]:
    """Each network and stage that was measured, those of ours with two stages.

    Args:
        names: of networks, in the order of the table.
        own_names: of them ours.
        found: what all runs measured.
    """
    there = set(found["network"].values.tolist())
    rows: dict[tuple[str, str], xr.Dataset] = {}
    for name in names:
        if name in there:
            own = found.isel(run=np.flatnonzero(found["network"].values == name))
            stages = STAGES if name in own_names else STAGES[1:]
            rows |= {(name, stage): own.sel(stage=stage) for stage in stages}
    return rows


HEADING = [
    *("network", "weights", "L", "loss / chance", "C", "C_ex × cancellation × residuals", "Lemma 2's limit"),
    *("calibrated", "curvature's", "predicted", "measured", "slack: telescoped, spectral"),
    *(f"gives way: {_CALLED[kind]}" for kind in KINDS),
    "command",
]


def row_of(name: str, stage: str, own: xr.Dataset) -> list[str]:
    """A network's row of the table."""
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
        f"`{command_line(['probe', 'train'], _OWN[name])}`"
        if is_own
        else f"`python -m studies.others {name}`",
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


def scores_of(rows: Rows) -> dict[str, dict[str, float]]:
    """Of each predictor over all pairs that it speaks of, and over those of which all speak (``…/same``)."""
    measured, told = _pairs(rows)
    alike = np.isfinite(measured) & np.isfinite(told).all(1)
    scores = {}
    for k, name in enumerate(PREDICTORS):
        own = np.isfinite(measured) & np.isfinite(told[:, k])
        for among, chosen in (("", own), ("/alike", alike)):
            error = told[chosen, k] - measured[chosen]
            rank = rank_correlation(told[chosen, k], measured[chosen])
            scores[f"{name}{among}"] = {
                "pairs": float(chosen.sum()),
                "rank": rank.middle,
                "rank/low": rank.low,
                "rank/high": rank.high,
                "error": float(np.median(np.abs(error))) if chosen.any() else math.nan,
                "bias": float(np.median(error)) if chosen.any() else math.nan,
            }
    return scores


def panels_of(own_names: Collection[str], rows: Rows) -> list[Panel]:
    """Constants and limits against depth and size, where losses give way, and where that was predicted."""

    def middles(own: list[xr.Dataset], quantity: str) -> list[float]:
        return [interval(one["value"].sel(quantity=quantity)).middle for one in own]

    def points(x: str, y: str) -> list[Series]:
        """Of each group the networks."""
        own = {group: _of(own_names, rows, group) for group in _GROUPS}
        return [
            Series(label, middles(own[group], x), middles(own[group], y), line="")
            for group, label in _GROUPS.items()
            if own[group]
        ]

    def ways(x: str) -> list[Series]:
        """Of each group as trained where its losses give way, whatever is done."""
        found = []
        for group in ("trained", "others"):
            own = _of(own_names, rows, group)
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


def _of(own_names: Collection[str], rows: Rows, group: str) -> list[xr.Dataset]:
    """The networks of a group."""
    return [own for (name, stage), own in rows.items() if (stage if name in own_names else "others") == group]


def like_the_paper(own_names: Collection[str], rows: Rows) -> list[str]:
    """Whether others' networks are like the paper's claims, and like ours."""
    lines = []
    for group, label in _GROUPS.items():
        own = _of(own_names, rows, group)
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
    return [*lines, beside] if (beside := _beside_ours(own_names, rows)) else lines


def _beside_ours(own_names: Collection[str], rows: Rows) -> str:
    """How far others' networks are from ours, in the median."""

    def middles(group: str, quantity: str, over: str = "") -> float:
        values = [
            own["value"].sel(quantity=quantity) / (own["value"].sel(quantity=over) if over else 1)
            for own in _of(own_names, rows, group)
        ]
        return interval([interval(one).middle for one in values]).middle

    others = middles("others", "constant"), middles("others", "measured", "lemma2")
    if math.isnan(others[0]):
        return ""
    parts = [
        f"C {number(others[0] / middles(group, 'constant'), 2)} and measured over Lemma 2's limit"
        f" {number(others[1] / middles(group, 'measured', 'lemma2'), 2)} times that of networks {_GROUPS[group]}"
        for group in STAGES
    ]
    return f"In the median those trained by others have {'; '.join(parts)}."


def who_predicts(scores: Mapping[str, Mapping[str, float]], rows: Rows) -> list[str]:
    """In words, how near each number comes, and in which order it puts networks."""
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
            f" {number(abs(own['bias']), 2)} {side} than it does, Spearman's correlation {_correlation(own)}"
            f" ({own['pairs']:.0f} pairs); over the {alike['pairs']:.0f} of which all speak"
            f" {number(alike['error'], 2)} orders, {_correlation(alike)}."
        )
    told = {name: scores[name] for name in PREDICTORS if name != "output" and scores[name]["pairs"]}
    if not told:
        return lines
    nearest = min(told, key=lambda name: told[name]["error"])
    ranks = {name: one["rank"] for name, one in told.items() if not math.isnan(one["rank"])}
    first = max(ranks, key=lambda name: ranks[name]) if ranks else None
    trust = number(told["trust"]["error"], 2)
    blind = (
        f"That knows nothing of the network; deep relative trust, which knows its depth, is {trust} off."
        if nearest == "same"
        else f"What knows nothing of the network, the same r̄, is {number(told['same']['error'], 2)} off."
    )
    lines.append(
        f"Of those that take no pass of the changed network the nearest is: {PREDICTORS[nearest]}"
        f" ({number(told[nearest]['error'], 2)} orders off). {blind} "
        + (f"The one that orders best is: {PREDICTORS[first]}." if first else "None orders them.")
    )
    return lines


def _correlation(score: Mapping[str, float]) -> str:
    return Interval(score["rank/low"], score["rank"], score["rank/high"]).shown()


def unread() -> list[str]:
    """What else was looked at."""
    return ["In no row, and why:", *(f"* {name}: {why}." for name, why in UNREAD.items())]
