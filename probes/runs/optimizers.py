"""The optimizers that networks are trained with; their libraries load when one is made."""

from __future__ import annotations

from collections.abc import Iterable
from importlib import import_module
from importlib.util import find_spec
from typing import TYPE_CHECKING, Any

from probes.errors import InputError, mention

if TYPE_CHECKING:
    import torch

__all__ = ["LOOKING", "OPTIMIZERS", "check_installed", "make_optimizer", "sam"]

OPTIMIZERS: dict[str, tuple[str, dict[str, Any]]] = {
    "fromage": ("trust.optim:Fromage", {}),
    "lars": (
        "trust.optim:Fromage",
        {"prefactor": False},
    ),  # of You, Gitman and Ginsburg, as Fromage's authors have it
    "sgd": ("torch.optim:SGD", {}),
    "momentum": ("torch.optim:SGD", {"momentum": 0.9}),
    "adam": ("torch.optim:Adam", {}),
    "sam": ("probes.runs.optimizers:sam", {}),
    "flow": ("probes.runs.flow:GradientFlow", {}),
    "exponential-euler": ("probes.runs.flow:ExponentialEuler", {}),
}
"""The names of ``probe train --optimizer``, the classes that they stand for, and what these are given."""
LOOKING = ("sam", "flow", "exponential-euler")
"""Those whose step asks for gradients itself, at other weights than those where it begins."""


def check_installed(name: str) -> None:
    """Refuse an optimizer whose library is not there.

    Raises:
        InputError: it says what to install.
    """
    if name == "sam" and find_spec("pytorch_optimizer") is None:
        raise InputError(
            f"{mention('optimizer', name)}: needs the extra [optim]; pip install 'deep-relative-trust[optim]'"
        )


def make_optimizer(
    name: str, parameters: Iterable[torch.nn.Parameter], *, lr: float, **more: Any
) -> torch.optim.Optimizer:
    """The optimizer of that name; ``more`` is what it alone takes."""
    place, given = OPTIMIZERS[name]
    module, _, kind = place.partition(":")
    made: torch.optim.Optimizer = getattr(import_module(module), kind)(parameters, lr=lr, **given, **more)
    return made


def sam(parameters: Iterable[torch.nn.Parameter], *, lr: float, rho: float) -> torch.optim.Optimizer:
    """Sharpness-aware minimisation as published (arXiv 2010.01412), w ← w − η ∇𝓛(w + ρ g/‖g‖).

    ‖g‖ is of all tensors together. Its step takes a closure, and gradients that are there already.
    """
    import torch
    from pytorch_optimizer import SAM

    made: torch.optim.Optimizer = SAM(parameters, torch.optim.SGD, rho=rho, lr=lr)
    return made
