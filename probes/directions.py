"""Directions of a slice: W(η) = W + η d, scaled so that η is a relative perturbation."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping

import torch
from torch import Tensor

from probes.errors import InputError

__all__ = ["DIRECTIONS", "gradient_direction", "hash_of", "noise_direction", "update_direction"]

DIRECTIONS = {
    "gradient": "against the full-batch gradient, every tensor by its own norms (the paper's slice)",
    "noise": "layerwise Gaussian noise, every tensor scaled to its weight's norm",
    "adversarial": "at each eta of its own the worst perturbation found, every tensor by at most eta of its norm",
    "update": "the real update to the next checkpoint, scaled so that the matrix moving most moves by eta",
}


def _norm(tensor: Tensor) -> Tensor:
    """Frobenius norm in float64."""
    norm: Tensor = torch.linalg.vector_norm(tensor, dtype=torch.float64)
    return norm


def _relative(weight: Tensor, towards: Tensor) -> Tensor:
    """``towards`` scaled to the norm of ``weight``; zero where either is zero."""
    size = _norm(towards)
    if not bool(size > 0):
        return torch.zeros_like(weight)
    # two steps, because ‖W‖/‖g‖ can overflow float32 where g is tiny
    unit = (towards.double() / size).to(towards.dtype)
    return unit * _norm(weight).to(weight.dtype)


def gradient_direction(frozen: Mapping[str, Tensor], gradients: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """d_l = −‖W_l‖_F g_l / ‖g_l‖_F; a tensor whose weight or gradient is zero stays put."""
    return {name: -_relative(frozen[name], gradient) for name, gradient in gradients.items()}


def noise_direction(frozen: Mapping[str, Tensor], names: list[str], *, seed: int) -> dict[str, Tensor]:
    """d_l = ‖W_l‖_F ξ_l / ‖ξ_l‖_F with ξ_l Gaussian; the same noise for the same seed, name and shape."""
    direction: dict[str, Tensor] = {}
    for name in names:
        weight = frozen[name]
        mixed = int.from_bytes(hashlib.sha256(f"{seed}/{name}".encode()).digest()[:8], "little") >> 1
        noise = torch.randn(weight.shape, generator=torch.Generator().manual_seed(mixed), dtype=torch.float64)
        direction[name] = _relative(weight, noise.to(weight))
    return direction


def update_direction(
    frozen: Mapping[str, Tensor], following: Mapping[str, Tensor], names: list[str], *, weights: list[str]
) -> tuple[dict[str, Tensor], float]:
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
                f"--direction update: the next checkpoint has another tensor {name}; order them by training"
            )
    step = {name: following[name].detach().to(frozen[name]) - frozen[name] for name in names}
    sizes = [
        float(_norm(step[name]) / _norm(frozen[name]))
        for name in names
        if name in weights and bool(_norm(frozen[name]) > 0)
    ]
    largest = max(sizes, default=0.0)
    if not largest > 0:
        raise InputError("--direction update: no weight matrix differs between two consecutive checkpoints")
    return {name: change / largest for name, change in step.items()}, largest


def hash_of(direction: Mapping[str, Tensor]) -> str:
    """SHA-256 of a direction's values, in short."""
    state = hashlib.sha256()
    for name in sorted(direction):
        state.update(name.encode())
        state.update(direction[name].detach().cpu().contiguous().numpy().data)
    return state.hexdigest()[:16]
