"""Layerwise noise on a network: what it gives with it, and by how much its output changes."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn

from probes.evaluation.directions import noise_direction

__all__ = ["noisy_outputs", "output_changes"]

Floats = npt.NDArray[np.float64]
_DRAWS = 1000
"""At most so many, for one seed not to give another's."""


def noisy_outputs(network: nn.Module, x: Tensor, eta: float, *, seed: int, draw: int = 0) -> Tensor:
    """What a network gives where every tensor has noise of η of its own norm.

    Args:
        network: which; it is left as it is.
        x: inputs (n, …).
        eta: η.
        seed: of the noise.
        draw: which of that seed; at every η it is the same but for its size.
    """
    frozen = {name: one.detach() for name, one in network.named_parameters()}
    noise = noise_direction(frozen, list(frozen), seed=_DRAWS * seed + draw)
    moved = {name: one + eta * noise[name] for name, one in frozen.items()}
    with torch.no_grad():
        found: Tensor = torch.func.functional_call(network, moved, (x,))
    return found


def output_changes(
    network: nn.Module, x: Tensor, noise: tuple[float, ...], *, draws: int, seed: int
) -> tuple[Floats, Tensor]:
    """‖f̃ − f‖/‖f‖ over all inputs together (noise, draw), and f̃ itself (noise, draw, n, outputs).

    Args:
        network: which.
        x: inputs (n, …).
        noise: shares of each tensor's norm.
        draws: of the noise.
        seed: of them.
    """
    with torch.no_grad():
        clean = network(x)
    each = [
        torch.stack([noisy_outputs(network, x, eta, seed=seed, draw=k) for k in range(draws)])
        for eta in noise
    ]
    outputs = torch.stack(each)
    change = (outputs - clean).flatten(2).norm(dim=2) / clean.norm()
    return change.double().numpy(), outputs
