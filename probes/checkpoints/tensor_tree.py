"""What every reader of checkpoint files hands on: a tree of names, and the tensors in it on demand."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from math import prod
from typing import Any

from torch import Tensor

__all__ = ["Leaf", "TensorTree", "Unsuitable"]


@dataclass(frozen=True)
class Leaf:
    """A tensor in a file that was not read yet; each format adds where it is."""

    shape: tuple[int, ...]

    @property
    def count(self) -> int:
        """How many numbers it has."""
        return prod(self.shape)


@dataclass(frozen=True)
class Unsuitable(Leaf):
    """A tensor of a kind that no network is probed with; ``kind`` says which."""

    kind: str


@dataclass(frozen=True)
class TensorTree:
    """What is in a checkpoint, its tensors not read yet.

    Attributes:
        tree: dictionaries, lists, numbers, text and :class:`Leaf`.
        read: the tensor of a leaf, in memory of its own.
        ordered: whether the order of names is that in which the network's layers were made.
        details: what ``probe train`` wrote beside the tensors.
        mapped: the tensor of a leaf, mapped from the file where its numbers lie in it as they are; None in
            formats where they never do.
        digest: of all tensors, as ``probe train`` wrote it; None where the file has none.
    """

    tree: Any
    read: Callable[[Any], Tensor]
    ordered: bool
    details: Mapping[str, Any] = field(default_factory=dict)
    mapped: Callable[[Any], Tensor] | None = None
    digest: Any = None
