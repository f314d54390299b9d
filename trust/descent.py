"""Lemma 1 (how much a perturbation lowers the loss) and the step limits that follow from it or beside it."""

from __future__ import annotations

import numpy as np

from trust._checks import LN10, log10_expm1, nonnegative, plain, without_nan
from trust.norms import Array, Numbers, as_array

# A measured cosine may pass 1 by rounding; in float32 over 1e7 parameters by some 1e-6.
_COSINE_ROUNDING = 1e-5


def lemma1_bound(
    *,
    gradient_norms: Numbers,
    perturbation_norms: Numbers,
    cosines: Numbers,
    worst_gradient_changes: Numbers | None = None,
    worst_breakdowns: Numbers | None = None,
    axis: int = -1,
) -> Array:
    r"""Lemma 1's upper bound on the change of the loss, 𝓛(W + ΔW) − 𝓛(W), in the loss's unit.

    .. math::
        - \sum_l \|\Delta W_l\|_F \Bigl[\|g_l\|_F \cos \theta_l - \max_t \|g_l(W + t \Delta W) - g_l\|_F\Bigr]

    −Σ_l ‖ΔW_l‖_F [‖g_l‖_F cos θ_l − max_t ‖g_l(W + tΔW) − g_l‖_F], t over [0, 1], θ_l the angle between
    ΔW_l and −g_l.

    True by the fundamental theorem of calculus for a differentiable loss, so a breach means a bug or too
    coarse a grid of t. Give the worst gradient change either as it is (`worst_gradient_changes`) or
    relative to ‖g_l‖_F, as the lemma is published (`worst_breakdowns`); exactly one of them. The relative
    form cannot tell what a layer with a zero gradient contributes: such a layer with a breakdown of ∞ and a
    perturbation makes the bound infinite.

    A layer with a zero gradient or no perturbation has no angle: its cosine is not read and may be NaN.

    Args:
        gradient_norms: ‖g_l‖_F at the start.
        perturbation_norms: ‖ΔW_l‖_F.
        cosines: cos θ_l, in [−1, 1].
        worst_gradient_changes: max_t ‖g_l(W + tΔW) − g_l‖_F, in the gradient's unit.
        worst_breakdowns: the same over ‖g_l‖_F, no unit.
        axis: the axis of the layers, after the arguments are broadcast.

    Raises:
        ValueError: if both or neither form is given, or an argument is NaN or out of its range.
    """
    g = nonnegative(gradient_norms, name="gradient_norms")
    d = nonnegative(perturbation_norms, name="perturbation_norms")
    if np.isinf(g).any() or np.isinf(d).any():
        raise ValueError("gradient_norms and perturbation_norms must be finite")
    cos = _cosine(np.where((g > 0) & (d > 0), as_array(cosines), 0.0), name="cosines")
    if (worst_gradient_changes is None) == (worst_breakdowns is None):
        raise ValueError("give exactly one of worst_gradient_changes and worst_breakdowns")
    if worst_gradient_changes is not None:
        change = nonnegative(worst_gradient_changes, name="worst_gradient_changes")
    else:
        breakdown = nonnegative(worst_breakdowns, name="worst_breakdowns")
        with np.errstate(invalid="ignore"):
            change = np.where(np.isinf(breakdown), np.inf, g * breakdown)
    with np.errstate(invalid="ignore"):
        rise = np.where(d > 0, d * (change - g * cos), 0.0)
    return plain(np.sum(rise, axis=axis))


