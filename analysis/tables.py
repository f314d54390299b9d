"""Findings as tables, for a terminal and for a page: numbers in, rows of words out."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Sequence

import numpy as np
import xarray as xr

from analysis.completion import completed
from analysis.constants import largest_constant
from analysis.growth import Growth
from analysis.selfchecks import CHECKS, CheckOutcome, Outcome
from analysis.statuses import Status, Verdict, in_words
from analysis.wording import number, power, span
from trust import measurements as variables
from trust.claims.quantities import rounding_share

__all__ = [
    "Rows",
    "checks_table",
    "constants_table",
    "curvature_table",
    "growth_table",
    "labels_table",
    "limits_table",
    "rounding_table",
    "silent_lines",
    "slack_table",
    "split_table",
    "telling",
    "verdict_table",
]

Rows = list[list[str]]
"""The first row is the heading."""


_SILENT = (Status.PREMISE_FAILS, Status.NOT_MEASURED, Status.VACUOUS)
"""What says nothing of a claim."""


def telling(verdicts: Sequence[Verdict]) -> list[Verdict]:
    """Those on the claims of which something is said at some checkpoint, in their order."""
    spoken = {one.claim for one in verdicts if one.status not in _SILENT}
    return [one for one in verdicts if one.claim in spoken]


def silent_lines(verdicts: Sequence[Verdict]) -> list[str]:
    """A line a status for all other claims, by the status that most checkpoints share."""
    spoken = {one.claim for one in telling(verdicts)}
    gathered: dict[Status, list[str]] = {}
    for claim in dict.fromkeys(one.claim for one in verdicts if one.claim not in spoken):
        counts = Counter(one.status for one in verdicts if one.claim == claim)
        gathered.setdefault(counts.most_common(1)[0][0], []).append(claim)
    return [
        f"{status.value} ({len(gathered[status])}): {', '.join(gathered[status])}"
        for status in _SILENT
        if status in gathered
    ]


def verdict_table(verdicts: Sequence[Verdict]) -> Rows:
    """One row a claim: its kind, how it fared at how many checkpoints, the worst ratio and the constant."""
    rows = [["claim", "kind", "verdict (checkpoints)", "worst measured / bound", "constant", "why"]]
    for claim in dict.fromkeys(verdict.claim for verdict in verdicts):
        own = [verdict for verdict in verdicts if verdict.claim == claim]
        counts = Counter(verdict.status for verdict in own).most_common()
        alike = {status: [verdict for verdict in own if verdict.status is status] for status, _ in counts}
        ratios = [verdict.worst_log10_ratio for verdict in own]
        known = [ratio for ratio in ratios if not math.isnan(ratio)]
        # a reason belongs to the status that most checkpoints share
        reasons = Counter(verdict.remark for verdict in alike[counts[0][0]] if verdict.remark)
        rows.append(
            [
                claim,
                own[0].kind.value,
                "; ".join(
                    f"{in_words(alike[status])} ({count if own[0].checkpoint is not None else 'training'})"
                    for status, count in counts
                ),
                power(max(known)) if known else "–",
                span([verdict.log10_constant for verdict in own], power),
                reasons.most_common(1)[0][0] if reasons else "",
            ]
        )
    return rows


def limits_table(limits: xr.Dataset) -> Rows:
    """One row a checkpoint: the step limits (how many examples the certified one is of, too) and the constant."""
    heading = ["checkpoint", "cos θ", "C at η₀"]
    rows = [[*heading, "Lemma 2", "calibrated", "slice curvature", "predicted", "certified", "measured"]]
    for place, label in enumerate(limits["checkpoint"].values):
        one = limits.isel(checkpoint=place)
        measured = float(one["measured"])
        searched = float(one["searched_to"])
        beyond = math.isnan(measured) and not math.isnan(searched)
        shown = f"> {number(searched)}" if beyond else number(measured)
        numbers = [
            number(float(one[name]))
            for name in ("cos_theta", "constant", "lemma2", "calibrated", "curvature", "predicted")
        ]
        certified = number(float(one["certified"]))
        if "certified_examples" in one and int(one["certified_examples"]):
            certified += f" (of {int(one['certified_examples'])} examples)"
        numbers.append(certified)
        rows.append([str(label), *numbers, shown])
    return rows if bool(limits["certified"].notnull().any()) else _without(rows, "certified")


def _without(rows: Rows, column: str) -> Rows:
    place = rows[0].index(column)
    return [[*row[:place], *row[place + 1 :]] for row in rows]


def curvature_table(curvature: xr.Dataset) -> Rows:
    """One row a checkpoint, of what was measured; in brackets eigenvalues that are not converged."""
    rows = [
        [
            "checkpoint",
            "λ of H",
            "λ of Gauss-Newton",
            "largest of a layer's block",
            "lowest λ of H",
            "λ of P⁻¹H",
            "trace of H",
            "gᵀHg/‖g‖²",
            "2/s, critical",
            "2/η, critical",
            "batch sharpness",
        ]
    ]
    for place, label in enumerate(curvature["checkpoint"].values):
        one = curvature.isel(checkpoint=place)
        largest, gauss_newton, lowest, preconditioned = (
            _eigenvalue(float(one[name]), converged=bool(one[f"{name}_converged"]))
            for name in ("hessian", "gauss_newton", "lowest_hessian", "preconditioned")
        )
        layer = str(one["block_layer"].values)
        rows.append(
            [
                str(label),
                largest,
                gauss_newton,
                f"{number(float(one['block']))} ({layer})" if layer else "–",
                lowest,
                preconditioned,
                _with_error(one, variables.HESSIAN_TRACE, variables.HESSIAN_TRACE_ERROR),
                number(float(one[variables.GRADIENT_SHARPNESS])),
                number(float(one["critical_sharpness"])),
                number(float(one["relative_critical_sharpness"])),
                _with_error(one, variables.BATCH_SHARPNESS, variables.BATCH_SHARPNESS_ERROR),
            ]
        )
    kept = [k for k in range(len(rows[0])) if any(row[k] != "–" for row in rows[1:])]
    return [[row[k] for k in kept] for row in rows]


def _eigenvalue(value: float, *, converged: bool) -> str:
    return number(value) if converged or math.isnan(value) else f"({number(value)})"


def _with_error(one: xr.Dataset, value: str, error: str) -> str:
    shown = number(float(one[value]))
    return shown if math.isnan(float(one[error])) else f"{shown} ± {number(float(one[error]), 2)}"


def constants_table(summary: xr.Dataset) -> Rows:
    """One row a checkpoint: C at η₀, the largest C_l of all that moves, and those of the weight matrices."""
    rows = [["checkpoint", "C at η₀", "of layer", "read off at η", "input layer's C", "weight matrices' C"]]
    weights = np.flatnonzero(summary[variables.IS_WEIGHT].values)
    for place, label in enumerate(summary["checkpoint"].values):
        one = summary.isel(checkpoint=place)
        own = one["constant"].isel(layer=weights).values
        largest, at = largest_constant(one)
        rows.append(
            [
                str(label),
                number(largest),
                "–" if at is None else str(one["layer"].values[at]),
                number(math.nan if at is None else float(one["constant_eta"][at])),
                number(float(own[0])),
                span(own.tolist()),
            ]
        )
    return rows


def split_table(split: xr.Dataset) -> Rows:
    """The constant taken apart at η → 0: a row a checkpoint for the input layer, and for the layer of the largest C.

    Below the noise a number is in brackets.
    """
    one = split.sel(eta=split.attrs["small_eta"])
    own = one.isel(layer=np.flatnonzero(one[variables.IS_WEIGHT].values))
    rows = [
        [
            "checkpoint",
            "layer",
            "C",
            "by Jacobians + by residuals",
            "C, residuals frozen",
            "sample's C = C_ex × cancellation × residuals",
            "single examples' median, 90 %",
            "Theorem 1b's own median",
        ]
    ]
    for place, label in enumerate(own["checkpoint"].values):
        constants = own["constant"].isel(checkpoint=place).values
        worst = int(np.nanargmax(constants)) if np.isfinite(constants).any() else 0
        rows += [
            [str(label), str(own["layer"].values[k]), *_split_cells(own.isel(checkpoint=place, layer=k))]
            for k in dict.fromkeys((0, worst))
        ]
    return rows


def _split_cells(at: xr.Dataset) -> list[str]:
    """One layer's part of a row."""

    def shown(value: xr.DataArray, evident: str) -> str:
        text = number(float(value))
        return text if bool(at[evident]) or text in ("–", "0") else f"({text})"

    by_jacobians = shown(at["jacobian_part"], "jacobian_evident")
    by_residuals = shown(at["residual_part"], "residual_evident")
    factors = [number(float(10.0**factor)) for factor in at["log10_factor"].values]
    quantiles = [number(float(value)) for value in at["example_constant"].values[:2]]
    return [
        number(float(at["constant"])),
        f"{by_jacobians} + {by_residuals}",
        shown(at["frozen_constant"], "jacobian_evident"),
        f"{number(float(at['sample_constant']))} = {' × '.join(factors)}",
        ", ".join(quantiles),
        number(float(at["jacobian_constant"])),
    ]


