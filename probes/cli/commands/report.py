"""``probe report``: verdicts and figures of what was measured."""

from __future__ import annotations

import shlex
from collections.abc import Sequence
from pathlib import Path

import click

from probes.cli.documents import JSON, print_json
from probes.cli.options import CLAIMS, FORMAT
from probes.cli.tables import WIDE, paragraph, room
from probes.errors import InputError
from probes.system.terminal import say


@click.command()
@click.argument("folders", nargs=-1, required=True, type=click.Path(path_type=Path))
@click.option(
    "--out",
    type=click.Path(path_type=Path),
    help="Folder for the page report.html and its figures [default: FOLDER/report; of several it must be named].",
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

    FOLDERS are of runs, of studies, or of both. The page, report.html, is one file that needs nothing else.
    """
    from probes.cli.claims import chosen_claims
    from probes.cli.reports import (
        findings_in,
        judging,
        report_document,
        terminal_summary,
        write_report,
    )
    from probes.cli.runs import names_of
    from studies.frame.outcome import outcomes_in

    if len(folders) > 1 and out is None:
        raise InputError("name a folder for the page of several: --out FOLDER")
    if len(folders) > 1 and title is not None:
        raise InputError("--title names one network; of several each has its folder's name")
    claims = chosen_claims(user_claims).values()
    studies = {folder: found for folder in folders if (found := outcomes_in(folder))}
    runs = [folder for folder in folders if folder not in studies]
    titles = names_of(runs) if len(folders) > 1 else [title] * len(runs)
    findings = [findings_in(run, claims=claims, title=name) for run, name in zip(runs, titles, strict=True)]
    target = out or folders[0] / "report"
    with judging(runs[0] if runs else folders[0]):
        page, figures = write_report(
            findings, target, formats=formats, studies=studies, again=_commands(runs, target)
        )
        document = report_document(findings, figures, page=page, studies=studies)
        summaries = [terminal_summary(one, room(wide=wide)) for one in findings]
    if as_json:
        print_json(document)
        return
    for summary in summaries:
        say(summary)
    for outcome in (one for found in studies.values() for one in found):
        say(paragraph(outcome.answer, room(wide=wide), head=f"{outcome.name}: ", indent=2))
    say(f"{page} shows it all in one file; figures and their numbers are beside it")


def _commands(runs: Sequence[Path], out: Path) -> list[str]:
    """What measures and judges the same again."""
    again = [
        shlex.join(["probe", "run", "--config", str(run / "run.toml"), "--out", f"{run}-again"])
        for run in runs
        if (run / "run.toml").is_file()
    ]
    judged = ["probe", "report", *(f"{run}-again" for run in runs)]
    return [*again, shlex.join([*judged, *(["--out", f"{out}-again"] * (len(runs) > 1))])] if again else []
