"""``probe compare``: runs side by side."""

from __future__ import annotations

import shlex
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import click

from probes.cli.documents import JSON, print_json
from probes.cli.options import CLAIMS, FORMAT
from probes.cli.runs import names_of
from probes.cli.spelling import in_ticks
from probes.cli.tables import WIDE, paragraph, plain, room
from probes.errors import InputError
from probes.system.files import write_atomically
from probes.system.terminal import say

if TYPE_CHECKING:
    from analysis import Overview
    from analysis.tables import Rows
    from trust.claims import Claim


@click.command()
@click.argument("results", nargs=-1, required=True, type=click.Path(path_type=Path))
@click.option(
    "--out",
    type=click.Path(path_type=Path),
    help="Folder for the page compare.html, with figures of breakdown, constant and step limits.",
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

    claims = list(chosen_claims(user_claims).values())
    runs = _loaded(results)
    rows, verdicts = comparison_rows(runs), differing_verdicts(runs, claims)
    page, figures = None, list[Path]()
    if out is not None:
        figures = _drawn(runs, out, tuple(dict.fromkeys(("png", *formats))))  # the page shows the PNGs
        differing = [claim for claim in claims if claim.id in verdicts]
        command = shlex.join(["probe", "compare", *map(str, results), "--out", str(out)])
        tables = comparison_table(rows), verdicts_table(runs, verdicts)
        page = _page(runs, figures, tables, differing, command, out)
    if as_json:
        document = comparison_document(rows, runs, verdicts)
        print_json({**document, "figures": [str(path) for path in figures], "page": page and str(page)})
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
    if page is None:
        say("a page with figures: add --out FOLDER")
    else:
        say(f"{page} shows it all in one file; figures and their numbers are beside it")


_SPARE = ("L", "predicted", "accuracy")
"""The columns that a narrow terminal can do without, in the order in which they go."""


def _loaded(results: Sequence[Path]) -> list[Overview]:
    """Every run under a name of its own: its folder's, or the whole path where two folders have one name.

    Raises:
        InputError: fewer than two, one twice, or one that cannot be read.
    """
    from analysis import Overview
    from probes.runs.results import load

    if len(results) < 2:
        raise InputError(f"{results[0]}: give at least two folders of results")
    return [Overview(name, load(path)) for name, path in zip(names_of(results), results, strict=True)]


def _page(
    runs: Sequence[Overview],
    figures: Sequence[Path],
    tables: tuple[Rows, Rows],
    claims: Sequence[Claim],
    command: str,
    out: Path,
) -> Path:
    """The page of runs side by side.

    Args:
        runs: as they were given.
        figures: of them.
        tables: of their numbers, and of the verdicts that differ.
        claims: whose verdicts differ.
        command: that compares them again.
        out: the folder.

    Raises:
        InputError: it cannot be written.
    """
    from analysis.probed import probed
    from analysis.wording import unfinished_lines
    from figures.report.blocks import Block, Chapter, Code, Curves, Items, Points, Table, Words
    from figures.report.chapters import pictures_of
    from figures.report.pages import write_page

    unfinished = [f"{run.title}: {line}" for run in runs for line in unfinished_lines(run.measurements)]
    numbers, verdicts = tables
    differing: list[Block] = [Words("No claim fares differently at the last checkpoints.")]
    if claims:
        stated = [["claim", "what it states"], *([claim.id, claim.statement] for claim in claims)]
        stating = Chapter("What these claims state", [Table(stated, "what these claims state")], folded=True)
        differing = [Table(verdicts, "claims that fare differently"), stating]
    titles = [run.title for run in runs]
    blocks: list[Block] = [
        *([Items(unfinished, beware=True)] if unfinished else []),
        Chapter("Numbers", [Table(numbers, "runs at their first and last checkpoint")]),
        Chapter("Claims that fare differently", differing),
        Chapter(
            "Along the slice", [Curves(runs), *(picture for *_, picture in pictures_of(figures, titles))]
        ),
        Chapter("What was probed", [Chapter(run.title, [Points(probed(run.measurements))]) for run in runs]),
        Chapter("Do it again", [Code([command])]),
    ]
    title = f"Side by side: {', '.join(titles)}"
    return write_page(Chapter(title, blocks), out / "compare", words=in_ticks, write=write_atomically)


def _drawn(runs: Sequence[Overview], out: Path, formats: Sequence[str]) -> list[Path]:
    """The three figures with their numbers, in ``out``.

    Raises:
        InputError: the folder cannot be written.
    """
    import figures
    from probes.system.files import make_folder, remove_leftovers

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
