"""Traces by Hutchinson's estimator."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from probes.errors import InputError, mention
from probes.evaluation.curvature.operators import Operator

__all__ = ["hutchinson_trace", "mean_and_error", "random_signs"]


def hutchinson_trace(operator: Operator, samples: int, seed: int) -> tuple[float, float]:
    """The trace as the mean of zᵀHz over vectors z of random signs, whose expectation it is.

    Args:
        operator: the matrix.
        samples: how many vectors; one product each.
        seed: of the signs.

    Returns:
        The mean and its standard error, NaN for one sample.

    Raises:
        InputError: no samples.
    """
    if samples < 1:
        raise InputError(f"{mention('samples', samples)}: must be at least 1")
    generator = torch.Generator().manual_seed(seed)
    found = []
    for _ in range(samples):
        z = random_signs((operator.size,), generator).to(operator.device)
        found.append(float(z @ operator.product(z).double()))
    return mean_and_error(found)


def random_signs(shape: tuple[int, ...], generator: torch.Generator) -> Tensor:
    """±1 in float64, on the CPU."""
    return torch.randint(0, 2, shape, generator=generator).double().mul_(2).sub_(1)


def mean_and_error(values: list[float]) -> tuple[float, float]:
    """The mean of independent values and its standard error, NaN where there are fewer than two."""
    found = torch.tensor(values, dtype=torch.float64)
    if len(values) < 2:
        return float(found.mean()), math.nan
    return float(found.mean()), float(found.std() / math.sqrt(len(values)))
