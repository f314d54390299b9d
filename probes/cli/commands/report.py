"""``probe report``: verdicts and figures of what was measured."""

from __future__ import annotations

from pathlib import Path

import click

from probes.cli.documents import JSON, print_json
from probes.cli.options import CLAIMS, FORMAT
from probes.cli.tables import WIDE, room
from probes.system.terminal import say


@click.command()
@click.argument("folder", type=click.Path(path_type=Path))
@click.option(
    "--out",
    type=click.Path(path_type=Path),
    help="Folder for figures and report.md [default: FOLDER/report].",
)
@click.option("--title", help="What to call the network [default: its kind and depth].")
@CLAIMS
@FORMAT
@WIDE
@JSON
def report(
    folder: Path,
    out: Path | None,
    title: str | None,
    user_claims: tuple[str, ...],
    formats: tuple[str, ...],
    wide: bool,
    as_json: bool,
) -> None:
    """Judge every claim on the measurements in FOLDER, and draw them beside the bounds."""
    from probes.cli.claims import chosen_claims
    from probes.cli.reports import (
        findings_in,
        judging,
        report_document,
        terminal_summary,
        write_report,
    )

    findings = findings_in(folder, claims=chosen_claims(user_claims).values(), title=title)
    target = out or folder / "report"
    with judging(folder):
        figures = write_report([findings], target, formats=formats)
        document = report_document([findings], figures)
        summary = terminal_summary(findings, room(wide=wide))
    if as_json:
        print_json(document)
        return
    say(summary)
    say(f"figures, their numbers and report.md are in {target}")
