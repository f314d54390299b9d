"""``probe export``: measurements for other programs."""

from __future__ import annotations

from pathlib import Path

import click

from probes.system.terminal import say


@click.command()
@click.argument("folder", type=click.Path(path_type=Path))
@click.argument("file", type=click.Path(path_type=Path))
def export(folder: Path, file: Path) -> None:
    """Write the measurements in FOLDER into FILE, in the format that its name ends in.

    .csv and .parquet are tidy tables with a row for each number (Parquet needs pyarrow); .nc is the whole labelled
    dataset as NetCDF.
    """
    from analysis.wording import unfinished_lines
    from probes.runs.export import export as write
    from probes.runs.results import load

    measurements = load(folder)
    numbers = write(measurements, file)
    for line in unfinished_lines(measurements):
        say(f"WARNING: {line}", err=True)
    say(f"{numbers} numbers written to {file}")
