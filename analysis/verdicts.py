"""Verdicts: for each claim and checkpoint, whether its premises and its inequality hold."""

from __future__ import annotations

import math
from collections.abc import Hashable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import xarray as xr

from analysis.completion import completed
from analysis.notebook import Verdicts
from analysis.statuses import GOOD_FACTOR, Status, Verdict
from analysis.step_limits import how_far_searched
from trust import measurements as variables
from trust.claims import Claim, Kind, Premise, Quantity, claims_of
from trust.claims.remembering import once
from trust.measurements import ALL

__all__ = ["ROUNDING", "judge", "standing_of_premises"]

ROUNDING = 1e-9  # in log10: what float64 arithmetic on both sides can do


def _no_slice(measurements: xr.Dataset, claim: Claim) -> bool:
    """Whether a claim about steps along a line meets perturbations that lie on none."""
    return claim.subject in ("step", "loss") and measurements.attrs.get("direction") in variables.WITHOUT_LINE


def judge(measurements: xr.Dataset, claims: Iterable[Claim | str] | Claim | str | None = None) -> Verdicts:
    """A verdict on each claim at each checkpoint, claim by claim.

    Args:
        measurements: of a run.
        claims: which, themselves or by their ids; None for all that are installed.

    Raises:
        ValueError: there are no measurements, or no such claim.
    """
    whole = completed(measurements)
    return Verdicts(
        verdict
        for claim in claims_of(claims)
        for verdict in _judge(whole, claim, set(measurements.variables))
    )


_WITHOUT_OUTPUTS = {
    variables.PREDICTED_LIMIT,
    variables.GRADIENT_CHANGE,
    variables.GRADIENT_DIFFERENCE,
    variables.PERTURBATION_COSINE,
    variables.PERTURBATION_NORM,
    variables.SLOPE,
    variables.SLOPE_AT_ZERO,
    variables.STEP_LIMIT,
    variables.STEP_LIMIT_SEARCHED_TO,
}
"""What is measured whether the network's outputs can be seen or not."""


def _judge(measurements: xr.Dataset, claim: Claim, measured_names: set[Hashable]) -> list[Verdict]:
    """Both sides and the premises at once for all checkpoints, the verdict on each alone."""
    labels: list[str | None] = [str(label) for label in measurements["checkpoint"].values]
    checks = {premise: _check(measurements, premise) for premise in claim.premises}
    if claim.trajectory:
        labels, checks = [None], {premise: _together(check) for premise, check in checks.items()}
    truths = [_truths(checks, place) for place in range(len(labels))]
    missing = [name for name in claim.needs if name not in measured_names]
    if missing or _no_slice(measurements, claim):
        remark = f"add {claim.add}" if claim.add else f"needs {', '.join(missing)}"
        if "default" not in measurements.attrs.get("measures", "default").split():
            takers = dict.fromkeys(ALL[name].measure for name in missing if name in ALL)
            remark = " ".join(["add", *(f"`measure={name!r}`" for name in takers)]) if takers else remark
        if measurements.attrs.get("outputs") == "no" and not set(missing) <= _WITHOUT_OUTPUTS:
            remark = "add a loss of (outputs, targets): one of (model, batch) shows no outputs"
        if _no_slice(measurements, claim):
            remark = "no slice: every eta has a perturbation of its own"
        return [
            _not_measured(claim, label, truth, remark, slice_missing=_no_slice(measurements, claim))
            for label, truth in zip(labels, truths, strict=True)
        ]
    gathered = _together if claim.trajectory else _bare

    def of(quantity: Quantity) -> xr.DataArray:
        return gathered(once(quantity)(measurements))

    measured, bound = xr.broadcast(of(claim.measured), of(claim.bound))
    measured = measured.transpose("checkpoint", ...)
    slack = xr.full_like(measured, ROUNDING, dtype=float)
    if claim.log10_allowance is not None:
        slack = slack + of(claim.log10_allowance).fillna(0.0)
    standings = [_standing(check, measured) for premise, check in checks.items() if premise.gates]
    trivial = xr.full_like(measured, np.nan, dtype=float) if claim.trivial is None else of(claim.trivial)
    sides = [measured.values, *(_like(side, measured) for side in (bound, slack, trivial))]
    searched = how_far_searched(measurements) if claim.subject == "step" else [""] * len(labels)
    constant = None if claim.log10_constant is None else of(claim.log10_constant)
    coordinates = {dim: measured[dim].values for dim in measured.dims[1:] if dim in measured.coords}
    return [
        _judge_one(
            claim,
            label,
            _Points(
                measured=sides[0][place],
                bound=sides[1][place],
                slack=sides[2][place],
                trivial=sides[3][place],
                premises=np.stack([standing[place] for standing in standings]) if standings else None,
            ),
            truths[place],
            math.nan if constant is None else float(constant.isel(checkpoint=place)),
            [(str(dim), coordinates.get(dim)) for dim in measured.dims[1:]],
            searched[place],
        )
        for place, label in enumerate(labels)
    ]


