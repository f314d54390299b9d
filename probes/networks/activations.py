"""Activations as torch functions; their names and default parameters are those of :mod:`trust.activations`."""

from __future__ import annotations

import math
from collections.abc import Callable
from functools import partial

from torch import Tensor
from torch.nn import functional

from probes.errors import InputError
from trust.activations import DEFAULT_PARAMETERS

__all__ = ["activation_function", "parse_activation"]


def parse_activation(spec: str) -> tuple[str, float | None]:
    """Split ``name`` or ``name:parameter`` and check both.

    Raises:
        InputError: an unknown name, or a parameter that does not fit.
    """
    name, separator, text = spec.partition(":")
    if name not in DEFAULT_PARAMETERS:
        raise InputError(f"--activation {spec}: unknown; known are {', '.join(DEFAULT_PARAMETERS)}")
    default = DEFAULT_PARAMETERS[name]
    if not separator:
        return name, default
    try:
        parameter = float(text)
    except ValueError:
        parameter = math.nan
    if default is None or not math.isfinite(parameter):
        raise InputError(f"--activation {spec}: write it as name, or name:number where it has a parameter")
    return name, parameter


def activation_function(spec: str) -> Callable[[Tensor], Tensor]:
    """φ, elementwise: torch has nearly all of them by these very names.

    Raises:
        InputError: as :func:`parse_activation`.
    """
    name, parameter = parse_activation(spec)
    if name == "identity":
        return lambda z: z
    if name == "gelu_tanh":
        return partial(functional.gelu, approximate="tanh")
    function: Callable[..., Tensor] = getattr(functional, name)
    return function if parameter is None else lambda z: function(z, parameter)
