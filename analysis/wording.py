"""Numbers and outcomes in words: what every report says in the same way."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

import numpy as np
import xarray as xr

from analysis.completion import completed
from analysis.constants import ORDER_ONE, largest_constant
from analysis.selfchecks import CHECKS, CheckOutcome, Outcome
from trust import measurements as variables
from trust.claims.quantities import EVIDENCE, rounding_share
from trust.measurements import SMALL_ETA

if TYPE_CHECKING:
    from analysis.slack import Inversion

__all__ = [
    "alarm_lines",
    "constant_lines",
    "count_of",
    "gradientless",
    "inversion_lines",
    "noise_line",
    "number",
    "power",
    "rounding_lines",
    "span",
    "unfinished_lines",
]


_DIGITS = 5
_LARGEST_IN_DIGITS = 10.0**_DIGITS


def number(value: float, digits: int = 3) -> str:
    """A number with ``digits`` significant digits; a dash for NaN."""
    if math.isnan(value):
        return "–"
    if math.isinf(value):
        return "∞" if value > 0 else "−∞"
    rounded = float(f"{value:.{digits}g}")
    if 10.0**digits <= abs(rounded) < _LARGEST_IN_DIGITS:
        value, digits = rounded, _DIGITS  # 260, not 2.6e+02, and 100 for 99.7 too
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


def count_of(count: int, word: str) -> str:
    """How many of something."""
    return f"{count} {word}{'s' * (count != 1)}"


def unfinished_lines(measurements: xr.Dataset) -> list[str]:
    """A sentence where the run has not come to its end."""
    if measurements.attrs.get("complete", "true") == "true":
        return []
    done, planned = measurements.sizes["checkpoint"], measurements.attrs["planned_checkpoints"]
    return [
        f"{done} of {planned} checkpoints measured: the run is not finished, and the same command continues it"
    ]


def noise_line(measurements: xr.Dataset) -> str:
    """The run's noise floor in a sentence, and whose gradients are rounding alone."""
    floor = float(measurements[variables.NOISE_FLOOR].max())
    precision = measurements.attrs.get("precision", "full")
    layers = "" if precision == "full" else f", layers in {precision}"
    line = (
        f"noise floor of the gradient change ({measurements.attrs['dtype']}{layers}): {number(floor, 2)};"
        " what is below ten times a layer's floor is marked and is no evidence"
    )
    still = gradientless(measurements)
    some = ", ".join(still[:3]) + (f" and {len(still) - 3} more" if len(still) > 3 else "")
    return line + (f"; the gradient of {some} is zero but for rounding, and left out" if still else "")


def rounding_lines(measurements: xr.Dataset) -> list[str]:
    """The noise floor and, where it was checked, what rounding does further out, a sentence each."""
    measurements = completed(measurements)
    lines = [noise_line(measurements)]
    if variables.GRADIENT_CHANGE_ERROR in measurements:
        share = rounding_share(measurements)
        checked = measurements[variables.GRADIENT_CHANGE_ERROR].notnull().any(["checkpoint", "layer"])
        parts = [
            f"{number(float(share[:, k].max()), 1)} at η = {number(float(measurements[variables.ETA][k]))}"
            for k in np.flatnonzero(checked.values)
        ]
        coarse = bool((share > 1 / EVIDENCE).any())
        marked = "; where it is above 0.1 points are marked and are no evidence" if coarse else ""
        if parts:
            lines.append(
                f"rounding may have changed the breakdown by {', '.join(parts)} of itself at most, as a float64 spot"
                f" check of a few examples tells{marked}"
            )
    return lines


def gradientless(measurements: xr.Dataset) -> list[str]:
    """The layers whose gradient was measured, and is zero but for rounding at some checkpoint."""
    measurements = completed(measurements)
    known = measurements[variables.GRADIENT_NORM].isel(eta=0).notnull()
    where = (known & measurements[variables.NOISE_FLOOR].isnull()).any("checkpoint")
    return [str(name) for name in measurements["layer"].values[where.values]]


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
                + ("; `dtype='float64'` reads it off at a smaller one" if eta > SMALL_ETA else "")
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


def alarm_lines(checks: Sequence[CheckOutcome]) -> list[str]:
    """A sentence for each self-check that failed: by how much at how many checkpoints."""
    lines = []
    for check, name in CHECKS.items():
        failed = [one for one in checks if one.check == check and one.outcome is Outcome.FAILED]
        if failed:
            worst = max(failed, key=lambda one: one.worst)
            more = f" and {len(failed) - 1} more" if len(failed) > 1 else ""
            lines.append(
                f"self-check {check} ({name}) {Outcome.FAILED.value}, by {number(worst.worst, 2)} at"
                f" {worst.checkpoint}{more}: the measurement has a fault; trust no number of it"
            )
    return lines