Floats = npt.NDArray[np.float64]
Flags = npt.NDArray[np.bool_]


@dataclass(frozen=True)
class _Truth:
    """Of a premise at one checkpoint.

    Attributes:
        holds: all along; None where it fails nowhere but something is not known.
        nowhere: it fails everywhere.
    """

    holds: bool | None
    nowhere: bool


@dataclass(frozen=True)
class _Points:
    """One checkpoint's points: both sides, what noise allows, what is trivial, each premise's truth (premise, …)."""

    measured: Floats
    bound: Floats
    slack: Floats
    trivial: Floats
    premises: Floats | None

    @property
    def ratio(self) -> Floats:
        """log10 of measured / bound: −inf where nothing changed or nothing is claimed, NaN without evidence.

        Nothing is learnt from 0 ≤ 0, and nothing from a number that is missing on either side.
        """
        nothing = np.isneginf(self.measured) | np.isposinf(self.bound)
        with np.errstate(invalid="ignore"):
            ratio = np.where(nothing, -np.inf, self.measured - self.bound)
        known = ~(np.isnan(self.measured) | np.isnan(self.bound))
        return np.where(known & ~(np.isneginf(self.measured) & np.isneginf(self.bound)), ratio, np.nan)

    @property
    def standing(self) -> Floats:
        """At each point 1 where every premise holds, 0 where one fails, else NaN."""
        if self.premises is None:
            return np.ones_like(self.measured)
        return np.where((self.premises == 0).any(0), 0.0, self.premises.prod(0))

    def vacuous(self, points: Flags) -> bool:
        """No finite bound."""
        return not (points & (self.bound < np.inf)).any()

    def useless(self, points: Flags) -> bool:
        """Nowhere below what the triangle inequality says; False where that is not known."""
        known = points & ~np.isnan(self.trivial)
        return bool(known.any()) and not (known & (self.bound <= self.trivial)).any()


def _bare(values: xr.DataArray) -> xr.DataArray:
    """Without what is not an index: xarray would compare it at every operation, which takes most of the time."""
    return values.reset_coords(drop=True)


def _together(values: xr.DataArray) -> xr.DataArray:
    """All checkpoints as moments of one run."""
    return _bare(values).rename(checkpoint="moment").expand_dims("checkpoint")


def _like(values: xr.DataArray, measured: xr.DataArray) -> Floats:
    if _fits(values, measured, values.dims):
        return np.asarray(_spread(values.values, values.dims, measured), dtype=np.float64)
    return np.asarray(values.broadcast_like(measured).transpose(*measured.dims).values, dtype=np.float64)


def _fits(values: xr.DataArray, measured: xr.DataArray, dims: Sequence[Hashable]) -> bool:
    """Whether what both have along these dims is the same, so that xarray need not align them, which takes long."""
    return all(
        dim in measured.dims
        and values.sizes[dim] == measured.sizes[dim]
        and (dim in values.coords) == (dim in measured.coords)
        and (dim not in values.coords or np.array_equal(values[dim].values, measured[dim].values))
        for dim in dims
    )


def _spread(values: npt.NDArray[Any], dims: Sequence[Hashable], measured: xr.DataArray) -> npt.NDArray[Any]:
    """An array over some dims of ``measured``, over all of them and in their order."""
    order = [dims.index(dim) for dim in measured.dims if dim in dims]
    missing = [place for place, dim in enumerate(measured.dims) if dim not in dims]
    return np.broadcast_to(np.expand_dims(values.transpose(order), missing), measured.shape)


def _broken_everywhere(truths: Mapping[Premise, _Truth]) -> str:
    """The names of the premises that hold nowhere, where the claim says nothing then."""
    return ", ".join(premise.name for premise, truth in truths.items() if premise.gates and truth.nowhere)


def _not_measured(
    claim: Claim, label: str | None, truths: Mapping[Premise, _Truth], remark: str, *, slice_missing: bool
) -> Verdict:
    """What is said without numbers: where a premise is known to fail, no option of the run would bring them."""
    broken = "" if slice_missing else _broken_everywhere(truths)
    if broken:
        return _without_evidence(claim, label, Status.PREMISE_FAILS, truths, f"{broken}: not measured")
    return _without_evidence(claim, label, Status.NOT_MEASURED, truths, remark)


