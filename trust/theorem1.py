"""Theorem 1: how far a perturbation of the weights can move a network's output and its layers' Jacobians.

Everything is in log10 and has the layers on the last axis, with NumPy broadcasting over the others. Two
conventions hold throughout: where no layer is perturbed the bound is 0 (log10 = −∞), even with an infinite
constant; and a bound whose constant is infinite says nothing (log10 = +∞).

The statements are tested *as restated here*: transmission with α and β, and κ at least the condition number
of every W_k, of every perturbed W_k and of every ΔW_k that is not zero. Their shared ingredients, for a
plain chain of layers h_k = φ_k(W_k h_{k−1}) without biases and with φ_k(0) = 0:

* ‖f̃ − f‖ ≤ ‖x‖ ∏ β_k‖W_k‖₂ [∏(1 + ‖ΔW_k‖₂/‖W_k‖₂) − 1], by induction over the layers;
* ‖ΔW‖₂/‖W‖₂ ≤ κ(ΔW) ‖ΔW‖_F/‖W‖_F, since ‖ΔW‖_F ≥ √m σ_min(ΔW) and ‖W‖_F ≤ √m ‖W‖₂ with m = min(rows,
  columns); so ‖ΔW‖₂/σ_min(W) ≤ κ² r;
* ‖f‖ ≥ ‖x‖ ∏ α_k σ_min(W_k), *only* where every W_k is injective, so that widths never shrink. The
  statement as restated does not name this premise, and without it fails: W = [1 0], ΔW = [0 ε], x = (t, 1)
  has every κ = 1, and the output changes by ε/t, not by ε.
"""

from __future__ import annotations

import numpy as np

from trust._checks import layered, log10_expm1, nonnegative, plain, times
from trust.norms import Array, Numbers, as_array


def log10_theorem1_constant(
    *, condition_number: Numbers, alpha: Numbers, beta: Numbers, depth: Numbers
) -> Array:
    r"""log10 of (βκ²/α)^depth, Theorem 1's constant; arguments broadcast.

    .. math:: \left(\frac{\beta \kappa^2}{\alpha}\right)^{\text{depth}}

    Infinite if α = 0 or κ = ∞; 0 for depth 0.

    Args:
        condition_number: κ, at least 1.
        alpha: α ≥ 0, the activation's lower transmission.
        beta: β > 0 with β ≥ α, the upper.
        depth: how many layers, an integer.

    Raises:
        ValueError: if an argument is NaN or out of its range.
    """
    L = nonnegative(depth, name="depth")
    if not np.array_equal(L, np.floor(L)) or np.isinf(L).any():
        raise ValueError("depth must be a whole number of layers")
    per_layer = _log10_transmission(alpha, beta) + 2 * _log10_condition(condition_number)
    with np.errstate(invalid="ignore"):
        return plain(np.where(L == 0, 0.0, L * per_layer))


def log10_function_bound(
    relative_perturbations: Numbers, *, condition_number: Numbers, alpha: Numbers, beta: Numbers
) -> Array:
    r"""log10 of Theorem 1a's bound: ‖f̃(x) − f(x)‖ / ‖f(x)‖ ≤ (βκ²/α)^L [∏_k (1 + r_k) − 1].

    .. math::
        \frac{\|\tilde{f}(x) - f(x)\|}{\|f(x)\|} \le \left(\frac{\beta \kappa^2}{\alpha}\right)^L
        \Bigl[\prod_k (1 + r_k) - 1\Bigr]

    Holds, as restated here, without biases, with φ(0) = 0, and where *every W_k is injective* (widths never
    shrink): the published wording does not state that last premise, and the module's docstring has the
    counterexample. W̃'s condition number is not needed.

    Infinite if α = 0, κ = ∞ or an r is, unless every r is 0.

    Args:
        relative_perturbations: r_k = ‖ΔW_k‖_F/‖W_k‖_F, shape (..., L).
        condition_number: κ, broadcast against the leading axes.
        alpha: α, common to the layers, likewise.
        beta: β, likewise.

    Returns:
        Shape (...), no unit.

    Raises:
        ValueError: if an argument is NaN or out of its range.
    """
    r = layered(relative_perturbations, name="relative_perturbations")
    constant = log10_theorem1_constant(
        condition_number=condition_number, alpha=alpha, beta=beta, depth=r.shape[-1]
    )
    return plain(times(constant, log10_expm1(np.log1p(r).sum(axis=-1))))


