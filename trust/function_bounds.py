"""Bounds on the change of a network's output, in its own unit: no condition numbers and no division by ‖f‖.

For plain chains h_k = φ_k(W_k h_{k−1} [+ b_k]) with f(x) = h_L, h_0 = x, ‖·‖ the Euclidean norm and β_k the
Lipschitz constant of φ_k. A tilde marks what belongs to the perturbed weights W_k + ΔW_k, and ρ_k =
‖ΔW_k‖₂/‖W_k‖₂. No bound needs injective layers or a positive α, as Theorem 1's do.

Bounds are in log10, with the layers on the last axis and NumPy broadcasting over the others; an argument
with one number for all layers may leave its last axis out. Three conventions hold throughout: where nothing
is perturbed the bound is 0 (log10 = −∞), even with an infinite constant; elsewhere an infinite factor means
that nothing is claimed (log10 = +∞), even beside a factor of 0; and no difference of nearly equal numbers is
ever taken, so that a perturbation far below float64's resolution of the weights keeps its full accuracy.
"""

from __future__ import annotations

from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray

from trust._checks import LN10, layered, log10_expm1, nonnegative, plain
from trust.norms import EPS, Array, Numbers

_Mask: TypeAlias = NDArray[np.bool_]


def log10_input_sensitivity_bound(
    input_change_norm: Numbers, *, spectral_norms: Numbers, betas: Numbers
) -> Array:
    r"""log10 of ‖f(x + Δx) − f(x)‖ ≤ ∏_k β_k‖W_k‖₂ · ‖Δx‖.

    .. math:: \|f(x + \Delta x) - f(x)\| \le \prod_k \beta_k \|W_k\|_2 \cdot \|\Delta x\|

    Holds with biases and whatever φ_k(0) is: β_k‖W_k‖₂ is a Lipschitz constant of layer k.

    Args:
        input_change_norm: ‖Δx‖, shape (...), in the input's unit.
        spectral_norms: ‖W_k‖₂, shape (..., L).
        betas: β_k, broadcast against it.

    Returns:
        Shape (...), in the output's unit.

    Raises:
        ValueError: if an argument is NaN or negative, or the layers differ.
    """
    change = nonnegative(input_change_norm, name="input_change_norm")
    w = layered(spectral_norms, name="spectral_norms")
    beta = _per_layer(betas, name="betas", depth=w.shape[-1])
    with np.errstate(invalid="ignore"):
        total = _log(change) + (_log(w) + _log(beta)).sum(axis=-1)
    return _log10_where(change > 0, total)


def log10_spectral_product_bound(
    perturbation_norms: Numbers, *, spectral_norms: Numbers, betas: Numbers, input_norm: Numbers
) -> Array:
    r"""log10 of ‖f̃(x) − f(x)‖ ≤ ‖x‖ ∏_k β_k · [∏_k (‖W_k‖₂ + ‖ΔW_k‖₂) − ∏_k ‖W_k‖₂].

    .. math::
        \|\tilde{f}(x) - f(x)\| \le \|x\| \prod_k \beta_k \cdot
        \Bigl[\prod_k \bigl(\|W_k\|_2 + \|\Delta W_k\|_2\bigr) - \prod_k \|W_k\|_2\Bigr]

    The perturbation lemma of automatic gradient descent (Bernstein, Mingard, Huang, Azizan and Yue, 2023):
    ‖x‖ ∏ β_k‖W_k‖₂ [∏(1 + ρ_k) − 1] where no W_k is 0. Attained by W_k = cI, ΔW_k = ηW_k, φ_k = identity.

    Premises: no biases, and φ_k(0) = 0 for every layer.

    Computed as Σ_l ∏_{k>l} (‖W_k‖₂ + ‖ΔW_k‖₂) · ‖ΔW_l‖₂ · ∏_{k<l} ‖W_k‖₂, the same number without a
    difference.

    Args:
        perturbation_norms: ‖ΔW_k‖₂, shape (..., L).
        spectral_norms: ‖W_k‖₂, in the same unit, broadcast against it; may be 0.
        betas: β_k, likewise.
        input_norm: ‖x‖, broadcast against the leading axes.

    Returns:
        Shape (...), in the output's unit.

    Raises:
        ValueError: if an argument is NaN or negative, or the layers differ.
    """
    d = layered(perturbation_norms, name="perturbation_norms")
    w = _per_layer(spectral_norms, name="spectral_norms", depth=d.shape[-1])
    beta = _per_layer(betas, name="betas", depth=d.shape[-1])
    x = nonnegative(input_norm, name="input_norm")
    d, w, beta = np.broadcast_arrays(d, w, beta)
    # The logarithm of ‖W‖ + ‖ΔW‖ from those of its terms: the sum itself may overflow.
    grown = np.logaddexp(_log(w), _log(d))
    with np.errstate(invalid="ignore"):
        terms = _log(d) + _log_product_after(grown) + _log_product_before(_log(w))
        total = _log_sum(_where(d > 0, terms)) + _log(beta).sum(axis=-1) + _log(x)
    return _log10_where((d > 0).any(axis=-1), total)


