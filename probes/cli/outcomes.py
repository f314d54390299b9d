"""What ``probe falsify`` says: outcomes and replays in words, and the page of all outcomes."""

from __future__ import annotations

import datetime
import json
import math
import textwrap
from collections.abc import Sequence
from typing import Any

from analysis.falsifier import Outcome, Replay
from analysis.falsifier.intervals import Interval
from figures.report.markdown import markdown_table
from probes.cli.spelling import spelled
from probes.runs.run import versions
from trust.claims import Claim, Kind

__all__ = ["outcome_lines", "outcomes_page", "replay_lines"]

_SHOWN = {
    "widths": "widths",
    "activation": "φ",
    "weights": "W",
    "perturbation": "ΔW",
    "biases": "b",
    "bias_perturbation": "Δb",
    "input": "x",
    "input_perturbation": "Δx",
    "target": "y",
    "left": "measured side",
    "right": "bound",
}


def replay_lines(found: Replay) -> str:
    """What came of a replay, for reading."""
    if found.certificate is None:
        return (
            f"{found.claim}: not certified (outside the claim's premises, or exact arithmetic cannot decide)"
        )
    certificate = found.certificate
    lines = [
        f"{found.claim}: the inequality {'FAILS' if found.refutes else 'does not fail'} on this network, in exact"
        " arithmetic",
        f"  measured side {_shown(certificate.left)}, bound {_shown(certificate.right)}",
    ]
    lines += [f"  {name}: inside by {_shown(margin)}" for name, margin in certificate.margins.items()]
    return "\n".join(lines)


def outcome_lines(claim: Claim, outcome: Outcome) -> str:
    """What a search came to, for reading."""
    spent = f"{outcome.trials} networks in {outcome.seconds:.1f} s"
    if outcome.certificate is None:
        text = f"{claim.id}: no counterexample ({spent}); closest approach measured/bound = {_ratio(outcome)}"
        return text + (
            f"\n  an apparent one could not be certified: {outcome.doubt}" if outcome.doubt else ""
        )
    witness = outcome.to_json(claim)["witness"]
    fails, where = _verdict(claim)
    lines = [f"{claim.id}: {fails.upper()} {where}, certified in exact arithmetic ({spent})"]
    lines += [f"  {spelled(claim.statement)}"]
    lines += [f"  {key}: {_inline(value)}" for key, value in witness.items() if key in _SHOWN]
    if claim.mend:
        lines.append(f"  what mends it: {claim.mend}" + (f" ({claim.mended_by})" if claim.mended_by else ""))
    return "\n".join(lines)


_FAILS = {Kind.MODEL: "exceeded", Kind.ESTIMATE: "too large", Kind.RULE: "unsafe"}
"""What a counterexample says of a claim that is no theorem."""


def _verdict(claim: Claim) -> tuple[str, str]:
    if claim.kind in _FAILS:
        return _FAILS[claim.kind], "on a small network"
    return "refuted", "as restated here"


def _inline(value: Any) -> str:
    return json.dumps(value, ensure_ascii=False).replace('"', "")


def _shown(side: Interval) -> str:
    return f"{side.middle:.6g}"


def _ratio(outcome: Outcome) -> str:
    """The closest approach as a ratio; 1 within rounding is 1."""
    exponent = outcome.worst_log10_ratio
    if math.isinf(exponent):
        return "–" if exponent < 0 else "∞"
    return "1 (attained)" if abs(exponent) < 1e-4 else f"{10.0**exponent:.3g}"


def outcomes_page(
    found: Sequence[tuple[Claim, Outcome]], left_out: Sequence[str], *, seed: int, limits: str
) -> str:
    """The page ``falsified.md``.

    Args:
        found: the claims that were searched, and what came of each.
        left_out: for each claim that was not, the reason.
        seed: of the search.
        limits: the options that bound it for each claim.
    """
    rows = [
        ["claim", "kind", "statement", "outcome", "networks", "closest approach or witness", "what mends it"]
    ]
    outcomes = {claim.id: outcome for claim, outcome in found}
    for claim, outcome in found:
        refuted = outcome.certificate is not None
        rows.append(
            [
                claim.id,
                claim.kind.value,
                spelled(claim.statement),
                f"**{' '.join(_verdict(claim))}**" if refuted else f"holds so far{', proved' * claim.proved}",
                str(outcome.trials),
                _witness_cell(claim, outcome) if refuted else f"measured/bound = {_ratio(outcome)}",
                _mend_cell(claim, outcomes) if refuted else "",
            ]
        )
    today = datetime.datetime.now(datetime.UTC).date().isoformat()
    return "\n".join(
        [
            "# What the falsifier found",
            "",
            _paragraph(
                f"Made on {today} by `probe falsify all --out DIR --seed {seed} {limits}`"
                f" ({versions()}). Small networks that satisfy every stated premise were searched for one at which the"
                " claim's inequality fails. A counterexample is certified in exact arithmetic and can be checked again"
                " with `probe falsify --replay FILE`; everything else only *holds so far* (*proved*: a proof under the"
                " premises is known, so that the search tests our code). Only a theorem or a lemma is *refuted* by"
                " one: a model is exceeded there, an estimate too large, a rule unsafe, which none of them excludes."
            ),
            "",
            _paragraph(
                "It speaks of the claims *as this toolkit restates them*, with the constant and the form that this page"
                " shows, and not of anyone's theorem in its own words. φ follows every layer, the last one too. Claims"
                " about gradients and losses are tested with the loss ½‖f(x) − y‖² of one example. An approach of 1"
                " means that the bound is attained."
            ),
            "",
            markdown_table(rows),
            "",
            *([_paragraph(f"Not searched: {'; '.join(left_out)}."), ""] if left_out else []),
        ]
    )


def _paragraph(text: str) -> str:
    return textwrap.fill(text, 100, break_on_hyphens=False)


def _witness_cell(claim: Claim, outcome: Outcome) -> str:
    witness = outcome.to_json(claim)["witness"]
    parts = [
        f"{symbol} = {_inline(witness[key])}"
        for key, symbol in _SHOWN.items()
        if key in witness and key not in ("widths", "left", "right")
    ]
    ratio = witness["ratio_at_least"]
    more = "more than any multiple" if ratio is None else f"{float(ratio):.3g} times the bound"
    return f"{', '.join(parts)}: {more} ([file]({claim.id}.json))"


def _mend_cell(claim: Claim, outcomes: dict[str, Outcome]) -> str:
    if not claim.mended_by:
        return claim.mend
    mended = outcomes.get(claim.mended_by)
    state = "" if mended is None else ", which survives the same search" if mended.certificate is None else ""
    return f"{claim.mend}: `{claim.mended_by}`{state}"
