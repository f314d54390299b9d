"""What the analysis says as rows of JSON documents: numbers that are not finite are null."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np
import xarray as xr

from analysis.findings import Findings
from analysis.overview import Overview
from analysis.start import starts
from analysis.statuses import Verdict
from trust import measurements as variables
from trust.claims import Claim
from trust.claims.quantities import depth

__all__ = [
    "claim_rows",
    "comparison_document",
    "curvature_rows",
    "limit_rows",
    "split_rows",
    "start_rows",
    "summary_rows",
    "verdict_rows",
]


_LIMITS = ("cos_theta", "constant", "lemma2", "calibrated", "curvature", "predicted", "certified", "measured")


def verdict_rows(findings: Sequence[Findings]) -> list[dict[str, Any]]:
    """Every verdict; ``network`` says of which, where there are several."""
    return [
        {**verdict.to_json(), **({"network": one.title} if len(findings) > 1 else {})}
        for one in findings
        for verdict in one.verdicts
    ]


def summary_rows(findings: Sequence[Findings]) -> list[dict[str, Any]]:
    """Each network in short: its name, a sentence a word, and its alarms."""
    return [{"network": one.title, **dict(one.in_short), "alarms": list(one.alarms)} for one in findings]


def split_rows(findings: Sequence[Findings]) -> list[dict[str, Any]]:
    """Every weight matrix's effective constant at η → 0, taken apart; ``network`` as in :func:`verdict_rows`."""
    rows = []
    for one in findings:
        if one.split is None:
            continue
        small = one.split.sel(eta=one.split.attrs["small_eta"])
        names = [str(name) for name in small.data_vars if small[name].dims == ("checkpoint", "layer")]
        for place, layer in np.ndindex(small.sizes["checkpoint"], small.sizes["layer"]):
            at = small.isel(checkpoint=place, layer=layer)
            if not bool(at[variables.IS_WEIGHT]):
                continue
            row: dict[str, Any] = {
                "checkpoint": str(at["checkpoint"].values),
                "layer": str(at["layer"].values),
            }
            row |= {"eta": one.split.attrs["small_eta"]}
            row |= {
                name: bool(at[name]) if at[name].dtype == bool else _finite(float(at[name])) for name in names
            }
            for factor, value in zip(at["factor"].values, at["log10_factor"].values, strict=True):
                row[f"log10_{factor.replace(' ', '_')}"] = _finite(float(value))
            row["example_constant"] = {
                f"{quantile:g}": _finite(float(value))
                for quantile, value in zip(at["quantile"].values, at["example_constant"].values, strict=True)
            }
            rows.append(row | ({"network": one.title} if len(findings) > 1 else {}))
    return rows


def limit_rows(measurements: xr.Dataset, limits: xr.Dataset) -> list[dict[str, Any]]:
    """The step limits of each checkpoint, and what they took beside loss and gradient at η = 0.

    ``predicted_gradients`` and ``predicted_losses`` are the predicted limit's alone, ``evaluations`` the losses (some
    with gradients) of all the others.
    """
    found = []
    began = start_rows(measurements)
    for place, label in enumerate(limits["checkpoint"].values):
        one = limits.isel(checkpoint=place)
        numbers: dict[str, Any] = {name: _finite(float(one[name])) for name in _LIMITS}
        counts = {
            name: None if math.isnan(count := float(one[name])) else int(count)
            for name in ("predicted_gradients", "predicted_losses", "certified_examples")
        }
        evaluations = int(one["evaluations"]) + measurements.sizes["eta"] + 1
        found.append(
            {
                "checkpoint": str(label),
                "depth": depth(measurements),
                **numbers,
                **counts,
                "evaluations": evaluations,
                **began[place],
            }
        )
    return found


def curvature_rows(curvature: xr.Dataset) -> list[dict[str, Any]]:
    """Each checkpoint's sharpness in every form; an eigenvalue is null where it is not converged."""
    rows = []
    for place, label in enumerate(curvature["checkpoint"].values):
        one = curvature.isel(checkpoint=place)
        row: dict[str, Any] = {
            "checkpoint": str(label),
            "block_layer": str(one["block_layer"].values) or None,
        }
        for name in map(str, one.data_vars):
            if name != "block_layer" and not name.endswith("_converged"):
                trusted = bool(one.get(f"{name}_converged", True))
                row[name] = _finite(float(one[name])) if trusted else None
        rows.append(row)
    return rows


def comparison_document(
    rows: Sequence[Mapping[str, Any]], runs: Sequence[Overview], verdicts: Mapping[str, Sequence[Verdict]]
) -> dict[str, Any]:
    """What :func:`analysis.comparison_rows` and :func:`analysis.differing_verdicts` found of these runs."""
    return {
        "runs": [
            {name: _finite(value) if isinstance(value, float) else value for name, value in row.items()}
            for row in rows
        ],
        "verdicts": {
            claim: {run.title: one.words for run, one in zip(runs, found, strict=True)}
            for claim, found in verdicts.items()
        },
    }


def start_rows(measurements: xr.Dataset) -> list[dict[str, Any]]:
    """Loss, accuracy and the loss of chance of each checkpoint, at η = 0."""
    return [
        {
            "checkpoint": one.checkpoint,
            "loss": _finite(one.loss),
            "chance_loss": _finite(one.chance),
            "accuracy": _finite(one.accuracy),
        }
        for one in starts(measurements)
    ]


def _finite(value: float) -> float | None:
    return value if math.isfinite(value) else None


def claim_rows(claims: Iterable[Claim]) -> list[dict[str, Any]]:
    """What can be tested."""
    return [
        {
            "claim": claim.id,
            "kind": claim.kind.value,
            "source": claim.source,
            "statement": claim.statement,
            "formula": claim.formula,
            "measures": claim.left,
            "premises": {
                premise.name: premise.statement + " (shown, not required)" * (not premise.gates)
                for premise in claim.premises
            },
            "needs": list(claim.needs),
            "proved": claim.proved,
        }
        for claim in claims
    ]
