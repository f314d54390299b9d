"""What a network is called with, tensors in tuples and dicts, and the tensor of outputs in what it returns."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import Any, TypeAlias

import torch
from torch import Tensor

from probes.errors import InputError

__all__ = ["Inputs", "arguments_of", "joined", "leaves", "outputs_of", "transformed"]


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


def transformed(tree: Inputs, function: Callable[[Tensor], Tensor]) -> Inputs:
    """A tree of the same form with every tensor changed."""
    if isinstance(tree, Tensor):
        return function(tree)
    if isinstance(tree, dict):
        return {name: transformed(part, function) for name, part in tree.items()}
    return tuple(transformed(part, function) for part in tree)


def leaves(tree: Inputs, path: str = "") -> Iterator[tuple[str, Tensor]]:
    """Every tensor with its place, such as ``/0/pixels``."""
    if isinstance(tree, Tensor):
        yield path, tree
        return
    for name, part in tree.items() if isinstance(tree, dict) else enumerate(tree):
        yield from leaves(part, f"{path}/{name}")


def joined(trees: list[Inputs]) -> Inputs:
    """Trees of one structure, their tensors one behind the other."""
    first = trees[0]
    if isinstance(first, Tensor):
        return torch.cat([tree for tree in trees if isinstance(tree, Tensor)])
    if isinstance(first, dict):
        return {name: joined([tree[name] for tree in trees if isinstance(tree, dict)]) for name in first}
    return tuple(
        joined([tree[place] for tree in trees if isinstance(tree, tuple)]) for place in range(len(first))
    )
