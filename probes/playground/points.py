"""Points of the plane from a browser's CSV."""

from __future__ import annotations

import csv
import io
import math

import torch
from torch import Tensor

from probes.errors import InputError

__all__ = ["MOST_ROWS", "read_csv"]

MOST_ROWS = 2000


def read_csv(text: str) -> tuple[Tensor, Tensor]:
    """Two columns of numbers and a label of two kinds; a first row without numbers is a heading.

    The points are moved and scaled into [−1, 1]², each column by its own range.

    Raises:
        InputError: it is no such table; the message names the row.
    """
    rows = [row for row in csv.reader(io.StringIO(text[: 1 << 20])) if any(cell.strip() for cell in row)]
    if rows and not _numbers(rows[0]):
        rows = rows[1:]
    if len(rows) > MOST_ROWS:
        raise InputError(
            f"the CSV has {len(rows):,} rows; at most {MOST_ROWS:,} can be played with: sample it"
        )
    points: list[tuple[float, float]] = []
    labels: list[str] = []
    for number, row in enumerate(rows, 1):
        if len(row) != 3:
            raise InputError(
                f"row {number} of the CSV has {len(row)} columns; it takes two numbers and a label"
            )
        found = _numbers(row)
        if found is None:
            raise InputError(f"row {number} of the CSV: {row[0]!r}, {row[1]!r} are not two finite numbers")
        points.append(found)
        labels.append(row[2].strip())
    kinds = sorted(set(labels))
    if len(kinds) != 2:
        raise InputError(f"the CSV's labels must be of two kinds, got {len(kinds)}")
    x = torch.tensor(points, dtype=torch.float64)
    low, high = x.min(0).values, x.max(0).values
    x = 2 * (x - low) / (high - low).clamp_min(1e-300) - 1
    side = torch.tensor([[1.0 if label == kinds[1] else -1.0] for label in labels])
    return x.float(), side


def _numbers(row: list[str]) -> tuple[float, float] | None:
    """The first two cells as finite numbers; None where they are not."""
    try:
        first, second = (float(cell) for cell in row[:2])
    except ValueError:
        return None
    return (first, second) if math.isfinite(first) and math.isfinite(second) else None
