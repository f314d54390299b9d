"""The optimizers that networks are trained with; their libraries load when one is made."""

from __future__ import annotations

from collections.abc import Iterable
from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import torch

__all__ = ["OPTIMIZERS", "make_optimizer"]

OPTIMIZERS = {"fromage": "trust.optim:Fromage", "sgd": "torch.optim:SGD", "adam": "torch.optim:Adam"}
"""The names of ``probe train --optimizer``, and the classes that they stand for."""


def make_optimizer(
    name: str, parameters: Iterable[torch.nn.Parameter], *, lr: float
) -> torch.optim.Optimizer:
    """The optimizer of that name."""
    module, _, kind = OPTIMIZERS[name].partition(":")
    made: torch.optim.Optimizer = getattr(import_module(module), kind)(parameters, lr=lr)
    return made
