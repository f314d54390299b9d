"""What the optimisers share: closures, dense gradients, running averages that stay in float32."""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator
from typing import Any, overload

import torch
from torch.optim.optimizer import Optimizer


class Stepping(Optimizer, ABC):
    """An optimiser that says how its tensors move, and no more."""

    @abstractmethod
    def _move(self) -> None:
        """Move all tensors; no gradients are recorded."""

    @overload
    def step(self, closure: None = None) -> None: ...

    @overload
    def step(self, closure: Callable[[], float]) -> float: ...

    def step(self, closure: Callable[[], float] | None = None) -> float | None:
        """Take one step; tensors without a gradient stay put.

        Args:
            closure: evaluates the loss and its gradients again, and returns the loss.

        Returns:
            What the closure returned, None without one.

        Raises:
            RuntimeError: if a gradient is sparse.
        """
        loss = None
        if closure is not None:
            with torch.enable_grad():
                loss = closure()
        with torch.no_grad():
            self._move()
        return loss

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Take up a saved state, in the precision that it was saved in: torch would round it to the weights'."""
        super().load_state_dict(state_dict)
        numbers = [number for group in state_dict["param_groups"] for number in group["params"]]
        tensors = [tensor for group in self.param_groups for tensor in group["params"]]
        for number, tensor in zip(numbers, tensors, strict=True):
            for key, value in state_dict["state"].get(number, {}).items():
                if isinstance(value, torch.Tensor):
                    self.state[tensor][key] = value.to(tensor.device, copy=True)

    def _moving(self) -> Iterator[tuple[dict[str, Any], torch.Tensor, torch.Tensor]]:
        """Groups, tensors and gradients, of the tensors that have one.

        Raises:
            RuntimeError: if a gradient is sparse.
        """
        for group in self.param_groups:
            for tensor in group["params"]:
                if tensor.grad is None:
                    continue
                if tensor.grad.layout != torch.strided:
                    raise RuntimeError(
                        f"{type(self).__name__} does not take sparse gradients: use a dense one (sparse=False)"
                    )
                yield group, tensor, tensor.grad


def check_step_size(lr: float) -> None:
    """Refuse a step size that is negative or not finite.

    Raises:
        ValueError: it is.
    """
    if not 0 <= lr < math.inf:
        raise ValueError(f"lr must be finite and not negative, got {lr}")


def check_beta(beta: float) -> None:
    """Refuse what is no share of an average to keep.

    Raises:
        ValueError: it is outside [0, 1).
    """
    if not 0 <= beta < 1:
        raise ValueError(f"beta must be at least 0 and below 1, got {beta}")


def widened(tensor: torch.Tensor) -> torch.Tensor:
    """The tensor in float32 at least: half precision overflows at 65504, and averages stall in it."""
    return tensor.to(torch.promote_types(tensor.dtype, torch.float32))


def norm(tensor: torch.Tensor) -> torch.Tensor:
    """The Frobenius norm, in float32 at least."""
    found: torch.Tensor = torch.linalg.vector_norm(
        tensor, dtype=torch.promote_types(tensor.dtype, torch.float32)
    )
    return found


def root_mean_square(average: torch.Tensor, square: torch.Tensor, *, beta: float, step: int) -> torch.Tensor:
    """√(v/(1 − βᵗ)) after v ← βv + (1 − β) g², in place: Adam's running root mean square.

    Dividing by 1 − βᵗ makes up for the start at v = 0, so that the first is |g| itself.

    Args:
        average: v, of the shape of `square`; updated.
        square: g², or ‖g‖² of whatever has one average.
        beta: the share that is kept.
        step: t, 1 for the first.
    """
    average.mul_(beta).add_(square, alpha=1 - beta)
    return (average / (1 - beta**step)).sqrt()
