"""The optimizers that networks are trained with; their libraries load when one is made."""

from __future__ import annotations

import math
from collections.abc import Iterable
from importlib import import_module
from importlib.util import find_spec
from typing import TYPE_CHECKING, Any

from probes.errors import InputError, mention

if TYPE_CHECKING:
    import torch

__all__ = ["LOOKING", "OPTIMIZERS", "check_installed", "lamb", "make_optimizer", "rate_of", "sam"]

OPTIMIZERS: dict[str, tuple[str, dict[str, Any]]] = {
    "fromage": ("trust.optim:Fromage", {}),
    "lars": (
        "trust.optim:Fromage",
        {"prefactor": False},
    ),  # of You, Gitman and Ginsburg, as Fromage's authors have it
    "sgd": ("torch.optim:SGD", {}),
    "momentum": ("torch.optim:SGD", {"momentum": 0.9}),
    "adam": ("torch.optim:Adam", {}),
    "signsgd": ("pytorch_optimizer:SignSGD", {"momentum": 0.0}),
    "lamb": ("probes.runs.optimizers:lamb", {}),
    "nero": ("trust.optim:Nero", {}),
    "madam": ("trust.optim:Madam", {}),
    "agd": ("trust.optim:AGD", {}),
    "muon": ("probes.runs.muon:Muon", {}),
    "sam": ("probes.runs.optimizers:sam", {}),
    "flow": ("probes.runs.flow:GradientFlow", {}),
    "exponential-euler": ("probes.runs.flow:ExponentialEuler", {}),
}
"""The names of ``probe train --optimizer``, the classes that they stand for, and what these are given."""
LOOKING = ("sam", "flow", "exponential-euler")
"""Those whose step asks for gradients itself, at other weights than those where it begins."""
_EXTRA = ("signsgd", "lamb", "sam")


def check_installed(name: str) -> None:
    """Refuse an optimizer whose library is not there.

    Raises:
        InputError: it says what to install.
    """
    if name in _EXTRA and find_spec("pytorch_optimizer") is None:
        raise InputError(
            f"{mention('optimizer', name)}: needs the extra [optim]; pip install 'deep-relative-trust[optim]'"
        )
    if name == "muon" and find_spec("torch.optim._muon") is None:
        raise InputError(f"{mention('optimizer', name)}: needs PyTorch 2.9; pip install 'torch>=2.9'")


def rate_of(name: str) -> float:
    """The step size where none is asked for: of ``agd``, which finds its own, the factor 1 on it."""
    return 1.0 if name == "agd" else 0.01


def make_optimizer(
    name: str, parameters: Iterable[torch.nn.Parameter], *, lr: float, **more: Any
) -> torch.optim.Optimizer:
    """The optimizer of that name; ``more`` is what it alone takes.

    Raises:
        InputError: it cannot move a tensor like these.
    """
    parameters = list(parameters)
    if name == "agd" and any(parameter.ndim < 2 for parameter in parameters):
        raise InputError(
            f"{mention('optimizer', name)}: moves weight matrices alone; train without biases and norm layers"
        )
    place, given = OPTIMIZERS[name]
    module, _, kind = place.partition(":")
    made: torch.optim.Optimizer = getattr(import_module(module), kind)(parameters, lr=lr, **given, **more)
    return made


def lamb(
    parameters: Iterable[torch.nn.Parameter], *, lr: float, betas: tuple[float, float] = (0.9, 0.999)
) -> torch.optim.Optimizer:
    """LAMB as published (arXiv 1904.00962) without weight decay, w ← w − η ‖w‖ u/‖u‖ with Adam's u, tensor by tensor.

    The library's defaults are another rule: steps are divided by 1 − β₁ᵗ though u's length cancels, ‖w‖ counts as 10
    beyond it, and ε = 1e-6 beside averages that still are near zero is as large as many gradients.
    """
    from pytorch_optimizer import Lamb

    made: torch.optim.Optimizer = Lamb(parameters, lr=lr, betas=betas, adam_debias=True, eps=1e-20)
    made.clamp = math.inf  # type: ignore[attr-defined]
    return made


def sam(parameters: Iterable[torch.nn.Parameter], *, lr: float, rho: float) -> torch.optim.Optimizer:
    """Sharpness-aware minimisation as published (arXiv 2010.01412), w ← w − η ∇𝓛(w + ρ g/‖g‖).

    ‖g‖ is of all tensors together. Its step takes a closure, and gradients that are there already.
    """
    import torch
    from pytorch_optimizer import SAM

    made: torch.optim.Optimizer = SAM(parameters, torch.optim.SGD, rho=rho, lr=lr)
    return made