def slack_table(slack: xr.Dataset, eta: float = 0.01) -> Rows:
    """One row a checkpoint at the η nearest to ``eta``: the measured change, what each step adds, and the bound.

    A share in brackets leads to a bound a premise of which is not known to hold.
    """
    one = slack.isel(eta=int(abs(slack[variables.ETA] - eta).argmin("eta")))
    causes = [str(cause) for cause in one["cause"].values]
    heading = f"measured (η = {number(float(one[variables.ETA]))})"
    rows = [["checkpoint", heading, *causes, "total", "published bound"]]
    for place, label in enumerate(one["checkpoint"].values):
        at = one.isel(checkpoint=place)
        shares = [
            number(share, 2) if holds or math.isnan(share) else f"({number(share, 2)})"
            for share, holds in zip(at["share"].values, at["premises_hold"].values[1:], strict=True)
        ]
        measured, published = (power(float(at["log10_rung"][k])) for k in (0, -1))
        rows.append([str(label), measured, *shares, number(float(at["total"])), published])
    return rows


def labels_table(labels: xr.Dataset, eta: float = 1e-3) -> Rows:
    """One row a checkpoint at the η nearest to ``eta``, and how far half of the labels are certified."""
    one = labels.isel(eta=int(abs(labels[variables.ETA] - eta).argmin("eta")))
    at = f"η = {number(float(one[variables.ETA]))}"
    rungs = [
        rung
        for rung in ("pattern-response", "pattern-telescoped", "telescoped")
        if rung in one["rung"].values
    ]
    heading = [f"unchanged ({at})", "certified", *(f"by {rung} alone" for rung in rungs)]
    rows = [["checkpoint", "examples", *heading, "half are certified up to η"]]
    for place, label in enumerate(labels["checkpoint"].values):
        here = one.isel(checkpoint=place)
        shares = [here["kept"], here["certified"], *(here["certified_by"].sel(rung=rung) for rung in rungs)]
        half = labels["certified"].isel(checkpoint=place) >= 0.5
        furthest = float(labels[variables.ETA].where(half).max())
        cells = [f"{float(share):.0%}" for share in shares]
        rows.append([str(label), str(int(here["examples"])), *cells, number(furthest)])
    return rows


