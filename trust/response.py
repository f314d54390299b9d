"""Bounds on a piecewise linear network from its linear response, and a step along which a loss provably falls.

For the chains, symbols and roundings of `trust.pattern`, and for every point W + tΔW, 0 < t ≤ 1, of the way to
the perturbed weights. δ_k(t) is the change of h_k there, Φ'_k the gates at the frozen weights, and

    y_k = ι_k y_{k−1} + Φ'_k (W_k y_{k−1} + u_k),   y_0 = 0,   u_k = ΔW_k h_{k−1} + Δb_k,

the linear response: y_L = ∂_W f · ΔW. Each argument moves by ε_k(t) = (W_k + tΔW_k) δ_{k−1} + t u_k, and φ is a
convex piecewise linear function, so that δ_k = ι_k δ_{k−1} + Φ'_k ε_k + q_k with

    0 ≤ q_{k,i} ≤ (1 − a)(|ε_{k,i}| − |z_{k,i}|)_+ ,                                                               (1)

0 unless the unit crosses its kink: |z_i| away, and on one side only. Put r_k = δ_k − t y_k. Inserting both
definitions,

    r_k = p_k + q_k,   p_k = ι_k r_{k−1} + Φ'_k [W_k r_{k−1} + t ΔW_k r_{k−1} + t² ΔW_k y_{k−1}],   r_0 = 0.       (2)

**The theorem** (`response_bound`). With P_0 = Q_0 = ν_0 = 0, all of the following speaks of numbers at t = 1::

    s_i = ±(W_k y_{k−1} + u_k)_i + (±ΔW_k y_{k−1})_i⁺ + ‖w_i[A]‖ P_{k−1} + min((|W_k|Q_{k−1})_i, ‖w_i‖ν_{k−1})
          + ‖Δw_i‖ R_{k−1},    R_{k−1} = P_{k−1} + ν_{k−1},
    κ_i = (1 − a)(s_i − |z_{k,i}|)_+/s_i ,   Q_{k,i} = κ_i s_i,
    T_k = ‖(|W_k y_{k−1} + u_k| + |ΔW_k y_{k−1}|)[κ > 0]‖ + (‖W_k‖₂ + ‖ΔW_k‖_F) R_{k−1},
    ν_k = min(‖Q_k‖, max_i κ_i T_k),
    P_k = ‖(ι_k I + Φ'_k W_k)[:, A]‖₂ P_{k−1} + min(‖ι_k Q_{k−1} + Φ'_k|W_k|Q_{k−1}‖, (ι_k + ‖W_k‖₂)ν_{k−1})
          + ‖Φ'_k ΔW_k‖_F R_{k−1} + ‖Φ'_k ΔW_k y_{k−1}‖,

with + in s_i for units with z_i ≤ 0 and − for the others, A the units of layer k−1 whose gate is not 0 (all of
them behind a residual block). Then ‖p_k(t)‖ ≤ t P_k, q_k(t) ≤ t Q_k entry by entry, ‖q_k(t)‖ ≤ t ν_k, and
‖f(W + tΔW) − f(W)‖ ≤ t (‖y_L‖ + P_L + ν_L).

*Proof.* By induction. p_{k−1} is 0 outside A, by its Φ'; so each entry of W_k r_{k−1} is at most t times the
third and fourth terms of s_i, and ε_i = t(W_k y + u)_i + t²(ΔW_k y)_i + (W_k r)_i + t(ΔW_k r)_i goes no further
than ts_i towards the kink, as t² ≤ t. The right side of (1) is a convex function of |ε_i|, 0 at 0, so on [0,
ts_i] it lies below its chord, whose slope (1 − a)(ts_i − |z_i|)_+/(ts_i) is at most κ_i: q_i ≤ κ_i|ε_i| ≤ tQ_i.
The entries of ε with κ_i > 0 are no longer than tT_k together, hence ‖q_k‖ ≤ tν_k. And (2) in norms is the
recursion for P. ∎

Only W_k's norms are needed, of each example once for all perturbations. It beats `trust.pattern.pattern_bound`
where few units cross their kinks: as ΔW → 0 its ratio to the change goes to 1. THEORY's form, R_k =
‖Φ'_kW_k‖R_{k−1} + ‖Φ'_kΔW_k‖e_{k−1} + ‖(t_k − |z_k|)_+‖, is as true; it is looser where it lets the units'
arguments move by e instead of y.

**The lemma** (`loss_rise_bound`). For a loss ℓ that is the cross-entropy of softmax, g = ∇ℓ(f), a_L = g, a_{k−1}
= ι_k a_k + W_kᵀΦ'_k a_k (what backpropagation computes), for every 0 < t ≤ 1

    ℓ(f(W + tΔW)) − ℓ(f(W)) ≤ t [⟨g, y_L⟩ + Σ_k K_k + (Σ_k ⟨a_k, Φ'_kΔW_k y_{k−1}⟩ + Σ_k C_k + c)_+]

with K_k = min(⟨(a_k)_+, Q_k⟩, ‖κ(a_k)_+‖ T_k), C_k = ‖v_k[A]‖ P_{k−1} + min(⟨|v_k|, Q_{k−1}⟩, ‖v_k‖ν_{k−1}) for
v_k = ΔW_kᵀΦ'_k a_k, c the smaller of ¼E² and [(e^ω − 1 − ω)/ω²] (√(yᵀHy) + √(λ)P_L)², E = ‖y_L‖ + P_L, ω = √2 E,
H = diag(p) − ppᵀ and λ = min(½, tr H) ≥ ‖H‖₂. (The last layer is linear, so Q_L = 0.) Where the mean over
examples of the right side is below 0, their mean loss is below its start all along the way: a step that provably
descends, not only its end.

*Proof.* Along the line from f to f + δ the loss is F(s), with F'' the variance of δ's entries under the softmax
there, at most a quarter of their range squared, hence at most ½‖δ‖², and F''' their third central moment, at most
ω_δ F'' in size, ω_δ ≤ √2‖δ‖ their range. So F''(s) ≤ min(½‖δ‖², F''(0)e^{ω_δ s}), and F(1) ≤ F(0) + ⟨g, δ⟩ +
min(¼‖δ‖², F''(0)(e^ω − 1 − ω)/ω²). With δ = t y_L + r_L, ‖δ‖ ≤ tE and √F''(0) ≤ t(√(yᵀHy) + √λ P_L), both are at
most t²c. For the first order, ⟨g, δ⟩ = t⟨g, y_L⟩ + ⟨a_L, r_L⟩, and from (2), ⟨a_k, r_k⟩ = ⟨a_{k−1}, r_{k−1}⟩ +
t⟨v_k, r_{k−1}⟩ + t²⟨a_k, Φ'_kΔW_k y_{k−1}⟩ + ⟨a_k, q_k⟩, where ⟨a_k, q_k⟩ ≤ tK_k because 0 ≤ q ≤ κ|ε|, and ⟨v_k,
r_{k−1}⟩ ≤ t C_k. What is multiplied by t² is at most its positive part multiplied by t. ∎ Moreover ‖∇ℓ‖ ≤ √2, so
that the bracket may be replaced by √2E where that is smaller.

**Rounding.** y and a are floats ŷ, â, and every relation above is meant with the floats in it: what they miss, ŷ_k =
ι_kŷ_{k−1} + Φ'_k(W_kŷ_{k−1} + u_k) + σ_k and â_{k−1} = ι_kâ_k + W_kᵀΦ'_kâ_k + τ_k, adds ‖σ_k‖ to P_k, and ⟨â_k, σ_k⟩
and ⟨τ_k, r_{k−1}⟩ to the loss. Where ẑ is so small that its sign is not certain, |q_i| ≤ (1 − a)|ε_i| is all that is
used. The softmax is that of the floats f̂: g errs by ½c_L and a few u, and H by a factor of e^{√2c_L}.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from trust.norms import EPS, Array
from trust.pattern import Perturbed, Stage
from trust.rounding import gamma, norm_bound, raised

__all__ = ["loss_rise_bound", "response_bound"]


@dataclass(frozen=True)
class _Layer:
    """What one layer's induction leaves behind, for the adjoint's way back."""

    second: Array
    """Φ'ΔWy."""
    crossed: Array
    """Q."""
    unsure: NDArray[np.bool_]
    """Where the sign of z is not certain, so that q may be negative."""
    missed: Array
    """‖σ‖ and what rounding did to Φ'ΔWy."""
    share: Array
    """κ."""
    moved: Array
    """T: how far the arguments that may cross can move, together."""
    before: tuple[Array, Array, Array]
    """P, Q and ν of the layer before."""


