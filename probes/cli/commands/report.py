"""``probe report``: verdicts and figures of what was measured."""

from __future__ import annotations

from pathlib import Path

import click

from probes.cli.documents import JSON, print_json
from probes.cli.options import CLAIMS, FORMAT
from probes.cli.tables import WIDE, paragraph, room
from probes.system.terminal import say


@click.command()
@click.argument("folders", nargs=-1, required=True, type=click.Path(path_type=Path))
@click.option(
    "--out",
    type=click.Path(path_type=Path),
    help="Folder for the page report.html and its figures [default: FOLDER/report, LOG-report; of several it must be"
    " named].",
)
@click.option("--title", help="What to call the network, where it is one [default: its kind and depth].")
@CLAIMS
@FORMAT
@WIDE
@JSON
def report(
    folders: tuple[Path, ...],
    out: Path | None,
    title: str | None,
    user_claims: tuple[str, ...],
    formats: tuple[str, ...],
    wide: bool,
    as_json: bool,
) -> None:
    """Judge every claim on the measurements in FOLDERS, draw them beside the bounds, and write it all on one page.

    FOLDERS are of runs and of studies, or logs of probes.Monitor (files), or all of these. The page, report.html, is
    one file that needs nothing else.
    """
    from probes.cli.claims import chosen_claims
    from probes.cli.reports import report as reported
    from probes.cli.reports import terminal_summary
    from probes.monitor.page import log_words

    found = reported(
        folders, out=out, title=title, claims=chosen_claims(user_claims).values(), formats=formats
    )
    if as_json:
        print_json(found.document)
        return
    for one in found.findings:
        say(terminal_summary(one, room(wide=wide)))
    for name, log in found.logs.items():
        say(f"── {name} ──")
        for word, said in log_words(log):
            say(paragraph(said, room(wide=wide), head=f"{word:>9}: ", indent=11))
    for outcome in (one for outcomes in found.studies.values() for one in outcomes):
        say(paragraph(outcome.answer, room(wide=wide), head=f"{outcome.name}: ", indent=2))
    say(f"{found.page} shows it all in one file; figures and their numbers are beside it")
