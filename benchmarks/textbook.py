"""The slice as one would write it in plain PyTorch: whole batch, autograd, parameters stepped in place."""

from __future__ import annotations

import copy
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn

__all__ = ["TextbookSlice", "first_layer_loop", "full_loop", "relative_direction"]

MeanLoss = Callable[[Tensor, Tensor], Tensor]


@dataclass(frozen=True)
class TextbookSlice:
    """What the loop records.

    Attributes:
        change: relative gradient difference (η, parameter tensors).
        loss: (η,).
    """

    change: npt.NDArray[np.float64]
    loss: npt.NDArray[np.float64]


def relative_direction(parameters: Sequence[Tensor], gradients: Sequence[Tensor]) -> list[Tensor]:
    """Against the gradient, every tensor as long as its weights."""
    norm = torch.linalg.vector_norm
    return [-g * (norm(p.detach()) / norm(g)) for p, g in zip(parameters, gradients, strict=True)]


def full_loop(
    network: nn.Module, x: Tensor, y: Tensor, etas: Sequence[float], loss_of: MeanLoss
) -> TextbookSlice:
    """Every parameter tensor's breakdown, and the loss."""
    network = copy.deepcopy(network)
    parameters = list(network.parameters())

    def gradients() -> tuple[float, list[Tensor]]:
        network.zero_grad(set_to_none=True)
        loss = loss_of(network(x), y)
        loss.backward()  # type: ignore[no-untyped-call]
        return loss.item(), [parameter.grad for parameter in parameters if parameter.grad is not None]

    return _along(parameters, gradients, gradients, etas)


def first_layer_loop(
    network: nn.Module, x: Tensor, y: Tensor, etas: Sequence[float], loss_of: MeanLoss
) -> TextbookSlice:
    """The same steps, but after the first gradient, which is the direction, that of the first weight alone."""
    network = copy.deepcopy(network)
    parameters = list(network.parameters())

    def gradients_of(chosen: list[nn.Parameter]) -> tuple[float, list[Tensor]]:
        loss = loss_of(network(x), y)
        return loss.item(), list(torch.autograd.grad(loss, chosen))

    return _along(parameters, lambda: gradients_of(parameters), lambda: gradients_of(parameters[:1]), etas)


def _along(
    parameters: Sequence[Tensor],
    all_gradients: Callable[[], tuple[float, list[Tensor]]],
    wanted: Callable[[], tuple[float, list[Tensor]]],
    etas: Sequence[float],
) -> TextbookSlice:
    """Step W += Δη d; the gradients at 0 are the first point of the grid, so that none is computed twice."""
    norm = torch.linalg.vector_norm
    loss, before = all_gradients()
    direction = relative_direction(parameters, before)
    losses, changes, reached = [loss], [], float(etas[0])
    for eta in etas[1:]:
        with torch.no_grad():
            for parameter, step in zip(parameters, direction, strict=True):
                parameter.add_(step, alpha=float(eta) - reached)
        reached = float(eta)
        loss, after = wanted()
        losses.append(loss)
        changes.append(
            [(norm(a - b) / norm(b)).item() for a, b in zip(after, before[: len(after)], strict=True)]
        )
    return TextbookSlice(np.array([[0.0] * len(changes[0]), *changes]), np.array(losses))