def log10_neyshabur_bound(
    perturbation_norms: Numbers, *, spectral_norms: Numbers, input_norm: Numbers
) -> Array:
    r"""log10 of ‖f̃(x) − f(x)‖ ≤ e ‖x‖ ∏_k ‖W_k‖₂ · Σ_k ρ_k, where every ρ_k ≤ 1/L.

    .. math:: \|\tilde{f}(x) - f(x)\| \le e \, \|x\| \prod_k \|W_k\|_2 \cdot \sum_k \rho_k

    Lemma 2 of Neyshabur, Bhojanapalli and Srebro (ICLR 2018). Never below the spectral product bound with β =
    1, since ∏(1 + ρ_k) − 1 ≤ (e − 1) Σ ρ_k where Σ ρ_k ≤ 1; so e may be read as e − 1, but is kept as
    published.

    Premises: no biases, φ_k(0) = 0, β_k ≤ 1, and ρ_k ≤ 1/L for every layer (up to a rounding of 4ε, which the
    step from e − 1 to e has room for); +∞ where a ρ_k is above, since nothing is claimed there. A layer with
    W_k = 0 meets the premise only if ΔW_k = 0 as well, and ρ_k counts as 0 then.

    Args:
        perturbation_norms: ‖ΔW_k‖₂, shape (..., L).
        spectral_norms: ‖W_k‖₂, in the same unit, broadcast against it.
        input_norm: ‖x‖, broadcast against the leading axes.

    Returns:
        Shape (...), in the output's unit.

    Raises:
        ValueError: if an argument is NaN or negative, or the layers differ.
    """
    d = layered(perturbation_norms, name="perturbation_norms")
    L = d.shape[-1]
    w = _per_layer(spectral_norms, name="spectral_norms", depth=L)
    x = nonnegative(input_norm, name="input_norm")
    d, w = np.broadcast_arrays(d, w)
    with np.errstate(divide="ignore", invalid="ignore", over="ignore"):
        premise = ((d == 0) | (d / w <= (1 + 4 * EPS) / max(L, 1))).all(axis=-1)
        log_rho = np.where(d > 0, _log(d) - _log(w), -np.inf)
        total = 1 + _log(x) + _log(w).sum(axis=-1) + _log_sum(log_rho)
    return _log10_where((d > 0).any(axis=-1), np.where(premise, total, np.inf))


def log10_telescoped_bound(
    responses: Numbers, *, perturbed_spectral_norms: Numbers, betas: Numbers, bias_changes: Numbers = 0.0
) -> Array:
    r"""log10 of ‖f̃(x) − f(x)‖ ≤ Σ_l (∏_{k>l} β_k‖W̃_k‖₂) β_l (‖ΔW_l h_{l−1}(x)‖ + ‖Δb_l‖).

    .. math::
        \|\tilde{f}(x) - f(x)\| \le \sum_l \Bigl(\prod_{k > l} \beta_k \|\tilde{W}_k\|_2\Bigr) \beta_l
        \bigl(\|\Delta W_l \, h_{l - 1}(x)\| + \|\Delta b_l\|\bigr)

    Swaps the perturbed layers in one by one, from the last to the first: between two neighbours in that row
    of networks the layers before l are the unperturbed ones, the layers after it the perturbed ones, and
    layer l's argument differs by ΔW_l h_{l−1} + Δb_l. Holds with biases and whatever φ_k(0) is.

    Without biases, with φ_k(0) = 0 and ‖W̃_k‖₂ ≤ ‖W_k‖₂ + ‖ΔW_k‖₂, never above the spectral product bound:
    each of its terms is at most that one's. It uses this x, where that one uses only ‖x‖.

    Args:
        responses: ‖ΔW_l h_{l−1}(x)‖ with h of the *unperturbed* network, shape (..., L).
        perturbed_spectral_norms: ‖W̃_k‖₂ of the perturbed weights, broadcast against it.
        betas: β_k, likewise.
        bias_changes: ‖Δb_l‖, in the unit of the responses, likewise.

    Returns:
        Shape (...), in the output's unit.

    Raises:
        ValueError: if an argument is NaN or negative, or the layers differ.
    """
    response = layered(responses, name="responses")
    L = response.shape[-1]
    w = _per_layer(perturbed_spectral_norms, name="perturbed_spectral_norms", depth=L)
    beta = _per_layer(betas, name="betas", depth=L)
    shift = _per_layer(bias_changes, name="bias_changes", depth=L)
    response, w, beta, shift = np.broadcast_arrays(response, w, beta, shift)
    moved = (response > 0) | (shift > 0)
    with np.errstate(invalid="ignore"):
        change = np.logaddexp(_log(response), _log(shift))
        terms = change + _log(beta) + _log_product_after(_log(beta) + _log(w))
    return _log10_where(moved.any(axis=-1), _log_sum(_where(moved, terms)))


