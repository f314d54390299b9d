"""What a page is made of, whatever it is written in: chapters of words, tables, pictures, claims and curves."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal, TypeAlias

from figures.network import Network
from figures.report.findings import Judged

__all__ = ["Block", "Chapter", "Claims", "Code", "Curves", "Items", "Picture", "Points", "Table", "Words"]

Rows: TypeAlias = Sequence[Sequence[str]]


@dataclass(frozen=True)
class Words:
    """A paragraph; an alarm stands out above all else."""

    text: str
    tone: Literal["", "alarm", "beware"] = ""


@dataclass(frozen=True)
class Items:
    """A list of sentences; of what to beware it says so."""

    lines: Sequence[str]
    beware: bool = False


@dataclass(frozen=True)
class Points:
    """Words, each with what is said of it."""

    said: Sequence[tuple[str, str]]


@dataclass(frozen=True)
class Table:
    """A table, the first row its heading, the first cell of each row what the row is of."""

    rows: Rows
    title: str


@dataclass(frozen=True)
class Picture:
    """A figure in a file, its caption, and the CSV with the numbers that it drew, where there is one."""

    file: Path
    caption: str
    numbers: Path | None = None

    @property
    def alt(self) -> str:
        """What stands for it where it is not seen: its caption and its numbers stand beside it."""
        beside = "as its caption says" if self.caption else "of the numbers below it"
        return f"Figure {self.file.stem}, {beside}"


@dataclass(frozen=True)
class Claims:
    """Claims with what became of them; ``rows`` is the same as a table."""

    judged: Sequence[Judged]
    rows: Rows


@dataclass(frozen=True)
class Curves:
    """Loss and breakdown along the slice, to choose from: of one network, or of several side by side."""

    networks: Sequence[Network]


@dataclass(frozen=True)
class Code:
    """Commands, a line each."""

    lines: Sequence[str]


@dataclass(frozen=True)
class Chapter:
    """A heading and what stands below it.

    Attributes:
        title: of it.
        blocks: in order.
        folded: whether a reader opens it first, where that is possible.
    """

    title: str
    blocks: Sequence[Block] = field(default_factory=list)
    folded: bool = False


Block: TypeAlias = Words | Items | Points | Table | Picture | Claims | Curves | Code | Chapter
