"""The loss's second derivative along a slice, or NaN where PyTorch cannot tell it."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from probes.errors import lacks_derivative
from probes.evaluation.curvature.derivatives import ends_early
from probes.evaluation.directions import Direction
from probes.evaluation.evaluator import Evaluator
from probes.evaluation.reductions import compare

__all__ = ["directional_curvature"]


def directional_curvature(evaluator: Evaluator, direction: Direction) -> float:
    """dᵀ H d of the mean loss at the frozen weights (blind to ReLU's kinks).

    Returns:
        The number; NaN where a layer cannot be differentiated twice.
    """
    try:
        if ends_early(evaluator, evaluator.frozen, direction):
            return math.nan
        total, _ = evaluator.in_chunks(lambda chunk: _own_curvature(evaluator, direction, chunk))
    except RuntimeError as error:
        if not lacks_derivative(error):
            raise
        if evaluator.share.size == 1:
            return math.nan
        # a process without examples has met no layer that cannot be differentiated, and waits for the sum
        total = torch.full((), torch.nan, dtype=torch.float64, device=evaluator.device)
    evaluator.share.sum_([total])
    return float(total)


def _own_curvature(evaluator: Evaluator, direction: Direction, chunk: int) -> Tensor:
    """This process's examples' part of it; products are not kept, so that memory holds two sets of gradients."""
    leaves = {name: evaluator.frozen[name].detach().requires_grad_(True) for name in direction}
    used = {name: leaves.get(name, tensor) for name, tensor in evaluator.frozen.items()}
    total = torch.zeros((), dtype=torch.float64, device=evaluator.device)
    inputs, parts = list(leaves.values()), list(direction.parts.values())
    for _, batch in evaluator.own_chunks(chunk):
        mean = evaluator.example_losses(used, batch).sum() / len(evaluator)
        first = torch.autograd.grad(mean, inputs, create_graph=True, materialize_grads=True)
        slope = torch.stack(
            [part.factor * (g * part.base()).sum() for part, g in zip(parts, first, strict=True)]
        ).sum()
        del first
        if not slope.requires_grad:
            continue  # the loss is linear in the parameters: no curvature
        second = torch.autograd.grad(slope, inputs, materialize_grads=True)
        for part, product in zip(parts, second, strict=True):
            total += part.factor * compare(product, part.base()).product
    return total