@dataclass(frozen=True)
class _Response:
    linear: Array
    remainder: Array
    layers: list[_Layer]

    @property
    def total(self) -> Array:
        """‖y_L‖ + P_L + ν_L."""
        return _finite_or_infinite(raised(norm_bound(self.linear) + self.remainder, 2))


def response_bound(perturbed: Perturbed) -> Array:
    r"""‖y_L‖ + P_L + ν_L of the module's theorem, with outward rounding: ‖f(W + tΔW) − f(W)‖ ≤ t times it.

    .. math:: \|y_L\| + P_L + \nu_L

    Returns:
        (examples,), in the output's unit; 0 where nothing is perturbed, +∞ where a number overflows.
    """
    return _response(perturbed).total


def loss_rise_bound(perturbed: Perturbed, labels: NDArray[np.integer[Any]]) -> Array:
    """The bracket of the module's lemma: ℓ(f(W + tΔW)) − ℓ(f(W)) ≤ t times it for all 0 < t ≤ 1, by cross-entropy.

    Args:
        perturbed: of a chain whose last stage is linear.
        labels: the right class of each example.

    Returns:
        (examples,); negative where the example's loss falls all along the way; +∞ where a number overflows.

    Raises:
        ValueError: the last stage is not linear, or a label is no class.
    """
    chain = perturbed.chain
    count, classes = chain.outputs.shape
    if chain.stages[-1].slope != 1:
        raise ValueError("the last stage must be linear: its slope must be 1")
    if labels.shape != (count,) or labels.min(initial=0) < 0 or labels.max(initial=0) >= classes:
        raise ValueError(f"labels must be {count} classes from 0 to {classes - 1}")
    response = _response(perturbed)
    with np.errstate(invalid="ignore", over="ignore", divide="ignore"):
        p = _softmax(chain.outputs)
        a = p.copy()
        a[np.arange(count), labels] -= 1
        size = raised(response.total, 2)
        first, wrong = _inner(a, response.linear)
        second = np.zeros(count)
        # of the softmax: a few u in each of its terms, and what the outputs themselves are off by
        wrong = wrong + (chain.output_error / 2 + 8 * (classes + 4) * EPS) * size
        for k in reversed(range(len(chain.stages))):
            layer, change = response.layers[k], perturbed.changes[k]
            kinks = np.where(layer.unsure, np.abs(a), np.maximum(a, 0.0))
            one_by_one = (kinks * layer.crossed).sum(1)
            together = norm_bound(kinks * layer.share) * layer.moved
            first = first + raised(np.fmin(one_by_one, together), a.shape[1] + 4)
            turned, error = _inner(a, layer.second)
            gated = chain.gates[k] * a
            v = gated @ change.weight
            P, Q, length = layer.before
            mixed = norm_bound(v * chain.open[k]) * P
            mixed = mixed + np.fmin((np.abs(v) * Q).sum(1), norm_bound(v) * length)
            second = second + turned + raised(mixed, v.shape[1] + 6)
            rest = P + length
            lost = gamma(a.shape[1] + 4) * norm_bound(gated) * rest
            wrong = wrong + error + norm_bound(a) * layer.missed
            wrong = wrong + lost * (_whole(chain.stages[k]) + _whole(change))
            back = gated @ chain.stages[k].weight
            a = a + back if chain.stages[k].skip else back
            wrong = wrong + EPS * norm_bound(a) * rest * chain.stages[k].skip
        spread = np.ptp(chain.outputs, axis=1)
        second = second + _curved(p, response, chain.output_error + EPS * spread)
        bracket = first + np.maximum(second, 0.0) + raised(wrong, 16 * len(chain.stages))
        bracket = bracket + 64 * len(chain.stages) * EPS * (np.abs(first) + np.abs(second))
        return np.minimum(_finite_or_infinite(bracket), raised(2**0.5 * size, 2))


