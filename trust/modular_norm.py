"""The modular norm: masses, sensitivities, and how sharp a composition of layers is, by recursion.

Large et al., "Scalable optimization in the modular norm" (arXiv 2405.14813). A module maps weights w and inputs x to
outputs, each with a norm. It is *well-normed* with sensitivity s where ‖∂_w M Δw‖ ≤ ‖Δw‖ and ‖∂_x M Δx‖ ≤ s ‖Δx‖, and
(α, β, γ)-*sharp* where its second derivatives in (w, w), (w, x) and (x, x) are at most α, β and γ. Masses say which
share of a change of the output each layer may make. Here vectors have the root mean square ‖x‖₂/√d as their norm.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import reduce

__all__ = [
    "NormedModule",
    "activation_module",
    "composed",
    "gradient_lipschitz",
    "linear_module",
    "modular_norm",
]


@dataclass(frozen=True)
class NormedModule:
    """What is known of a well-normed module.

    Attributes:
        mass: its share of the change of an output, relative to other masses; 0 for one without weights.
        sensitivity: s ≥ 0.
        alpha: bound on the second derivative in the weights, ≥ 0.
        beta: on the mixed one.
        gamma: on that in the input.

    Raises:
        ValueError: one of them is negative or NaN.
    """

    mass: float
    sensitivity: float
    alpha: float = 0.0
    beta: float = 0.0
    gamma: float = 0.0

    def __post_init__(self) -> None:
        """See the class."""
        for name, value in vars(self).items():
            if not value >= 0:
                raise ValueError(f"{name} must be at least 0, got {value}")


def linear_module(*, mass: float = 1.0, size: float = 1.0, reach: float = 1.0) -> NormedModule:
    """X ↦ Wx with ‖W‖ = √(d_in/d_out) ‖W‖₂, well-normed where ‖W‖ ≤ 1 and ‖x‖ ≤ 1: (0, 1, 0)-sharp.

    Elsewhere (ours), where ‖W‖ ≤ size and ‖x‖ ≤ reach, reach·‖W‖ takes the norm's place: then ‖ΔW x‖ ≤ reach·‖ΔW‖, the
    sensitivity is size, and ‖ΔW Δx‖ ≤ (1/reach) (reach·‖ΔW‖) ‖Δx‖.

    Raises:
        ValueError: the mass or the reach is not positive, or the size is negative.
    """
    if not (mass > 0 and reach > 0):
        raise ValueError(f"mass and reach must be positive, got {mass} and {reach}")
    return NormedModule(mass, size, beta=1 / reach)


def activation_module(*, lipschitz: float, curvature: float, width: int) -> NormedModule:
    """An elementwise φ with |φ'| ≤ lipschitz and |φ''| ≤ curvature, on vectors of a width.

    (0, 0, curvature·√width)-sharp, for ‖a ∘ b‖₂ ≤ ‖a‖₂‖b‖₂; ReLU has no such bound at its kink.

    Raises:
        ValueError: a bound is negative or NaN, or the width below 1.
    """
    if width < 1:
        raise ValueError(f"width must be at least 1, got {width}")
    return NormedModule(0.0, lipschitz, gamma=curvature * math.sqrt(width))


def composed(*modules: NormedModule) -> NormedModule:
    """Modules one after the other, the first given the input.

    With shares p_1 = m_1/m and p_2 = m_2/m of inner and outer weights, m = m_1 + m_2, a change of norm 1 is one of at
    most p_1/s_2 in the inner module's own norm and p_2 in the outer's, and so by the chain rule
    α = α_1 p_1²/s_2 + α_2 p_2² + 2 β_2 p_1 p_2/s_2 + γ_2 p_1²/s_2²,
    β = β_1 p_1 + β_2 p_2 s_1 + γ_2 p_1 s_1/s_2 and γ = s_2 γ_1 + s_1² γ_2.

    Raises:
        ValueError: there is none, or a module with weights stands before one of sensitivity 0.
    """
    if not modules:
        raise ValueError("there must be at least one module")
    return reduce(_two, modules)


def _two(inner: NormedModule, outer: NormedModule) -> NormedModule:
    mass = inner.mass + outer.mass
    own, later = (inner.mass / mass, outer.mass / mass) if mass > 0 else (0.0, 0.0)
    if own > 0 and outer.sensitivity == 0:
        raise ValueError(
            "a module with weights stands before one of sensitivity 0, so that its norm has no scale"
        )
    reached = own / outer.sensitivity if own > 0 else 0.0
    return NormedModule(
        mass,
        inner.sensitivity * outer.sensitivity,
        alpha=(
            outer.sensitivity * inner.alpha * reached**2
            + outer.alpha * later**2
            + 2 * outer.beta * later * reached
            + outer.gamma * reached**2
        ),
        beta=inner.beta * own
        + outer.beta * later * inner.sensitivity
        + outer.gamma * reached * inner.sensitivity,
        gamma=outer.sensitivity * inner.gamma + inner.sensitivity**2 * outer.gamma,
    )


def modular_norm(norms: Sequence[float], modules: Sequence[NormedModule]) -> float:
    r"""max_k (m/m_k) (∏_{j>k} s_j) ‖w_k‖ of a composition; modules without weights count by their sensitivity alone.

    .. math:: \max_k \frac{m}{m_k} \Bigl(\prod_{j > k} s_j\Bigr) \|w_k\|

    Args:
        norms: each module's own norm of its weights or of their change, the first module's first; those of modules
            without mass are not looked at.
        modules: in the same order.

    Raises:
        ValueError: there are not as many of the one as of the other, or a norm is negative or NaN.
    """
    if len(norms) != len(modules):
        raise ValueError(f"{len(norms)} norms are given for {len(modules)} modules")
    mass = sum(one.mass for one in modules)
    behind, largest = 1.0, 0.0
    for norm, one in zip(reversed(norms), reversed(modules), strict=True):
        if one.mass > 0:
            if not norm >= 0:
                raise ValueError(f"norms must be at least 0, got {norm}")
            largest = max(largest, mass / one.mass * behind * norm)
        behind *= one.sensitivity
    return largest


def gradient_lipschitz(module: NormedModule, *, slope: float, curvature: float) -> float:
    r"""σα + τ: ‖∇𝓛(w + Δw) − ∇𝓛(w)‖ ≤ (σα + τ) ‖Δw‖ in the modular norm and its dual, for a loss of the outputs.

    .. math::
        \|\nabla\mathcal{L}(w + \Delta w) - \nabla\mathcal{L}(w)\| \le (\sigma \alpha + \tau) \, \|\Delta w\|

    Wherever on the way the module is well-normed and sharp. So 𝓛''(0) ≤ (σα + τ) ‖d‖² along w + td.

    Args:
        module: the network.
        slope: σ, a bound on the loss's derivative in the output, in the dual of the output's norm.
        curvature: τ, on its second derivative.
    """
    return slope * module.alpha + curvature
