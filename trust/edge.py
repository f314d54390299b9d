"""Edges of stability: the top Hessian eigenvalue above which a full-batch optimiser's step overshoots a quadratic.

Along an eigenvector of curvature λ gradient descent multiplies the distance from the minimum by 1 − ηλ a step, which
stays within 1 in magnitude up to λ = 2/η. Training is said to raise the sharpness to the threshold and hold it there.
"""

from __future__ import annotations

import numpy as np

from trust._checks import nonnegative, plain
from trust.norms import Array, Numbers

__all__ = ["adam_edge", "gd_edge", "ntk_edge", "sam_edge"]


def gd_edge(*, step: Numbers) -> Array:
    r"""2/η, the edge of gradient descent (arXiv 2103.00065), for λ_max of the Hessian; ∞ for η = 0.

    .. math:: \frac{2}{\eta}

    Args:
        step: η ≥ 0, in the unit of w²/loss.

    Raises:
        ValueError: if an argument is NaN or negative.
    """
    with np.errstate(divide="ignore"):
        return plain(2 / nonnegative(step, name="step"))


def adam_edge(*, step: Numbers, beta1: Numbers = 0.9) -> Array:
    r"""(2 + 2β₁)/((1 − β₁) η), the edge of Adam (arXiv 2207.14484): 38/η at β₁ = 0.9, and 2/η at β₁ = 0.

    .. math:: \frac{2 + 2 \beta_1}{(1 - \beta_1) \, \eta}

    For λ_max of the preconditioned Hessian P^−½ H P^−½, P = (1 − β₁^t)·diag(√v̂ + ε).

    Args:
        step: η ≥ 0; arguments broadcast.
        beta1: 0 ≤ β₁ < 1.

    Raises:
        ValueError: if an argument is NaN or out of its range.
    """
    beta = nonnegative(beta1, name="beta1")
    if (beta >= 1).any():
        raise ValueError(f"beta1 must be below 1, got {float(beta.max()):g}")
    return plain((1 + beta) / (1 - beta) * gd_edge(step=step))


def sam_edge(*, step: Numbers, rho: Numbers, gradient_norm: Numbers) -> Array:
    r"""(‖g‖/2ρ)(√(1 + 8ρ/(η‖g‖)) − 1), the edge of sharpness-aware minimisation (arXiv 2309.12488).

    .. math:: \frac{\|g\|}{2 \rho} \left(\sqrt{1 + \frac{8 \rho}{\eta \|g\|}} - 1\right)

    For λ_max of the Hessian, and w ← w − η ∇𝓛(w + ρ g/‖g‖). It falls with ρ from 2/η at ρ = 0, and with the gradient
    to 0 at ‖g‖ = 0.

    Args:
        step: 0 < η < ∞; arguments broadcast.
        rho: 0 ≤ ρ < ∞, how far up the gradient the step looks.
        gradient_norm: ‖g‖ at w, of all parameters together.

    Raises:
        ValueError: if an argument is NaN or out of its range.
    """
    eta, radius = nonnegative(step, name="step"), nonnegative(rho, name="rho")
    size = nonnegative(gradient_norm, name="gradient_norm")
    if (eta == 0).any() or np.isinf(eta).any() or np.isinf(radius).any():
        raise ValueError("step must be positive and finite, and rho finite")
    with np.errstate(divide="ignore", invalid="ignore", over="ignore"):
        # multiplied out by √… + 1, so that nothing cancels where ρ is small
        ratio = np.where(radius == 0, 0.0, 8 * radius / (eta * size))
        return plain(4 / eta / (np.sqrt(1 + ratio) + 1))


def ntk_edge(*, step: Numbers, batch_size: Numbers, examples: Numbers, outputs: Numbers = 1) -> Array:
    r"""2C/(η (1/B − 1/N)), the edge of the neural tangent kernel's trace under small batches (arXiv 2404.19261).

    .. math:: \frac{2 C}{\eta \, (1/B - 1/N)}

    For tr K/N = Σ_i ‖∂f(x_i)/∂W‖²/N of half the squared error of C outputs. With a batch of B of N examples drawn anew
    at every step the residual's power in the kernel's eigendirections, of eigenvalues λ, changes by
    p ← (1 − ηλ)² p + η² (1/B − 1/N) λ² Σ p/C where eigenvectors spread evenly over examples and outputs. It stays
    bounded while η (1/B − 1/N) Σ λ/(2 − ηλ) < C, which for small ηλ is a bound on Σ λ = tr K/N.

    Args:
        step: η ≥ 0; arguments broadcast. ∞ for 0.
        batch_size: 1 ≤ B ≤ N; ∞ for B = N.
        examples: N.
        outputs: C ≥ 1.

    Raises:
        ValueError: if an argument is NaN or out of its range.
    """
    eta, batch = nonnegative(step, name="step"), nonnegative(batch_size, name="batch_size")
    count, width = nonnegative(examples, name="examples"), nonnegative(outputs, name="outputs")
    if (batch < 1).any() or (batch > count).any():
        raise ValueError("batch_size must be from 1 to the number of examples")
    with np.errstate(divide="ignore"):
        return plain(2 * width / (eta * (1 / batch - 1 / count)))
