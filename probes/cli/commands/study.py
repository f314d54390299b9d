"""``probe study``: an experiment whole: train, measure, judge and draw."""

from __future__ import annotations

import math
from pathlib import Path

import click

from probes.cli.documents import JSON, print_json
from probes.cli.options import FORMAT, OUT, choice
from probes.cli.tables import WIDE, room
from probes.errors import InputError
from probes.system.terminal import say

_STUDIES = {"dropped-constant": "studies.dropped_constant"}
"""The module of each; it has ``PRESETS`` and ``study``."""


@click.command()
@click.argument("name", type=choice(_STUDIES))
@click.option(
    "--preset",
    type=choice(["quick", "paper"]),
    default="quick",
    show_default=True,
    help="quick: narrow networks, some minutes. paper: the published width and schedule, many hours.",
)
@click.option("--seeds", type=int, default=3, show_default=True, help="How many networks of each kind.")
@click.option(
    "--data",
    default="mnist",
    show_default=True,
    help="mnist (5,000 embedded images) or mnist:FOLDER (the full 60,000).",
)
@FORMAT
@OUT
@WIDE
@JSON
def study(
    name: str,
    preset: str,
    seeds: int,
    data: str,
    formats: tuple[str, ...],
    out: Path,
    wide: bool,
    as_json: bool,
) -> None:
    """An experiment whole, from training to its figure; run it again to continue, or to add seeds.

    dropped-constant: what the effective constant of deep relative trust is made of, in perceptrons of 2, 16 and 50
    layers, plain, with batch norm and residual.
    """
    from importlib import import_module

    from probes.cli.tables import paragraph, plain

    if seeds < 1:
        raise InputError(f"--seeds {seeds}: must be at least 1")
    result = import_module(_STUDIES[name]).study(preset, out, seeds=seeds, data=data, formats=formats)
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
    say(f"\nthe figure and its numbers are in {out}")
