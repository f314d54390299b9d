"""Lipschitz constants of what a transformer is made of besides matrices: layer norm, and softmax attention behind one.

Dot-product attention has none on all inputs (Kim, Papamakarios and Mnih, arXiv 2006.04710): it is Lipschitz where
inputs are bounded, and behind a layer norm they are. Sequences (t, d) are measured by the Frobenius norm, matrices by
the spectral norm. A product of such constants over the layers, with 1 + L for a residual branch of constant L, bounds
‖f(X) − f(X')‖/‖X − X'‖ for the whole; for perceptrons see :func:`trust.log10_input_sensitivity_bound`.
"""

from __future__ import annotations

import numpy as np

from trust._checks import layered, nonnegative, plain
from trust.norms import Array, Numbers

__all__ = ["attention_lipschitz", "layer_norm_lipschitz", "layer_norm_radius"]


def layer_norm_lipschitz(*, largest_gain: Numbers, epsilon: Numbers, variance: Numbers = 0.0) -> Array:
    r"""max|γ| / √(v + ε), a Lipschitz constant of γ ⊙ (x − mean)/√(var + ε) + β where var ≥ v.

    .. math:: \frac{\max |\gamma|}{\sqrt{v + \varepsilon}}

    The Jacobian before γ is symmetric with the eigenvalues 0 (along 1), 1/σ, and ε/σ³ along x − mean, for σ² = var + ε.
    With v = 0 it holds everywhere, and is attained at constant x by equal gains and three entries or more. With v > 0
    it bounds the Jacobian wherever var ≥ v, which is no convex set: it says nothing of the way between two points.

    Args:
        largest_gain: max|γ|.
        epsilon: ε.
        variance: v.

    Returns:
        Infinite where v + ε = 0.

    Raises:
        ValueError: if an argument is negative or NaN.
    """
    gain = nonnegative(largest_gain, name="largest_gain")
    spread = nonnegative(variance, name="variance") + nonnegative(epsilon, name="epsilon")
    with np.errstate(divide="ignore", invalid="ignore"):
        found = gain / np.sqrt(spread)
    return plain(np.where(spread > 0, found, np.inf))


def layer_norm_radius(*, width: Numbers, largest_gain: Numbers, bias_norm: Numbers = 0.0) -> Array:
    r"""√d max|γ| + ‖β‖, the norm that no output of a layer norm exceeds.

    .. math:: \sqrt{d} \, \max |\gamma| + \|\beta\|

    Args:
        width: d.
        largest_gain: max|γ|.
        bias_norm: ‖β‖.

    Raises:
        ValueError: if an argument is negative or NaN.
    """
    gain = nonnegative(largest_gain, name="largest_gain")
    bias = nonnegative(bias_norm, name="bias_norm")
    return plain(np.sqrt(nonnegative(width, name="width")) * gain + bias)


def attention_lipschitz(
    value_norms: Numbers, *, score_norms: Numbers, radius: Numbers, length: Numbers
) -> Array:
    r"""√(Σ_h L_h²) with L_h = ‖V_h‖₂ (√t + (1 + √t) ‖A_h‖₂ R²): of softmax attention on ‖x_i‖ ≤ R, masked or not.

    .. math::
        \sqrt{\sum_h L_h^2} \text{ with } L_h = \|V_h\|_2 \, \bigl(\sqrt{t} + (1 + \sqrt{t}) \, \|A_h\|_2 R^2\bigr)

    Heads y_i = Σ_j p_ij V_h x_j with p_i = softmax_j(x_iᵀ A_h x_j) stand side by side in the output. Proof, for one:
    dy_i has three parts, with x̄_i = Σ_j p_ij x_j and C_i = Σ_j p_ij (x_j − x̄_i)(x_j − x̄_i)ᵀ.

    * values, Σ_j p_ij V dx_j: its square is at most ‖V‖² Σ_j p_ij ‖dx_j‖² (Jensen), and Σ_i p_ij ≤ t.
    * the query, V C_i Aᵀ dx_i: ‖C_i‖ ≤ tr C_i ≤ Σ_j p_ij ‖x_j‖² ≤ R².
    * keys, Σ_j p_ij V (x_j − x̄_i) x_iᵀA dx_j: by Cauchy and Schwarz at most ‖V‖ √(tr C_i) ‖A‖ R √(Σ_j p_ij ‖dx_j‖²),
      and the sum over i as for values.

    The ball is convex, so what bounds the Jacobian bounds differences too. The root of the length is no artefact
    (Castin, Ablin and Peyré, arXiv 2312.14820).

    Args:
        value_norms: ‖V_h‖₂ of each head, shape (..., heads).
        score_norms: ‖A_h‖₂, the scale 1/√k within, broadcast against it.
        radius: R, broadcast against the leading axes.
        length: t, the longest sequence, likewise.

    Returns:
        Shape (...).

    Raises:
        ValueError: if an argument is negative or NaN, or `value_norms` has no axis of heads.
    """
    V = layered(value_norms, name="value_norms")
    A = nonnegative(score_norms, name="score_norms")
    R = nonnegative(radius, name="radius")[..., None]
    root = np.sqrt(nonnegative(length, name="length"))[..., None]
    heads = V * (root + (1 + root) * A * R * R)
    return plain(np.sqrt(np.square(heads).sum(axis=-1)))
