"""Some examples of equal shapes, in memory or in their file.

A batch is what a loader gives: inputs x, (inputs…, target), or a dict in which the target has one of the names
in :data:`TARGET_KEYS`. The first axis of every tensor counts the examples.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from probes.data.inputs import Inputs, leaves, transformed
from probes.data.rows import Rows

__all__ = ["TARGET_KEYS", "Batch", "MappedBatch"]


TARGET_KEYS = ("labels", "label", "targets", "y")
"""The target's name in a dict: the first of these that it has."""


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
        yield from leaves(self.inputs, "x")
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
        return Batch(transformed(self.inputs, function), targets, self.key)

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
        found = [tensor for _, tensor in leaves(self.inputs)]
        return found[0] if len(found) == 1 and found[0].is_floating_point() else None

    def inputs_with(self, x: Tensor) -> Inputs:
        """The inputs with ``x`` in the place of :attr:`real_input`."""
        return transformed(self.inputs, lambda _: x)

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
class MappedBatch:
    """Plain examples x and y that stay in their file; whoever computes with some of them reads these.

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

    def __getitem__(self, part: slice) -> MappedBatch:
        """Some of the examples, not read yet."""
        return MappedBatch(self.x[part], self.y[part])

    def read(self) -> Batch:
        """All of them.

        Raises:
            InputError: the file has changed.
        """
        return Batch(self.x.read(), self.y.read())

    def to(self, device: torch.device | str, dtype: torch.dtype) -> Batch:
        """Read, on a device; see :meth:`Batch.to`."""
        return self.read().to(device, dtype)
