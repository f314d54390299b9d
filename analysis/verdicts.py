"""Verdicts: for each claim and checkpoint, whether its premises and its inequality hold."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from enum import Enum
from typing import Any

import numpy as np
import xarray as xr

from trust.claims import Claim, Premise, all_claims

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
        premises: name to whether it holds; None where it is not known. Where premises hold at some points
            only, the status, and all numbers here, are of the points at which all of them hold.
        holds_fraction: share of these points at which the inequality holds.
        worst_log10_ratio: largest log10(measured / bound); above 0 (and above the noise) the inequality
        fails.
        worst_at: at which eta, layer and example.
        log10_constant: of the claim's constant, where it has one.
        remark: the inequality's own outcome where a premise fails, what to add to the run, or which points
            were left out.
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
    return [verdict for claim in chosen for verdict in _judge(measurements, claim)]


def _judge(measurements: xr.Dataset, claim: Claim) -> list[Verdict]:
    """Both sides and the premises at once for all checkpoints, the verdict on each alone."""
    labels = [str(label) for label in measurements["checkpoint"].values]
    checks = {premise: _check(measurements, premise) for premise in claim.premises}
    missing = [name for name in claim.needs if name not in measurements]
    if missing:
        remark = f"add {claim.add}" if claim.add else f"needs {', '.join(missing)}"
        return [
            _without_evidence(claim, label, Status.NOT_MEASURED, _at(checks, place), remark)
            for place, label in enumerate(labels)
        ]
    measured, bound = xr.broadcast(claim.measured(measurements), claim.bound(measurements))
    slack = xr.full_like(measured, _ROUNDING)
    if claim.log10_allowance is not None:
        slack = slack + claim.log10_allowance(measurements).fillna(0.0)
    constant = None if claim.log10_constant is None else claim.log10_constant(measurements)
    return [
        _judge_one(
            claim,
            label,
            measured.isel(checkpoint=[place]),
            bound.isel(checkpoint=[place]),
            slack.isel(checkpoint=[place]),
            _at(checks, place),
            math.nan if constant is None else float(constant.isel(checkpoint=place)),
        )
        for place, label in enumerate(labels)
    ]


def _at(checks: Mapping[Premise, xr.DataArray], place: int) -> dict[Premise, xr.DataArray]:
    return {premise: check.isel(checkpoint=[place]) for premise, check in checks.items()}


def _judge_one(
    claim: Claim,
    label: str,
    measured: xr.DataArray,
    bound: xr.DataArray,
    slack: xr.DataArray,
    checks: Mapping[Premise, xr.DataArray],
    log10_constant: float,
) -> Verdict:
    ratio = _log10_ratio(measured, bound)
    evidence = ratio.notnull()
    if not bool(evidence.any()):
        broken = [premise.name for premise, check in checks.items() if bool((check == 0).all())]
        if broken:
            remark = f"{', '.join(broken)}: the inequality has no number above the noise"
            return _without_evidence(claim, label, Status.PREMISE_FAILS, checks, remark)
        remark = "no number is finite, above the noise and within the search"
        if claim.add:
            remark += f" (it takes {claim.add})"
        return _without_evidence(claim, label, Status.NOT_MEASURED, checks, remark)
    holds = (ratio <= slack) & evidence
    standing = _standing(checks, evidence)
    decided = standing == 1
    if bool(decided.any()):
        shown = decided
        vacuous = _is_vacuous(measured, bound, decided)
        status, remark = _decide(holds, decided, vacuous), _elsewhere(checks, evidence, decided)
    else:
        shown = evidence
        outcome = _outcome(holds, evidence, _is_vacuous(measured, bound, evidence))
        if bool((evidence & standing.isnull()).any()):  # no premise is known to fail there
            status, remark = Status.NOT_MEASURED, _unknown(checks, outcome)
        else:
            status, remark = Status.PREMISE_FAILS, _broken(checks, outcome)
    inside = ratio.where(shown)
    return Verdict(
        claim.id,
        label,
        status,
        {p.name: True if bool(decided.any()) else _truth(check) for p, check in checks.items()},
        float((holds & shown).sum() / shown.sum()),
        float(inside.max()),
        _place(inside),
        log10_constant,
        remark,
    )


def _check(measurements: xr.Dataset, premise: Premise) -> xr.DataArray:
    """1 where the premise holds, 0 where it fails, NaN where the measurements cannot tell."""
    if all(name in measurements for name in premise.needs):
        return premise.check(measurements).astype(float)
    return xr.full_like(measurements["checkpoint"], np.nan, dtype=float)


def _truth(check: xr.DataArray) -> bool | None:
    """Whether a premise holds all along; None where nothing fails but something is not known."""
    if bool((check == 0).any()):
        return False
    return None if bool(check.isnull().any()) else True


def _log10_ratio(measured: xr.DataArray, bound: xr.DataArray) -> xr.DataArray:
    """Log10 of measured / bound: −inf where nothing changed or nothing is claimed, NaN without evidence.

    Nothing is learnt from 0 ≤ 0, and nothing from a number that is missing on either side.
    """
    with np.errstate(invalid="ignore"):
        ratio = (measured - bound).where(~(np.isneginf(measured) | np.isposinf(bound)), -np.inf)
    known = measured.notnull() & bound.notnull() & ~(np.isneginf(measured) & np.isneginf(bound))
    return ratio.where(known)


def _standing(checks: Mapping[Premise, xr.DataArray], evidence: xr.DataArray) -> xr.DataArray:
    """At each point 1 where every premise holds, 0 where one fails, else NaN; NaN without evidence."""
    standing = xr.ones_like(evidence, dtype=float)
    for check in checks.values():
        # where the inequality has no such dim, the premise must hold all along it
        extra = [dim for dim in check.dims if dim not in evidence.dims]
        failing, unknown = (check == 0).any(extra), check.isnull().any(extra)
        value = xr.where(failing, 0.0, xr.where(unknown, np.nan, 1.0))
        value = value.reindex({d: evidence[d] for d in value.dims if d in evidence.coords})
        standing = xr.where((standing == 0) | (value == 0), 0.0, standing * value)
    return standing.where(evidence)


def _decide(holds: xr.DataArray, decided: xr.DataArray, vacuous: bool) -> Status:
    if bool((decided & ~holds).any()):
        return Status.REFUTED
    return Status.VACUOUS if vacuous else Status.HOLDS


def _is_vacuous(measured: xr.DataArray, bound: xr.DataArray, points: xr.DataArray) -> bool:
    """No finite bound, or one above 1e6 times every measurement that is not 0."""
    if not bool((points & (bound < np.inf)).any()):
        return True
    changed = points & (measured > -np.inf)
    with np.errstate(invalid="ignore"):
        return bool(changed.any()) and not bool((changed & (measured - bound >= -VACUOUS)).any())


def _outcome(holds: xr.DataArray, evidence: xr.DataArray, vacuous: bool) -> str:
    """What the inequality does, whatever its premises."""
    if bool((evidence & ~holds).any()):
        return "the inequality fails"
    return "its bound is vacuous" if vacuous else "the inequality holds all the same"


def _broken(checks: Mapping[Premise, xr.DataArray], outcome: str) -> str:
    names = [premise.name for premise, check in checks.items() if _truth(check) is False]
    return f"{', '.join(names)}: {outcome}"


def _unknown(checks: Mapping[Premise, xr.DataArray], outcome: str) -> str:
    premises = [premise for premise, check in checks.items() if bool(check.isnull().any())]
    names = ", ".join(premise.name for premise in premises)
    wanted = " and ".join(premise.add for premise in premises if premise.add)
    return f"{names}: not known{f', add {wanted}' if wanted else ''} ({outcome})"


def _elsewhere(checks: Mapping[Premise, xr.DataArray], evidence: xr.DataArray, decided: xr.DataArray) -> str:
    """Where the verdict does not speak, if anywhere."""
    if not bool((evidence & ~decided).any()):
        return ""
    names = [premise.name for premise, check in checks.items() if _truth(check) is not True]
    share = float(decided.sum() / evidence.sum())
    return f"on the {share:.0%} of the points, those at which every premise holds ({', '.join(names)} fails elsewhere)"


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


def _without_evidence(
    claim: Claim, label: str, status: Status, checks: Mapping[Premise, xr.DataArray], remark: str
) -> Verdict:
    nan = math.nan
    premises = {premise.name: _truth(check) for premise, check in checks.items()}
    return Verdict(claim.id, label, status, premises, nan, nan, {}, nan, remark)
