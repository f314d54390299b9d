"""The activations' formulas and their derivatives, as NumPy functions that are accurate in both tails.

At a kink a derivative takes PyTorch's value: relu'(0) = 0, and leaky_relu'(0) and elu'(0) from the left.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeAlias

import numpy as np

from trust.norms import Array

Function: TypeAlias = Callable[[Array], Array]

_SQRT_2_OVER_PI = float(np.sqrt(2 / np.pi))
_GELU_CUBIC = 0.044715
# Beyond this a Gaussian, and 1 − tanh², are 0 in float64; clipping there keeps 0 × ∞ away.
_TAIL = 60.0

SELU_SCALE = 1.0507009873554804934193349852946
SELU_ALPHA = 1.6732632423543772848170429916717


def sigmoid(x: Array) -> Array:
    """1 / (1 + e⁻ˣ), to full relative accuracy in both tails."""
    return np.exp(-np.logaddexp(0.0, -x))


def sigmoid_derivative(x: Array) -> Array:
    """σ(x) σ(−x)."""
    return sigmoid(x) * sigmoid(-x)


def tanh_derivative(x: Array) -> Array:
    """sech² x, without the cancellation of 1 − tanh²."""
    cosh: Array = np.cosh(np.minimum(np.abs(x), 400.0))  # sech²(400) is 0 in float64
    return (1 / cosh) ** 2


def gelu(x: Array) -> Array:
    """GELU, x Φ(x), with Φ the normal distribution function."""
    from scipy.special import ndtr

    return np.asarray(x * ndtr(x))


def gelu_derivative(x: Array) -> Array:
    """Φ(x) + x φ(x)."""
    from scipy.special import ndtr

    near = np.clip(x, -_TAIL, _TAIL)
    return np.asarray(ndtr(x) + near * np.exp(-(near**2) / 2) / np.sqrt(2 * np.pi))


def gelu_tanh(x: Array) -> Array:
    """GELU's tanh approximation, as x σ(2u) with u = √(2/π) (x + 0.044715 x³)."""
    return x * sigmoid(2 * _gelu_tanh_argument(x))


def gelu_tanh_derivative(x: Array) -> Array:
    """The derivative of `gelu_tanh`."""
    near = np.clip(x, -_TAIL, _TAIL)
    u = _gelu_tanh_argument(x)
    slope = _SQRT_2_OVER_PI * (1 + 3 * _GELU_CUBIC * near**2)
    return sigmoid(2 * u) + near * 2 * sigmoid_derivative(2 * u) * slope


def _gelu_tanh_argument(x: Array) -> Array:
    near = np.clip(x, -_TAIL, _TAIL)
    return _SQRT_2_OVER_PI * (near + _GELU_CUBIC * near**3)


def silu_derivative(x: Array) -> Array:
    """σ(x) (1 + x σ(−x))."""
    return sigmoid(x) * (1 + x * sigmoid(-x))


def mish(x: Array) -> Array:
    """Mish, x tanh(log(1 + eˣ))."""
    return x * np.tanh(np.logaddexp(0.0, x))


def mish_derivative(x: Array) -> Array:
    """Mish's: tanh(s) + x sech²(s) σ(x), s = log(1 + eˣ)."""
    soft = np.logaddexp(0.0, x)
    return np.tanh(soft) + x * tanh_derivative(soft) * sigmoid(x)


def softsign(x: Array) -> Array:
    """Softsign, x / (1 + |x|)."""
    value: Array = x / (1 + np.abs(x))
    return value


def softsign_derivative(x: Array) -> Array:
    """1 / (1 + |x|)², squared last so that it cannot overflow."""
    ratio: Array = 1 / (1 + np.abs(x))
    return ratio**2


def leaky_relu(slope: float) -> tuple[Function, Function]:
    """The identity on the right, slope·x on the left."""
    return lambda x: np.where(x > 0, x, slope * x), lambda x: np.where(x > 0, 1.0, slope)


def scaled_relu(scale: float) -> tuple[Function, Function]:
    """ReLU times a number."""
    return lambda x: scale * np.maximum(x, 0.0), lambda x: np.where(x > 0, scale, 0.0)


def elu(alpha: float, *, scale: float = 1.0, width: float = 1.0) -> tuple[Function, Function]:
    """scale·x on the right, scale·alpha·(e^(x/width) − 1) on the left: ELU, CELU (width = alpha) and SELU."""

    def value(x: Array) -> Array:
        return scale * np.where(x > 0, x, alpha * np.expm1(np.minimum(x, 0.0) / width))

    def derivative(x: Array) -> Array:
        return scale * np.where(x > 0, 1.0, alpha / width * np.exp(np.minimum(x, 0.0) / width))

    return value, derivative


def softplus(sharpness: float) -> tuple[Function, Function]:
    """log(1 + e^(sharpness·x)) / sharpness."""
    return (
        lambda x: np.maximum(x, 0.0) + np.log1p(np.exp(-np.abs(sharpness * x))) / sharpness,
        lambda x: sigmoid(sharpness * x),
    )
