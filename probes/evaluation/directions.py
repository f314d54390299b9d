"""Directions of a slice: W(η) = W + η d, scaled so that η is a relative perturbation.

A direction is a multiple of tensors that are there anyway (gradients), or of noise that its seed gives again, so
it is kept as that: a tensor of it exists while it is asked for.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Collection, Iterator, Mapping
from dataclasses import dataclass
from functools import partial

import torch
from torch import Tensor

from probes.errors import InputError
from probes.evaluation.reductions import norm

__all__ = [
    "Direction",
    "Multiple",
    "gaussian",
    "gradient_direction",
    "hash_of",
    "noise_direction",
    "sign_direction",
    "spectral_direction",
    "update_direction",
]

_LARGEST_FACTOR = 1e30
"""A factor beyond it could overflow float32, where ‖W‖/‖g‖ is of a gradient that has nearly vanished."""
_KEPT_NOISE = 1 << 25
"""Bytes of noise that are kept rather than drawn anew at every η."""


@dataclass(frozen=True)
class Multiple:
    """A tensor of a direction, as ``factor`` times a tensor.

    Attributes:
        base: gives that tensor.
        factor: within what the tensor's precision can hold.
    """

    base: Callable[[], Tensor]
    factor: float

    def tensor(self) -> Tensor:
        """The product."""
        base = self.base()
        return base if self.factor == 1 else base * self.factor

    def added_to(self, weight: Tensor, eta: float, out: Tensor | None = None) -> Tensor:
        """W + η d."""
        return torch.add(weight, self.base(), alpha=eta * self.factor, out=out)


class Direction(Mapping[str, Tensor]):
    """d of W + η d by the names of the tensors that move; each is made when it is asked for."""

    def __init__(self, parts: Mapping[str, Multiple]) -> None:
        """Take what its tensors are multiples of."""
        self.parts = dict(parts)

    @classmethod
    def of(cls, tensors: Mapping[str, Tensor]) -> Direction:
        """The direction with these tensors."""
        return cls({name: _kept(tensor) for name, tensor in tensors.items()})

    def times(self, factor: float) -> Direction:
        """The same direction, so many times as long."""
        return Direction(
            {name: Multiple(part.base, part.factor * factor) for name, part in self.parts.items()}
        )

    def __getitem__(self, name: str) -> Tensor:
        """d_l."""
        return self.parts[name].tensor()

    def __contains__(self, name: object) -> bool:
        """Whether a tensor moves."""
        return name in self.parts

    def __iter__(self) -> Iterator[str]:
        """The names of the tensors that move."""
        return iter(self.parts)

    def __len__(self) -> int:
        """How many tensors move."""
        return len(self.parts)


def _kept(tensor: Tensor, factor: float = 1.0) -> Multiple:
    return Multiple(lambda: tensor, factor)


def _resting(weight: Tensor) -> Multiple:
    """The part of a tensor that stays put."""
    return _kept(torch.zeros((), dtype=weight.dtype, device=weight.device).expand(weight.shape))


def _relative(weight: Tensor, towards: Tensor) -> Multiple:
    """``towards`` scaled to the norm of ``weight``; zero where either is zero."""
    length, size = float(norm(weight)), float(norm(towards))
    if not size > 0 or length == 0:
        return _resting(weight)
    if length / size < _LARGEST_FACTOR:
        return _kept(towards, length / size)
    # two steps, because ‖W‖/‖g‖ overflows where g is tiny
    unit = (towards.double() / size).to(towards.dtype)
    return _kept(unit, length)


def gradient_direction(
    frozen: Mapping[str, Tensor], gradients: Mapping[str, Tensor], still: Collection[str] = ()
) -> Direction:
    """d_l = −‖W_l‖_F g_l / ‖g_l‖_F; a tensor whose weight or gradient is zero stays put.

    Args:
        frozen: the network's tensors.
        gradients: of those that move.
        still: names of those whose gradient is zero but for rounding.
    """
    parts = {
        name: _resting(frozen[name]) if name in still else _relative(frozen[name], gradient)
        for name, gradient in gradients.items()
    }
    return Direction(parts).times(-1.0)


def sign_direction(
    frozen: Mapping[str, Tensor], gradients: Mapping[str, Tensor], still: Collection[str] = ()
) -> Direction:
    """d_l = −‖W_l‖_F sign(g_l) / ‖sign(g_l)‖_F, steepest descent under max_ij |d_ij|: signSGD's.

    A tensor whose weight or gradient is zero stays put, and so does an entry whose gradient is.

    Args:
        frozen: the network's tensors.
        gradients: of those that move.
        still: names of those whose gradient is zero but for rounding.
    """
    parts = {
        name: _resting(frozen[name]) if name in still else _relative(frozen[name], gradient.sign())
        for name, gradient in gradients.items()
    }
    return Direction(parts).times(-1.0)


def spectral_direction(
    frozen: Mapping[str, Tensor], gradients: Mapping[str, Tensor], still: Collection[str] = ()
) -> Direction:
    """d_l = −‖W_l‖_F UVᵀ / ‖UVᵀ‖_F where g_l = UΣVᵀ, steepest descent under the spectral norm: Muon's and Shampoo's.

    Tensors are read as matrices (out, everything else), a convolution as (out, in·kh·kw); a vector is a matrix of one
    column, whose direction is the gradient's own. Singular values up to max(m, n)·ε·σ_max count as zero, with ε of the
    gradient's precision: only those above have a direction. A tensor whose weight or gradient is zero stays put.

    Args:
        frozen: the network's tensors.
        gradients: of those that move.
        still: names of those whose gradient is zero but for rounding.
    """
    parts = {
        name: _resting(frozen[name]) if name in still else _relative(frozen[name], _polar_factor(gradient))
        for name, gradient in gradients.items()
    }
    return Direction(parts).times(-1.0)


def _polar_factor(gradient: Tensor) -> Tensor:
    """UVᵀ over the singular values that are not zero, of a tensor as a matrix (out, everything else)."""
    matrix = gradient.reshape(len(gradient), -1) if gradient.ndim > 0 else gradient.reshape(1, 1)
    u, sigma, vh = torch.linalg.svd(matrix, full_matrices=False)
    kept = sigma > max(matrix.shape) * torch.finfo(matrix.dtype).eps * sigma[:1]
    factor: Tensor = (u * kept) @ vh
    return factor.reshape(gradient.shape)


def noise_direction(frozen: Mapping[str, Tensor], names: list[str], *, seed: int) -> Direction:
    """d_l = ‖W_l‖_F ξ_l / ‖ξ_l‖_F with ξ_l Gaussian; the same noise for the same seed, name and shape."""
    parts: dict[str, Multiple] = {}
    kept = 0
    for name in names:
        weight = frozen[name]
        noise = gaussian(weight, f"{seed}/{name}")
        part = _relative(weight, noise)
        kept += noise.nbytes
        if kept > _KEPT_NOISE and part.base() is noise:
            part = Multiple(partial(gaussian, weight, f"{seed}/{name}"), part.factor)
        parts[name] = part
    return Direction(parts)


def gaussian(like: Tensor, key: str) -> Tensor:
    """Gaussian noise in a weight's shape and precision."""
    seed = int.from_bytes(hashlib.sha256(key.encode()).digest()[:8], "little") >> 1
    noise = torch.randn(like.shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)
    return noise.to(like)


