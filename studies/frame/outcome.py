"""A study's outcome: its question, its answer with the numbers, what was run, and what it does not say; as files."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any

from figures.report.blocks import Block, Chapter, Code, Items, Picture, Table, Words
from probes.errors import InputError
from probes.system.files import write_atomically
from probes.system.json_files import read_json
from studies.frame.commands import command_line

__all__ = ["Outcome", "outcome_chapter", "outcomes_in", "write_outcome"]

_WIDTH = 100
_ENDING = ".answer.json"


@dataclass(frozen=True)
class Outcome:
    """What a study ends with, but for its figure, which stands beside it.

    Attributes:
        name: of the study.
        question: in a line.
        study: as ``probe study`` takes it.
        given: its options by name.
        sizes: what was run, by name; the name may be empty.
        answer: in words.
        table: the first row its heading.
        caveats: what the answer does not say.
    """

    name: str
    question: str
    study: str
    given: Mapping[str, str]
    sizes: Mapping[str, str]
    answer: str
    table: Sequence[Sequence[str]]
    caveats: Sequence[str]


def outcome_chapter(outcome: Outcome, folder: Path) -> Chapter:
    """All that there is to say of it.

    Args:
        outcome: of the study.
        folder: where its figure and the figure's numbers are.
    """
    seeds = outcome.given["seeds"]
    size = f"the {outcome.given['preset']} preset, {seeds} seed{'' if seeds == '1' else 's'}"
    sizes = "; ".join(f"{name}: {value}" if name else value for name, value in outcome.sizes.items())
    common = (
        f"These are the numbers of {size} on one machine: other processors give others, for training and slices of deep"
        " networks are chaotic. Intervals are from the smallest to the largest of the seeds, and of the layers or"
        " checkpoints where a number is of several."
    )
    answer: list[Block] = [
        *map(Words, outcome.answer.splitlines()),
        Table(outcome.table, f"the answer of {outcome.name}"),
    ]
    picture = Picture(folder / f"{outcome.name}.png", "", folder / f"{outcome.name}.csv")
    return Chapter(
        outcome.name,
        [
            Words(outcome.question),
            picture,
            Chapter(f"Answer ({size})", answer),
            Chapter("What was run", [Words(f"{sizes}.")]),
            Chapter("What it does not say", [Items([*outcome.caveats, common])]),
            Chapter("Run it again", [Code([command_line(["probe", "study", outcome.study], outcome.given)])]),
        ],
    )


def write_outcome(outcome: Outcome, folder: Path) -> Path:
    """The outcome as a page in HTML and in Markdown, and for ``probe report``.

    Returns:
        The page in HTML.

    Raises:
        InputError: it cannot be written.
    """
    from figures.report.pages import write_page

    write_atomically(
        folder / f"{outcome.name}{_ENDING}", (json.dumps(asdict(outcome), indent=1) + "\n").encode()
    )
    return write_page(
        outcome_chapter(outcome, folder), folder / outcome.name, width=_WIDTH, write=write_atomically
    )


def outcomes_in(folder: Path) -> list[Outcome]:
    """The outcomes of the studies in a folder; none where it is of none.

    Raises:
        InputError: one is damaged, or its figure is missing.
    """
    found = []
    for path in sorted(folder.glob(f"*{_ENDING}")):
        outcome = _read(path)
        for ending in (".png", ".csv"):
            beside = folder / f"{outcome.name}{ending}"
            if not beside.is_file():
                raise InputError(f"{beside}: is missing; run the study again, which measures nothing anew")
        _check_picture(folder / f"{outcome.name}.png")
        found.append(outcome)
    return found


def _check_picture(path: Path) -> None:
    """See that a picture is whole.

    Raises:
        InputError: it is not.
    """
    from PIL import Image

    try:
        with Image.open(path) as picture:
            picture.load()
    except (OSError, SyntaxError, ValueError, Image.DecompressionBombError) as error:
        raise InputError(
            f"{path}: is damaged ({error}); run the study again, which measures nothing anew"
        ) from error


def _read(path: Path) -> Outcome:
    damaged = InputError(
        f"{path}: no study writes such an answer; run the study again, which measures nothing anew"
    )
    try:
        content = read_json(path)
    except (OSError, ValueError):
        raise damaged from None
    if not isinstance(content, dict) or set(content) != {field.name for field in fields(Outcome)}:
        raise damaged
    words = ("name", "question", "study", "answer")
    if (
        not all(isinstance(content[word], str) for word in words)
        or f"{content['name']}{_ENDING}" != path.name
    ):
        raise damaged
    if not all(_are_texts(content[word], dict) for word in ("given", "sizes")) or not (
        {"preset", "seeds"} <= set(content["given"])
    ):
        raise damaged
    if not _are_texts(content["caveats"], list) or not isinstance(content["table"], list):
        raise damaged
    if len({len(row) for row in content["table"] if isinstance(row, list)}) != 1 or not all(
        _are_texts(row, list) for row in content["table"]
    ):
        raise damaged
    return Outcome(**content)


def _are_texts(value: Any, kind: type) -> bool:
    """Whether it is a list of texts, or texts by name."""
    parts = value.values() if isinstance(value, dict) else value
    return isinstance(value, kind) and all(isinstance(part, str) for part in parts)
