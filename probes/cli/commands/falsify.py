"""``probe falsify``: a claim against small networks."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import click

from probes.choices import SEEDS, check_count
from probes.cli.documents import JSON, print_json
from probes.cli.options import CLAIMS
from probes.errors import InputError
from probes.system.terminal import say

if TYPE_CHECKING:
    from analysis.falsifier import Outcome
    from trust.claims import Claim


@dataclass(frozen=True)
class _Search:
    """How a search is made.

    Attributes:
        widths: d_0, …, d_L; None for many small networks.
        activation: φ; None for all that the premises allow.
        seed: of the starting points.
        budget: seconds for each claim; None for a minute, or any time where trials are given.
        trials: networks for each claim, to within a batch; None for as many as the seconds allow.
    """

    widths: tuple[int, ...] | None
    activation: str | None
    seed: int
    budget: float | None
    trials: int | None

    @property
    def limits(self) -> str:
        """The options that bound it, as they would be typed."""
        given = {"trials": self.trials, "budget": self.budget}
        return (
            " ".join(f"--{name} {value:.10g}" for name, value in given.items() if value is not None)
            or "--budget 60"
        )


@click.command()
@click.argument("claim", required=False)
@click.option(
    "--widths", help="d_0,…,d_L of the networks, such as 4,4,4 [default: many, up to 3 wide and 4 deep]."
)
@click.option(
    "--activation", help="φ: identity, relu, tanh or leaky_relu:a [default: all that the premises allow]."
)
@click.option("--seed", type=int, default=0, show_default=True, help="The same seed finds the same witness.")
@click.option("--budget", type=float, help="Seconds, for each claim [default: 60, without --trials].")
@click.option(
    "--trials",
    type=int,
    help="Networks, for each claim, to within a batch: the same outcome on a machine of any speed.",
)
@click.option(
    "--replay",
    type=click.Path(path_type=Path, dir_okay=False),
    help="Check a witness file again from scratch instead.",
)
@click.option(
    "--out",
    type=click.Path(path_type=Path),
    help="Folder for the witness; with the claim all, for every witness and the table falsified.md.",
)
@CLAIMS
@JSON
def falsify(
    claim: str | None,
    widths: str | None,
    activation: str | None,
    seed: int,
    budget: float | None,
    trials: int | None,
    replay: Path | None,
    out: Path | None,
    user_claims: tuple[str, ...],
    as_json: bool,
) -> None:
    """Search small networks that satisfy every premise of CLAIM for one at which its inequality fails.

    CLAIM is an id that probe claims lists, path/to/file.py:name, or all. A counterexample counts only when it is
    certified in exact arithmetic; it is printed, and written as JSON with --out.
    """
    if (claim is None) == (replay is None):
        raise InputError("give either a CLAIM to refute or --replay FILE; probe claims lists the claims")
    if replay is not None:
        _replay(replay, user_claims, as_json=as_json)
        return
    assert claim is not None
    search = _Search(_read_widths(widths), activation, seed, budget, trials)
    if claim == "all":
        if out is None:
            raise InputError("probe falsify all: add --out DIR for the table and the witnesses")
        found = _search_all(user_claims, search, out, as_json=as_json)
    else:
        found = [_search_one(claim, user_claims, search, out, as_json=as_json)]
    if as_json:
        documents = [outcome.to_json(one) for one, outcome in found]
        print_json(documents if claim == "all" else documents[0])


def _read_widths(text: str | None) -> tuple[int, ...] | None:
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


def _replay(path: Path, user_claims: Sequence[str], *, as_json: bool) -> None:
    """Check a witness file again, and say what came of it."""
    from probes.cli.outcomes import replay_lines
    from probes.cli.witnesses import replay_file

    again = replay_file(path, user_claims)
    if as_json:
        print_json({"claim": again.claim, "refuted": again.refutes})
    else:
        say(replay_lines(again))


def _searched(claim: Claim, search: _Search) -> Outcome:
    """Try to refute a claim.

    Raises:
        InputError: the search does not fit the claim, or it cannot be searched on small networks.
    """
    from analysis.falsifier import UnsupportedError
    from analysis.falsifier import falsify as refute

    if search.budget is not None and not (math.isfinite(search.budget) and search.budget > 0):
        raise InputError(f"--budget {search.budget:g}: must be a positive number of seconds")
    check_count("seed", search.seed, 0, SEEDS[1])
    if search.trials is not None:
        check_count("trials", search.trials, 1, 10**9)
    try:
        return refute(
            claim,
            widths=None if search.widths is None else [search.widths],
            activation=search.activation,
            seed=search.seed,
            budget=search.budget,
            most_trials=search.trials,
        )
    except (UnsupportedError, ValueError) as error:
        raise InputError(f"probe falsify {claim.id}: {error}") from error


def _search_one(
    name: str, user_claims: Sequence[str], search: _Search, out: Path | None, *, as_json: bool
) -> tuple[Claim, Outcome]:
    """Search one claim, and write the witness into ``out`` where there is one and it is wanted.

    Raises:
        InputError: as :func:`_searched`, or there is no such claim, or the folder cannot be written.
    """
    from probes.cli.claims import claim_named
    from probes.cli.outcomes import outcome_lines
    from probes.cli.witnesses import write_witness
    from probes.system.files import make_folder

    claim = claim_named(name, user_claims)
    if out is not None:
        make_folder(out)
    outcome = _searched(claim, search)
    if out is not None:
        write_witness(claim, outcome, out)
    if not as_json:
        say(outcome_lines(claim, outcome))
    return claim, outcome


def _search_all(
    user_claims: Sequence[str], search: _Search, out: Path, *, as_json: bool
) -> list[tuple[Claim, Outcome]]:
    """Search every claim, and write ``falsified.md`` and a witness file for each that is refuted into ``out``.

    Claims that small networks cannot decide are listed below the table, with the reason.

    Raises:
        InputError: the folder cannot be written, or the options make no search.
    """
    from probes.cli.claims import chosen_claims
    from probes.cli.outcomes import outcome_lines, outcomes_page
    from probes.cli.witnesses import write_witness
    from probes.system.files import make_folder, write_atomically

    claims = chosen_claims(user_claims).values()
    make_folder(out)
    found: list[tuple[Claim, Outcome]] = []
    left_out: list[str] = []
    for claim in claims:
        try:
            outcome = _searched(claim, search)
        except InputError as error:
            if claim.form is not None:
                raise
            left_out.append(str(error).partition(": ")[2])
            say(str(error), err=as_json)
            continue
        say(outcome_lines(claim, outcome), err=as_json)
        found.append((claim, outcome))
        write_witness(claim, outcome, out)
    page = outcomes_page(found, left_out, seed=search.seed, limits=search.limits)
    write_atomically(out / "falsified.md", page.encode())
    return found
