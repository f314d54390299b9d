"""``probe figure1``: the paper's Figure 1 from nothing."""

from __future__ import annotations

from pathlib import Path

import click

from probes.cli.documents import JSON, print_json
from probes.cli.options import FORMAT, OUT, choice
from probes.cli.tables import WIDE, room
from probes.system.terminal import say


@click.command()
@click.option(
    "--preset",
    type=choice(["toy", "quick", "paper"]),
    default="quick",
    show_default=True,
    help="quick: width 256, a few minutes. paper: width 784 and the published schedule and grid, hours. toy:"
    " seconds, to see that it runs.",
)
@click.option(
    "--data",
    default="mnist",
    show_default=True,
    help="mnist (5,000 embedded images) or mnist:FOLDER (the full 60,000).",
)
@click.option(
    "--seed", type=int, default=0, show_default=True, help="Seed of the networks and of the data's order."
)
@click.option("--device", default="auto", show_default=True, help="Where to probe: auto, cpu, cuda, …")
@FORMAT
@OUT
@WIDE
@JSON
def figure1(
    preset: str,
    data: str,
    seed: int,
    device: str,
    formats: tuple[str, ...],
    out: Path,
    wide: bool,
    as_json: bool,
) -> None:
    """Train, probe and report the paper's Figure 1 from nothing; run it again to continue."""
    from probes.cli.reports import report_document, terminal_summary, write_report
    from studies.figure1 import reproduce

    findings = reproduce(preset, out, data=data, seed=seed, device=device)
    page, figures = write_report(findings, out / "report", formats=formats)
    if as_json:
        print_json(report_document(findings, figures, page=page))
        return
    for one in findings:
        say(terminal_summary(one, room(wide=wide)))
        say()
    say(f"{page} shows it all in one file; figures and their numbers are beside it (start with figure1.png)")
