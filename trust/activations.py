"""Activation functions by name, and their transmission: how much they can shrink or stretch a difference."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache

import numpy as np

from trust import _scalar_functions as f
from trust.norms import Array, Numbers, as_array

_Pair = tuple[f.Function, f.Function]


@dataclass(frozen=True)
class _Family:
    """The activations of one name.

    Attributes:
        make: φ and φ' from the parameter; where there is none, whatever it is given.
        default: the parameter's value where a spec gives none, PyTorch's; None where there is no parameter.
        curvature: sup |φ''| from the parameter, ∞ where φ' jumps.
        positive: whether the parameter must be positive.
    """

    make: Callable[[float], _Pair]
    curvature: Callable[[float], float]
    default: float | None = None
    positive: bool = False


def _fixed(function: f.Function, derivative: f.Function, curvature: float) -> _Family:
    """A name without a parameter."""
    return _Family(lambda _: (function, derivative), lambda _: curvature)


def _unless_jump(slope: float, curvature: float) -> float:
    """Of a function whose slope left of 0 comes to ``slope``, and is 1 on the right."""
    return curvature if slope == 1 else np.inf


_MISH_CURVATURE = 0.644205
"""Its maximum, at −0.0879, rounded up in the sixth digit."""

_FAMILIES: dict[str, _Family] = {
    "identity": _fixed(lambda x: x, np.ones_like, 0.0),
    "relu": _fixed(*f.leaky_relu(0.0), np.inf),
    "scaled_relu": _Family(f.scaled_relu, lambda scale: np.inf if scale else 0.0, 2**0.5),
    "leaky_relu": _Family(f.leaky_relu, lambda slope: _unless_jump(slope, 0.0), 0.01),
    "tanh": _fixed(np.tanh, f.tanh_derivative, 4 / (3 * 3**0.5)),
    "sigmoid": _fixed(f.sigmoid, f.sigmoid_derivative, 1 / (6 * 3**0.5)),
    "gelu": _fixed(f.gelu, f.gelu_derivative, (2 / np.pi) ** 0.5),  # pdf(x) (2 − x²), at 0
    "gelu_tanh": _fixed(f.gelu_tanh, f.gelu_tanh_derivative, (2 / np.pi) ** 0.5),
    "silu": _fixed(lambda x: x * f.sigmoid(x), f.silu_derivative, 0.5),
    "elu": _Family(f.elu, lambda alpha: _unless_jump(alpha, 1.0), 1.0, positive=True),
    "selu": _fixed(*f.elu(f.SELU_ALPHA, scale=f.SELU_SCALE), np.inf),
    "softplus": _Family(f.softplus, lambda sharpness: sharpness / 4, 1.0, positive=True),
    "mish": _fixed(f.mish, f.mish_derivative, _MISH_CURVATURE),
    "celu": _Family(lambda alpha: f.elu(alpha, width=alpha), lambda alpha: 1 / alpha, 1.0, positive=True),
    "softsign": _fixed(f.softsign, f.softsign_derivative, 2.0),
}
KNOWN_ACTIVATIONS: tuple[str, ...] = tuple(sorted(_FAMILIES))
DEFAULT_PARAMETERS: dict[str, float | None] = {name: family.default for name, family in _FAMILIES.items()}
"""Every name to the parameter that it has where a spec gives none; None where it has no parameter."""


@dataclass(frozen=True)
class Activation:
    """A scalar activation φ, applied entry by entry.

    Attributes:
        name: the spec with its parameter filled in, such as "leaky_relu:0.01".
        function: φ, from numbers of any shape to a float64 array of that shape.
        derivative: φ' likewise; at a kink PyTorch's value, so relu'(0) = 0 and leaky_relu'(0) = slope.
        zero_at_zero: whether φ(0) = 0, a premise of every bound on a network's output norm.
    """

    name: str
    function: Callable[[Numbers], Array]
    derivative: Callable[[Numbers], Array]
    zero_at_zero: bool


@dataclass(frozen=True)
class Transmission:
    r"""Constants with α|x − y| ≤ |φ(x) − φ(y)| ≤ β|x − y| for all x, y.

    .. math:: \alpha |x - y| \le |\varphi(x) - \varphi(y)| \le \beta |x - y|

    Attributes:
        alpha: α ≥ 0, no unit; 0 makes every bound with 1/α infinite.
        beta: β ≥ α.
    """

    alpha: float
    beta: float

    def __post_init__(self) -> None:
        """Refuse constants that no function has."""
        if not 0 <= self.alpha <= self.beta < float("inf"):
            raise ValueError(f"expected 0 ≤ alpha ≤ beta < ∞, got alpha={self.alpha}, beta={self.beta}")


def activation(spec: str) -> Activation:
    """The activation that a spec names: "relu", "tanh", "leaky_relu:0.1", "elu:1.0", "softplus:2".

    Definitions and default parameters are those of torch.nn.functional, but for softplus beyond its
    threshold, where PyTorch returns x: it is log(1 + e^(bx))/b throughout here (they differ by at most
    2.1e-9/b).

    Raises:
        ValueError: for an unknown name, with the known ones, or for a bad parameter.
    """
    name, parameter = _parse(spec)
    function, derivative = _FAMILIES[name].make(0.0 if parameter is None else parameter)
    if parameter is not None:
        name = f"{name}:{parameter:.17g}" if float(f"{parameter:g}") != parameter else f"{name}:{parameter:g}"
    return Activation(
        name=name,
        function=_quiet(function),
        derivative=_quiet(derivative),
        zero_at_zero=bool(function(as_array(0.0)) == 0),
    )


def _quiet(function: f.Function) -> Callable[[Numbers], Array]:
    """The function on any kind of numbers; what overflows near 1e308 is infinite, without a warning."""

    def quiet(x: Numbers) -> Array:
        with np.errstate(over="ignore"):
            return np.asarray(function(as_array(x)))

    return quiet


def transmission(spec: str) -> Transmission:
    r"""The best constants: α = inf and β = sup of |φ(x) − φ(y)| / |x − y| over x ≠ y.

    .. math::
        \alpha = \inf \text{ and } \beta = \sup
        \text{ of } \frac{|\varphi(x) - \varphi(y)|}{|x - y|} \text{ over } x \ne y

    Worked out from φ', to about 1e-10: β = sup|φ'|; α = inf|φ'| where φ' keeps one sign and stays away from
    0, and else 0 (φ is flat somewhere, saturates, or is not injective).

    Raises:
        ValueError: as `activation`.
    """
    _parse(spec)  # before the cache, which would refuse an unhashable spec in its own words
    return _transmission(spec)


def activation_curvature(spec: str) -> float:
    r"""The least K with |φ'(x) − φ'(y)| ≤ K|x − y|: sup|φ''| where φ is twice differentiable, ∞ at a kink.

    .. math:: |\varphi'(x) - \varphi'(y)| \le K |x - y|

    In closed form, but for mish, whose is rounded up in the sixth digit.

    Raises:
        ValueError: as `activation`.
    """
    name, parameter = _parse(spec)
    return float(_FAMILIES[name].curvature(0.0 if parameter is None else parameter))


def modelled_transmission(spec: str) -> Transmission:
    """The constants that the paper's model uses: α = β = 1/2 for ReLU, the true ones for everything else.

    ReLU's 1/2 models half of the units being off. It is no bound: ReLU's own constants are α = 0 and β = 1.

    Raises:
        ValueError: as `activation`.
    """
    return Transmission(0.5, 0.5) if _parse(spec)[0] == "relu" else transmission(spec)


def _parse(spec: str) -> tuple[str, float | None]:
    """Name and parameter of a spec; None for an activation that has no parameter."""
    parametric = sorted(name for name, family in _FAMILIES.items() if family.default is not None)
    known = f"known: {', '.join(KNOWN_ACTIVATIONS)} (with a parameter: {', '.join(parametric)})"
    if not isinstance(spec, str):
        raise ValueError(f"an activation is named by text, got {spec!r}; {known}")
    name, colon, text = spec.strip().lower().partition(":")
    if name not in _FAMILIES:
        raise ValueError(f"unknown activation {spec!r}; {known}")
    family = _FAMILIES[name]
    if family.default is None:
        if colon:
            raise ValueError(f"activation {name!r} takes no parameter, got {spec!r}; {known}")
        return name, None
    try:
        parameter = float(text) if colon else family.default
    except ValueError:
        raise ValueError(f"activation {spec!r}: parameter {text!r} is not a number; {known}") from None
    if not np.isfinite(parameter) or (family.positive and parameter <= 0):
        wanted = "positive and finite" if family.positive else "finite"
        raise ValueError(f"activation {spec!r}: the parameter must be {wanted}; {known}")
    return name, parameter


@lru_cache(maxsize=256)
def _transmission(spec: str) -> Transmission:
    from scipy.optimize import minimize_scalar

    derivative = activation(spec).derivative
    # Both limits, both sides of the kink at 0, and everything in between: fine where functions turn,
    # coarser far out.
    far = np.geomspace(20.0, 1e6, 2_000)
    right = np.concatenate([[1e-300, 1e-9], np.arange(1, 10_001) / 500.0, far, [1e300]])
    grid = np.concatenate([-right[::-1], [0.0], right])
    values = derivative(grid)

    extremes = []
    for sign in (1.0, -1.0):
        heights = sign * values
        best = float(heights.max())
        # Refine each interior peak between its neighbours; Brent's 1e-8 in x is 1e-16 in a smooth peak's
        # height.
        interior = heights[1:-1]
        is_peak = (interior >= heights[:-2]) & (interior >= heights[2:])
        strict = (interior > heights[:-2]) | (interior > heights[2:])
        for i in np.flatnonzero(is_peak & strict) + 1:
            peak = minimize_scalar(
                lambda x, sign=sign: -sign * float(derivative(x)),
                bounds=(grid[i - 1], grid[i + 1]),
                method="bounded",
                options={"xatol": 1e-10},
            )
            best = max(best, -float(peak.fun))
        extremes.append(sign * best)
    highest, lowest = extremes
    alpha = 0.0 if lowest <= 0 <= highest else min(abs(lowest), abs(highest))
    return Transmission(alpha=alpha, beta=max(abs(lowest), abs(highest)))
