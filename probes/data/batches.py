"""All examples of a data set: batches of any form, joined, cut, passed on in chunks, hashed."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator, Sequence
from math import prod

import numpy as np
import torch
from torch import Tensor

from probes.data.batch import Batch, MappedBatch
from probes.data.inputs import joined
from probes.data.rows import BLOCK_BYTES, row_blocks
from probes.data.targets import Labels, find_labels
from probes.errors import InputError

__all__ = ["Batches"]


class Batches:
    """All examples, in order, in as few batches as their shapes allow.

    Attributes:
        pieces: batches of equal shapes, in memory or not; most data is one piece.
        cuts: with which example each of the user's own batches began; empty where there were none.
    """

    def __init__(self, pieces: Sequence[Batch | MappedBatch], *, cut: bool = False) -> None:
        """Join neighbours of equal shapes.

        Args:
            pieces: at least one; empty ones are left out.
            cut: whether these are the user's own batches, to be remembered.

        Raises:
            InputError: no examples, or batches of different structures.
        """
        pieces = [piece for piece in pieces if len(piece) > 0]
        if not pieces:
            raise InputError("there are no examples in it")
        for place, piece in enumerate(pieces):
            if piece.structure() != pieces[0].structure():
                raise InputError(
                    f"batch {place} holds {_names(piece)}, the first holds {_names(pieces[0])};"
                    " all batches must have the same form"
                )
        ends = np.cumsum([len(piece) for piece in pieces]).tolist()
        self.cuts: tuple[int, ...] = (0, *ends[:-1]) if cut else ()
        groups: list[MappedBatch | list[Batch]] = []
        for piece in pieces:
            last = groups[-1] if groups else None
            if isinstance(piece, MappedBatch):
                groups.append(piece)
            elif isinstance(last, list) and last[0].signature() == piece.signature():
                last.append(piece)
            else:
                groups.append([piece])
        self.pieces = [group if isinstance(group, MappedBatch) else _concatenated(group) for group in groups]
        self._labels: dict[Callable[[Batch, int], Tensor] | None, Labels] = {}

    @classmethod
    def _of(cls, pieces: Sequence[Batch | MappedBatch], cuts: tuple[int, ...]) -> Batches:
        made = cls(pieces)
        made.cuts = cuts
        return made

    def __len__(self) -> int:
        """The number of examples."""
        return sum(map(len, self.pieces))

    @property
    def is_plain(self) -> bool:
        """Whether ``x`` and ``y`` are all there is to it."""
        if len(self.pieces) > 1:
            return False
        only = self.pieces[0]
        if isinstance(only, MappedBatch):
            return True
        return only.targets is not None and isinstance(only.inputs, Tensor)

    @property
    def plain(self) -> tuple[Tensor, Tensor] | None:
        """``x`` and ``y``, where that is all there is to it; read as a whole, if they are in a file."""
        if not self.is_plain:
            return None
        batch = _in_memory(self.pieces[0])
        assert isinstance(batch.inputs, Tensor)
        assert batch.targets is not None
        return batch.inputs, batch.targets

    @property
    def first(self) -> Batch:
        """The first example, which shows the kind of all in the first piece."""
        return _in_memory(self.pieces[0][:1])

    @property
    def targets(self) -> Tensor | None:
        """Some of the first piece's targets, which show their kind."""
        first = self.pieces[0]
        return self.first.targets if isinstance(first, MappedBatch) else first.targets

    def map(self, function: Callable[[Batch], Batch]) -> Batches:
        """The same cuts with every piece changed, its length kept; what is in a file is read."""
        return self._of([function(_in_memory(piece)) for piece in self.pieces], self.cuts)

    def __getitem__(self, part: slice) -> Batches:
        """The examples ``[start:stop]``.

        Raises:
            InputError: there is none of them.
        """
        start, stop, step = part.indices(len(self))
        if step != 1:
            raise ValueError("batches are cut into neighbours only")
        kept: list[Batch | MappedBatch] = []
        first = 0
        for piece in self.pieces:
            low, high = max(start - first, 0), min(stop - first, len(piece))
            if low < high:
                kept.append(piece if high - low == len(piece) else piece[low:high])
            first += len(piece)
        inner = [cut - start for cut in self.cuts if start < cut < stop]
        return self._of(kept, (0, *inner) if self.cuts else ())

    def picked(self, places: Sequence[int]) -> Batches:
        """The examples at these places, in this order within each piece."""
        kept: list[Batch] = []
        first = 0
        for piece in self.pieces:
            own = [place - first for place in places if first <= place < first + len(piece)]
            if isinstance(piece, MappedBatch):
                kept += [piece[place : place + 1].read() for place in own]
            elif own:
                rows = torch.tensor(own)
                kept.append(piece.map(lambda tensor, rows=rows: tensor[rows]))  # type: ignore[misc]
            first += len(piece)
        return Batches(kept)

    def flip(self) -> Batches:
        """All examples in the opposite order."""
        ends = [*self.cuts[1:], len(self)] if self.cuts else []
        cuts = tuple(len(self) - end for end in reversed(ends))
        return self._of([_in_memory(piece).flip() for piece in reversed(self.pieces)], cuts)

    def chunks(self, size: int, *, as_given: bool = False) -> Iterator[tuple[int, Batch]]:
        """Pieces of at most ``size`` examples, or the user's own batches, after how many examples each.

        Args:
            size: the most examples at once.
            as_given: keep to the user's batches, whatever their size, where there were any: their own mean over
                a batch need not be one over its examples.
        """
        first = 0
        for piece in self.pieces:
            starts = list(range(0, len(piece), size))
            if as_given and self.cuts:
                starts = [cut - first for cut in self.cuts if first <= cut < first + len(piece)]
            for start, stop in zip(starts, [*starts[1:], len(piece)], strict=True):
                yield first + start, _in_memory(piece[start:stop])
            first += len(piece)

    def blocks(self) -> Iterator[tuple[int, Batch]]:
        """All examples, some at a time and each with its piece's place, for checks that read them all."""
        for place, piece in enumerate(self.pieces):
            width = sum(prod(part.shape[1:]) * part.dtype.itemsize for _, part in piece.leaves())
            step = max(1, BLOCK_BYTES // max(1, width))
            for start in range(0, len(piece), step):
                yield place, _in_memory(piece[start : start + step])

    def target_blocks(self) -> Iterator[Tensor]:
        """The targets, where there are any, some at a time and without the inputs."""
        for piece in self.pieces:
            targets = piece.y if isinstance(piece, MappedBatch) else piece.targets
            if targets is not None:
                yield from row_blocks(targets)

    def labels(self, of: Callable[[Batch, int], Tensor] | None = None) -> Labels:
        """What all labels have in common; they are read when it is first asked for, and never again.

        Args:
            of: the labels in a batch of the piece at a place; None: its targets, which are integers.
        """
        if of not in self._labels:
            blocks = (
                self.target_blocks() if of is None else (of(batch, place) for place, batch in self.blocks())
            )
            self._labels[of] = find_labels(blocks)
        return self._labels[of]

    def digest(self) -> str:
        """SHA-256 of form, shapes and values, in short; of plain x and y, of their shapes and values alone."""
        state = hashlib.sha256()
        for piece in self.pieces:
            if not self.is_plain:
                state.update(repr(piece.structure()).encode())
            for _, part in piece.leaves():
                kind = torch.empty(0, dtype=part.dtype).numpy().dtype.str
                state.update(f"{kind}{tuple(part.shape)}".encode())
                for block in row_blocks(part):
                    state.update(np.ascontiguousarray(block.numpy()).data)
        if self.cuts:
            state.update(repr(self.cuts).encode())
        return state.hexdigest()[:16]


def _in_memory(piece: Batch | MappedBatch) -> Batch:
    return piece.read() if isinstance(piece, MappedBatch) else piece


def _concatenated(group: list[Batch]) -> Batch:
    if len(group) == 1:
        return group[0]
    targets = [piece.targets for piece in group if piece.targets is not None]
    inputs = joined([piece.inputs for piece in group])
    return Batch(inputs, torch.cat(targets) if targets else None, group[0].key)


def _names(piece: Batch | MappedBatch) -> str:
    return ", ".join(place.removeprefix("x/") for place, _ in piece.leaves())