def log10_layerwise_function_bound(
    relative_perturbations: Numbers,
    *,
    spectral_norms: Numbers,
    smallest_singular_values: Numbers,
    perturbation_condition_numbers: Numbers,
    alphas: Numbers,
    betas: Numbers,
) -> Array:
    r"""log10 of Theorem 1a with each layer's own constants, which is never above the published form.

    .. math::
        \frac{\|\tilde{f}(x) - f(x)\|}{\|f(x)\|}
        \le \prod_k \frac{\beta_k \|W_k\|_2}{\alpha_k \, \sigma_{\min}(W_k)} \cdot
        \Bigl[\prod_k \bigl(1 + \kappa(\Delta W_k) \, r_k\bigr) - 1\Bigr]

    ‖f̃(x) − f(x)‖ / ‖f(x)‖ ≤ ∏_k (β_k‖W_k‖₂ / (α_k σ_min(W_k))) · [∏_k (1 + κ(ΔW_k) r_k) − 1]

    Holds without biases, with φ_k(0) = 0, and where every W_k is injective (widths never shrink).

    Infinite if an α_k or σ_min is 0, or κ(ΔW_k) r_k is ∞, unless every r is 0. A layer with r_k = 0 adds
    nothing to the bracket, whatever its κ(ΔW_k), NaN included.

    Args:
        relative_perturbations: r_k, shape (..., L).
        spectral_norms: ‖W_k‖₂, in the weights' unit; this and all below broadcast against (..., L).
        smallest_singular_values: σ_min(W_k), in the same unit, at most ‖W_k‖₂.
        perturbation_condition_numbers: κ(ΔW_k), at least 1.
        alphas: α_k ≥ 0.
        betas: β_k > 0 with β_k ≥ α_k.

    Returns:
        Shape (...), no unit.

    Raises:
        ValueError: if an argument is NaN (but for the above) or out of its range.
    """
    r = layered(relative_perturbations, name="relative_perturbations")
    largest = nonnegative(spectral_norms, name="spectral_norms")
    smallest = nonnegative(smallest_singular_values, name="smallest_singular_values")
    if np.isinf(largest).any() or (smallest > largest).any():
        raise ValueError("smallest_singular_values must be at most spectral_norms, and these finite")
    with np.errstate(divide="ignore", invalid="ignore"):
        conditioning = np.where(smallest > 0, np.log10(largest) - np.log10(smallest), np.inf)
    per_layer = _log10_transmission(alphas, betas) + conditioning
    constant = np.broadcast_to(per_layer, np.broadcast_shapes(per_layer.shape, r.shape)).sum(axis=-1)

    kappa = _log10_condition(_where_perturbed(perturbation_condition_numbers, r))
    with np.errstate(divide="ignore", invalid="ignore"):
        # log(1 + κr) from log κ + log r: the product itself may overflow.
        log_factors = np.logaddexp(0.0, np.where(r > 0, (kappa + np.log10(r)) * np.log(10.0), -np.inf))
    return plain(times(constant, log10_expm1(log_factors.sum(axis=-1))))


def log10_jacobian_bound(
    relative_perturbations: Numbers, *, condition_number: Numbers, alpha: Numbers, beta: Numbers
) -> Array:
    r"""log10 of Theorem 1b's bound: ‖J̃_l − J_l‖_F / ‖J_l‖_F ≤ (βκ²/α)^(L−l) [∏_{k>l} (1 + r_k) − 1].

    .. math::
        \frac{\|\tilde{J}_l - J_l\|_F}{\|J_l\|_F} \le \left(\frac{\beta \kappa^2}{\alpha}\right)^{L - l}
        \Bigl[\prod_{k > l} (1 + r_k) - 1\Bigr]

    As restated here it does not hold for nonlinear activations, since it leaves out how the gates φ'(z_k)
    move. With a leaky ReLU of slope a, W = I, x = (1, t) and ΔW = [[0, 2t], [−2t, 0]], every κ is 1 and the
    bound is 2t/a, while the second unit's gate falls from 1 to a: the change tends to (1 − a)/√2 as t → 0.
    `log10_gated_jacobian_bound` is the nearest form that survives; the two agree where no gate moves.

    Infinite if α = 0, κ = ∞ or an r is, unless every r is 0; −∞ for no layers (J_L is the identity).

    Args:
        relative_perturbations: r_k of the layers k > l that the Jacobian passes through, shape (..., L − l).
        condition_number: κ over those layers, broadcast against the leading axes.
        alpha: α with |φ'| ≥ α, likewise.
        beta: β with |φ'| ≤ β, likewise.

    Returns:
        Shape (...), no unit.

    Raises:
        ValueError: if an argument is NaN or out of its range.
    """
    return log10_function_bound(
        relative_perturbations, condition_number=condition_number, alpha=alpha, beta=beta
    )