def log10_linearisation_remainder_bound(
    perturbation_norms: Numbers, *, spectral_norms: Numbers, input_norm: Numbers
) -> Array:
    r"""log10 of ‖f̃(x) − f(x) − ∂_W f(x)·ΔW‖ ≤ ‖x‖ ∏_k ‖W_k‖₂ [∏_k (1 + ρ_k) − 1 − Σ_k ρ_k].

    .. math::
        \|\tilde{f}(x) - f(x) - \partial_W f(x) \cdot \Delta W\| \le \|x\| \prod_k \|W_k\|_2
        \Bigl[\prod_k (1 + \rho_k) - 1 - \sum_k \rho_k\Bigr]

    For deep *linear* networks, W_L ⋯ W_1 x: the left side is the sum of the products with two or more changed
    factors, and so is the right. −∞ where fewer than two layers are perturbed, since the network is linear in
    each layer. Attained by W_k = cI, ΔW_k = ηW_k.

    Computed with P, T and R the product, its linear term and the remainder, layer by layer and all in
    products of norms, so that W_k = 0 needs no exception: P ← P‖W‖, T ← T‖W‖ + P‖ΔW‖, R ← R(‖W‖ + ‖ΔW‖) +
    T‖ΔW‖.

    Premises: φ_k = identity and no biases.

    Args:
        perturbation_norms: ‖ΔW_k‖₂, shape (..., L).
        spectral_norms: ‖W_k‖₂, in the same unit, broadcast against it; may be 0.
        input_norm: ‖x‖, broadcast against the leading axes.

    Returns:
        Shape (...), in the output's unit.

    Raises:
        ValueError: if an argument is NaN or negative, or the layers differ.
    """
    d = layered(perturbation_norms, name="perturbation_norms")
    w = _per_layer(spectral_norms, name="spectral_norms", depth=d.shape[-1])
    x = nonnegative(input_norm, name="input_norm")
    d, w = np.broadcast_arrays(d, w)
    log_d, log_w = _log(d), _log(w)
    P = np.zeros(d.shape[:-1])
    T = R = np.full(d.shape[:-1], -np.inf)
    with np.errstate(invalid="ignore"):
        for k in range(d.shape[-1]):
            D, W = log_d[..., k], log_w[..., k]
            R = np.logaddexp(R + np.logaddexp(W, D), T + D)
            T = np.logaddexp(T + W, P + D)
            P = P + W
        total = R + _log(x)
    return _log10_where(np.count_nonzero(d, axis=-1) >= 2, total)


def log10_agd_curvature_bound(eta: Numbers) -> Array:
    r"""log10 of ½(e^η − 1)², automatic gradient descent's stand-in for everything beyond the first order.

    .. math:: \tfrac{1}{2} (e^\eta - 1)^2

    Where every ρ_k ≤ η/L, the spectral product's bracket is ∏(1 + ρ_k) − 1 ≤ e^η − 1; so for ‖x‖ ∏ β_k‖W_k‖₂
    ≤ 1 (no biases, φ_k(0) = 0) this bounds ½‖f̃(x) − f(x)‖², the square loss's own curvature. It does *not*
    cover that loss's other term beyond the first order, the residual times f's linearisation remainder, for
    which see `log10_linearisation_remainder_bound`.

    Args:
        eta: η ≥ 0, of any shape; no unit.

    Returns:
        The shape of `eta`; −∞ at 0.

    Raises:
        ValueError: if η is NaN or negative.
    """
    return plain(2 * log10_expm1(nonnegative(eta, name="eta")) - np.log10(2.0))


