"""``probe claims``: what can be tested."""

from __future__ import annotations

import click

from probes.cli.documents import JSON, print_json
from probes.cli.options import CLAIMS
from probes.cli.spelling import spelled


@click.command()
@CLAIMS
@JSON
def claims(user_claims: tuple[str, ...], as_json: bool) -> None:
    """What can be tested: each claim's statement, premises and source."""
    from analysis.documents import claim_rows
    from probes.cli.claims import chosen_claims

    found = claim_rows(chosen_claims(user_claims).values())
    if as_json:
        print_json(found)
        return
    for claim in found:
        click.echo(f"{click.style(claim['claim'], bold=True)} ({claim['kind']})")
        click.echo(f"    {spelled(claim['statement'])}")
        click.echo(f"    measures: {claim['measures']}")
        for name, statement in claim["premises"].items():
            click.echo(f"    premise {name}: {spelled(statement)}")
        if not claim["premises"]:
            click.echo("    no premises")
        if claim["kind"] in ("theorem", "lemma"):
            click.echo(f"    {'proved under its premises' if claim['proved'] else 'no proof is known'}")
        click.echo(f"    source: {claim['source']}\n")
