"""A run in five sentences: what was probed, what holds, what breaks, what step is safe, and how sure all that is."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np
import xarray as xr

from analysis.selfchecks import Outcome
from analysis.statuses import GOOD_FACTOR, Status, Verdict, in_words
from analysis.wording import count_of, number, power, span
from trust import measurements as variables
from trust.claims import Kind
from trust.claims.quantities import depth, rounding_share

if TYPE_CHECKING:
    from analysis.findings import Findings

__all__ = ["ALONG", "SILENT", "in_short", "is_wrong", "network_name"]

ALONG = {
    "gradient": "against its gradient",
    "spectral": "along steepest descent under the spectral norm",
    "sign": "against its gradient's sign",
    "noise": "along Gaussian noise",
    "update": "along the steps of its training",
    "quantize": "by rounding its weights to fewer and fewer bits",
    "prune": "by pruning more and more of its weights",
    "filter-noise": "by more and more noise on its output channels",
    "adversarial": "by the worst perturbation found at each η",
}
_NORMS = {"batch": "batch norm", "layer": "layer norm", "batch layer": "batch and layer norm"}
_MOST = 3
"""Theorems that are named before the others are counted."""
_PROVED = (Kind.THEOREM, Kind.LEMMA)
SILENT = {
    Status.PREMISE_FAILS: "whose premises fail",
    Status.NOT_MEASURED: "not measured",
    Status.VACUOUS: "without a finite bound",
    Status.USELESS: "weaker than the triangle inequality",
}


def in_short(findings: Findings) -> list[tuple[str, str]]:
    """Five sentences, each with the word that it answers to."""
    return [
        ("probed", _probed(findings.measurements)),
        ("holds", _holds(findings.verdicts)),
        ("breaks", _breaks(findings.verdicts)),
        ("safe step", _safe_step(findings.limits, finished=_is_finished(findings.measurements))),
        ("how sure", _how_sure(findings)),
    ]


def network_name(measurements: xr.Dataset) -> str:
    """What a network is called by what is known of it, such as ``16 layers, residual, batch norm``."""
    attributes, layers = measurements.attrs, count_of(depth(measurements), "layer")
    kind = str(attributes.get("architecture", "perceptron"))
    parts = [layers if kind == "perceptron" else f"{kind}, {layers}"]
    parts += ["residual"] * (attributes.get("residual") == "true")
    norm = _NORMS.get(str(attributes.get("norm")), "")
    return ", ".join([*parts, *filter(None, [norm])])


def _probed(measurements: xr.Dataset) -> str:
    attributes, etas = measurements.attrs, measurements[variables.ETA].values
    checkpoints = count_of(measurements.sizes["checkpoint"], "checkpoint")
    if not _is_finished(measurements):
        checkpoints = f"{measurements.sizes['checkpoint']} of {attributes['planned_checkpoints']} checkpoints"
    steps = [str(label) for label in measurements["checkpoint"].values]
    if "step" in measurements.coords and bool(measurements["step"].notnull().all()):
        steps = [f"step {float(step):g}" for step in measurements["step"].values]
    start = measurements.isel(eta=0)
    state = [f"loss {_through(start[variables.LOSS])}"]
    if bool(start[variables.ACCURACY].notnull().any()):
        state.append(f"accuracy {_through(start[variables.ACCURACY])}")
    where = " to ".join(dict.fromkeys((steps[0], steps[-1])))
    along = ALONG.get(str(attributes.get("direction")), "")
    return (
        f"{network_name(measurements)}, on {attributes.get('number_of_examples', 0):,} examples of"
        f" {attributes.get('data', 'unknown data')}, at {checkpoints} ({where}; {', '.join(state)}), moved {along}"
        f" by η from {number(float(etas[1]))} to {number(float(etas[-1]))} in every layer"
    )


def _is_finished(measurements: xr.Dataset) -> bool:
    """Whether all checkpoints of the run are measured."""
    return bool(measurements.attrs.get("complete", "true") == "true")


def _through(values: xr.DataArray) -> str:
    """A number at the first checkpoint and at the last."""
    ends = [number(float(value)) for value in (values.values.flat[0], values.values.flat[-1])]
    return " → ".join(dict.fromkeys(ends))


def _holds(verdicts: Sequence[Verdict]) -> str:
    """What the data bear out, the tightest first, and of how much they say nothing."""
    by_claim = _by_claim(verdicts)
    proved = {name: own for name, own in by_claim.items() if own[0].kind in _PROVED}
    slack = {
        name: float(np.median([-one.median_log10_ratio for one in own if one.status is Status.HOLDS]))
        for name, own in proved.items()
        if _is_among(own, Status.HOLDS) and not _is_among(own, Status.REFUTED)
    }
    tight = sorted(slack, key=lambda name: slack[name] if math.isfinite(slack[name]) else math.inf)
    named = ", ".join(
        f"{name} ({number(slack[name], 2)} orders to spare in the median)" for name in tight[:_MOST]
    )
    more = f" and {len(tight) - _MOST} more" if len(tight) > _MOST else ""
    parts = [f"{len(tight)} of {len(proved)} theorems and lemmas" + f", {named}{more}" * bool(tight)]
    parts += [f"{name} is {in_words(own)}" for name, own in by_claim.items() if _fits(own)]
    counts = {
        word: sum(all(one.status is status for one in own) for own in by_claim.values())
        for status, word in SILENT.items()
    }
    silent = [f"{count} {word}" for word, count in counts.items() if count]
    return "; ".join([*parts, f"nothing is said of {', '.join(silent)}"] if silent else parts)


def _fits(own: Sequence[Verdict]) -> bool:
    """Whether a model, estimate or rule does well at every checkpoint."""
    good = (Status.WITHIN_FACTOR, Status.SAFE, Status.WITHIN)
    return own[0].kind not in _PROVED and all(one.status in good and not is_wrong(one) for one in own)


def _is_among(own: Sequence[Verdict], status: Status) -> bool:
    return any(one.status is status for one in own)


def _breaks(verdicts: Sequence[Verdict]) -> str:
    """What the data contradict, and by how much: what is refuted first, then the rest, the worst first."""
    found: list[tuple[bool, float, str]] = []
    for name, own in _by_claim(verdicts).items():
        wrong = [one for one in own if is_wrong(one)]
        if not wrong:
            continue
        worst = max(one.worst_log10_ratio for one in wrong)
        refuted = [one for one in wrong if one.status is Status.REFUTED]
        alike = [
            [one for one in wrong if one.status is status] for status in {one.status: 0 for one in wrong}
        ]
        words = (
            f"{Status.REFUTED.value}, by a factor of {power(worst)}"
            if refuted
            else " or ".join(map(in_words, alike))
        )
        where = f" at {len(wrong)} of {len(own)} checkpoints" if len(wrong) < len(own) else ""
        of = " of what is measured" if wrong[0].status is Status.WITHIN else ""
        found.append((not refuted, -worst, f"{name} is {words}{of}{where}"))
    return "; ".join(text for *_, text in sorted(found)) or "nothing that could be tested here"


def is_wrong(verdict: Verdict) -> bool:
    """Whether it is contradicted; an estimate or a model is where it is off by more than a factor of two."""
    good = math.log10(GOOD_FACTOR)
    if verdict.status in (Status.WITHIN_FACTOR, Status.WITHIN):
        low = verdict.least_log10_ratio if verdict.status is Status.WITHIN else 0.0
        return verdict.worst_log10_ratio > good or low < -good
    return verdict.status in (Status.REFUTED, Status.OFF_BY_FACTOR, Status.UNSAFE)


def _safe_step(limits: xr.Dataset, *, finished: bool) -> str:
    """What the loss itself allows, and how the limits that are computed compare."""
    measured, last = limits["measured"], limits.isel(checkpoint=-1)
    if not bool(limits["searched_to"].notnull().any()):
        return "not searched for"
    if not bool(measured.notnull().any()):
        return (
            f"the loss never came back to its start, up to η = {span(limits['searched_to'].values.tolist())}"
        )
    several = limits.sizes["checkpoint"] > 1
    where = "at the last checkpoint " if several else ""
    where = where if finished else "at the last checkpoint that is measured "
    end = float(last["measured"])
    earlier = f" ({span(measured.values.tolist())} over all)" if several else ""
    if several and not measured.any():
        stated = "none at any checkpoint: the loss rises at once"
    elif end == 0:
        stated = f"none {where}".rstrip() + f": the loss rises at once{earlier}"
    else:
        below = (
            f"η = {number(end)}" if math.isfinite(end) else f"an η above {number(float(last['searched_to']))}"
        )
        stated = f"{where}below {below}, where the loss is back at its start{earlier}"
    names = {
        "predicted": "predicted from two gradients",
        "lemma2": "Lemma 2 allows",
        "calibrated": "Lemma 2 with the measured C",
        "certified": "certified for the sampled examples",
    }
    others = [
        f"{word} {number(float(last[name])) if last[name] else 'none'}"
        for name, word in names.items()
        if not np.isnan(last[name])
    ]
    return f"{stated}; " + ", ".join(others)


def _how_sure(findings: Findings) -> str:
    measurements = findings.measurements  # completed
    failed = sorted({one.check for one in findings.checks if one.outcome is Outcome.FAILED})
    checks = f"NOT AT ALL: self-check {', '.join(failed)} failed" if failed else "no self-check failed"
    seen = [one.resolved_to for one in findings.checks if one.check == "integral"]
    parts = [checks]
    if seen and not all(math.isnan(value) or value == 0 for value in seen):
        parts.append(f"the grid resolves the slice up to η = {span(seen)}")
    floor = float(measurements[variables.NOISE_FLOOR].max())
    rounding = f"rounding in {measurements.attrs.get('dtype', '?')} makes {number(floor, 2)} of a gradient"
    if variables.GRADIENT_CHANGE_ERROR in measurements:
        share = float(rounding_share(measurements).max())
        rounding += f" and at most {number(share, 1)} of its breakdown (float64 spot check)"
    return "; ".join([*parts, rounding, "one training run: other seeds may differ"])


def _by_claim(verdicts: Sequence[Verdict]) -> dict[str, list[Verdict]]:
    found: dict[str, list[Verdict]] = {}
    for verdict in verdicts:
        found.setdefault(verdict.claim, []).append(verdict)
    return found
