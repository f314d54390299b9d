"""What the labels of all examples have in common, found in one pass over them."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from torch import Tensor

__all__ = ["IGNORED", "Labels", "find_labels"]

IGNORED = -100
"""A target that does not count, as in torch; where an example has one label, it is a label like any other."""


@dataclass(frozen=True)
class Labels:
    """All labels of the data.

    Attributes:
        low: the smallest that counts; 0 where none does.
        high: the largest that counts; 0 where none does.
        ignored: whether there are some that do not count.
        empty: how many examples have none that counts, so that their loss is no number.
    """

    low: int
    high: int
    ignored: bool
    empty: int


def find_labels(blocks: Iterable[Tensor]) -> Labels:
    """Read integer labels (n,) or (n, …), some examples at a time."""
    lows, highs, ignored, empty = [], [], False, 0
    for block in blocks:
        counted = block
        if block.ndim > 1:
            empty += int((block == IGNORED).flatten(1).all(1).sum())
            counted = block[block != IGNORED]
            ignored = ignored or counted.numel() < block.numel()
        if counted.numel() > 0:
            lows.append(int(counted.min()))
            highs.append(int(counted.max()))
    return Labels(min(lows, default=0), max(highs, default=0), ignored, empty)