def log10_gated_jacobian_bound(
    relative_perturbations: Numbers,
    *,
    gate_changes: Numbers,
    condition_number: Numbers,
    alpha: Numbers,
    beta: Numbers,
) -> Array:
    r"""log10 of Theorem 1b with moving gates: (βκ²/α)^(L−l) [∏_{k>l} (1 + r_k)(1 + s_k) − 1].

    .. math::
        \left(\frac{\beta \kappa^2}{\alpha}\right)^{L - l} \Bigl[\prod_{k > l} (1 + r_k)(1 + s_k) - 1\Bigr], \\
        s_k = \max_i \frac{|\varphi'(\tilde{z}_{k,i}) - \varphi'(z_{k,i})|}{|\varphi'(z_{k,i})|}

    s_k = max_i |φ'(z̃_{k,i}) − φ'(z_{k,i})| / |φ'(z_{k,i})| is how much layer k's gates moved on this
    example.

    Why it holds. J_l = Φ'_L W_L ··· Φ'_{l+1} W_{l+1}, and the change of Φ'_k is Φ'_k S_k with ‖S_k‖₂ = s_k.
    Expand J̃_l − J_l over the non-empty sets of changed factors. Each term is at most (a product of the
    chosen r and s) times β^(L−l) κ^(2(L−l−1)) ‖W_p‖_F ∏_{k≠p} σ_min(W_k), with one layer p in the Frobenius
    norm, the others in the spectral norm, and ‖ΔW_k‖₂/σ_min(W_k) ≤ κ² r_k. On the other side ‖J_l‖_F ≥
    α^(L−l) ‖W_p‖_F ∏_{k≠p} σ_min(W_k).

    Premises: a plain chain with |φ'| in [α, β] and α > 0 where it is evaluated; for the last inequality
    every W_k with l < k < p surjective and every W_k with k > p injective, for one p: widths may shrink up
    to W_p and grow after it (so: all never shrinking, p = l + 1; all never growing, p = L), but must not
    grow and then shrink. Biases change no Jacobian except through the gates, whose change is measured. Only
    κ of the W_k and ΔW_k is used.

    Infinite if α = 0, κ = ∞, or an r or s is, unless all are 0; −∞ for no layers.

    Args:
        relative_perturbations: r_k of the layers k > l, shape (..., L − l).
        gate_changes: s_k of the same layers, broadcast against them; ∞ where a gate opened from φ' = 0.
        condition_number: κ over those layers, broadcast against the leading axes.
        alpha: α, likewise.
        beta: β, likewise.

    Returns:
        Shape (...), no unit.

    Raises:
        ValueError: if an argument is NaN or out of its range.
    """
    r = layered(relative_perturbations, name="relative_perturbations")
    s = nonnegative(gate_changes, name="gate_changes")
    log_factors = np.log1p(r) + np.log1p(s)
    if log_factors.shape[-1] != r.shape[-1]:
        raise ValueError(f"gate_changes has shape {s.shape}, relative_perturbations {r.shape}: layers differ")
    constant = log10_theorem1_constant(
        condition_number=condition_number, alpha=alpha, beta=beta, depth=r.shape[-1]
    )
    return plain(times(constant, log10_expm1(log_factors.sum(axis=-1))))


def _log10_transmission(alpha: Numbers, beta: Numbers) -> Array:
    """log10(β/α), ∞ where α = 0."""
    a, b = nonnegative(alpha, name="alpha"), nonnegative(beta, name="beta")
    if (b == 0).any() or np.isinf(b).any() or (a > b).any():
        raise ValueError("beta must be positive, finite and at least alpha")
    with np.errstate(divide="ignore"):
        return np.asarray(np.log10(b) - np.log10(a))


def _log10_condition(condition_number: Numbers) -> Array:
    """log10 κ."""
    kappa = nonnegative(condition_number, name="condition_number")
    if (kappa < 1).any():
        raise ValueError(f"a condition number is at least 1, got {float(kappa.min()):g}")
    return np.log10(kappa)


def _where_perturbed(condition_numbers: Numbers, r: Array) -> Array:
    """κ(ΔW_k), but 1 where the layer was not moved and so has none."""
    return np.where(r > 0, as_array(condition_numbers), 1.0)
