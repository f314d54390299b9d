"""``probe falsify``: a claim against small networks, witnesses in files, and the table of all outcomes."""

from __future__ import annotations

import datetime
import json
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from analysis.falsifier import Outcome, Replay, UnsupportedError, WitnessError, falsify, replay
from analysis.falsifier.intervals import Interval
from figures.report.page import markdown_table
from probes.cli.claims import claim_named
from probes.errors import InputError
from probes.runs.run import versions
from probes.system.files import make_folder, write_atomically
from trust.claims import Claim

__all__ = [
    "Search",
    "find_witness",
    "outcome_lines",
    "parse_widths",
    "replay_file",
    "replay_lines",
    "search",
    "write_outcomes",
]

_MOST_BYTES = 1_000_000
_LONGEST_NAME = 200


@dataclass(frozen=True)
class Search:
    """How a search is made.

    Attributes:
        widths: d_0, …, d_L; None for many small networks.
        activation: φ; None for all that the premises allow.
        seed: of the starting points.
        budget: seconds for each claim.
    """

    widths: tuple[int, ...] | None = None
    activation: str | None = None
    seed: int = 0
    budget: float = 60.0


def parse_widths(text: str | None) -> tuple[int, ...] | None:
    """``4,4,4`` as numbers.

    Raises:
        InputError: it is no list of whole numbers from 1 to 16, or of fewer than two or more than 17.
    """
    if text is None:
        return None
    parts = text.split(",")
    widths = [int(part) if part.strip().isdecimal() and len(part) < 4 else 0 for part in parts]
    if not 2 <= len(widths) <= 17 or not all(1 <= width <= 16 for width in widths):
        raise InputError(f"--widths {text}: write 2 to 17 numbers from 1 to 16 with commas, such as 4,4,4")
    return tuple(widths)


def search(claim: Claim, settings: Search) -> Outcome:
    """Try to refute a claim.

    Raises:
        InputError: the settings do not fit the claim, or it cannot be searched on small networks.
    """
    if not (math.isfinite(settings.budget) and settings.budget > 0):
        raise InputError(f"--budget {settings.budget:g}: must be a positive number of seconds")
    if settings.seed < 0:
        raise InputError(f"--seed {settings.seed}: must not be negative")
    try:
        return falsify(
            claim,
            widths=None if settings.widths is None else [settings.widths],
            activation=settings.activation,
            seed=settings.seed,
            budget=settings.budget,
        )
    except (UnsupportedError, ValueError) as error:
        raise InputError(f"probe falsify {claim.id}: {error}") from error


def find_witness(claim: Claim, settings: Search, out: Path | None) -> tuple[Claim, Outcome]:
    """Search, and write the witness into ``out`` where there is one and it is wanted.

    Raises:
        InputError: as :func:`search`, or the folder cannot be written.
    """
    if out is not None:
        make_folder(out)
    outcome = search(claim, settings)
    if out is not None:
        _write_witness(claim, outcome, out)
    return claim, outcome


def _write_witness(claim: Claim, outcome: Outcome, out: Path) -> None:
    if outcome.certificate is not None:
        document = json.dumps(outcome.to_json(claim)["witness"], indent=1, ensure_ascii=False) + "\n"
        write_atomically(out / f"{claim.id}.json", document.encode())


