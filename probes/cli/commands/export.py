"""``probe export``: measurements as a table."""

from __future__ import annotations

from pathlib import Path

import click

from probes.system.terminal import say


@click.command()
@click.argument("folder", type=click.Path(path_type=Path))
@click.argument("file", type=click.Path(path_type=Path))
def export(folder: Path, file: Path) -> None:
    """Write the measurements in FOLDER as a tidy table: one row a number, FILE.csv."""
    from probes.runs.results import export_csv, load

    rows = export_csv(load(folder), file)
    say(f"{rows} rows written to {file}")
