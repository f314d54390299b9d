"""Plain examples x and y that stay where they are, in a mapped file mostly, until some of them are asked for.

What is on disk (half precision, pixels as bytes, numbers that are not aligned or of the other byte order) is turned
into the numbers that are computed with a chunk at a time, so that no copy of all of them is ever made.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from math import prod
from typing import Any, TypeAlias

import numpy as np
import torch
from torch import Tensor

from probes.system.mapping import FileState

__all__ = ["BLOCK_BYTES", "Rows", "row_blocks"]

BLOCK_BYTES = 1 << 24
"""How much of the data is looked at once by checks and digests."""

Values: TypeAlias = "Tensor | np.ndarray[Any, Any]"


@dataclass(frozen=True)
class Rows:
    """An array (n, …) that is read some rows at a time.

    Attributes:
        values: as they are kept.
        dtype: what they are read as.
        scaled: what is done to rows before that, if anything.
        file: where the values are mapped from.
    """

    values: Values
    dtype: torch.dtype
    scaled: Callable[[Tensor], Tensor] | None = None
    file: FileState | None = None

    def __len__(self) -> int:
        """The number of examples."""
        return len(self.values)

    @property
    def shape(self) -> tuple[int, ...]:
        """Of all of it."""
        return tuple(self.values.shape)

    def __getitem__(self, part: slice) -> Rows:
        """Some of the rows, not read yet."""
        return replace(self, values=self.values[part])

    def read(self) -> Tensor:
        """All rows, in the map itself where they are as they are computed with.

        Raises:
            probes.errors.InputError: the file has changed since.
        """
        if self.file is not None:
            self.file.check()
        tensor = tensor_of(self.values)
        if self.scaled is not None:
            tensor = self.scaled(tensor)
        return tensor.to(self.dtype).contiguous()


def tensor_of(values: Values) -> Tensor:
    """The same numbers as a tensor, without a copy where torch can use them in place.

    Raises:
        TypeError: torch has no such numbers.
    """
    if isinstance(values, Tensor):
        return values
    native = values.dtype.newbyteorder("=")
    return torch.from_numpy(np.require(values, native, ["C_CONTIGUOUS", "ALIGNED", "WRITEABLE"]))


def row_blocks(values: Tensor | Rows) -> Iterator[Tensor]:
    """All rows, about :data:`BLOCK_BYTES` at a time."""
    step = max(1, BLOCK_BYTES // max(1, prod(values.shape[1:]) * values.dtype.itemsize))
    for start in range(0, len(values), step):
        part = values[start : start + step]
        yield part if isinstance(part, Tensor) else part.read()
