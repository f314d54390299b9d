"""``probe compare``: runs side by side."""

from __future__ import annotations

from pathlib import Path

import click

from probes.cli.documents import JSON, print_json
from probes.cli.options import CLAIMS, FORMAT
from probes.cli.tables import WIDE, paragraph, plain, room
from probes.system.terminal import say


@click.command()
@click.argument("results", nargs=-1, required=True, type=click.Path(path_type=Path))
@click.option(
    "--out",
    type=click.Path(path_type=Path),
    help="Folder for the page compare.html, with figures of breakdown, constant and step limits.",
)
@CLAIMS
@FORMAT
@WIDE
@JSON
def compare(
    results: tuple[Path, ...],
    out: Path | None,
    user_claims: tuple[str, ...],
    formats: tuple[str, ...],
    wide: bool,
    as_json: bool,
) -> None:
    """Runs side by side: the numbers of each one's first and last checkpoint, and where verdicts differ at the last.

    RESULTS are the folders of two or more runs.
    """
    from analysis.comparison import comparison_table, verdicts_table
    from analysis.wording import unfinished_lines
    from probes.cli.claims import chosen_claims
    from probes.cli.comparisons import compare as compared

    found = compared(results, out=out, claims=chosen_claims(user_claims).values(), formats=formats)
    if as_json:
        print_json(found.document)
        return
    width = room(wide=wide)
    say(plain(comparison_table(found.rows), width, spare=_SPARE))
    say()
    if found.verdicts:
        say(plain(verdicts_table(found.runs, found.verdicts), width))
    else:
        say("no claim fares differently at the last checkpoints")
    for run in found.runs:
        for line in unfinished_lines(run.measurements):
            say(paragraph(f"{run.title}: {line}", width, head="WARNING: ", indent=2))
    if found.page is None:
        say("a page with figures: add --out FOLDER")
    else:
        say(f"{found.page} shows it all in one file; figures and their numbers are beside it")


_SPARE = ("L", "predicted", "accuracy")
"""The columns that a narrow terminal can do without, in the order in which they go."""