def growth_table(growths: Sequence[Growth]) -> Rows:
    """One row a checkpoint for the whole gradient: each model's error on the η that it has not seen, and the better."""
    rows = [
        [
            "checkpoint",
            "fitted to η",
            "judged to η",
            "deep relative trust errs by",
            "Euclidean trust errs by",
            "better",
        ]
    ]
    rows += [
        [
            growth.checkpoint,
            number(growth.fitted_to),
            number(growth.judged_to),
            f"10^{number(growth.deep_relative_trust)}",
            f"10^{number(growth.euclidean)}",
            growth.better,
        ]
        for growth in growths
        if growth.layer == "all parameters"
    ]
    return rows


def rounding_table(measurements: xr.Dataset) -> Rows:
    """One row a checkpoint: its noise floor, and what rounding may have changed at the η that were checked."""
    measurements = completed(measurements)
    rows, share = [["checkpoint", "noise floor"]], None
    places: list[int] = []
    if variables.GRADIENT_CHANGE_ERROR in measurements:
        share = rounding_share(measurements)
        checked = measurements[variables.GRADIENT_CHANGE_ERROR].notnull().any(["checkpoint", "layer"])
        places = np.flatnonzero(checked.values).tolist()
        rows[0] += [f"at η = {number(float(measurements[variables.ETA][k]))}" for k in places]
    for at, label in enumerate(measurements["checkpoint"].values):
        floor = float(measurements[variables.NOISE_FLOOR].isel(checkpoint=at).max())
        cells = [] if share is None else [f"{float(share[at, k]):.1g}".replace("-", "−") for k in places]
        rows.append([str(label), number(floor, 2), *cells])
    return rows


def checks_table(checks: Sequence[CheckOutcome]) -> Rows:
    """One row a check: how often it came out how, the worst breach, and how far the grid resolves the slice."""
    rows = [["self-check", "outcome (checkpoints)", "worst gap", "grid resolves up to η"]]
    for check in dict.fromkeys(outcome.check for outcome in checks):
        own = [outcome for outcome in checks if outcome.check == check]
        counts = Counter(outcome.outcome for outcome in own)
        rows.append(
            [
                CHECKS[check],
                "; ".join(f"{outcome.value} ({counts[outcome]})" for outcome in Outcome if counts[outcome]),
                number(max((outcome.worst for outcome in own), default=math.nan)),
                span([outcome.resolved_to for outcome in own]),
            ]
        )
    return rows
