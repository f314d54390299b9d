"""The page of a report: what a reader sees first, and what of each network, from its findings to its figures."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from figures.report.blocks import Block, Chapter, Claims, Curves, Items, Picture, Points, Table, Words
from figures.report.figures import caption, kind_of
from figures.report.findings import Findings

__all__ = ["PICTURES", "VERDICTS", "network_chapters", "pictures_of"]

VERDICTS = "Verdicts"
"""The heading of the section on claims, which a page shows one by one."""

PICTURES = {
    "Step limits": ("limits",),
    "Effective constants": ("constants",),
    "The effective constant, taken apart": ("split", "residuals-held"),
    "Where the bounds lose their tightness": ("ladder", "slack", "jacobian"),
    "Certified labels": ("labels",),
    "Curvature": ("curvature",),
    "Alignment of layers": ("alignment",),
}
"""By a section's heading the kinds of figures that belong below it."""


def network_chapters(findings: Sequence[Findings], files: Sequence[Path]) -> list[Block]:
    """Alarms, figures of all networks together, and a chapter for each network.

    Args:
        findings: of each network.
        files: of :func:`figures.report.figures.write_report_figures`.
    """
    pictures = pictures_of(files, [one.title for one in findings])
    alone = len(findings) == 1
    shared = [] if alone else [picture for kind, title, picture in pictures if not title]
    blocks: list[Block] = [
        Words(f"({one.title}) {line}.", "alarm") for one in findings for line in one.alarms
    ]
    blocks += [Chapter("All together", [Curves(findings), *shared])] if shared else []
    explained: set[str] = set()
    for one in findings:
        own = [
            (kind, picture)
            for kind, title, picture in pictures
            if title == one.title or (alone and not title)
        ]
        blocks.append(Chapter(one.title, _network(one, own, explained)))
    return blocks


def _network(one: Findings, pictures: Sequence[tuple[str, Picture]], explained: set[str]) -> list[Block]:
    """A network's blocks; a picture stands below the section that it belongs to, or else after the curves."""
    placed = {kind for heading, *_ in one.sections for kind in PICTURES.get(heading, ())}
    blocks: list[Block] = [Words(f"{line}.", "beware") for line in one.unfinished]
    blocks.append(Points([(word, f"{said}.") for word, said in one.in_short]))
    if one.warnings:
        blocks.append(Items(one.warnings, beware=True))
    blocks.append(Chapter("What was probed", [Points(one.probed), *map(Words, one.introduction)]))
    curves: list[Block] = [Curves([one]), *(picture for kind, picture in pictures if kind not in placed)]
    for heading, explanation, rows in one.sections:
        told = [Words(explanation)] if explanation and explanation not in explained else []
        explained.add(explanation)
        shown: Block = Claims(one.judged, rows) if heading == VERDICTS else Table(rows, heading)
        below = [picture for kind, picture in pictures if kind in PICTURES.get(heading, ())]
        blocks.append(Chapter(heading, [*told, shown, *below]))
    first = sum(heading == VERDICTS for heading, *_ in one.sections)
    blocks.insert(len(blocks) - len(one.sections) + first, Chapter("Along the slice", curves))
    return blocks


def pictures_of(files: Sequence[Path], titles: Sequence[str]) -> list[tuple[str, str, Picture]]:
    """Each figure once: its kind, its network (empty where it is of all) and the picture, in the files' order.

    Args:
        files: figures in one or more formats, and their numbers.
        titles: the networks'.
    """
    found = []
    for stem in dict.fromkeys(path.with_suffix("") for path in files):
        images = [path for path in files if path.with_suffix("") == stem and path.suffix == ".png"]
        numbers = [path for path in files if path.with_suffix("") == stem and path.suffix == ".csv"]
        if images:
            kind, title = kind_of(stem.name, titles)
            picture = Picture(images[0], caption(stem.name, titles), numbers[0] if numbers else None)
            found.append((kind, title, picture))
    return found
