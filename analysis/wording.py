"""Numbers and outcomes in words: what every report says in the same way."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

import xarray as xr

from analysis.constants import ORDER_ONE, largest_constant
from analysis.selfchecks import CheckOutcome, Outcome
from trust import measurements as variables
from trust.measurements import SMALL_ETA

if TYPE_CHECKING:
    from analysis.slack import Inversion

__all__ = [
    "VERDICTS_EXPLAINED",
    "constant_lines",
    "failure_lines",
    "inversion_lines",
    "noise_line",
    "number",
    "power",
    "run_line",
    "span",
]

VERDICTS_EXPLAINED = (
    "Only a theorem or a lemma can be `refuted`: every premise holds and the inequality fails; where it `holds`, the"
    " slack is what it has to spare, in orders of magnitude. `vacuous` is a bound that is nowhere finite, `useless`"
    " one that the triangle inequality alone beats, `premise fails` where one does not hold (the inequality's own"
    " outcome is beside it). A model is `within a factor of C`, up to the η where it is exceeded by more than two,"
    " or `off by` one; an estimate is within ×a to ×b of what was measured; a rule, a limit used without its premise,"
    " is `safe` or `unsafe by ×a`. All speak of the claims as this toolkit restates them (`probe claims`)."
)


def number(value: float, digits: int = 3) -> str:
    """A number with ``digits`` significant digits; a dash for NaN."""
    if math.isnan(value):
        return "–"
    if math.isinf(value):
        return "∞" if value > 0 else "−∞"
    return f"{value:.{digits}g}".replace("-", "−")


def power(exponent: float) -> str:
    """10 to the ``exponent`` as a reader wants it."""
    if exponent == math.inf or math.isnan(exponent):
        return number(exponent)
    if exponent == -math.inf:
        return "0"
    return number(10.0**exponent) if -4 < exponent < 6 else f"10^{number(exponent)}"


def span(values: Sequence[float], show: Callable[[float], str] = number) -> str:
    """Smallest to largest, NaN aside."""
    known = [value for value in values if not math.isnan(value)]
    if not known:
        return "–"
    low, high = show(min(known)), show(max(known))
    return low if low == high else f"{low} to {high}"


def run_line(measurements: xr.Dataset) -> str:
    """What was measured, in a sentence."""
    attributes = measurements.attrs
    moved = "moved" if attributes["biases_moved"] == "true" else "not moved"
    return (
        f"{attributes['number_of_examples']} examples of {attributes.get('data', 'unknown data')}, direction"
        f" {attributes['direction']}, {attributes['dtype']}, biases {moved}"
        f" ({attributes.get('versions', '')})."
    )


def noise_line(measurements: xr.Dataset) -> str:
    """The run's noise floor in a sentence."""
    floor = float(measurements[variables.NOISE_FLOOR].max())
    precision = measurements.attrs.get("precision", "full")
    layers = "" if precision == "full" else f", layers in {precision}"
    return (
        f"noise floor of the gradient change ({measurements.attrs['dtype']}{layers}): {number(floor, 2)};"
        " what is below ten times a layer's floor is marked and is no evidence"
    )


def constant_lines(summary: xr.Dataset) -> list[str]:
    """A sentence for each checkpoint whose C at η₀ is none: its breakdown is already of order 1."""
    lines = []
    for place, label in enumerate(summary["checkpoint"].values):
        one = summary.isel(checkpoint=place)
        _, at = largest_constant(one)
        if at is not None and float(one["constant_breakdown"][at]) >= ORDER_ONE:
            eta, change = (float(one[name][at]) for name in ("constant_eta", "constant_breakdown"))
            lines.append(
                f"C at η₀ is no limit at {label}: at η = {number(eta)}, where it is read off, the gradient of"
                f" {one['layer'].values[at]} has already changed by {number(change, 2)} of its norm, so it is"
                " the constant of that η alone"
                + ("; --dtype float64 reads it off at a smaller one" if eta > SMALL_ETA else "")
            )
    return lines


def inversion_lines(found: Sequence[Inversion]) -> list[str]:
    """A sentence for each place where the ladder's order inverts."""
    lines = []
    for one in found:
        example = "" if one.example is None else f", example {one.example}"
        points = f"{one.points} point{'s' * (one.points > 1)} of {one.checkpoint}"
        excess = number(one.excess, 2)
        lines.append(
            "the bounds' order inverts although all premises hold:"
            f" {one.lower} is above {one.upper} at {points}, most at η = {number(one.eta)}{example},"
            f" by 10^{excess}"
        )
    return lines


def failure_lines(checks: Sequence[CheckOutcome]) -> list[str]:
    """A sentence on the first self-check that failed, if one did."""
    failed = [check for check in checks if check.outcome is Outcome.FAILED]
    return [
        f"{first.check} {first.outcome.value} at {first.checkpoint}; trust no number of it"
        for first in failed[:1]
    ]