def replay_file(path: Path, specs: Sequence[str] = ()) -> Replay:
    """Check a witness file again from scratch.

    Raises:
        InputError: the file is no witness.
    """
    try:
        if not path.is_file():
            raise InputError(f"{path}: no such file" if not path.exists() else f"{path}: is not a plain file")
        with path.open("rb") as stream:
            text = stream.read(_MOST_BYTES + 1)
        if len(text) > _MOST_BYTES:
            raise InputError(f"{path}: is too large for a witness")
        document = json.loads(text.decode())
    except InputError:
        raise
    except (OSError, ValueError, RecursionError) as error:
        reason = error.strerror if isinstance(error, OSError) else "it is not JSON"
        raise InputError(f"{path}: cannot be read ({reason})") from error
    if isinstance(document, dict) and isinstance(document.get("witness"), dict):
        document = document["witness"]  # what probe falsify --json printed
    name = document.get("claim") if isinstance(document, dict) else None
    if not isinstance(name, str):
        raise InputError(f"{path}: is no witness (it names no claim)")
    if ":" in name:
        raise InputError(f"{path}: names code to run, {name[:80]}; give the claim yourself with --claim")
    if len(name) > _LONGEST_NAME:
        raise InputError(f"{path}: is no witness (its claim's name is too long)")
    try:
        return replay(document, claim_named(name, specs))
    except WitnessError as error:
        raise InputError(f"{path}: is no witness ({error})") from error
    except UnsupportedError as error:
        raise InputError(f"{path}: cannot be checked ({error})") from error


def replay_lines(found: Replay) -> str:
    """What came of a replay, for reading."""
    if found.certificate is None:
        return (
            f"{found.claim}: not certified (outside the claim's premises, or exact arithmetic cannot decide)"
        )
    certificate = found.certificate
    lines = [
        f"{found.claim}: {'REFUTED' if found.refutes else 'not refuted'} by this network, in exact arithmetic",
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
    lines = [f"{claim.id}: REFUTED as restated here, certified in exact arithmetic ({spent})"]
    lines += [f"  {claim.statement}"]
    lines += [f"  {key}: {_inline(value)}" for key, value in witness.items() if key in _SHOWN]
    if claim.mend:
        lines.append(f"  what mends it: {claim.mend}" + (f" ({claim.mended_by})" if claim.mended_by else ""))
    return "\n".join(lines)


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


def write_outcomes(
    claims: Sequence[Claim],
    settings: Search,
    out: Path,
    *,
    progress: Callable[[str], object] = lambda _: None,
) -> list[tuple[Claim, Outcome]]:
    """Search every claim, and write ``falsified.md`` and a witness file for each that is refuted into ``out``.

    Claims that small networks cannot decide are listed below the table, with the reason.

    Raises:
        InputError: the folder cannot be written, or the settings make no search.
    """
    make_folder(out)
    found: list[tuple[Claim, Outcome]] = []
    left_out: list[str] = []
    for claim in claims:
        try:
            outcome = search(claim, settings)
        except InputError as error:
            if claim.form is not None:
                raise
            left_out.append(str(error).partition(": ")[2])
            progress(str(error))
            continue
        progress(outcome_lines(claim, outcome))
        found.append((claim, outcome))
        _write_witness(claim, outcome, out)
    write_atomically(out / "falsified.md", _page(found, left_out, settings).encode())
    return found


def _page(found: Sequence[tuple[Claim, Outcome]], left_out: Sequence[str], settings: Search) -> str:
    rows = [["claim", "statement", "outcome", "networks", "closest approach or witness", "what mends it"]]
    outcomes = {claim.id: outcome for claim, outcome in found}
    for claim, outcome in found:
        refuted = outcome.certificate is not None
        rows.append(
            [
                claim.id,
                claim.statement,
                "**refuted as restated here**" if refuted else f"holds so far{', proved' * claim.proved}",
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
            f"Made on {today} by `probe falsify all --out DIR --seed {settings.seed} --budget {settings.budget:g}`"
            f" ({versions()}). Small networks that satisfy every stated premise were searched for one at which the"
            " claim's inequality fails. A refutation is certified in exact arithmetic and can be checked again with"
            " `probe falsify --replay FILE`; everything else only *holds so far* (*proved*: a proof under the"
            " premises is known, so that the search tests our code).",
            "",
            "It speaks of the claims *as this toolkit restates them*, with the constant and the form that this page"
            " shows, and not of anyone's theorem in its own words. φ follows every layer, the last one too. Claims"
            " about gradients and losses are tested with the loss ½‖f(x) − y‖² of one example. An approach of 1"
            " means that the bound is attained.",
            "",
            markdown_table(rows),
            "",
            *([f"Not searched: {'; '.join(left_out)}.", ""] if left_out else []),
        ]
    )


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
