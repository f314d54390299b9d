"""The loss's second derivative along a slice, or NaN where PyTorch cannot tell it."""

from __future__ import annotations

import math
from collections.abc import Iterable
from typing import Any

import torch
from torch import Tensor

from probes.errors import lacks_derivative
from probes.evaluation.directions import Direction
from probes.evaluation.evaluator import Evaluator

__all__ = ["directional_curvature"]

_EXAMPLES = 2
"""How many examples the graph is made for; batch statistics need more than one."""
_ERROR = "torch::autograd::Error"
"""The node that stands where a function marked ``once_differentiable`` ends the graph of its gradient."""


def directional_curvature(evaluator: Evaluator, direction: Direction) -> float:
    """dᵀ H d of the mean loss at the frozen weights; NaN where a layer cannot be differentiated twice.

    Autograd raises where a second derivative is missing, but takes a gradient that a function marked
    ``once_differentiable`` gave for a constant, silently: its graph is searched for those.
    """
    try:
        if _ends_early(evaluator, direction):
            return math.nan
        return evaluator.directional_curvature(direction)
    except RuntimeError as error:
        if not lacks_derivative(error):
            raise
        return math.nan


def _ends_early(evaluator: Evaluator, direction: Direction) -> bool:
    leaves = {name: evaluator.frozen[name].detach().requires_grad_(True) for name in direction}
    _, examples = next(evaluator.chunks(_EXAMPLES))
    with torch.enable_grad():
        loss = evaluator.example_losses({**evaluator.frozen, **leaves}, examples).sum()
        if not loss.requires_grad:
            return False
        first = torch.autograd.grad(loss, list(leaves.values()), create_graph=True, allow_unused=True)
    return any(
        node.name() == _ERROR for node in _nodes(gradient for gradient in first if gradient is not None)
    )


def _nodes(tensors: Iterable[Tensor]) -> set[Any]:
    """Every node of the graph that the tensors come from."""
    seen: set[Any] = set()
    waiting = [tensor.grad_fn for tensor in tensors]
    while waiting:
        node = waiting.pop()
        if node is not None and node not in seen:
            seen.add(node)
            waiting += [following for following, _ in node.next_functions]
    return seen
