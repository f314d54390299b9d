"""Rules that hold a weight's singular values after a step, so that a network's Lipschitz bound is held too."""

from __future__ import annotations

import math

import torch

__all__ = ["cap_singular_values_", "normalise_spectral_norm_"]


def cap_singular_values_(weight: torch.Tensor, cap: float) -> torch.Tensor:
    """U min(Σ, c) Vᵀ of the weight UΣVᵀ, in place: the nearest matrix, by ‖·‖_F, with ‖W‖₂ ≤ c.

    The exact form of the spectral cap of Newhouse, Hess, Cesista, Zahorodnii, Bernstein and Isola (arXiv 2507.13338),
    who approximate it by polynomials. A weight that meets the cap is left as it is, bit by bit.

    Args:
        weight: shape (d_out, …), read as a matrix (d_out, everything else).
        cap: c > 0.

    Returns:
        The weight.

    Raises:
        ValueError: if the cap is not positive and finite, or the weight has fewer than two axes.
    """
    matrix = _matrix(weight, cap)
    u, sigma, vh = torch.linalg.svd(matrix, full_matrices=False)
    if bool(sigma[0] > cap):
        weight.detach().copy_(((u * sigma.clamp(max=cap)) @ vh).reshape(weight.shape))
    return weight


def normalise_spectral_norm_(weight: torch.Tensor, norm: float) -> torch.Tensor:
    """C W/‖W‖₂, in place; zero stays zero.

    Spectral normalisation (Miyato, Kataoka, Koyama and Yoshida, arXiv 1802.05957) as a projection after the step, where
    theirs is part of the network and is differentiated.

    Args:
        weight: shape (d_out, …), read as a matrix (d_out, everything else).
        norm: c > 0.

    Returns:
        The weight.

    Raises:
        ValueError: as :func:`cap_singular_values_`.
    """
    largest = torch.linalg.matrix_norm(_matrix(weight, norm), 2)
    if bool(largest > 0):
        weight.detach().mul_(norm / largest)
    return weight


def _matrix(weight: torch.Tensor, target: float) -> torch.Tensor:
    if not (math.isfinite(target) and target > 0):
        raise ValueError(f"a spectral norm must be positive and finite, got {target}")
    if weight.ndim < 2:
        raise ValueError(f"only weights of two axes or more are matrices, got shape {tuple(weight.shape)}")
    return weight.detach().reshape(len(weight), -1)
