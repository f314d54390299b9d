"""What a verdict says: how a claim fared, in the words that fit its kind."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from enum import Enum
from typing import Any

from trust.claims import Kind

__all__ = ["GOOD_FACTOR", "Status", "Verdict", "in_words"]

GOOD_FACTOR = 2.0
"""A model is good as far as no measurement exceeds it by more than this factor."""


class Status(Enum):
    """How a claim fared. Theorems and lemmas hold or are refuted; each other kind has words of its own."""

    HOLDS = "holds"
    REFUTED = "refuted"
    WITHIN_FACTOR = "within a factor of C"
    OFF_BY_FACTOR = "off by a factor of C"
    WITHIN = "within ×a to ×b"
    SAFE = "safe"
    UNSAFE = "unsafe by ×a"
    PREMISE_FAILS = "premise fails"
    VACUOUS = "vacuous"
    USELESS = "useless"
    NOT_MEASURED = "not measured"


@dataclass(frozen=True)
class Verdict:
    """What one run says of one claim at one checkpoint.

    Attributes:
        claim: id.
        kind: the claim's: theorem, lemma, model, estimate or rule.
        checkpoint: label; None for a claim about the whole training run.
        status: see :class:`Status`.
        premises: name to whether it holds; None where it is not known. Where premises hold at some points
            only, the status, and all numbers here, are of the points at which all of them hold.
        holds_fraction: share of these points at which the inequality holds.
        worst_log10_ratio: largest log10(measured / bound); above 0 (and above the noise) the inequality
            fails. Of an estimate, log10(estimate / measured).
        median_log10_ratio: the median; its negative is the typical slack in orders of magnitude.
        least_log10_ratio: the smallest.
        worst_at: at which eta, layer and example the largest is.
        good_to: of a model, the largest η up to which nothing exceeds it by more than a factor of two; NaN
            where there is none, and for other kinds.
        log10_constant: of the claim's constant, where it has one.
        remark: the inequality's own outcome where a premise fails, what to add to the run, or which points
            were left out.
    """

    claim: str
    kind: Kind
    checkpoint: str | None
    status: Status
    premises: Mapping[str, bool | None]
    holds_fraction: float = math.nan
    worst_log10_ratio: float = math.nan
    median_log10_ratio: float = math.nan
    least_log10_ratio: float = math.nan
    worst_at: Mapping[str, Any] = field(default_factory=dict)
    good_to: float = math.nan
    log10_constant: float = math.nan
    remark: str = ""

    @property
    def words(self) -> str:
        """The status with its numbers."""
        return in_words([self])

    def to_json(self) -> dict[str, Any]:
        """JSON-ready; numbers that are not finite become null."""
        constant = 10.0**self.log10_constant if self.log10_constant < 300 else math.inf
        return {
            "claim": self.claim,
            "kind": self.kind.value,
            "checkpoint": self.checkpoint,
            "status": self.status.value,
            "words": self.words,
            "premises": dict(self.premises),
            "holds_fraction": _number(self.holds_fraction),
            "worst_log10_ratio": _number(self.worst_log10_ratio),
            "median_log10_ratio": _number(self.median_log10_ratio),
            "least_log10_ratio": _number(self.least_log10_ratio),
            "worst_at": dict(self.worst_at),
            "good_to": _number(self.good_to),
            "constant": _number(constant),
            "log10_constant": _number(self.log10_constant),
            "remark": self.remark,
        }


def _number(value: float) -> float | None:
    return float(value) if math.isfinite(value) else None


def in_words(verdicts: Sequence[Verdict]) -> str:
    """The status that these verdicts share, with the range of its numbers over them."""
    first = verdicts[0]
    worst = [one.worst_log10_ratio for one in verdicts]
    match first.status:
        case Status.HOLDS:
            slack = _span([-one.worst_log10_ratio for one in verdicts], _orders)
            middle = _span([-one.median_log10_ratio for one in verdicts], _orders)
            known = any(math.isfinite(value) for value in worst)
            return f"holds, {slack} orders to spare (median {middle})" if known else "holds"
        case Status.WITHIN_FACTOR | Status.OFF_BY_FACTOR:
            stops = [one for one in verdicts if one.worst_log10_ratio > math.log10(GOOD_FACTOR)]
            if first.status is Status.WITHIN_FACTOR and stops:
                which = "" if len(stops) == len(verdicts) else f"; {len(stops)} of them only"
                good_to = _span([one.good_to for one in stops], _plain)
                far = _span([one.worst_log10_ratio for one in stops], _factor)
                return f"within a factor of {GOOD_FACTOR:g}{which} up to η = {good_to}, then off by {far}"
            factor = _span([max(value, 0.0) for value in worst], _factor)
            if first.status is Status.WITHIN_FACTOR:
                return f"within a factor of {factor}"
            etas = [float(one.worst_at["eta"]) for one in verdicts if "eta" in one.worst_at]
            return f"off by a factor of {factor}" + (f", worst at η = {_span(etas, _plain)}" if etas else "")
        case Status.WITHIN:
            low = min(one.least_log10_ratio for one in verdicts)
            high = max(worst)
            return f"×{_factor(low)}" if high - low < 1e-3 else f"within ×{_factor(low)} to ×{_factor(high)}"
        case Status.UNSAFE:
            return f"unsafe by {_span(worst, lambda value: f'×{_factor(value)}')}"
        case _:
            return first.status.value


def _span(values: Sequence[float], show: Any) -> str:
    known = [value for value in values if not math.isnan(value)]
    if not known:
        return "–"
    low, high = show(min(known)), show(max(known))
    return low if low == high else f"{low} to {high}"


def _orders(value: float) -> str:
    return f"{value + 0.0:.1f}".replace("-0.0", "0.0").replace("-", "−").replace("inf", "∞")


_NEAR = math.log10(1.1)


def _factor(exponent: float) -> str:
    if math.isinf(exponent):
        return "∞" if exponent > 0 else "0"
    if 2 <= exponent < 4:
        return f"{10.0**exponent:.0f}"
    if abs(exponent) < _NEAR:
        return f"{10.0**exponent:.3g}"  # where ×1 would not say on which side
    return f"{10.0**exponent:.2g}" if abs(exponent) < 4 else f"10^{exponent:.0f}".replace("-", "−")


def _plain(value: float) -> str:
    return f"{value:.2g}"