def _judge_one(
    claim: Claim,
    label: str | None,
    points: _Points,
    truths: Mapping[Premise, _Truth],
    log10_constant: float,
    coordinates: Sequence[tuple[str, npt.NDArray[Any] | None]],
    searched: str,
) -> Verdict:
    ratio = points.ratio
    evidence = ~np.isnan(ratio)
    gates = {premise: truth for premise, truth in truths.items() if premise.gates}
    if not evidence.any():
        broken = _broken_everywhere(gates)
        if broken:
            remark = f"{broken}: the inequality has no number here"
            return _without_evidence(claim, label, Status.PREMISE_FAILS, truths, remark, log10_constant)
        remark = "no number is finite, above the noise and within the search"
        wanted = claim.add if claim.evidence is None else claim.evidence
        if wanted:
            remark += f" (it takes {wanted})"
        return _without_evidence(claim, label, Status.NOT_MEASURED, truths, remark, log10_constant)
    holds = evidence & (np.nan_to_num(ratio, nan=np.inf) <= points.slack)
    standing = np.where(evidence, points.standing, np.nan)
    decided = standing == 1
    premises = {premise.name: truth.holds for premise, truth in truths.items()}
    if decided.any():
        shown = decided
        premises |= {premise.name: True for premise in gates}
        status, good_to = _status(claim.kind, points, decided, holds, coordinates)
        remark = _elsewhere(gates, evidence, decided)
        if status in (Status.HOLDS, Status.SAFE):
            remark = "; ".join(filter(None, (remark, searched)))
    else:
        shown, good_to = evidence, math.nan
        outcome = _outcome(claim.kind, holds, evidence, points)
        if (evidence & np.isnan(standing)).any():  # no premise is known to fail there
            status, remark = Status.NOT_MEASURED, _unknown(gates, points, evidence, outcome)
        else:
            status, remark = Status.PREMISE_FAILS, _broken(gates, outcome)
    inside = np.where(shown, ratio, -np.inf)
    return Verdict(
        claim.id,
        claim.kind,
        label,
        status,
        premises,
        holds_fraction=float((holds & shown).sum() / shown.sum()),
        worst_log10_ratio=float(inside.max()),
        median_log10_ratio=float(np.median(ratio[shown])),
        least_log10_ratio=float(ratio[shown].min()),
        worst_at=_place(inside, coordinates),
        good_to=good_to,
        log10_constant=log10_constant,
        remark=remark,
    )


def _status(
    kind: Kind,
    points: _Points,
    decided: Flags,
    holds: Flags,
    coordinates: Sequence[tuple[str, npt.NDArray[Any] | None]],
) -> tuple[Status, float]:
    """The status on the points at which every premise holds, and up to which η a model is good."""
    if points.vacuous(decided):
        return Status.VACUOUS, math.nan
    fails = bool((decided & ~holds).any())
    match kind:
        case Kind.ESTIMATE:
            return Status.WITHIN, math.nan
        case Kind.RULE:
            return Status.UNSAFE if fails else Status.SAFE, math.nan
        case Kind.MODEL:
            good_to = _good_to(points, decided, coordinates)
            return Status.OFF_BY_FACTOR if math.isnan(good_to) else Status.WITHIN_FACTOR, good_to
        case _:
            if fails:
                return Status.REFUTED, math.nan
            return Status.USELESS if points.useless(decided) else Status.HOLDS, math.nan


def _good_to(
    points: _Points, decided: Flags, coordinates: Sequence[tuple[str, npt.NDArray[Any] | None]]
) -> float:
    """The largest η of those before the first at which something exceeds the model by more than a factor of two.

    NaN where the first has it already. A model without η is good at none or everywhere (∞).
    """
    exceeds = decided & (points.ratio > math.log10(GOOD_FACTOR) + points.slack)
    axis = [dim for dim, _ in coordinates].index("eta") if any(dim == "eta" for dim, _ in coordinates) else -1
    if axis < 0:
        return math.nan if exceeds.any() else math.inf
    others = tuple(place for place in range(decided.ndim) if place != axis)
    judged, bad = decided.any(others), exceeds.any(others)
    good = judged & (np.cumsum(bad) == 0)
    etas = coordinates[axis][1]
    assert etas is not None
    return float(etas[np.flatnonzero(good)[-1]]) if good.any() else math.nan


