"""Traces by Hutchinson's estimator: of operators, and of the neural tangent kernel."""

from __future__ import annotations

import math

import numpy as np
import torch
from torch import Tensor

from probes.errors import InputError, mention
from probes.evaluation.curvature.operators import Operator
from probes.evaluation.curvature.products import pulled_back
from probes.evaluation.evaluator import Evaluator, Parameters
from probes.evaluation.reductions import norm

__all__ = ["hutchinson_trace", "mean_and_error", "random_signs", "tangent_kernel_trace"]


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


def tangent_kernel_trace(
    evaluator: Evaluator, parameters: Parameters, names: list[str], samples: int, seed: int
) -> tuple[float, float]:
    """The neural tangent kernel's trace Σ_i ‖∂f(x_i)/∂W‖_F² over all examples, as the mean of ‖Jᵀu‖² over signs u.

    Args:
        evaluator: network and data.
        parameters: the network's tensors.
        names: those that W stands for.
        samples: how many u; one gradient each.
        seed: of the signs, which belong to the examples: chunks and processes change rounding alone.

    Returns:
        The mean and its standard error, NaN for one sample.
    """
    found = []
    for sample in range(samples):

        def run(chunk: int, sample: int = sample) -> dict[str, Tensor]:
            sums = {name: torch.zeros_like(parameters[name]) for name in names}
            for start, batch in evaluator.own_chunks(chunk):
                pulled = pulled_back(
                    evaluator,
                    parameters,
                    batch,
                    names,
                    lambda f, start=start: _signs_of(start, f.shape, (seed, sample)),  # type: ignore[misc]
                )
                for name, part in (pulled or {}).items():
                    sums[name] += part
            return sums

        sums, _ = evaluator.in_chunks(run)
        evaluator.share.sum_(sums.values())
        found.append(float(torch.stack([norm(part).square() for part in sums.values()]).sum()))
    return mean_and_error(found)


def _signs_of(start: int, shape: tuple[int, ...], seed: tuple[int, int]) -> Tensor:
    """±1 for outputs of the examples from ``start`` on: a hash of the example's place and the output's."""
    rows = np.arange(start, start + shape[0], dtype=np.uint64)[:, None] << np.uint64(32)
    places = rows + np.arange(math.prod(shape[1:]), dtype=np.uint64)
    key = np.random.SeedSequence(seed).generate_state(2, np.uint64)
    mixed = places * key[0] + key[1]  # SplitMix64's finalizer, of which any bit is as good as random
    for shift, factor in ((30, 0xBF58476D1CE4E5B9), (27, 0x94D049BB133111EB)):
        mixed = (mixed ^ (mixed >> np.uint64(shift))) * np.uint64(factor)
    signs = 1.0 - 2.0 * ((mixed ^ (mixed >> np.uint64(31))) & np.uint64(1)).astype(np.float64)
    return torch.from_numpy(signs).view(shape)


def random_signs(shape: tuple[int, ...], generator: torch.Generator) -> Tensor:
    """±1 in float64, on the CPU."""
    return torch.randint(0, 2, shape, generator=generator).double().mul_(2).sub_(1)


def mean_and_error(values: list[float]) -> tuple[float, float]:
    """The mean of independent values and its standard error, NaN where there are fewer than two."""
    found = torch.tensor(values, dtype=torch.float64)
    if len(values) < 2:
        return float(found.mean()), math.nan
    return float(found.mean()), float(found.std() / math.sqrt(len(values)))
