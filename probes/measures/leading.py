"""The leading singular values and vectors of several linear maps at once, by products with vectors, in float64.

Rayleigh and Ritz on a block Krylov space of AᵀA, orthogonalised in full: a block sees singular values that are equal.
Where the smaller side is short the space is all of it, and nothing is left out.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

__all__ = ["Leading", "LinearMaps", "leading"]

DENSE = 48
"""Up to this smaller side the whole space is taken at once."""
_BLOCK = 3
_MOST = 600  # vectors; what has not converged by then is said not to be known
_ENOUGH, _CONVERGED = 1e-9, 1e-4
"""The residual ‖AᵀAv − σ²v‖/σ² at which the search ends, and above which a value is not believed."""
_NOTHING = 1e-10  # of a new vector beside those that are there, relative: it is none
_START = 20240603


@dataclass(frozen=True)
class LinearMaps:
    """One linear map A an example, known by products.

    Attributes:
        examples: how many maps.
        inputs: numbers that each takes.
        outputs: numbers that each gives.
        push: A v for every example, (examples, inputs) to (examples, outputs).
        pull: Aᵀ u, (examples, outputs) to (examples, inputs).
        like: a tensor of the dtype and on the device of all.
    """

    examples: int
    inputs: int
    outputs: int
    push: Callable[[Tensor], Tensor]
    pull: Callable[[Tensor], Tensor]
    like: Tensor


@dataclass(frozen=True)
class Leading:
    """Of each map.

    Attributes:
        values: σ_1, σ_2 (examples, 2), σ_2 = 0 where there is but one; NaN where σ_1 has not converged.
        left: u_1 (examples, outputs).
        right: v_1 (examples, inputs).
    """

    values: Tensor
    left: Tensor
    right: Tensor


def leading(maps: LinearMaps) -> Leading:
    """Their two largest singular values, and the vectors of the largest, A v = σ u.

    σ_1 is never above the truth but for rounding, and of the order of the residual's square below it. Vectors are
    as good as the residual over the gap σ_1 − σ_2 allows: without a gap they are any of many.
    """
    turned = maps.inputs > maps.outputs
    ahead, back = (maps.pull, maps.push) if turned else (maps.push, maps.pull)
    side = min(maps.inputs, maps.outputs)
    new, look = _start(maps, side), 0
    basis, returned = new[..., :0], new[..., :0]
    images = new.new_zeros(maps.examples, maps.inputs if turned else maps.outputs, 0)
    while True:
        new = _orthonormal(new, basis)
        new_images = _each(ahead, new)
        new_returned = _each(back, new_images)
        basis = torch.cat([basis, new], 2)
        images = torch.cat([images, new_images], 2)
        returned = torch.cat([returned, new_returned], 2)
        count = basis.shape[2]
        whole = count >= min(side, _MOST)
        if whole or count >= look:
            gram = images.mT @ images
            finite = gram.isfinite().all(2, keepdim=True).all(1, keepdim=True)
            squares, vectors = torch.linalg.eigh(torch.where(finite, gram, 0.0))
            top = vectors[..., -1:]
            square = squares[:, -1:, None]
            error = torch.linalg.vector_norm(returned @ top - square * (basis @ top), dim=1)
            residual = torch.where(square[:, 0] > 0, error / square[:, 0], 0.0)[:, 0]
            if whole or bool((residual <= _ENOUGH).all()):
                break
            look = math.ceil(1.2 * count)
        new = new_returned[..., : side - count]
    values = squares[:, -2:].clamp(min=0.0).sqrt().flip(1)
    if values.shape[1] < 2:
        values = torch.nn.functional.pad(values, (0, 1))
    first = values[:, :1]
    values = torch.where((residual <= _CONVERGED)[:, None] & finite[:, 0], values, torch.nan)
    own, other = (basis @ top)[..., 0], (images @ top)[..., 0] / torch.where(first > 0, first, 1.0)
    return Leading(values, own, other) if turned else Leading(values, other, own)


def _start(maps: LinearMaps, side: int) -> Tensor:
    """The whole space, or a few vectors in it, the same for every example (examples, side, vectors)."""
    if side <= DENSE:
        vectors = torch.eye(side, dtype=maps.like.dtype)
    else:
        generator = torch.Generator().manual_seed(_START)
        vectors = torch.randn(side, _BLOCK, generator=generator, dtype=maps.like.dtype)
    return vectors.to(maps.like.device).expand(maps.examples, -1, -1)


def _each(product: Callable[[Tensor], Tensor], vectors: Tensor) -> Tensor:
    return torch.stack([product(vectors[..., k]) for k in range(vectors.shape[2])], 2)


def _orthonormal(new: Tensor, basis: Tensor) -> Tensor:
    """The new vectors at right angles to each other and to the basis; others in the place of those that vanish."""
    generator = torch.Generator().manual_seed(_START + basis.shape[2])
    fresh = torch.randn(new.shape[1:], generator=generator, dtype=new.dtype).to(new.device).expand_as(new)
    size = torch.linalg.vector_norm(new, dim=1, keepdim=True)
    new = torch.where(size > 0, new / size, fresh)
    for _ in range(3):
        new = new - basis @ (basis.mT @ new)
        new, triangle = torch.linalg.qr(new)
        left = triangle.diagonal(dim1=1, dim2=2).abs()[:, None]
        new = torch.where(left > _NOTHING, new, fresh)
    new = new - basis @ (basis.mT @ new)
    found: Tensor = torch.linalg.qr(new).Q
    return found