def _response(perturbed: Perturbed) -> _Response:
    """The induction over the layers."""
    chain = perturbed.chain
    x = chain.states[0]
    y: Array = np.zeros_like(x)
    P, Q, length = np.zeros(len(x)), np.zeros_like(x), np.zeros(len(x))
    layers = []
    with np.errstate(invalid="ignore", over="ignore"):
        for k, (stage, change) in enumerate(zip(chain.stages, perturbed.changes, strict=True)):
            gate, z, doubt = chain.gates[k], chain.arguments[k], chain.argument_errors[k]
            terms = y.shape[1] + 4
            size, R = norm_bound(y)[:, None], raised(P + length, 2)
            linear = y @ stage.weight.T + perturbed.shifts[k]
            missed = gamma(terms) * (size * stage.row_norms + np.abs(perturbed.shifts[k]))
            missed = missed + perturbed.doubts[k]
            bent = y @ change.weight.T
            lost = gamma(terms) * size * change.row_norms
            through = raised(Q @ stage.magnitudes, terms)  # |W|Q
            rest = stage.rows_over(chain.open[k]) * P[:, None]
            rest = rest + np.fmin(through, np.multiply.outer(length, stage.row_norms))
            rest = rest + np.multiply.outer(R, change.row_norms) + missed + lost
            side = np.where(z > 0, -1.0, 1.0)
            either = np.abs(linear) + np.abs(bent) + rest
            room = side * linear + np.maximum(side * bent, 0.0) + rest + 16 * EPS * either
            unsure = np.abs(z) <= doubt
            distance = np.maximum(np.abs(z) - doubt - 2 * EPS * (np.abs(z) + doubt), 0.0)
            reach = np.where(unsure, raised(either, 8), room)
            part = np.where(unsure, 1.0, np.maximum(room - distance, 0.0) / np.where(room > 0, room, 1.0))
            share = raised((1 - stage.slope) * part, 8)
            crossed = raised(share * reach, 4)
            second = gate * bent
            answer = y + gate * linear if stage.skip else gate * linear
            blurred = norm_bound(gate * missed) + EPS * norm_bound(answer) * stage.skip
            passed = chain.norms[k] * P
            kinks = raised(gate * through + Q, 2) if stage.skip else gate * through
            passed = passed + np.fmin(norm_bound(kinks), (stage.norm + stage.skip) * length)
            passed = passed + change.rows_over_gates(gate) * R
            passed = passed + norm_bound(np.abs(second) + gate * lost) + blurred
            own = norm_bound((np.abs(linear) + np.abs(bent) + missed + lost) * (share > 0))
            moved = raised(own + (stage.norm + _whole(change)) * R, 8)
            rounded = blurred + norm_bound(gate * lost)
            layers.append(_Layer(second, crossed, unsure, rounded, share, moved, (P, Q, length)))
            P = raised(passed, 12)
            y, Q, length = (
                answer,
                crossed,
                raised(np.fmin(norm_bound(crossed), share.max(1) * moved), 4),
            )
        return _Response(y, raised(P + length, 2), layers)


