"""Batches of any form: tensors, tuples and dicts of them, cut, joined, moved, hashed and passed to a network.

A batch is what a loader gives: inputs x, (inputs…, target), or a dict in which the target has one of the names
in :data:`TARGET_KEYS`. The first axis of every tensor counts the examples.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from math import prod
from typing import Any, TypeAlias

import numpy as np
import torch
from torch import Tensor

from probes.data.rows import BLOCK_BYTES, Rows, row_blocks
from probes.data.targets import Labels, find_labels
from probes.errors import InputError

__all__ = [
    "TARGET_KEYS",
    "Batch",
    "Batches",
    "Inputs",
    "StoredBatch",
    "arguments_of",
    "outputs_of",
]

TARGET_KEYS = ("labels", "label", "targets", "y")
"""The target's name in a dict: the first of these that it has."""

Inputs: TypeAlias = "Tensor | tuple[Inputs, ...] | dict[str, Inputs]"
"""Tensors (n, …), in tuples and dicts, nested as the network wants them."""


def arguments_of(inputs: Inputs) -> tuple[tuple[Inputs, ...], dict[str, Inputs]]:
    """What the network is called with: a tensor alone, a tuple as positional arguments, a dict by name."""
    if isinstance(inputs, dict):
        return (), inputs
    return (inputs if isinstance(inputs, tuple) else (inputs,)), {}


def outputs_of(result: Any) -> Tensor:
    """The outputs (n, …) in what a network returned.

    A tensor itself; ``logits`` of an object or dict that has them; of any other tuple, list or dict the first
    tensor that is no plain number.

    Raises:
        InputError: there is none.
    """
    if isinstance(result, Tensor):
        return result
    logits = result.get("logits") if isinstance(result, Mapping) else getattr(result, "logits", None)
    if isinstance(logits, Tensor):
        return logits
    parts: list[Any] = []
    if isinstance(result, Mapping):
        parts = list(result.values())
    elif isinstance(result, tuple | list):
        parts = list(result)
    for part in parts:
        if isinstance(part, Tensor) and part.ndim > 0:
            return part
    raise InputError(
        f"the network returned {type(result).__name__} without a tensor of outputs; return a tensor, a tuple"
        " or dict of tensors, or an object with logits"
    )


def _mapped(tree: Inputs, function: Callable[[Tensor], Tensor]) -> Inputs:
    if isinstance(tree, Tensor):
        return function(tree)
    if isinstance(tree, dict):
        return {name: _mapped(part, function) for name, part in tree.items()}
    return tuple(_mapped(part, function) for part in tree)


def _leaves(tree: Inputs, path: str = "") -> Iterator[tuple[str, Tensor]]:
    """Every tensor with its place, such as ``/0/pixels``."""
    if isinstance(tree, Tensor):
        yield path, tree
        return
    for name, part in tree.items() if isinstance(tree, dict) else enumerate(tree):
        yield from _leaves(part, f"{path}/{name}")


def _joined(trees: list[Inputs]) -> Inputs:
    """Trees of one structure, their tensors one behind the other."""
    first = trees[0]
    if isinstance(first, Tensor):
        return torch.cat([tree for tree in trees if isinstance(tree, Tensor)])
    if isinstance(first, dict):
        return {name: _joined([tree[name] for tree in trees if isinstance(tree, dict)]) for name in first}
    return tuple(
        _joined([tree[place] for tree in trees if isinstance(tree, tuple)]) for place in range(len(first))
    )


