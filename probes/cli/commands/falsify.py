"""``probe falsify``: a claim against small networks."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from probes.cli.documents import JSON, print_json
from probes.cli.options import CLAIMS
from probes.errors import InputError


@click.command()
@click.argument("claim", required=False)
@click.option(
    "--widths", help="d_0,…,d_L of the networks, such as 4,4,4 [default: many, up to 3 wide and 4 deep]."
)
@click.option(
    "--activation", help="φ: identity, relu, tanh or leaky_relu:a [default: all that the premises allow]."
)
@click.option("--seed", type=int, default=0, show_default=True, help="The same seed finds the same witness.")
@click.option("--budget", type=float, default=60.0, show_default=True, help="Seconds, for each claim.")
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
    replay: Path | None,
    out: Path | None,
    user_claims: tuple[str, ...],
    as_json: bool,
    **options: Any,
) -> None:
    """Search small networks that satisfy every premise of CLAIM for one at which its inequality fails.

    CLAIM is an id that probe claims lists, path/to/file.py:name, or all. A counterexample counts only when it is
    certified in exact arithmetic; it is printed, and written as JSON with --out.
    """
    from probes.cli import falsification as f
    from probes.cli.claims import chosen_claims, claim_named

    if (claim is None) == (replay is None):
        raise InputError("give either a CLAIM to refute or --replay FILE; probe claims lists the claims")
    if replay is not None:
        again = f.replay_file(replay, user_claims)
        if as_json:
            print_json({"claim": again.claim, "refuted": again.refutes})
        else:
            click.echo(f.replay_lines(again))
        return
    assert claim is not None
    settings = f.Search(widths=f.parse_widths(options.pop("widths")), **options)
    if claim == "all":
        if out is None:
            raise InputError("probe falsify all: add --out DIR for the table and the witnesses")
        found = f.write_outcomes(
            list(chosen_claims(user_claims).values()),
            settings,
            out,
            progress=lambda line: click.echo(line, err=as_json),
        )
    else:
        found = [f.find_witness(claim_named(claim, user_claims), settings, out)]
        if not as_json:
            click.echo(f.outcome_lines(*found[0]))
    if as_json:
        documents = [outcome.to_json(one) for one, outcome in found]
        print_json(documents if claim == "all" else documents[0])