@once
def _check(measurements: xr.Dataset, premise: Premise) -> xr.DataArray:
    """1 where the premise holds, 0 where it fails, NaN where the measurements cannot tell."""
    if all(name in measurements for name in premise.needs):
        return _bare(once(premise.check)(measurements).astype(float))
    return xr.full_like(measurements["checkpoint"], np.nan, dtype=float).reset_coords(drop=True)


def _truths(checks: Mapping[Premise, xr.DataArray], place: int) -> dict[Premise, _Truth]:
    """What is known of each premise at a checkpoint."""
    found: dict[Premise, _Truth] = {}
    for premise, check in checks.items():
        values = check.isel(checkpoint=place).values
        holds = False if (values == 0).any() else None if np.isnan(values).any() else True
        found[premise] = _Truth(holds, bool((values == 0).all()))
    return found


def _standing(check: xr.DataArray, measured: xr.DataArray) -> Floats:
    """A premise's truth at every point of the inequality."""
    # where the inequality has no such dim, the premise must hold all along it
    extra = tuple(place for place, dim in enumerate(check.dims) if dim not in measured.dims)
    kept = [dim for dim in check.dims if dim in measured.dims]
    values = check.values
    truth = np.where((values == 0).any(extra), 0.0, np.where(np.isnan(values).any(extra), np.nan, 1.0))
    if _fits(check, measured, kept):
        return _spread(truth, kept, measured)
    coords = {dim: check[dim].values for dim in kept if dim in check.coords}
    value = xr.DataArray(truth, coords=coords, dims=kept)
    return _like(value.reindex({dim: measured[dim] for dim in kept if dim in measured.coords}), measured)


def standing_of_premises(measurements: xr.Dataset, claim: Claim, like: xr.DataArray) -> xr.DataArray:
    """At each point of ``like`` 1 where every premise of the claim holds, 0 where one fails, else NaN."""
    gates = [premise for premise in claim.premises if premise.gates]
    standings = [_standing(_check(measurements, premise), like) for premise in gates]
    side = like.values
    points = _Points(side, side, side, side, np.stack(standings) if standings else None)
    return like.copy(data=points.standing)


def _outcome(kind: Kind, holds: Flags, evidence: Flags, points: _Points) -> str:
    """What the inequality does, whatever its premises."""
    if points.vacuous(evidence):
        return "its bound is vacuous"
    if kind is Kind.ESTIMATE:
        return f"it is ×{10.0 ** float(points.ratio[evidence].max()):.2g} all the same"
    if (evidence & ~holds).any():
        return "the inequality fails"
    return "its bound is useless" if points.useless(evidence) else "the inequality holds all the same"


def _broken(truths: Mapping[Premise, _Truth], outcome: str) -> str:
    names = [premise.name for premise, truth in truths.items() if truth.holds is False]
    return f"{', '.join(names)}: {outcome}"


def _unknown(truths: Mapping[Premise, _Truth], points: _Points, evidence: Flags, outcome: str) -> str:
    pairs = zip(truths, [] if points.premises is None else points.premises, strict=True)
    premises = [premise for premise, values in pairs if np.isnan(values[evidence]).any()]
    names = ", ".join(premise.name for premise in premises)
    wanted = " and ".join(dict.fromkeys(premise.add for premise in premises if premise.add))
    return f"{names}: not known{f', add {wanted}' if wanted else ''} ({outcome})"


def _elsewhere(truths: Mapping[Premise, _Truth], evidence: Flags, decided: Flags) -> str:
    """Where the verdict does not speak, if anywhere."""
    if not (evidence & ~decided).any():
        return ""
    names = [premise.name for premise, truth in truths.items() if truth.holds is not True]
    share = float(decided.sum() / evidence.sum())
    return f"on the {share:.0%} of the points, those at which every premise holds ({', '.join(names)} fails elsewhere)"


def _place(ratio: Floats, coordinates: Sequence[tuple[str, npt.NDArray[Any] | None]]) -> dict[str, Any]:
    """Coordinates of the largest ratio."""
    index = np.unravel_index(int(np.argmax(ratio)), ratio.shape)
    place: dict[str, Any] = {}
    for (dim, values), i in zip(coordinates, index, strict=True):
        if values is not None:
            value = values[i]
            place[dim] = value.item() if hasattr(value, "item") else value
    return place


def _without_evidence(
    claim: Claim,
    label: str | None,
    status: Status,
    truths: Mapping[Premise, _Truth],
    remark: str,
    log10_constant: float = math.nan,
) -> Verdict:
    premises = {premise.name: truth.holds for premise, truth in truths.items()}
    return Verdict(
        claim.id, claim.kind, label, status, premises, log10_constant=log10_constant, remark=remark
    )
