"""A schedule for Fromage that knows the network's depth and nothing else."""

from __future__ import annotations

import math

import torch
from torch.optim.lr_scheduler import LambdaLR

from trust.descent import lemma2_step_limit

__all__ = ["half_lemma2_cosine", "half_lemma2_schedule", "weight_count"]


def half_lemma2_cosine(step: int, *, total: int, depth: int) -> float:
    """η = ½ (2^(1/L) − 1) · ½ (1 + cos(π t/T)): half of Lemma 2's limit, and down to zero along a cosine.

    A rule of thumb that needs no search, not a theorem: a trained network's own limit can be far below Lemma 2's. What
    it loses against a rate that was searched for is the study network-specific-rate.

    Args:
        step: t; at the last step and beyond η is 0.
        total: T ≥ 1.
        depth: L ≥ 1, as :func:`weight_count` counts.

    Raises:
        ValueError: an argument is out of its range.
    """
    if step < 0 or total < 1:
        raise ValueError(f"step must not be negative and total at least 1, got {step} and {total}")
    limit = float(lemma2_step_limit(depth=depth))
    return limit / 4 * (1 + math.cos(math.pi * min(step / total, 1)))


def half_lemma2_schedule(
    optimizer: torch.optim.Optimizer, *, total: int, depth: int | None = None
) -> LambdaLR:
    """Set every group's η by :func:`half_lemma2_cosine`; call its ``step()`` after each of the optimiser's.

    Args:
        optimizer: one whose ``lr`` is a relative step, as Fromage; what its ``lr`` was is not read.
        total: steps of the whole training.
        depth: L; None: :func:`weight_count` of the optimiser's tensors.

    Raises:
        ValueError: total or depth is below 1.
    """
    L = weight_count(optimizer) if depth is None else depth
    start = half_lemma2_cosine(0, total=total, depth=L)
    for group in optimizer.param_groups:
        group["lr"] = group["initial_lr"] = start
    return LambdaLR(optimizer, lambda step: half_lemma2_cosine(step, total=total, depth=L) / start)


def weight_count(optimizer: torch.optim.Optimizer) -> int:
    """L: the optimiser's tensors of two or more axes, so that biases and gains do not count."""
    return sum(tensor.ndim >= 2 for group in optimizer.param_groups for tensor in group["params"])