def lemma2_step_limit(*, depth: Numbers, cos_theta: Numbers = 1.0, log10_constant: Numbers = 0.0) -> Array:
    r"""Lemma 2's limit on the relative step: the loss is said to decrease for η < (1 + cos θ / C)^(1/L) − 1.

    .. math:: \eta < \left(1 + \frac{\cos \theta}{C}\right)^{1/L} - 1

    It is the root of C·[(1 + η)^L − 1] = cos θ: where the breakdown is at most C·D, Lemma 1's bracket is
    positive for smaller steps. C = 1 is the published lemma, which rests on modelling assumption 1; C =
    (βκ²/α)^L (`log10_theorem1_constant`) the referees' form; a measured C the calibrated one.

    0 if cos θ ≤ 0 or C = ∞, and where the limit is below the smallest float64 (then see
    `log10_lemma2_step_limit`). Infinite if C = 0 and cos θ > 0.

    Args:
        depth: L ≥ 1; arguments broadcast.
        cos_theta: the cosine of the worst layer's angle between the step and −g.
        log10_constant: log10 C.

    Raises:
        ValueError: if an argument is NaN or out of its range.
    """
    L, y = _lemma2_arguments(depth, cos_theta, log10_constant)
    with np.errstate(over="ignore"):
        return plain(np.expm1(np.logaddexp(0.0, y) / L))


def log10_lemma2_step_limit(
    *, depth: Numbers, cos_theta: Numbers = 1.0, log10_constant: Numbers = 0.0
) -> Array:
    """log10 of `lemma2_step_limit`, finite for any finite constant: −∞ only if cos θ ≤ 0 or C = ∞.

    Args:
        depth: L ≥ 1; arguments broadcast.
        cos_theta: the cosine of the worst layer's angle between the step and −g.
        log10_constant: log10 C.

    Raises:
        ValueError: if an argument is NaN or out of its range.
    """
    L, y = _lemma2_arguments(depth, cos_theta, log10_constant)
    # With e^y = cos θ / C below float64's resolution of 1, (1 + e^y)^(1/L) − 1 = e^y / L to that resolution.
    return plain(np.where(y < -40.0, y / LN10 - np.log10(L), log10_expm1(np.logaddexp(0.0, y) / L)))


def curvature_step_limit(*, slope: Numbers, curvature: Numbers) -> Array:
    r"""η < 2|𝓛'(0)| / 𝓛''(0): where the slice's second-order expansion is back at its starting loss.

    .. math:: \eta < \frac{2 |\mathcal{L}'(0)|}{\mathcal{L}''(0)}

    For gradient descent this is the edge-of-stability threshold 2/λ, in the slice's own step. A model, not
    a bound: it leaves out the third order.

    0 where the slope is not negative, since the loss does not decrease at first; else infinite where the
    curvature is 0 or negative.

    Args:
        slope: 𝓛'(0) along the slice, loss per unit step; arguments broadcast.
        curvature: 𝓛''(0) along it.

    Raises:
        ValueError: if an argument is NaN.
    """
    first, second = np.broadcast_arrays(
        without_nan(slope, name="slope"), without_nan(curvature, name="curvature")
    )
    with np.errstate(divide="ignore", over="ignore", invalid="ignore"):
        # Halving the curvature rather than doubling the slope: it cannot overflow.
        limit = np.where(second > 0, -first / (second / 2), np.inf)
    return plain(np.where(first < 0, limit, 0.0))


def secant_step_limit(*, slope: Numbers, eta: Numbers, slope_there: Numbers) -> Array:
    r"""2η 𝓛'(0) / (𝓛'(0) − 𝓛'(η)): where a quadratic with these two slopes is back at its start.

    .. math:: \frac{2 \eta \, \mathcal{L}'(0)}{\mathcal{L}'(0) - \mathcal{L}'(\eta)}

    The curvature that was met on the way, kinks and all, in the place of 𝓛''(0); exact for a quadratic loss.

    0 where 𝓛'(0) is not negative; else infinite where the slope does not grow.

    Args:
        slope: 𝓛'(0) along the slice, loss per unit step; arguments broadcast.
        eta: η > 0.
        slope_there: 𝓛'(η).

    Raises:
        ValueError: if an argument is NaN, or an η is not positive.
    """
    first, at, second = np.broadcast_arrays(
        without_nan(slope, name="slope"),
        nonnegative(eta, name="eta"),
        without_nan(slope_there, name="slope_there"),
    )
    if (at == 0).any():
        raise ValueError("eta must be positive")
    with np.errstate(all="ignore"):
        # halved rather than doubled: it cannot overflow
        limit = np.where(second > first, at * (-first / (second / 2 - first / 2)), np.inf)
    return plain(np.where(first < 0, limit, 0.0))


