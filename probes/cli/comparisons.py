"""``probe compare``: runs side by side, in numbers, verdicts, figures and on a page."""

from __future__ import annotations

import os
import shlex
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from analysis import Overview, Verdict, comparison_rows, differing_verdicts
from analysis.comparison import comparison_table, verdicts_table
from analysis.documents import comparison_document
from analysis.probed import probed
from analysis.tables import Rows
from analysis.wording import unfinished_lines
from probes.cli.runs import names_of
from probes.cli.spelling import in_ticks
from probes.errors import InputError
from probes.runs.results import load
from probes.system.files import make_folder, remove_leftovers, write_atomically
from trust.claims import Claim, claims_of

__all__ = ["Comparison", "compare"]


@dataclass(frozen=True)
class Comparison:
    """Runs side by side.

    Attributes:
        runs: as they were given, each under a name of its own.
        rows: of :func:`analysis.comparison_rows`.
        verdicts: of :func:`analysis.differing_verdicts`.
        page: the file compare.html; None where it was not asked for.
        figures: files.
        document: what ``probe compare --json`` prints.
    """

    runs: Sequence[Overview]
    rows: Sequence[dict[str, Any]]
    verdicts: Mapping[str, Sequence[Verdict]]
    page: Path | None
    figures: Sequence[Path]
    document: Mapping[str, Any]


def compare(
    results: Iterable[str | os.PathLike[str]],
    *,
    out: str | os.PathLike[str] | None = None,
    claims: Iterable[Claim | str] | None = None,
    formats: Sequence[str] = ("png", "pdf"),
) -> Comparison:
    """The numbers of each run's first and last checkpoint, and where verdicts differ at the last.

    Args:
        results: the folders of two or more runs.
        out: the folder for a page with figures; None for none.
        claims: to be judged; None for all that are installed.
        formats: of the figures.

    Raises:
        InputError: anything given that cannot be used.
    """
    chosen, folders = list(claims_of(claims)), [Path(path) for path in results]
    runs = _loaded(folders)
    rows, verdicts = comparison_rows(runs), differing_verdicts(runs, chosen)
    page, figures = None, list[Path]()
    if out is not None:
        out = Path(out)
        figures = _drawn(runs, out, tuple(dict.fromkeys(("png", *formats))))  # the page shows the PNGs
        differing = [claim for claim in chosen if claim.id in verdicts]
        command = shlex.join(["probe", "compare", *map(str, folders), "--out", str(out)])
        tables = comparison_table(rows), verdicts_table(runs, verdicts)
        page = _page(runs, figures, tables, differing, command, out)
    document = comparison_document(rows, runs, verdicts)
    document |= {"figures": [str(path) for path in figures], "page": page and str(page)}
    return Comparison(runs, rows, verdicts, page, figures, document)


def _loaded(results: Sequence[Path]) -> list[Overview]:
    """Every run under a name of its own: its folder's, or the whole path where two folders have one name.

    Raises:
        InputError: fewer than two, one twice, or one that cannot be read.
    """
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
    from figures.report.blocks import Block, Chapter, Code, Curves, Items, Points, Table, Words
    from figures.report.chapters import pictures_of
    from figures.report.figures import COMPARED
    from figures.report.pages import write_page

    unfinished = [f"{run.title}: {line}" for run in runs for line in unfinished_lines(run.measurements)]
    numbers, verdicts = tables
    differing: list[Block] = [Words("No claim fares differently at the last checkpoints.")]
    if claims:
        stated = [["claim", "what it states"], *([claim.id, claim.statement] for claim in claims)]
        stating = Chapter("What these claims state", [Table(stated, "what these claims state")], folded=True)
        differing = [Table(verdicts, "claims that fare differently"), stating]
    titles = [run.title for run in runs]
    pictures = [
        replace(picture, caption=COMPARED.get(picture.file.stem, ""))
        for *_, picture in pictures_of(figures, titles)
    ]
    blocks: list[Block] = [
        *([Items(unfinished, beware=True)] if unfinished else []),
        Chapter("Numbers", [Table(numbers, "runs at their first and last checkpoint")]),
        Chapter("Claims that fare differently", differing),
        Chapter("Along the slice", [Curves(runs), *pictures]),
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