def _inner(a: Array, b: Array) -> tuple[Array, Array]:
    """⟨a, b⟩ of every example, and how far it can be off."""
    error = gamma(a.shape[1] + 2) * norm_bound(a) * norm_bound(b)
    return (a * b).sum(1), raised(error, 4)


def _whole(stage: Stage) -> float:
    """‖W‖_F from above."""
    return float(norm_bound(stage.row_norms))


def _softmax(outputs: Array) -> Array:
    p = np.exp(outputs - outputs.max(1, keepdims=True))
    return np.asarray(p / p.sum(1, keepdims=True))


def _curved(p: Array, response: _Response, error: Array) -> Array:
    """C of the lemma, rounded up: what the softmax's curvature adds."""
    E = response.total
    y = response.linear
    mean = (p * y).sum(1, keepdims=True)
    spread = (p * np.square(y - mean)).sum(1)
    # the mean errs by a few u max|y|, which adds its square; the sum of p by as much
    spread = raised(spread, 16) + np.square(8 * p.shape[1] * EPS * np.abs(y).max(1))
    spread = spread * np.exp(2**0.5 * error) * (1 + 64 * EPS)
    largest = np.minimum(0.5, 1 - np.square(p).sum(1) + 8 * p.shape[1] * EPS + 2 * error)
    omega = 2**0.5 * E
    # of (e^ω − 1 − ω)/ω² = ½ + ω/6 + ω²/24 + … the rest is at most ω²/24 · e^ω
    small = 0.5 + omega / 6 + omega**2 / 20
    growth = np.where(omega < 1e-2, small, (np.expm1(omega) - omega) / omega**2 * (1 + 1e-10))
    near = growth * np.square(np.sqrt(spread) + np.sqrt(largest) * response.remainder)
    return raised(np.fmin(np.square(E) / 4, near), 24)


def _finite_or_infinite(values: Array) -> Array:
    """NaN, from ∞ − ∞ or 0·∞, claims nothing."""
    return np.where(np.isnan(values), np.inf, values)
