"""Verdicts: for each claim and checkpoint, whether its premises and its inequality hold, in words and numbers."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from enum import Enum
from typing import Any

import numpy as np
import xarray as xr

from trust.claims import Claim, all_claims

__all__ = ["Status", "Verdict", "judge"]

VACUOUS = 6.0
"""A bound more than 10 to this power above every measurement says nothing."""
_ROUNDING = 1e-9  # in log10: what float64 arithmetic on both sides can do


class Status(Enum):
    """How a claim fared, in the words that reports use."""

    HOLDS = "holds"
    REFUTED = "refuted"
    PREMISE_FAILS = "premise fails"
    VACUOUS = "vacuous"
    NOT_MEASURED = "not measured"


@dataclass(frozen=True)
class Verdict:
    """What one run says of one claim at one checkpoint.

    Attributes:
        claim: id.
        checkpoint: label.
        status: see :class:`Status`.
        premises: name to whether it holds; None where it was not measured.
        holds_fraction: share of the points that are evidence at which the inequality holds.
        worst_log10_ratio: largest log10(measured / bound); above 0 the inequality fails.
        worst_at: at which eta, layer and example.
        log10_constant: of the claim's constant, where it has one.
        remark: the inequality's own outcome where a premise fails, or what to add to the run.
    """

    claim: str
    checkpoint: str
    status: Status
    premises: Mapping[str, bool | None]
    holds_fraction: float
    worst_log10_ratio: float
    worst_at: Mapping[str, Any]
    log10_constant: float
    remark: str

    def to_json(self) -> dict[str, Any]:
        """JSON-ready; numbers that are not finite become null."""
        constant = 10.0**self.log10_constant if self.log10_constant < 300 else math.inf
        return {
            "claim": self.claim,
            "checkpoint": self.checkpoint,
            "status": self.status.value,
            "premises": dict(self.premises),
            "holds_fraction": _number(self.holds_fraction),
            "worst_log10_ratio": _number(self.worst_log10_ratio),
            "worst_at": dict(self.worst_at),
            "constant": _number(constant),
            "log10_constant": _number(self.log10_constant),
            "remark": self.remark,
        }


def _number(value: float) -> float | None:
    return float(value) if math.isfinite(value) else None


def judge(measurements: xr.Dataset, claims: Iterable[Claim] | None = None) -> list[Verdict]:
    """A verdict on each claim (default: all that are installed) at each checkpoint, claim by claim."""
    chosen = list(claims) if claims is not None else list(all_claims().values())
    return [
        _judge(measurements.isel(checkpoint=[place]), claim)
        for claim in chosen
        for place in range(measurements.sizes["checkpoint"])
    ]


def _judge(one: xr.Dataset, claim: Claim) -> Verdict:
    label = str(one["checkpoint"].values[0])
    missing = [name for name in claim.needs if name not in one]
    if missing:
        return _not_measured(claim, label, {}, f"add {claim.add}" if claim.add else f"needs {', '.join(missing)}")
    checks = {
        premise.name: premise.check(one) if all(name in one for name in premise.needs) else None
        for premise in claim.premises
    }
    premises = {name: None if check is None else bool(check.all()) for name, check in checks.items()}
    with np.errstate(invalid="ignore"):
        measured, bound = xr.broadcast(claim.measured(one), claim.bound(one))
        ratio = (measured - bound).where(measured > -np.inf, -np.inf)
        ratio = ratio.where((bound < np.inf) | measured.isnull(), -np.inf)
    evidence = ratio.notnull()
    if not bool(evidence.any()):
        return _not_measured(claim, label, premises, "no number of it is above the noise and finite, or its limit lies beyond the search")
    holds = (ratio <= _ROUNDING) & evidence
    valid = evidence
    for check in checks.values():
        if check is not None:  # where the inequality has no such dim, the premise must hold all along it
            check = check.all([dim for dim in check.dims if dim not in evidence.dims])
        valid = valid & (xr.zeros_like(evidence) if check is None else check)
    worst = float(ratio.max())
    constant = float(claim.log10_constant(one).values[0]) if claim.log10_constant is not None else math.nan
    status, remark = _status(ratio, holds, valid, premises)
    return Verdict(
        claim.id,
        label,
        status,
        premises,
        float(holds.sum() / evidence.sum()),
        worst,
        _place(ratio),
        constant,
        remark,
    )


def _status(
    ratio: xr.DataArray, holds: xr.DataArray, valid: xr.DataArray, premises: Mapping[str, bool | None]
) -> tuple[Status, str]:
    """The status of the points where every premise holds, or of all where there are none."""
    outcome = "the inequality holds all the same" if bool((holds | ratio.isnull()).all()) else "the inequality fails"
    vacuous = float(ratio.max()) < -VACUOUS
    if vacuous:
        outcome = "and the bound is vacuous"
    unknown = [name for name, value in premises.items() if value is None]
    false = [name for name, value in premises.items() if value is False]
    violated = valid & ~holds & ratio.notnull()
    if bool(violated.any()):
        return Status.REFUTED, ""
    if not bool(valid.any()) or (false and not vacuous and bool((~holds & ratio.notnull()).any())):
        if unknown and not false:
            return Status.NOT_MEASURED, f"premise {unknown[0]} needs --spectra slice"
        return Status.PREMISE_FAILS, f"{', '.join(false) or 'premises'}: {outcome}"
    if vacuous:
        return Status.VACUOUS, ""
    return Status.HOLDS, ""


def _place(ratio: xr.DataArray) -> dict[str, Any]:
    """Coordinates of the largest ratio."""
    filled = ratio.fillna(-np.inf)
    index = np.unravel_index(int(np.argmax(filled.values)), filled.shape)
    place: dict[str, Any] = {}
    for dim, i in zip(filled.dims, index, strict=True):
        if dim != "checkpoint" and dim in filled.coords:
            value = filled[dim].values[i]
            place[str(dim)] = value.item() if hasattr(value, "item") else value
    return place


def _not_measured(claim: Claim, label: str, premises: Mapping[str, bool | None], remark: str) -> Verdict:
    nan = math.nan
    return Verdict(claim.id, label, Status.NOT_MEASURED, premises, nan, nan, {}, nan, remark)
