"""Small trainings to be watched, and a clock that only the test moves."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn

from tests.support.reference import make, make_data


class Time:
    """Seconds as a test sets them."""

    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        return self.now


def train(
    network: nn.Module, steps: int, after: Callable[[], object], *, lr: float = 0.1, data: Any = None
) -> None:
    """Descend on all data, and call back after each step."""
    x, y = make_data() if data is None else data
    optimizer = torch.optim.SGD(network.parameters(), lr=lr)
    for _ in range(steps):
        optimizer.zero_grad()
        loss_of(network, x, y).backward()
        optimizer.step()
        after()


def loss_of(network: nn.Module, x: Tensor, y: Tensor) -> Tensor:
    """Cross-entropy."""
    return nn.functional.cross_entropy(network(x), y)


__all__ = ["Time", "loss_of", "make", "make_data", "train"]
