"""What the analysis says as rows of JSON documents: numbers that are not finite are null."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from typing import Any

import xarray as xr

from analysis.findings import Findings
from trust.claims import Claim
from trust.claims.quantities import depth

__all__ = ["claim_rows", "limit_rows", "verdict_rows"]


def verdict_rows(findings: Sequence[Findings]) -> list[dict[str, Any]]:
    """Every verdict; ``network`` says of which, where there are several."""
    return [
        {**verdict.to_json(), **({"network": one.title} if len(findings) > 1 else {})}
        for one in findings
        for verdict in one.verdicts
    ]


def limit_rows(measurements: xr.Dataset, limits: xr.Dataset) -> list[dict[str, Any]]:
    """The step limits of each checkpoint, and how many times the loss was evaluated for them."""
    found = []
    for place, label in enumerate(limits["checkpoint"].values):
        one = limits.isel(checkpoint=place)
        numbers = {
            name: _finite(float(one[name]))
            for name in ("cos_theta", "constant", "lemma2", "calibrated", "curvature", "measured")
        }
        evaluations = int(one["evaluations"]) + measurements.sizes["eta"] + 1
        found.append(
            {"checkpoint": str(label), "depth": depth(measurements), **numbers, "evaluations": evaluations}
        )
    return found


def _finite(value: float) -> float | None:
    return value if math.isfinite(value) else None


def claim_rows(claims: Iterable[Claim]) -> list[dict[str, Any]]:
    """What can be tested."""
    return [
        {
            "claim": claim.id,
            "source": claim.source,
            "statement": claim.statement,
            "measures": claim.left,
            "premises": {premise.name: premise.statement for premise in claim.premises},
            "needs": list(claim.needs),
            "proved": claim.proved,
        }
        for claim in claims
    ]
