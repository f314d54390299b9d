"""``probe claims``: what can be tested."""

from __future__ import annotations

import click

from probes.cli.documents import JSON, print_json
from probes.cli.options import CLAIMS
from probes.cli.spelling import spelled
from probes.system.terminal import say


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
        say(f"{claim['claim']} ({claim['kind']})", bold=True)
        say(f"    {spelled(claim['statement'])}")
        say(f"    measures: {claim['measures']}")
        for name, statement in claim["premises"].items():
            say(f"    premise {name}: {spelled(statement)}")
        if not claim["premises"]:
            say("    no premises")
        if claim["kind"] in ("theorem", "lemma"):
            say(f"    {'proved under its premises' if claim['proved'] else 'no proof is known'}")
        say(f"    source: {claim['source']}\n")
