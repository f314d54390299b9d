"""Activations as torch functions; their names and default parameters are those of :mod:`trust.activations`."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import partial
from typing import Any

from torch import Tensor
from torch.nn import functional

from probes.errors import InputError, mention
from trust.activations import DEFAULT_PARAMETERS, activation

_SMALLEST, _LARGEST = 1e-30, 1e30  # parameters that float32 has room for, and for their squares

__all__ = ["activation_function", "named_activation", "parse_activation"]


def parse_activation(spec: str) -> tuple[str, float | None]:
    """Split ``name`` or ``name:parameter`` and check both.

    Raises:
        InputError: an unknown name, or a parameter that does not fit.
    """
    name, separator, text = spec.partition(":")
    if name not in DEFAULT_PARAMETERS:
        raise InputError(f"{mention('activation', spec)}: unknown; known are {', '.join(DEFAULT_PARAMETERS)}")
    default = DEFAULT_PARAMETERS[name]
    if not separator:
        return name, default
    try:
        parameter = float(text)
        if default is None or not (parameter == 0 or _SMALLEST <= abs(parameter) <= _LARGEST):
            raise ValueError
        activation(f"{name}:{parameter!r}")  # which knows the parameters that make one
    except ValueError:
        raise InputError(
            f"{mention('activation', spec)}: write it as name, or name:number where it has a parameter that makes one"
        ) from None
    return name, parameter


def activation_function(spec: str) -> Callable[[Tensor], Tensor]:
    """φ, elementwise: torch has nearly all of them by these very names; AGD's ReLU·√2 is ``scaled_relu``.

    Raises:
        InputError: as :func:`parse_activation`.
    """
    name, parameter = parse_activation(spec)
    if name == "identity":
        return lambda z: z
    if name == "gelu_tanh":
        return partial(functional.gelu, approximate="tanh")
    if name == "scaled_relu":
        return lambda z: functional.relu(z) * (parameter or 0.0)
    function: Callable[..., Tensor] = getattr(functional, name)
    return function if parameter is None else lambda z: function(z, parameter)


def named_activation(function: str, args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> str | None:
    """The name, with its parameter, of the activation that a call of a torch function is; None if it is none.

    Args:
        function: its name; ``relu_`` is ``relu``.
        args: by place, the tensor first; a parameter is the second.
        kwargs: by name.
    """
    name = function[:-1] if function.endswith("_") else function
    if name == "gelu":
        return "gelu_tanh" if kwargs.get("approximate", args[1] if len(args) > 1 else "") == "tanh" else name
    if name in ("clamp", "clip", "clamp_min"):
        return "relu" if _clamps_at_zero(args, kwargs) else None
    if name not in DEFAULT_PARAMETERS or name in ("identity", "gelu_tanh", "scaled_relu"):
        return None
    default = DEFAULT_PARAMETERS[name]
    if default is None:
        return name
    given = [kwargs[key] for key in ("negative_slope", "alpha", "beta") if key in kwargs]
    parameter = given[0] if given else args[1] if len(args) > 1 else default
    if not isinstance(parameter, int | float):
        return None
    try:
        return activation(f"{name}:{float(parameter)!r}").name
    except ValueError:  # one that makes no such activation
        return None


def _clamps_at_zero(args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> bool:
    low = kwargs.get("min", args[1] if len(args) > 1 else None)
    high = kwargs.get("max", args[2] if len(args) > 2 else None)
    return isinstance(low, int | float) and low == 0 and high is None
