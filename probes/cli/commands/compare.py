"""``probe compare``: runs side by side."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import click

from probes.cli.documents import JSON, print_json
from probes.cli.options import CLAIMS, FORMAT
from probes.cli.tables import WIDE, paragraph, plain, room
from probes.errors import InputError
from probes.system.terminal import say

if TYPE_CHECKING:
    from analysis import Overview


@click.command()
@click.argument("results", nargs=-1, required=True, type=click.Path(path_type=Path))
@click.option(
    "--out",
    type=click.Path(path_type=Path),
    help="Folder for figures of breakdown, constant and step limits.",
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
    from analysis import comparison_rows, differing_verdicts
    from analysis.comparison import comparison_table, verdicts_table
    from analysis.documents import comparison_document
    from analysis.wording import unfinished_lines
    from probes.cli.claims import chosen_claims

    claims = chosen_claims(user_claims).values()
    runs = _loaded(results)
    rows, verdicts = comparison_rows(runs), differing_verdicts(runs, claims)
    figures = [] if out is None else _drawn(runs, out, formats)
    if as_json:
        document = comparison_document(rows, runs, verdicts)
        print_json({**document, "figures": [str(path) for path in figures]})
        return
    width = room(wide=wide)
    say(plain(comparison_table(rows), width, spare=_SPARE))
    say()
    if verdicts:
        say(plain(verdicts_table(runs, verdicts), width))
    else:
        say("no claim fares differently at the last checkpoints")
    for run in runs:
        for line in unfinished_lines(run.measurements):
            say(paragraph(f"{run.title}: {line}", width, head="WARNING: ", indent=2))
    say("figures: add --out FOLDER" if out is None else f"figures and their numbers are in {out}")


_SPARE = ("L", "predicted", "accuracy")
"""The columns that a narrow terminal can do without, in the order in which they go."""


def _loaded(results: Sequence[Path]) -> list[Overview]:
    """Every run under a name of its own: its folder's, or the whole path where two folders have one name.

    Raises:
        InputError: fewer than two, one twice, or one that cannot be read.
    """
    from analysis import Overview
    from probes.runs.results import load

    places = [path.resolve() for path in results]
    if len(places) < 2:
        raise InputError(f"{results[0]}: give at least two folders of results")
    if twice := [str(place) for place, count in Counter(places).items() if count > 1]:
        raise InputError(f"{twice[0]}: is given twice")
    names = Counter(place.name for place in places)
    return [
        Overview(place.name if names[place.name] == 1 else str(path), load(path))
        for path, place in zip(results, places, strict=True)
    ]


def _drawn(runs: Sequence[Overview], out: Path, formats: Sequence[str]) -> list[Path]:
    """The three figures with their numbers, in ``out``.

    Raises:
        InputError: the folder cannot be written.
    """
    import figures
    from probes.system.files import make_folder, remove_leftovers, write_atomically

    remove_leftovers(make_folder(out))
    drawn = {
        "breakdown": (figures.draw_compared_breakdown, figures.numbers_of_compared_breakdown),
        "constants": (figures.draw_compared_constants, figures.numbers_of_compared_constants),
        "limits": (figures.draw_compared_limits, figures.numbers_of_compared_limits),
    }
    return [
        path
        for name, (draw, numbers_of) in drawn.items()
        for path in figures.save_figure(
            draw(runs), out / name, numbers_of(runs), formats=formats, write=write_atomically
        )
    ]