def agd_step(gradient_norms: Numbers, *, rows: Numbers, columns: Numbers) -> Array:
    r"""Automatic gradient descent's step, η = log((1 + √(1 + 4G))/2) with G = (1/L) Σ_k √(d_k/d_{k−1}) ‖g_k‖_F.

    .. math::
        \eta = \log \frac{1 + \sqrt{1 + 4 G}}{2}
        \text{ with } G = \frac{1}{L} \sum_k \sqrt{\frac{d_k}{d_{k - 1}}} \, \|g_k\|_F

    It minimises −ηG + ½(e^η − 1)² over η ≥ 0 (see `log10_agd_curvature_bound`): e^η(e^η − 1) = G. A step, not
    a logarithm of one: η → G for small G, and η → ½ log G for large.

    Args:
        gradient_norms: ‖g_k‖_F, shape (..., L) with L ≥ 1.
        rows: d_k, the layer's width, at least 1; broadcast against it.
        columns: d_{k−1}, the width before it, likewise.

    Returns:
        η, shape (...): the relative change of the weights over all layers together, η/L for each.

    Raises:
        ValueError: if an argument is NaN, infinite or out of its range, there is no layer, or the layers
            differ.
    """
    g = layered(gradient_norms, name="gradient_norms")
    L = g.shape[-1]
    if L == 0 or np.isinf(g).any():
        raise ValueError("gradient_norms needs at least one layer, and finite norms")
    widths = {"rows": rows, "columns": columns}
    d = {name: _per_layer(value, name=name, depth=L) for name, value in widths.items()}
    for name, value in d.items():
        if (value < 1).any() or np.isinf(value).any():
            raise ValueError(f"{name} must be at least 1 and finite")
    log_G = _log_sum(_log(g) + (np.log(d["rows"]) - np.log(d["columns"])) / 2) - np.log(L)
    # (√(1 + 4G) − 1)/2 = √G · √G/(½ + √(¼ + G)) neither cancels nor overflows.
    root = np.exp(log_G / 2)
    return plain(np.log1p(root * (root / (0.5 + np.hypot(0.5, root)))))


def _per_layer(values: Numbers, *, name: str, depth: int) -> Array:
    """`nonnegative`, with an axis of `depth` layers at the end, if need be of length 1 for all alike."""
    array = nonnegative(values, name=name)
    if array.ndim == 0:
        array = array[None]
    if array.shape[-1] not in (1, depth):
        raise ValueError(f"{name} has {array.shape[-1]} layers on its last axis, expected {depth}")
    # A last axis of 1 would otherwise meet a depth of 0 as it meets any other.
    return np.broadcast_to(array, (*array.shape[:-1], depth))


def _log(array: Array) -> Array:
    with np.errstate(divide="ignore"):
        return np.asarray(np.log(array))


def _log_sum(logs: Array) -> Array:
    """The log of Σ exp over the layers; −∞ for none."""
    return np.asarray(np.logaddexp.reduce(logs, axis=-1))


def _log_product_before(log_factors: Array) -> Array:
    """For each layer the log of the product over the layers before it; NaN for 0·∞."""
    padded = np.concatenate([np.zeros((*log_factors.shape[:-1], 1)), log_factors], axis=-1)
    with np.errstate(invalid="ignore"):
        return np.asarray(padded[..., :-1].cumsum(axis=-1))


def _log_product_after(log_factors: Array) -> Array:
    """For each layer the log of the product over the layers after it; NaN for 0·∞."""
    return _log_product_before(log_factors[..., ::-1])[..., ::-1]


def _where(perturbed: _Mask | np.bool_, logs: Array) -> Array:
    """−∞ where nothing is perturbed, and +∞ for 0·∞ elsewhere."""
    return np.where(perturbed, np.where(np.isnan(logs), np.inf, logs), -np.inf)


def _log10_where(perturbed: _Mask | np.bool_, logs: Array) -> Array:
    """The result in log10, with `_where`'s conventions."""
    return plain(_where(perturbed, logs) / LN10)
