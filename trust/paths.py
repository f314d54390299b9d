"""Path norms and path distances of ReLU networks, which need the weights and of the input only its size.

The network is h_k = relu(W_k h_{k−1} + b_k) for k < L with a linear last layer, f(x) = W_L h_{L−1} + b_L. A
path starts at an input or at a bias, and runs through one unit of every layer after its start to one output;
Φ(W) lists the product of the weights along each path (a bias's path starts with the bias itself). Shifting a
factor λ > 0 from a unit's outgoing weights to its incoming ones changes neither f nor Φ.

After Gonon, Brisebarre, Riccietti and Gribonval (2025), for two networks with *the same signs*, W_ij W̃_ij ≥ 0
for every entry, biases too:

    ‖f̃(x) − f(x)‖₁ ≤ max(‖x‖_∞, 1) ‖Φ(W̃) − Φ(W)‖₁.

The premise is needed: the scalar chains W = (1, 1) and W̃ = (−1, −1) have Φ = Φ̃ = 1, but f(x) = max(x, 0) and
f̃(x) = −max(−x, 0). The distance computed here does without it. Let m have the common sign and the smaller
magnitude of W's and W̃'s entries, and 0 where their signs differ. Then m has the same signs as each of the two,
path by path |Φ(W)| ≥ |Φ(m)| with equal signs, and the triangle inequality through m gives

    ‖f̃(x) − f(x)‖₁ ≤ max(‖x‖_∞, 1) [PN(W) + PN(W̃) − 2 PN(m)]  and  ‖Φ(W̃) − Φ(W)‖₁ ≤ the same bracket,

with PN(W) = ‖Φ(W)‖₁ the path norm. The bracket stays as it is when both networks are rescaled alike; unlike
‖Φ(W̃) − Φ(W)‖₁ it changes when only one of them is. The bounds on the outputs hold with a ReLU after the last
layer too, which moves no two outputs apart.

Norms and distances are in log10, and computed in logarithms entry by entry: no size or depth overflows.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import TypeAlias

import numpy as np

from trust._checks import LN10, nonnegative, plain, times, without_nan
from trust.norms import Array, Numbers, finite_array

Biases: TypeAlias = Sequence[Numbers | None]

MAX_PATHS: int = 1_000_000


def log10_path_norm(weights: Sequence[Numbers], biases: Biases | None = None) -> float:
    r"""log10 of PN(W) = ‖Φ(W)‖₁ = Σ (v_L) with v_0 = 1, v_k = |W_k| v_{k−1} + |b_k|.

    .. math:: \mathrm{PN}(W) = \|\Phi(W)\|_1 = \sum (v_L) \text{ with } v_0 = 1, v_k = |W_k| \, v_{k - 1} + |b_k|

    A bias starts a path of its own, with input 1. −∞ where every path has a 0. PN is a bound on the network:
    ‖f(x)‖₁ ≤ max(‖x‖_∞, 1) PN(W).

    Args:
        weights: W_1, …, W_L, W_k of shape (d_k, d_{k−1}).
        biases: b_1, …, b_L, b_k of shape (d_k,), None for a layer without one; None for no biases at all.

    Returns:
        In the unit of the weights' product.

    Raises:
        ValueError: if there are no weights, shapes do not fit, or an entry is NaN or infinite.
    """
    matrices, vectors = _network(weights, biases, names=("weights", "biases"))
    return _log_total(_log_values(matrices, vectors)[-1]) / LN10


def log10_path_distance(
    before: Sequence[Numbers],
    after: Sequence[Numbers],
    biases_before: Biases | None = None,
    biases_after: Biases | None = None,
) -> float:
    r"""log10 of PN(W) + PN(W̃) − 2 PN(m), the path distance through the common part m of the two networks.

    .. math:: \mathrm{PN}(W) + \mathrm{PN}(\tilde{W}) - 2 \, \mathrm{PN}(m)

    At least ‖Φ(W) − Φ(W̃)‖₁ whatever the signs, and exact where one of the networks is m. See the module's
    docstring for m and for what the distance bounds.

    Computed as a sum of nonnegative terms, PN(W) − PN(m) = Σ_l 1ᵀ|W_L|⋯|W_{l+1}| [(|W_l| − |m_l|) v^m_{l−1} +
    |b_l| − |m^b_l|], by D_l = |W_l| D_{l−1} + (the bracket), and the same for W̃: two networks that differ by
    one part in 1e15 keep the accuracy of their entries' differences, which floats take exactly.

    Args:
        before: W_1, …, W_L, W_k of shape (d_k, d_{k−1}).
        after: W̃_1, …, W̃_L, of the same shapes.
        biases_before: b_1, …, b_L, None where a layer has none (then 0); None for no biases at all.
        biases_after: b̃_1, …, b̃_L likewise.

    Returns:
        In the unit of the weights' product; −∞ where no path differs.

    Raises:
        ValueError: as `log10_path_norm`, or if the two networks' shapes differ.
    """
    W, b = _network(before, biases_before, names=("before", "biases_before"))
    W_after, b_after = _network(after, biases_after, names=("after", "biases_after"))
    shapes, shapes_after = [w.shape for w in W], [w.shape for w in W_after]
    if shapes != shapes_after:
        raise ValueError(f"before has shapes {shapes} but after has shapes {shapes_after}")
    m = [_common_magnitude(*pair) for pair in zip(W, W_after, strict=True)]
    m_b = [_common_magnitude(*pair) for pair in zip(b, b_after, strict=True)]
    v = _log_values(m, m_b)
    excess = _log_excess(W, b, m, m_b, v)
    excess_after = _log_excess(W_after, b_after, m, m_b, v)
    return float(np.logaddexp(excess, excess_after)) / LN10


def log10_path_norm_and_distance(
    layers: Iterable[tuple[tuple[Numbers, Numbers | None], tuple[Numbers, Numbers | None]]],
) -> tuple[float, float]:
    """`log10_path_norm` of W̃ and `log10_path_distance` of W and W̃, in one walk along the layers.

    Only one layer's arrays are held at a time, so that large networks can be given as a generator.

    Args:
        layers: for each layer in forward order (W_k, b_k) and (W̃_k, b̃_k), None for no bias.

    Returns:
        log10 PN(W̃), and log10 of the distance.

    Raises:
        ValueError: as `log10_path_distance`.
    """
    norm = v = excess = excess_after = None
    for k, ((W, b), (W_after, b_after)) in enumerate(layers):
        (before,), (bias,) = _network([W], [b], names=(f"layer {k} before", "biases"))
        (after,), (bias_after,) = _network([W_after], [b_after], names=(f"layer {k} after", "biases"))
        inputs = before.shape[1] if norm is None else len(norm)
        if before.shape != after.shape or before.shape[1] != inputs:
            raise ValueError(
                f"layer {k} of shapes {before.shape} and {after.shape} does not fit {inputs} inputs"
            )
        if norm is None or v is None or excess is None or excess_after is None:
            norm, v = np.zeros(inputs), np.zeros(inputs)
            excess, excess_after = np.full(inputs, -np.inf), np.full(inputs, -np.inf)
        m, m_b = _common_magnitude(before, after), _common_magnitude(bias, bias_after)
        before, after = np.abs(before), np.abs(after)
        norm = np.logaddexp(_log_product(after, norm), _log(bias_after))
        excess, excess_after = (
            np.logaddexp(
                _log_product(own, found),
                np.logaddexp(_log_product(own - m, v), _log(np.abs(own_bias) - m_b)),
            )
            for own, own_bias, found in ((before, bias, excess), (after, bias_after, excess_after))
        )
        v = np.logaddexp(_log_product(m, v), _log(m_b))
    if norm is None or excess is None or excess_after is None:
        raise ValueError("layers needs at least one layer")
    distance = float(np.logaddexp(_log_total(excess), _log_total(excess_after)))
    return _log_total(norm) / LN10, distance / LN10


def path_vector(weights: Sequence[Numbers], biases: Biases | None = None) -> Array:
    """Φ(W), the products along all paths, one by one: for small networks, and as a check of the norms above.

    Two networks' vectors have the same order where the shapes agree and the same layers have a bias: a layer
    without one (None) has no path from it, while a bias of 0 has.

    Args:
        weights: W_1, …, W_L, W_k of shape (d_k, d_{k−1}).
        biases: as in `log10_path_norm`.

    Returns:
        Shape (paths,), in the unit of the weights' product.

    Raises:
        ValueError: as `log10_path_norm`, for more than a million paths, or if a product overflows.
    """
    matrices, vectors = _network(weights, biases, names=("weights", "biases"))
    given = [False] * len(matrices) if biases is None else [b is not None for b in biases]
    into_unit = 1
    for W, has_bias in zip(matrices, given, strict=True):
        into_unit = W.shape[1] * into_unit + has_bias
    count = matrices[-1].shape[0] * into_unit
    if count > MAX_PATHS:
        raise ValueError(f"the network has {count} paths, more than the {MAX_PATHS} that are enumerated")
    # One row for each unit of the layer, one column for each path into it.
    paths = np.ones((matrices[0].shape[1], 1))
    with np.errstate(over="ignore", invalid="ignore"):
        for W, b, has_bias in zip(matrices, vectors, given, strict=True):
            longer = (W[:, :, None] * paths).reshape(W.shape[0], -1)
            paths = np.concatenate([longer, b[:, None]], axis=1) if has_bias else longer
    if not np.isfinite(paths).all():
        raise ValueError("a product of weights overflows float64: see log10_path_norm, log10_path_distance")
    return paths.reshape(-1)


def log10_path_metric_bound(log10_distance: Numbers, *, input_max: Numbers) -> Array:
    r"""log10 of max(‖x‖_∞, 1) · distance, a bound on ‖f̃(x) − f(x)‖₁ and so on every other p-norm of it.

    .. math:: \max(\|x\|_\infty, 1) \cdot \text{distance}

    Holds with `log10_path_distance` whatever the signs; with log10 ‖Φ(W̃) − Φ(W)‖₁ only for networks of the
    same signs. See the module's docstring.

    Args:
        log10_distance: log10 of the distance, of any shape; −∞ for none.
        input_max: ‖x‖_∞, in the input's unit, broadcast against it. The 1 is the biases' input.

    Returns:
        The broadcast shape, in the output's unit.

    Raises:
        ValueError: if an argument is NaN, or `input_max` negative.
    """
    x = nonnegative(input_max, name="input_max")
    distance = without_nan(log10_distance, name="log10_distance")
    return plain(times(np.log10(np.maximum(x, 1.0)), distance))


def _network(
    weights: Sequence[Numbers], biases: Biases | None, *, names: tuple[str, str]
) -> tuple[list[Array], list[Array]]:
    """The weights and biases as arrays that fit each other, with zeros for a bias that is not there."""
    name, bias_name = names
    matrices = [finite_array(w, name=f"{name}[{k}]") for k, w in enumerate(weights)]
    if not matrices:
        raise ValueError(f"{name} needs at least one layer")
    for k, W in enumerate(matrices):
        if W.ndim != 2 or W.size == 0:
            raise ValueError(f"{name}[{k}] must be a matrix with at least one entry, got shape {W.shape}")
        if k > 0 and W.shape[1] != matrices[k - 1].shape[0]:
            raise ValueError(
                f"{name}[{k}] of shape {W.shape} does not fit on {name}[{k - 1}] of shape {matrices[k - 1].shape}"
            )
    some = [None] * len(matrices) if biases is None else list(biases)
    if len(some) != len(matrices):
        raise ValueError(f"{bias_name} has {len(some)} layers but {name} has {len(matrices)}")
    vectors = []
    for k, (b, W) in enumerate(zip(some, matrices, strict=True)):
        vector = np.zeros(W.shape[0]) if b is None else finite_array(b, name=f"{bias_name}[{k}]")
        if vector.shape != W.shape[:1]:
            raise ValueError(f"{bias_name}[{k}] has shape {vector.shape}, expected {W.shape[:1]}")
        vectors.append(vector)
    return matrices, vectors


def _common_magnitude(one: Array, other: Array) -> Array:
    """|m|: the smaller magnitude where the signs agree, and 0 where they differ."""
    magnitude = np.minimum(np.abs(one), np.abs(other))
    magnitude[np.signbit(one) != np.signbit(other)] = 0.0  # 0 has both signs, and is the minimum anyway
    return magnitude


def _log_values(matrices: list[Array], vectors: list[Array]) -> list[Array]:
    """The logs of v_0, …, v_L, with v_0 = 1 and v_k = |W_k| v_{k−1} + |b_k|."""
    v = [np.zeros(matrices[0].shape[1])]
    for W, b in zip(matrices, vectors, strict=True):
        v.append(np.logaddexp(_log_product(np.abs(W), v[-1]), _log(b)))
    return v


def _log_excess(W: list[Array], b: list[Array], m: list[Array], m_b: list[Array], v: list[Array]) -> float:
    """log(PN(W) − PN(m)) for |m| ≤ |W|, from v = `_log_values(m, m_b)`."""
    D = np.full(W[0].shape[1], -np.inf)
    for k in range(len(W)):
        more = _log_product(np.abs(W[k]) - m[k], v[k])
        more_bias = _log(np.abs(b[k]) - m_b[k])
        D = np.logaddexp(_log_product(np.abs(W[k]), D), np.logaddexp(more, more_bias))
    return _log_total(D)


def _log(array: Array) -> Array:
    """log|entry|, −∞ for 0."""
    with np.errstate(divide="ignore"):
        return np.asarray(np.log(np.abs(array)))


def _log_product(matrix: Array, log_vector: Array) -> Array:
    """log(M v) from M and log v, both nonnegative.

    As a plain product in the rows where what under- or overflows cannot matter; in the others from the logs of every
    term.
    """
    known = log_vector[np.isfinite(log_vector)]
    finite = not np.isposinf(log_vector).any()
    if known.size == 0 and finite:
        return np.full(len(matrix), -np.inf)
    rows = np.arange(len(matrix))
    found = np.empty(len(matrix))
    if finite and known.min() >= (top := float(known.max())) - 700:
        with np.errstate(over="ignore", divide="ignore"):
            # no BLAS, whose threads wait for each other longer than so small a product takes
            product = np.einsum("ij,j", matrix, np.exp(log_vector - top))
            found = np.log(product) + top
        # what a product of two floats loses to underflow is below 1e-307, a row's sum 1e-110 at least
        rows = np.flatnonzero(~((product >= 1e-110) & np.isfinite(product)))
    if len(rows) > 0:
        terms = _log(matrix[rows]) + log_vector
        tops = terms.max(axis=1)
        tops = np.where(np.isneginf(tops), 0.0, tops)
        with np.errstate(divide="ignore"):
            found[rows] = np.log(np.exp(terms - tops[:, None]).sum(axis=1)) + tops
    return found


def _log_total(log_vector: Array) -> float:
    """The log of the sum of the entries, from their logs."""
    return float(_log_product(np.ones((1, log_vector.size)), log_vector)[0])
