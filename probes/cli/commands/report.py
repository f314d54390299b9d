"""``probe report``: verdicts and figures of what was measured."""

from __future__ import annotations

from pathlib import Path

import click

from probes.cli.documents import JSON, print_json
from probes.cli.options import CLAIMS, FORMAT
from probes.system.terminal import say


@click.command()
@click.argument("folder", type=click.Path(path_type=Path))
@click.option(
    "--out",
    type=click.Path(path_type=Path),
    help="Folder for figures and report.md [default: FOLDER/report].",
)
@CLAIMS
@FORMAT
@JSON
def report(
    folder: Path, out: Path | None, user_claims: tuple[str, ...], formats: tuple[str, ...], as_json: bool
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

    findings = findings_in(folder, claims=chosen_claims(user_claims).values())
    target = out or folder / "report"
    with judging(folder):
        figures = write_report([findings], target, formats=formats)
        document, summary = report_document([findings], figures), terminal_summary(findings)
    if as_json:
        print_json(document)
        return
    say(summary)
    say(f"figures, their numbers and report.md are in {target}")