def predicted_step_limit(*, slope: Numbers, eta: Numbers, rise: Numbers, slope_there: Numbers) -> Array:
    r"""Where the loss is back at its start, from its value and slope at one further η: an estimate, not a bound.

    The smaller of two estimates, each exact for a quadratic loss:

    * the secant of the slope (`secant_step_limit`). It is best at half the limit, and is not used where the loss has
      risen already.
    * the power law: with q(η) = (𝓛(η) − 𝓛(0) − η𝓛'(0)) / (−η𝓛'(0)), which is 1 at the limit, log q is taken to be a
      straight line in log η, through the value and slope at η. Exact for every loss that is its tangent and a
      power of η; best near the limit, on either side of it.

    .. math:: q(\eta) = \frac{\mathcal{L}(\eta) - \mathcal{L}(0) - \eta \mathcal{L}'(0)}{- \eta \mathcal{L}'(0)}

    A second gradient goes where the first prediction is, and gives a better one. The measured limit is what
    arXiv 2601.16979 calls 2 over the critical sharpness, in relative units.

    0 where 𝓛'(0) is not negative; else infinite where neither estimate exists: the slope does not grow.

    Args:
        slope: 𝓛'(0) along the slice, loss per unit step; arguments broadcast.
        eta: η > 0.
        rise: 𝓛(η) − 𝓛(0), in the loss's unit.
        slope_there: 𝓛'(η).

    Raises:
        ValueError: if an argument is NaN, or an η is not positive.
    """
    first, at, change, second = np.broadcast_arrays(
        without_nan(slope, name="slope"),
        nonnegative(eta, name="eta"),
        without_nan(rise, name="rise"),
        without_nan(slope_there, name="slope_there"),
    )
    if (at == 0).any():
        raise ValueError("eta must be positive")
    with np.errstate(all="ignore"):
        secant = secant_step_limit(slope=first, eta=at, slope_there=second)
        secant = np.where(change < 0, secant, np.inf)
        tangent = at * -first
        quotient = 1 + change / tangent
        growth = (at * second - change) / tangent / quotient  # d log q / d log η
        known = np.isfinite(quotient) & (quotient > 0) & (growth > 0)
        power = np.where(known, at * np.exp(-np.log(quotient) / growth), np.inf)
    return plain(np.where(first < 0, np.minimum(secant, power), 0.0))


def _lemma2_arguments(depth: Numbers, cos_theta: Numbers, log10_constant: Numbers) -> tuple[Array, Array]:
    """L, and log(cos θ / C)."""
    L = nonnegative(depth, name="depth")
    if (L < 1).any() or np.isinf(L).any():
        raise ValueError(f"depth must be at least 1 and finite, got {float(L.min()):g}")
    cos = np.maximum(_cosine(cos_theta, name="cos_theta"), 0.0)
    log10_C = without_nan(log10_constant, name="log10_constant")
    with np.errstate(divide="ignore", invalid="ignore"):
        y = np.where(cos > 0, np.log(cos) - LN10 * log10_C, -np.inf)
    return L, y


def _cosine(values: Numbers, *, name: str) -> Array:
    cos = without_nan(values, name=name)
    if (np.abs(cos) > 1 + _COSINE_ROUNDING).any():
        raise ValueError(f"{name} must be between -1 and 1, got {float(cos.flat[np.abs(cos).argmax()]):g}")
    return np.clip(cos, -1.0, 1.0)
