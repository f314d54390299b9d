"""Norms and inner products of parameter tensors, summed in float64 block by block: no copy of a tensor is made.

What is returned are numbers on the tensors' device, so that a GPU need not be waited for.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import torch
from torch import Tensor

__all__ = [
    "Comparison",
    "Scaled",
    "compare",
    "compare_each",
    "differences",
    "norm",
    "relative_difference",
    "sum_into",
    "sum_norm",
]

Scaled = tuple[Tensor, float]
"""A tensor and what it is multiplied by."""

_BLOCK = 1 << 17
"""Elements that are in float64 at once, 1 MB for each of two scratch blocks, which a cache holds."""


@dataclass(frozen=True)
class Comparison:
    """Two tensors a and b of one shape, as numbers () in float64 on their device; or a stack of a, as numbers (k,).

    Attributes:
        norm: ‖a‖_F.
        difference: ‖a − b‖_F.
        product: ⟨a, b⟩.
    """

    norm: Tensor
    difference: Tensor
    product: Tensor


def norm(tensor: Tensor) -> Tensor:
    """Frobenius norm as a number in float64."""
    size: Tensor = torch.linalg.vector_norm(tensor, dtype=torch.float64)
    return size


def compare(a: Tensor, b: Tensor) -> Comparison:
    """Norm, difference and inner product in one pass; products and differences are exact for float32 tensors.

    Where squares underflow (of float64 tensors with norms below 1e-154) the norms are 0, and so is the product.
    """
    if a.numel() <= _BLOCK:  # as most tensors are: nothing to be summed, which would take as long
        pair = compare_each(a[None], b)
        return Comparison(pair.norm[0], pair.difference[0], pair.product[0])
    first, second = a.detach().reshape(-1), b.detach().reshape(-1)
    scratch = torch.empty(2, _BLOCK, dtype=torch.float64, device=a.device)
    sums = []
    for start in range(0, len(first), _BLOCK):
        part = first[start : start + _BLOCK]
        left = scratch[0, : len(part)].copy_(part)
        right = scratch[1, : len(part)].copy_(second[start : start + _BLOCK])
        apart = left - right
        sums.append(torch.stack([left.dot(left), apart.dot(apart), left.dot(right)]))
    square, difference, product = torch.stack(sums).sum(0).unbind()
    return Comparison(square.sqrt(), difference.sqrt(), product)


def compare_each(stack: Tensor, b: Tensor) -> Comparison:
    """:func:`compare` of every tensor of a stack (k, …) with b (…)."""
    if b.numel() > _BLOCK:
        pairs = [compare(a, b) for a in stack]
        return Comparison(*map(torch.stack, zip(*(vars(pair).values() for pair in pairs), strict=True)))
    second = b.detach().reshape(-1).double()
    sizes, apart, products = [], [], []
    for rows in _in_rows(stack, b.numel()):
        sizes.append(torch.linalg.vector_norm(rows, dim=1))
        apart.append(torch.linalg.vector_norm(rows - second, dim=1))
        products.append(rows @ second)
    return Comparison(torch.cat(sizes), torch.cat(apart), torch.cat(products))


def differences(stack: Tensor, b: Tensor) -> Tensor:
    """‖a − b‖_F (k,) of every tensor a of a stack (k, …)."""
    if b.numel() > _BLOCK:
        return torch.stack([compare(a, b).difference for a in stack])
    second = b.detach().reshape(-1).double()
    parts = _in_rows(stack, b.numel())
    return torch.cat([torch.linalg.vector_norm(rows - second, dim=1) for rows in parts])


def _in_rows(stack: Tensor, length: int) -> Iterator[Tensor]:
    """A stack's tensors as rows in float64, as many at once as a block holds."""
    rows, step = stack.detach().reshape(len(stack), length), max(_BLOCK // max(length, 1), 1)
    for start in range(0, len(rows), step):
        yield rows[start : start + step].double()


def relative_difference(a: Tensor, b: Tensor) -> float:
    """‖a − b‖_F / ‖b‖_F, and 0 where b is zero; b may be of a better precision than a."""
    pair = compare(b, a)
    return float(pair.difference / pair.norm) if bool(pair.norm > 0) else 0.0


def sum_norm(*parts: Scaled) -> float:
    """The Frobenius norm of Σ factor · tensor, of tensors of one shape."""
    return float(sum(float(block.dot(block)) for _, block in _sums(parts)) ** 0.5)


def sum_into(out: Tensor, *parts: Scaled, factor: float = 1.0) -> Tensor:
    """Factor · Σ factor · tensor, summed in float64 and rounded into ``out``, which may be one of the tensors."""
    flat = out.view(-1)
    for start, block in _sums(parts):
        flat[start : start + len(block)] = block if factor == 1 else block.mul_(factor)
    return out


def _sums(parts: tuple[Scaled, ...]) -> Iterator[tuple[int, Tensor]]:
    """Σ factor · tensor block by block in float64, with the place of each block."""
    flat = [(tensor.detach().reshape(-1), factor) for tensor, factor in parts]
    for start in range(0, len(flat[0][0]), _BLOCK):
        total: Tensor | None = None
        for tensor, factor in flat:
            block = tensor[start : start + _BLOCK].to(torch.float64, copy=True)
            block = block if factor == 1 else block.mul_(factor)
            total = block if total is None else total.add_(block)
        assert total is not None, "a sum of nothing"
        yield start, total
