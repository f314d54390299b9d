"""Runs side by side: their numbers at the first and the last checkpoint, and where their verdicts differ."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np
import xarray as xr

from analysis.completion import completed
from analysis.overview import Overview
from analysis.statuses import Status, Verdict
from analysis.tables import Rows
from analysis.verdicts import judge
from analysis.wording import number
from trust import measurements as variables
from trust.claims import Claim
from trust.claims.quantities import depth

__all__ = ["ETA", "comparison_rows", "comparison_table", "differing_verdicts", "verdicts_table"]

ETA = 0.01
"""Breakdowns are compared at the η of each grid that is nearest to this."""

_LIMITS = ("lemma2", "predicted", "measured")
_SILENT = (Status.NOT_MEASURED, Status.PREMISE_FAILS)


def comparison_rows(runs: Sequence[Overview]) -> list[dict[str, Any]]:
    """A row for each run's first and last checkpoint; numbers that are not known are NaN.

    Returns:
        ``run``, ``checkpoint``, ``depth``, ``loss`` and ``accuracy`` at η = 0, ``breakdown`` of the input layer at
        ``eta``, the ``constant`` at η₀ of the worst layer, and the step limits ``lemma2``, ``predicted`` and
        ``measured``.
    """
    return [
        _row(run, place)
        for run in runs
        for place in dict.fromkeys((0, run.measurements.sizes["checkpoint"] - 1))
    ]


def comparison_table(rows: Sequence[Mapping[str, Any]]) -> Rows:
    """:func:`comparison_rows` for reading."""
    etas = [number(row["eta"]) for row in rows]
    alike = len(set(etas)) == 1
    numbers = {
        "loss": "loss",
        "accuracy": "accuracy",
        "breakdown": f"breakdown (η = {etas[0]})" if alike else f"breakdown (η near {ETA:g})",
        "constant": "C at η₀",
        "lemma2": "Lemma 2",
        "predicted": "predicted",
        "measured": "measured",
    }
    table = [["run", "checkpoint", "L", *numbers.values()]]
    for row, eta in zip(rows, etas, strict=True):
        cells = {name: number(row[name]) for name in numbers}
        if not alike:
            cells["breakdown"] += f" (η = {eta})"
        table.append([row["run"], row["checkpoint"], str(row["depth"]), *cells.values()])
    return table


def differing_verdicts(
    runs: Sequence[Overview], claims: Iterable[Claim] | None = None
) -> dict[str, list[Verdict]]:
    """Claims that fare differently at the runs' last checkpoints, with a verdict for each run.

    Args:
        runs: at least one.
        claims: to be judged; None for all that are installed.
    """
    chosen = None if claims is None else list(claims)
    judged = [judge(run.measurements.isel(checkpoint=[-1]), chosen) for run in runs]
    return {
        verdicts[0].claim: list(verdicts)
        for verdicts in zip(*judged, strict=True)
        if len({verdict.status for verdict in verdicts}) > 1
        and any(verdict.status not in _SILENT for verdict in verdicts)
    }


def verdicts_table(runs: Sequence[Overview], verdicts: Mapping[str, Sequence[Verdict]]) -> Rows:
    """:func:`differing_verdicts` for reading: a row a claim, a column a run."""
    rows = [[claim, *map(_briefly, found)] for claim, found in verdicts.items()]
    return [["claim, at the last checkpoint", *(run.title for run in runs)], *rows]


def _briefly(verdict: Verdict) -> str:
    return verdict.status.value if verdict.status is Status.HOLDS else verdict.words


def _row(run: Overview, place: int) -> dict[str, Any]:
    whole = completed(run.measurements)
    data, limits = whole.isel(checkpoint=place), run.limits.isel(checkpoint=place)
    eta = int(abs(data[variables.ETA] - ETA).argmin("eta"))
    first = int(np.flatnonzero(data[variables.IS_WEIGHT].values)[0])
    return {
        "run": run.title,
        "checkpoint": str(data["checkpoint"].values),
        "depth": depth(whole),
        "loss": float(data[variables.LOSS].isel(eta=0)),
        "accuracy": _known(data, "accuracy"),
        "eta": float(data[variables.ETA][eta]),
        "breakdown": float(data[variables.GRADIENT_CHANGE].isel(eta=eta, layer=first)),
        "constant": float(run.summary["largest_constant"].isel(checkpoint=place)),
        **{name: float(limits[name]) for name in _LIMITS},
    }


def _known(data: xr.Dataset, name: str) -> float:
    return float(data[name].isel(eta=0)) if name in data else math.nan
