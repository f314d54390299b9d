"""What is done to weights level by level: rounding to few bits, pruning, noise by output channel."""

from __future__ import annotations

import torch
from torch import Tensor

from probes.evaluation.directions import gaussian

__all__ = ["changed", "filter_noise", "pruned", "quantized"]


def quantized(weight: Tensor, bits: int, *, per_channel: bool = False) -> Tensor:
    """s·round(W/s) with s = max|W|/(2^(b−1) − 1): symmetric, and 0 stays 0; halves go to the even number.

    Args:
        weight: of any shape.
        bits: b, at least 2, so that there are 2^b − 1 values.
        per_channel: one s for each index of the first axis, of a weight with two axes or more.
    """
    exact = weight.double()
    axes = tuple(range(1, weight.ndim)) if per_channel and weight.ndim > 1 else tuple(range(weight.ndim))
    largest = exact.abs().amax(dim=axes, keepdim=True)
    scale = largest / (2 ** (bits - 1) - 1)
    one = torch.ones_like(scale)
    rounded: Tensor = (exact / torch.where(scale > 0, scale, one)).round() * scale
    return rounded.to(weight.dtype)


def pruned(weight: Tensor, percent: float) -> Tensor:
    """With the smallest round(percent/100 · n) of the n entries in magnitude at 0, of equal ones the first."""
    count = round(percent / 100 * weight.numel())
    smallest = weight.abs().flatten().sort(stable=True).indices[:count]
    made = weight.flatten().clone()
    made[smallest] = 0
    return made.view_as(weight)


def filter_noise(weight: Tensor, percent: float, *, key: str) -> Tensor:
    """W_f + (percent/100) ‖W_f‖ ξ_f/‖ξ_f‖ for every filter f: an index of the first axis, or a vector as a whole.

    Args:
        weight: of any shape.
        percent: of a filter's norm.
        key: of the Gaussian ξ, which is the same for the same key and shape.
    """
    exact = weight.double().reshape(len(weight) if weight.ndim > 1 else 1, -1)
    noise = gaussian(exact, key)
    sizes = torch.linalg.vector_norm(exact, dim=1, keepdim=True)
    lengths = torch.linalg.vector_norm(noise, dim=1, keepdim=True)
    noisy: Tensor = exact + percent / 100 * sizes * noise / lengths
    return noisy.reshape(weight.shape).to(weight.dtype)


def changed(weight: Tensor, level: float, *, direction: str, per_channel: bool, key: str) -> Tensor:
    """The weight at a level of a direction that has levels, a name of :data:`probes.choices.LEVELS`."""
    if direction == "quantize":
        return quantized(weight, int(level), per_channel=per_channel)
    if direction == "prune":
        return pruned(weight, level)
    return filter_noise(weight, level, key=key)