def update_direction(
    frozen: Mapping[str, Tensor], following: Mapping[str, Tensor], names: list[str], *, weights: list[str]
) -> tuple[Direction, float]:
    """The step to the next checkpoint, its tensors' proportions kept.

    Args:
        frozen: the network's tensors.
        following: those of the next checkpoint.
        names: which of them move.
        weights: which are weight matrices.

    Returns:
        The direction, scaled so that the largest relative perturbation of a weight matrix is η, and the η at
        which the next checkpoint lies.

    Raises:
        InputError: no weight matrix moves, or the next checkpoint is of another network.
    """
    for name in names:
        if name not in following or following[name].shape != frozen[name].shape:
            raise InputError(
                f"`direction='update'`: the next checkpoint has another tensor {name}; order them by training"
            )

    def step(name: str) -> Tensor:
        return following[name].detach().to(frozen[name]) - frozen[name]

    sizes = [
        float(norm(step(name)) / norm(frozen[name]))
        for name in names
        if name in weights and bool(norm(frozen[name]) > 0)
    ]
    largest = max(sizes, default=0.0)
    if not largest > 0:
        raise InputError("`direction='update'`: no weight matrix differs between two consecutive checkpoints")
    return Direction({name: Multiple(partial(step, name), 1 / largest) for name in names}), largest


def hash_of(direction: Mapping[str, Tensor]) -> str:
    """SHA-256 of a direction's values, in short."""
    state = hashlib.sha256()
    for name in sorted(direction):
        state.update(name.encode())
        state.update(direction[name].detach().cpu().contiguous().numpy().data)
    return state.hexdigest()[:16]
