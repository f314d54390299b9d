"""The claims on the ladder as forms: both sides on one small network."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from math import prod
from typing import Any

from trust.claims.forms.trial import Condition, Form, Matrix, Number, Trial, Vector, product

__all__ = [
    "AGD_FORM",
    "INPUT_FORM",
    "NEYSHABUR_FORM",
    "PATH_DIRECT_FORM",
    "PATH_FORM",
    "PATH_MIDPOINT_FORM",
    "REMAINDER_FORM",
    "SPECTRAL_FORM",
    "TELESCOPED_FORM",
]

_LIPSCHITZ = ("leaky_relu:", "relu", "identity", "tanh")
_MOST_PATHS = 10_000


def _input_sensitivity(trial: Trial) -> tuple[Number, Number]:
    shifted = trial.states(trial.weights, trial.biases, trial.x + trial.input_change)[0][-1]
    slopes = product([trial.beta * trial.spectral(W) for W in trial.weights])
    return trial.norm(shifted - trial.before()[0][-1]), slopes * trial.norm(trial.input_change)


def _spectral_product(trial: Trial) -> tuple[Number, Number]:
    whole, excess = trial.norm(trial.x), trial.number(0)
    for W, dW in zip(trial.weights, trial.changes, strict=True):
        size, step = trial.beta * trial.spectral(W), trial.beta * trial.spectral(dW)
        excess = excess * (size + step) + whole * step
        whole = whole * size
    return trial.norm(trial.output_difference()), excess


def _rho(trial: Trial) -> list[Number]:
    return [
        trial.spectral(dW) / trial.spectral(W) for W, dW in zip(trial.weights, trial.changes, strict=True)
    ]


def _neyshabur(trial: Trial) -> tuple[Number, Number]:
    sizes = product([trial.spectral(W) for W in trial.weights])
    total = sum(_rho(trial)[1:], _rho(trial)[0])
    bound = trial.exp(trial.number(1)) * trial.norm(trial.x) * sizes * total
    return trial.norm(trial.output_difference()), bound


def _small_rho(trial: Trial) -> Trial:
    changes = []
    for dW, rho in zip(trial.changes, _rho(trial), strict=True):
        room = trial.maximum(trial.number(1), rho * trial.depth * (1 + 2.0**-20))
        changes.append(trial.times(1 / room, dW))
    return replace(trial, changes=changes)


def _rho_margin(trial: Trial) -> Number:
    return trial.number(1) - trial.maximum(*_rho(trial)) * trial.depth


def _telescoped(trial: Trial) -> tuple[Number, Number]:
    states, _ = trial.before()
    bound = trial.number(0)
    for k, (W, dW, db) in enumerate(zip(trial.moved, trial.changes, trial.bias_changes, strict=True)):
        response = trial.norm(trial.apply(dW, states[k])) + trial.norm(db)
        bound = trial.beta * (trial.spectral(W) * bound + response)
    return trial.norm(trial.output_difference()), bound


def _path_distance(
    trial: Trial, one: tuple[list[Matrix], list[Vector]], other: tuple[list[Matrix], list[Vector]]
) -> Number:
    """PN(W) − PN(m) for |m| ≤ |W| entry by entry, as a sum of terms that are not negative."""
    v, excess = trial.ones(trial.x), None
    for W, b, m, c in zip(one[0], one[1], other[0], other[1], strict=True):
        more, extra = trial.absolute(W) - trial.absolute(m), trial.absolute(b) - trial.absolute(c)
        step = trial.apply(more, v) + extra
        excess = step if excess is None else trial.apply(trial.absolute(W), excess) + step
        v = trial.apply(trial.absolute(m), v) + trial.absolute(c)
    return trial.norm1(excess)


def _input_size(trial: Trial) -> Number:
    return trial.maximum(trial.largest(trial.x), trial.number(1))


def _common(trial: Trial, one: list[Any], other: list[Any]) -> list[Any]:
    return [trial.common(a, b) for a, b in zip(one, other, strict=True)]


def _path_midpoint(trial: Trial) -> tuple[Number, Number]:
    before, after = (trial.weights, trial.biases), (trial.moved, trial.moved_biases)
    middle = (_common(trial, before[0], after[0]), _common(trial, before[1], after[1]))
    total = _path_distance(trial, before, middle) + _path_distance(trial, after, middle)
    return trial.norm1(trial.output_difference()), _input_size(trial) * total


def _path_metric_direct(trial: Trial) -> tuple[Number, Number]:
    """‖Φ(W) − Φ(W̃)‖₁, the paths one by one: each starts at an input or at a bias."""
    difference = trial.number(0)
    layers = list(zip(trial.weights, trial.moved, strict=True))
    for start in range(trial.depth + 1):
        if start == 0:
            paths = (trial.columns(layers[0][0]), trial.columns(layers[0][1]))
            rest = layers[1:]
        else:
            paths = ([trial.biases[start - 1]], [trial.moved_biases[start - 1]])
            rest = layers[start:]
        pairs = list(zip(*paths, strict=True))
        for W, V in rest:
            pairs = [
                tuple(trial.times(trial.entry(path, i), trial.column(M, i)) for path, M in ((a, W), (b, V)))
                for a, b in pairs
                for i in range(trial.width(a))
            ]
        for a, b in pairs:
            difference = difference + trial.norm1(b - a)
    return trial.norm1(trial.output_difference()), _input_size(trial) * difference


def _sign_margin(trial: Trial) -> Number:
    """Less than 0 by the smaller magnitudes of what has opposite signs before and after."""
    before, after = [*trial.weights, *trial.biases], [*trial.moved, *trial.moved_biases]
    return -sum(
        (trial.norm1(trial.common(a, -b)) for a, b in zip(before, after, strict=True)), trial.number(0)
    )


def _same_signs(trial: Trial) -> Trial:
    """Every change that points towards 0 ends there, if it would go beyond; one away from 0 stays as it is."""

    def cut(values: list[Any], changes: list[Any]) -> list[Any]:
        return [
            trial.common(d, -a) + trial.common(d, a * 2**20) for a, d in zip(values, changes, strict=True)
        ]

    return replace(
        trial,
        changes=cut(trial.weights, trial.changes),
        bias_changes=cut(trial.biases, trial.bias_changes),
    )


def _few_paths(widths: Sequence[int]) -> bool:
    """Whether the paths can be gone through one by one, those from biases too."""
    return sum(prod(widths[start:]) for start in range(len(widths))) <= _MOST_PATHS


def _remainder(trial: Trial) -> tuple[Number, Number]:
    """Both sides by recursions in which nothing cancels."""
    state, tangent, error = trial.x, None, None
    whole, linear, rest = trial.norm(trial.x), trial.number(0), trial.number(0)
    for W, dW in zip(trial.weights, trial.changes, strict=True):
        if tangent is None or error is None:
            tangent, error = trial.apply(dW, state), trial.times(trial.number(0), trial.apply(W, state))
        else:
            error = trial.apply(W + dW, error) + trial.apply(dW, tangent)
            tangent = trial.apply(W, tangent) + trial.apply(dW, state)
        state = trial.apply(W, state)
        size, step = trial.spectral(W), trial.spectral(dW)
        rest = rest * (size + step) + linear * step
        linear = linear * size + whole * step
        whole = whole * size
    return trial.norm(error), rest


def _agd_eta(trial: Trial) -> Number:
    """The smallest η with ‖ΔW_k‖₂ ≤ √(d_k/d_{k−1}) η/L for every k."""
    return trial.depth * trial.maximum(*(trial.spectral(dW) / trial.scale(dW) for dW in trial.changes))


def _agd(trial: Trial) -> tuple[Number, Number]:
    width = trial.width(trial.target)
    before = trial.before()[0][-1] - trial.target
    change = trial.output_difference()
    slope = trial.inner(before, _linearised(trial))
    rise = trial.inner(before, change) + trial.inner(change, change) / 2
    size = product([trial.norm(trial.x), *(trial.norm(W) for W in trial.weights)])  # of the terms of f
    lost = trial.rounding((trial.norm(before) + trial.norm(change)) * (size + trial.norm(change)))
    growth = trial.growth(_agd_eta(trial))
    return (rise - slope - lost) / width, growth * growth / 2


def _linearised(trial: Trial) -> Vector:
    """∂_W f·ΔW."""
    states, arguments = trial.before()
    tangent = None
    for k, (W, dW) in enumerate(zip(trial.weights, trial.changes, strict=True)):
        moved = trial.apply(dW, states[k])
        tangent = trial.gate(arguments[k]) * (moved if tangent is None else trial.apply(W, tangent) + moved)
    return tangent


def _orthogonal(trial: Trial) -> Trial:
    """A target y such that the residual f − y has lost its part along the linearisation error."""
    f = trial.before()[0][-1]
    error = trial.output_difference() - _linearised(trial)
    size = trial.inner(error, error)
    some = trial.moves(error)
    residual = f - trial.target
    share = trial.either(
        some, trial.inner(residual, error) / trial.either(some, size, trial.number(1)), trial.number(0)
    )
    return replace(trial, target=f - (residual - trial.times(share, error)))


def _scaled(trial: Trial) -> Trial:
    """‖x‖ = √d_0, ‖W_k‖₂ = √(d_k/d_{k−1}), from below."""
    less = 1 - 2.0**-20
    weights = [trial.times(less * trial.scale(W) / trial.spectral(W), W) for W in trial.weights]
    x = trial.times(less * trial.root_width(trial.x) / trial.norm(trial.x), trial.x)
    return replace(trial, weights=weights, x=x)


def _scale_margin(trial: Trial) -> Number:
    weights = [1 - trial.spectral(W) / trial.scale(W) for W in trial.weights]
    data = [trial.root_width(v) - trial.norm(v) for v in (trial.x, trial.target)]
    return trial.smallest_of(*weights, *data)


_ONE_LIPSCHITZ = Condition("1-Lipschitz", lambda trial: trial.number(1) - trial.beta)

INPUT_FORM = Form(_input_sensitivity, activations=_LIPSCHITZ, uses=("biases", "input_change"))
SPECTRAL_FORM = Form(_spectral_product, activations=_LIPSCHITZ)
NEYSHABUR_FORM = Form(
    _neyshabur,
    (_ONE_LIPSCHITZ, Condition("small ρ", _rho_margin)),
    activations=("relu", "leaky_relu:", "identity", "tanh"),
    construct=_small_rho,
)
TELESCOPED_FORM = Form(_telescoped, activations=_LIPSCHITZ, uses=("biases",))
PATH_MIDPOINT_FORM = Form(_path_midpoint, activations=("relu",), uses=("biases",))
PATH_FORM = Form(
    _path_metric_direct,
    (Condition("equal signs", _sign_margin),),
    activations=("relu",),
    widths=_few_paths,
    uses=("biases",),
    construct=_same_signs,
)
PATH_DIRECT_FORM = Form(_path_metric_direct, activations=("relu",), widths=_few_paths, uses=("biases",))
REMAINDER_FORM = Form(_remainder, activations=("identity",))
AGD_FORM = Form(
    _agd,
    (_ONE_LIPSCHITZ, Condition("scaled", _scale_margin)),
    activations=("identity", "leaky_relu:", "relu", "tanh"),
    uses=("target",),
    construct=_scaled,
    derive=_orthogonal,
)