@dataclass(frozen=True)
class Batch:
    """Some examples whose tensors have equal shapes.

    Attributes:
        inputs: what the network is called with, see :func:`arguments_of`.
        targets: (n, …); None where the loss needs none, or finds them in the inputs.
        key: the targets' name in the dict that they came in.
    """

    inputs: Inputs
    targets: Tensor | None = None
    key: str | None = None

    def leaves(self) -> Iterator[tuple[str, Tensor]]:
        """Every tensor with its place; the targets' is ``y``."""
        yield from _leaves(self.inputs, "x")
        if self.targets is not None:
            yield "y", self.targets

    def structure(self) -> tuple[str | None, tuple[str, ...]]:
        """What batches must have in common: the tensors' places, and the targets' name."""
        return self.key, tuple(place for place, _ in self.leaves())

    def signature(self) -> tuple[Any, ...]:
        """What examples must have in common to be in one batch: that, dtypes and shapes."""
        return self.structure(), tuple((t.dtype, tuple(t.shape[1:])) for _, t in self.leaves())

    def __len__(self) -> int:
        """The number of examples."""
        return len(next(self.leaves())[1])

    def map(self, function: Callable[[Tensor], Tensor]) -> Batch:
        """The same form with every tensor changed."""
        targets = None if self.targets is None else function(self.targets)
        return Batch(_mapped(self.inputs, function), targets, self.key)

    def to(self, device: torch.device | str, dtype: torch.dtype) -> Batch:
        """On a device; floating tensors, and only those, in ``dtype``."""
        return self.map(
            lambda t: t.detach().to(device=device, dtype=dtype if t.is_floating_point() else t.dtype)
        )

    def with_double_targets(self) -> Batch:
        """The same, with targets that are real numbers in float64."""
        real = self.targets is not None and self.targets.is_floating_point()
        return (
            Batch(self.inputs, self.targets.double(), self.key) if real and self.targets is not None else self
        )

    def __getitem__(self, part: slice) -> Batch:
        """Some of the examples."""
        return self.map(lambda tensor: tensor[part])

    def flip(self) -> Batch:
        """The examples in the opposite order."""
        return self.map(lambda tensor: tensor.flip(0))

    def repeat(self, times: int) -> Batch:
        """Every example so often, one behind the other."""
        return self.map(lambda tensor: tensor.repeat_interleave(times, dim=0))

    @property
    def real_input(self) -> Tensor | None:
        """The network's only input (n, …) where that is one tensor of real numbers, so that it can be moved."""
        found = [tensor for _, tensor in _leaves(self.inputs)]
        return found[0] if len(found) == 1 and found[0].is_floating_point() else None

    def inputs_with(self, x: Tensor) -> Inputs:
        """The inputs with ``x`` in the place of :attr:`real_input`."""
        return _mapped(self.inputs, lambda _: x)

    def token_ids(self) -> Tensor | None:
        """Token ids (n, t): ``input_ids`` of a dict, or the first input, where that holds integers."""
        ids = self.inputs
        if isinstance(ids, dict):
            ids = ids.get("input_ids", ())
        elif isinstance(ids, tuple) and ids:
            ids = ids[0]
        integer = isinstance(ids, Tensor) and ids.ndim == 2 and not ids.is_floating_point()
        return ids if integer and isinstance(ids, Tensor) and ids.dtype != torch.bool else None

    def given(self) -> Any:
        """In the form that it came in: x, (x, y), (inputs…, target) or a dict with the target in it."""
        if isinstance(self.inputs, dict) and (self.key is not None or self.targets is None):
            return self.inputs if self.key is None else {**self.inputs, self.key: self.targets}
        if self.targets is None:
            return self.inputs
        if isinstance(self.inputs, tuple):
            return (*self.inputs, self.targets)
        return self.inputs, self.targets


@dataclass(frozen=True)
class StoredBatch:
    """Plain examples x and y in a file; whoever computes with some of them reads these.

    Attributes:
        x: inputs (n, …).
        y: targets (n, …).
    """

    x: Rows
    y: Rows

    def leaves(self) -> Iterator[tuple[str, Rows]]:
        """Both, with their places in a batch."""
        yield "x", self.x
        yield "y", self.y

    def structure(self) -> tuple[str | None, tuple[str, ...]]:
        """As of a batch of x and y."""
        return None, tuple(place for place, _ in self.leaves())

    def __len__(self) -> int:
        """The number of examples."""
        return len(self.x)

    def __getitem__(self, part: slice) -> StoredBatch:
        """Some of the examples, not read yet."""
        return StoredBatch(self.x[part], self.y[part])

    def read(self) -> Batch:
        """All of them.

        Raises:
            InputError: the file has changed.
        """
        return Batch(self.x.read(), self.y.read())

    def to(self, device: torch.device | str, dtype: torch.dtype) -> Batch:
        """Read, on a device; see :meth:`Batch.to`."""
        return self.read().to(device, dtype)


class Batches:
    """All examples, in order, in as few batches as their shapes allow.

    Attributes:
        pieces: batches of equal shapes, in memory or not; most data is one piece.
        cuts: with which example each of the user's own batches began; empty where there were none.
    """

    def __init__(self, pieces: Sequence[Batch | StoredBatch], *, cut: bool = False) -> None:
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
        groups: list[StoredBatch | list[Batch]] = []
        for piece in pieces:
            last = groups[-1] if groups else None
            if isinstance(piece, StoredBatch):
                groups.append(piece)
            elif isinstance(last, list) and last[0].signature() == piece.signature():
                last.append(piece)
            else:
                groups.append([piece])
        self.pieces = [group if isinstance(group, StoredBatch) else _concatenated(group) for group in groups]
        self._labels: dict[Callable[[Batch, int], Tensor] | None, Labels] = {}

    @classmethod
    def _of(cls, pieces: Sequence[Batch | StoredBatch], cuts: tuple[int, ...]) -> Batches:
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
        if isinstance(only, StoredBatch):
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
        return self.first.targets if isinstance(first, StoredBatch) else first.targets

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
        kept: list[Batch | StoredBatch] = []
        first = 0
        for piece in self.pieces:
            low, high = max(start - first, 0), min(stop - first, len(piece))
            if low < high:
                kept.append(piece if high - low == len(piece) else piece[low:high])
            first += len(piece)
        inner = [cut - start for cut in self.cuts if start < cut < stop]
        return self._of(kept, (0, *inner) if self.cuts else ())

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
            targets = piece.y if isinstance(piece, StoredBatch) else piece.targets
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


def _in_memory(piece: Batch | StoredBatch) -> Batch:
    return piece.read() if isinstance(piece, StoredBatch) else piece


def _concatenated(group: list[Batch]) -> Batch:
    if len(group) == 1:
        return group[0]
    targets = [piece.targets for piece in group if piece.targets is not None]
    inputs = _joined([piece.inputs for piece in group])
    return Batch(inputs, torch.cat(targets) if targets else None, group[0].key)


def _names(piece: Batch | StoredBatch) -> str:
    return ", ".join(place.removeprefix("x/") for place, _ in piece.leaves())
