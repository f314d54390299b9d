"""The optimizers that networks are trained with; their libraries load when one is made."""

from __future__ import annotations

from collections.abc import Iterable
from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import torch

__all__ = ["OPTIMIZERS", "make_optimizer"]

OPTIMIZERS: dict[str, tuple[str, dict[str, Any]]] = {
    "fromage": ("trust.optim:Fromage", {}),
    "lars": (
        "trust.optim:Fromage",
        {"prefactor": False},
    ),  # of You, Gitman and Ginsburg, as Fromage's authors have it
    "sgd": ("torch.optim:SGD", {}),
    "momentum": ("torch.optim:SGD", {"momentum": 0.9}),
    "adam": ("torch.optim:Adam", {}),
}
"""The names of ``probe train --optimizer``, the classes that they stand for, and what these are given."""


def make_optimizer(
    name: str, parameters: Iterable[torch.nn.Parameter], *, lr: float
) -> torch.optim.Optimizer:
    """The optimizer of that name."""
    place, given = OPTIMIZERS[name]
    module, _, kind = place.partition(":")
    made: torch.optim.Optimizer = getattr(import_module(module), kind)(parameters, lr=lr, **given)
    return made
