"""``probe study``: an experiment whole: train, measure, judge and draw."""

from __future__ import annotations

import math
from pathlib import Path

import click

from probes.cli.documents import JSON, print_json
from probes.cli.options import FORMAT, OUT
from probes.cli.tables import WIDE, room
from probes.system.terminal import say
from studies.catalogue import STUDIES

_HELP = [
    "An experiment whole, from training to its figure and its answer in words.",
    "STUDY is one of those below, or file.py:Name for one of your own (docs/how-to/own-study.md). What is in the folder"
    " already is not done again: run it again to continue, or to add seeds.",
    *(f"{name}: {entry.question}" for name, entry in STUDIES.items()),
]


@click.command(help="\n\n".join(_HELP))
@click.argument("study", metavar="STUDY")
@click.option(
    "--preset",
    default="quick",
    show_default=True,
    help="quick: minutes, the effect on a small scale. paper: the published size, hours. toy: seconds, to see that"
    " it runs. A study may have more: depths is constant's, of eight perceptrons.",
)
@click.option(
    "--seeds",
    type=int,
    default=3,
    show_default=True,
    help="How many times each run is made, from other seeds.",
)
@click.option(
    "--data",
    help="mnist (5,000 embedded images), mnist-14x14 (the same, pooled) or mnist:FOLDER (the full 60,000) [default:"
    " mnist, or the study's own].",
)
@click.option("--jobs", type=int, help="Processes of one thread that share the runs (default: one a core).")
@click.option(
    "--dask",
    metavar="ADDRESS",
    help="Share the runs among the workers of this Dask scheduler instead; they must see the output folder.",
)
@FORMAT
@OUT
@WIDE
@JSON
def study(
    study: str,
    preset: str,
    seeds: int,
    data: str | None,
    jobs: int | None,
    dask: str | None,
    formats: tuple[str, ...],
    out: Path,
    wide: bool,
    as_json: bool,
) -> None:
    """An experiment whole, from training to its figure and its answer in words."""
    from probes.cli.tables import paragraph, plain
    from studies.frame import run_study

    result = run_study(study, preset, out, seeds=seeds, data=data, formats=formats, jobs=jobs, dask=dask)
    if as_json:
        print_json(
            {
                "study": result.study,
                "preset": result.preset,
                "seeds": result.seeds,
                "answer": result.answer,
                "numbers": {
                    key: value if math.isfinite(value) else None for key, value in result.numbers.items()
                },
                "figures": [str(path) for path in result.figures],
            }
        )
        return
    say(plain(result.table, room(wide=wide)))
    say()
    for line in result.answer.splitlines():
        say(paragraph(line, room(wide=wide), indent=2))
    say(f"\n{result.page} says it with its figure; its numbers are beside it")
