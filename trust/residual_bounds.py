"""Bounds on the change of the output of residual networks, and of whatever is made of Lipschitz steps.

For blocks h_k = s_k h_{k−1} + φ_k(W_k h_{k−1} + b_k), with s_k = 1 for a skip connection and s_k = 0 for a plain layer,
and in general for any :class:`trust.structure.Structure`: sums, branches, pooling, batch norm in evaluation mode folded
into its weight. The conventions are those of :mod:`trust.function_bounds`: log10, the layers on the last axis, 0 where
nothing is perturbed, and +∞ where something infinite meets a perturbation.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np

from trust._checks import LN10, layered, nonnegative, plain
from trust.norms import Array, Numbers
from trust.structure import Step, Structure

__all__ = [
    "log10_residual_spectral_bound",
    "log10_residual_telescoped_bound",
    "log10_structure_lipschitz",
    "log10_structure_spectral_bound",
    "log10_structure_telescoped_bound",
    "stages",
]


def log10_residual_telescoped_bound(
    responses: Numbers, *, perturbed_spectral_norms: Numbers, betas: Numbers, shortcuts: Numbers = 1.0
) -> Array:
    r"""log10 of e_L, with e_0 = 0 and e_k = (s_k + β_k‖W̃_k‖₂) e_{k−1} + β_k‖u_k‖.

    .. math:: e_0 = 0 \text{ and } e_k = (s_k + \beta_k \|\tilde{W}_k\|_2) \, e_{k - 1} + \beta_k \|u_k\|

    ‖f̃(x) − f(x)‖ ≤ e_L for blocks h_k = s_k h_{k−1} + φ_k(W_k h_{k−1} + b_k). Proof, with h̃ of the perturbed network:
    h̃_k − h_k = s_k(h̃_{k−1} − h_{k−1}) + φ_k(W̃_k h̃_{k−1} + b̃_k) − φ_k(W_k h_{k−1} + b_k), and the difference of φ_k's
    arguments is W̃_k(h̃_{k−1} − h_{k−1}) + u_k. Without shortcuts it is `log10_telescoped_bound`.

    Args:
        responses: ‖u_k‖ or more, u_k = ΔW_k h_{k−1}(x) + Δb_k with h of the *unperturbed* network, shape (..., L).
        perturbed_spectral_norms: ‖W̃_k‖₂ of the perturbed weights, broadcast against it.
        betas: β_k, φ_k's Lipschitz constants, likewise.
        shortcuts: s_k, or the norms of whatever linear maps the blocks add, likewise.

    Returns:
        Shape (...), in the output's unit.

    Raises:
        ValueError: if an argument is NaN or negative, or the layers differ.
    """
    u = layered(responses, name="responses")
    w, beta, s = _like(u, perturbed_spectral_norms=perturbed_spectral_norms, betas=betas, shortcuts=shortcuts)
    e = np.full(np.broadcast_shapes(u.shape, w.shape, beta.shape, s.shape)[:-1], -np.inf)
    for k in range(u.shape[-1]):
        inside = np.logaddexp(_times(e, w[..., k]), _log(u[..., k]))
        e = np.logaddexp(_times(e, s[..., k]), _times(inside, beta[..., k]))
    return _where_moved(u, e)


def log10_residual_spectral_bound(
    perturbation_norms: Numbers,
    *,
    spectral_norms: Numbers,
    betas: Numbers,
    input_norm: Numbers,
    shortcuts: Numbers = 1.0,
) -> Array:
    r"""log10 of ‖x‖ [∏_k (s_k + β_k(‖W_k‖₂ + ‖ΔW_k‖₂)) − ∏_k (s_k + β_k‖W_k‖₂)].

    .. math::
        \|x\| \Bigl[\prod_k \bigl(s_k + \beta_k (\|W_k\|_2 + \|\Delta W_k\|_2)\bigr)
        - \prod_k (s_k + \beta_k \|W_k\|_2)\Bigr]

    It bounds ‖f̃(x) − f(x)‖ for blocks h_k = s_k h_{k−1} + φ_k(W_k h_{k−1}) without biases and with φ_k(0) = 0: the
    telescoped bound with ‖u_k‖ ≤ ‖ΔW_k‖₂‖h_{k−1}‖ and ‖h_k‖ ≤ (s_k + β_k‖W_k‖₂)‖h_{k−1}‖. Without shortcuts it is
    `log10_spectral_product_bound`. No difference of nearly equal numbers is taken.

    Args:
        perturbation_norms: ‖ΔW_k‖₂, shape (..., L).
        spectral_norms: ‖W_k‖₂, broadcast against it.
        betas: β_k, likewise.
        input_norm: ‖x‖, broadcast against the leading axes.
        shortcuts: s_k, likewise.

    Returns:
        Shape (...), in the output's unit.

    Raises:
        ValueError: if an argument is NaN or negative, or the layers differ.
    """
    d = layered(perturbation_norms, name="perturbation_norms")
    w, beta, s = _like(d, spectral_norms=spectral_norms, betas=betas, shortcuts=shortcuts)
    x = nonnegative(input_norm, name="input_norm")
    shape = np.broadcast_shapes(np.broadcast_shapes(d.shape, w.shape, beta.shape, s.shape)[:-1], x.shape)
    e, n = np.full(shape, -np.inf), np.broadcast_to(_log(x), shape)
    for k in range(d.shape[-1]):
        step = _times(n, d[..., k])
        inside = np.logaddexp(np.logaddexp(_times(e, w[..., k]), _times(e, d[..., k])), step)
        e = np.logaddexp(_times(e, s[..., k]), _times(inside, beta[..., k]))
        n = np.logaddexp(_times(n, s[..., k]), _times(_times(n, w[..., k]), beta[..., k]))
    return _where_moved(d, e)


def stages(structure: Structure) -> list[Step]:
    """The steps that have weights of their own, in order: the layers on the last axis of the two bounds below."""
    return [step for step in structure.steps if step.kind in ("weight", "batch norm")]


def log10_structure_telescoped_bound(
    structure: Structure, responses: Numbers, *, perturbed_norms: Numbers
) -> Array:
    """log10 of e at the output, with e = 0 at the input.

    Step by step it becomes ‖W̃‖₂ e + ‖u‖ behind a weight (batch norm folded), β e behind an activation or a fixed map,
    the sum of both behind a sum, the root of the sum of squares behind a join. Each bounds ‖h̃ − h‖ there, by the
    triangle inequality. It is infinite behind a step that is not understood.

    Args:
        structure: what the network computes; every stage is used once.
        responses: ‖u_k‖ or more for each of :func:`stages`, shape (..., stages), with u_k = ΔW_k h_k(x) + Δb_k, h_k
            what the stage is given in the *unperturbed* network, ΔW_k and Δb_k the changes of what is applied to it.
        perturbed_norms: ‖W̃_k‖₂, broadcast against it.

    Returns:
        Shape (...), in the output's unit.

    Raises:
        ValueError: if an argument is NaN or negative, or the stages differ.
    """
    u = layered(responses, name="responses")
    (w,) = _like(u, perturbed_norms=perturbed_norms)
    zero = np.full(np.broadcast_shapes(u.shape, w.shape)[:-1], -np.inf)

    def stage(e: Array, k: int) -> Array:
        return np.logaddexp(_times(e, w[..., k]), _log(u[..., k]))

    (e,) = _through(structure, u.shape[-1], (zero,), lambda values, k: (stage(values[0], k),))
    return _where_moved(u, e)


def log10_structure_spectral_bound(
    structure: Structure, perturbation_norms: Numbers, *, norms: Numbers, input_norm: Numbers
) -> Array:
    """log10 of e at the output, with e = 0 and n = ‖x‖ at the input and, behind a weight, (‖W‖₂ + ‖ΔW‖₂) e + ‖ΔW‖₂ n.

    n, a bound on ‖h‖, becomes ‖W‖₂ n; behind other steps both go as e does in `log10_structure_telescoped_bound`.
    Premises: nothing adds a constant, and every activation is 0 at 0.

    Args:
        structure: what the network computes; every stage is used once.
        perturbation_norms: ‖ΔW_k‖₂ for each of :func:`stages`, shape (..., stages).
        norms: ‖W_k‖₂, broadcast against it.
        input_norm: ‖x‖, broadcast against the leading axes.

    Returns:
        Shape (...), in the output's unit.

    Raises:
        ValueError: if an argument is NaN or negative, or the stages differ.
    """
    d = layered(perturbation_norms, name="perturbation_norms")
    (w,) = _like(d, norms=norms)
    x = nonnegative(input_norm, name="input_norm")
    shape = np.broadcast_shapes(np.broadcast_shapes(d.shape, w.shape)[:-1], x.shape)

    def stage(values: Sequence[Array], k: int) -> tuple[Array, ...]:
        e, n = values
        grown = np.logaddexp(_times(e, w[..., k]), _times(e, d[..., k]))
        return np.logaddexp(grown, _times(n, d[..., k])), _times(n, w[..., k])

    start = (np.full(shape, -np.inf), np.broadcast_to(_log(x), shape))
    return _where_moved(d, _through(structure, d.shape[-1], start, stage)[0])


def log10_structure_lipschitz(structure: Structure, *, norms: Numbers) -> Array:
    """log10 of a Lipschitz constant of the whole: ∏ β_k‖W_k‖₂ of a chain, ∏ (1 + β_k‖W_k‖₂) of residual blocks.

    It goes as `log10_structure_telescoped_bound` goes from step to step, with 1 at the input and ‖W‖₂ e behind a
    weight: at each point of the input it is no less than the norm of the Jacobian.

    Args:
        structure: what the network computes; every stage is used once.
        norms: ‖W_k‖₂ for each of :func:`stages`, shape (..., stages).

    Returns:
        Shape (...); +∞ where a step is not understood.

    Raises:
        ValueError: if a norm is NaN or negative, or the stages differ.
    """
    w = layered(norms, name="norms")
    start = (np.zeros(w.shape[:-1]),)
    (found,) = _through(structure, w.shape[-1], start, lambda values, k: (_times(values[0], w[..., k]),))
    return plain(found / LN10)


def _through(
    structure: Structure,
    count: int,
    start: tuple[Array, ...],
    stage: Callable[[Sequence[Array], int], tuple[Array, ...]],
) -> tuple[Array, ...]:
    """Logarithms of bounds that go through a structure side by side."""
    known = stages(structure)
    if len(known) != count or structure.repeats:
        raise ValueError(
            f"the structure has {len(known)} stages, each to be used once; there are numbers of {count}"
        )
    found: list[tuple[Array, ...]] = [start]
    k = 0
    for step in structure.steps[1:]:
        given = [found[place] for place in step.inputs]
        if step.kind in ("weight", "batch norm"):
            found.append(stage(given[0], k))
            k += 1
        elif step.kind in ("activation", "map"):
            found.append(tuple(_times(value, np.asarray(step.beta)) for value in given[0]))
        elif step.kind == "sum":
            found.append(tuple(np.logaddexp.reduce(parts) for parts in zip(*given, strict=True)))
        elif step.kind == "join":
            found.append(
                tuple(np.logaddexp.reduce([2 * p for p in parts]) / 2 for parts in zip(*given, strict=True))
            )
        else:
            found.append(tuple(np.full_like(value, np.inf) for value in start))
    return found[-1]


def _like(first: Array, **others: Numbers) -> list[Array]:
    """Checked, with as many layers as the first."""
    found = []
    for name, values in others.items():
        array = nonnegative(values, name=name)
        array = array[None] if array.ndim == 0 else array
        if array.shape[-1] not in (1, first.shape[-1]):
            raise ValueError(
                f"{name} has {array.shape[-1]} layers on its last axis, expected {first.shape[-1]}"
            )
        found.append(np.broadcast_to(array, (*array.shape[:-1], first.shape[-1])))
    return found


def _log(array: Array) -> Array:
    with np.errstate(divide="ignore"):
        return np.asarray(np.log(array))


def _times(logs: Array, factor: Array) -> Array:
    """The log of a product; 0·∞ is infinite."""
    with np.errstate(invalid="ignore"):
        total = logs + _log(factor)
    return np.where(np.isnan(total), np.inf, total)


def _where_moved(moves: Array, logs: Array) -> Array:
    """In log10; 0 where nothing is perturbed."""
    return plain(np.where((moves > 0).any(axis=-1), logs, -np.inf) / LN10)
