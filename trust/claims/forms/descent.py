"""The claims about gradients and losses as forms, for the loss ½‖f(x) − y‖² of one example."""

from __future__ import annotations

from dataclasses import replace
from functools import partial

from trust.claims.forms.theorem1 import published_constant
from trust.claims.forms.trial import Condition, Form, Matrix, Number, Trial, distance

__all__ = [
    "BREAKDOWN_FORM",
    "CURVATURE_FORM",
    "EUCLIDEAN_FORM",
    "FITTED_FORM",
    "LEMMA1_FORM",
    "LEMMA2_FORM",
    "LEMMA2_LIMIT_FORM",
    "WITH_CONSTANT_FORM",
]

_ALL = ("identity", "leaky_relu:", "relu", "tanh")
_SAFE = 1 - 2.0**-7  # of the step limit: the step must stay below it after its numbers are rounded


def _breakdown(trial: Trial) -> tuple[Number, Number]:
    """Of the first layer, the one the paper plots."""
    before, after = trial.gradients(trial.weights)[0], trial.gradients(trial.moved)[0]
    return trial.norm(after - before) / trial.norm(before), distance(trial.relative())


def _lemma1(trial: Trial) -> tuple[Number, Number]:
    gradients = trial.gradients(trial.weights)
    after, before = trial.loss(trial.moved), trial.loss(trial.weights)
    rise, magnitude = after - before, after + before
    bound = trial.number(0)
    for k, (g, dW) in enumerate(zip(gradients, trial.changes, strict=True)):
        rise = rise - trial.inner(g, dW)
        magnitude = magnitude + trial.norm(g) * trial.norm(dW)
        worst = trial.along_step(partial(_turned, trial, k, g))
        bound = bound + trial.norm(dW) * worst
    return rise - trial.rounding(magnitude), bound


def _turned(trial: Trial, k: int, gradient: Matrix, t: Number) -> Number:
    """‖g_k(W + tΔW) − g_k‖."""
    return trial.norm(trial.gradients(trial.partway(t))[k] - gradient)


def _loss(trial: Trial) -> tuple[Number, Number]:
    return trial.loss(trial.moved), trial.loss(trial.weights)


def _descends(trial: Trial) -> Number:
    return trial.smallest_of(*trial.cosines())


def _limit_margin(trial: Trial, constant: Number) -> Number:
    """Cos θ/C − [(1 + η)^L − 1] with η = max r_l: positive where η is below the claimed limit."""
    eta = trial.maximum(*trial.relative())
    return trial.smallest_of(*trial.cosines()) - constant * distance([eta] * trial.depth)


def _short(trial: Trial, constant: float | Number) -> Trial:
    """Turn every layer's step downhill and shorten them all to just below the claimed limit (floats alone)."""
    turned = [
        trial.times(trial.either(cosine > 0, trial.number(1), -trial.number(1)), dW)
        for cosine, dW in zip(trial.cosines(), trial.changes, strict=True)
    ]
    trial = replace(trial, changes=turned)
    cosine = trial.smallest_of(*trial.cosines())
    eta = trial.maximum(*trial.relative())
    limit = (1 + cosine / constant) ** (1 / trial.depth) - 1
    room = trial.maximum(trial.number(1), eta / (limit * _SAFE))
    return replace(trial, changes=[trial.times(1 / room, dW) for dW in trial.changes])


def _breakdown_margin(trial: Trial) -> Number:
    """D(r) less the largest breakdown of a layer anywhere on the step."""
    allowed = distance(trial.relative())
    margins = []
    for k, (g, dW) in enumerate(zip(trial.gradients(trial.weights), trial.changes, strict=True)):
        worst = trial.along_step(partial(_turned, trial, k, g))
        margins.append(trial.either(trial.moves(dW), allowed * trial.norm(g) - worst, trial.number(0)))
    return trial.smallest_of(*margins)


def _unit(trial: Trial) -> Number:
    return trial.number(1)


def _gradient_move(trial: Trial, t: Number) -> Number:
    """‖g(W + tΔW) − g(W)‖, all layers as one vector."""
    pairs = zip(trial.gradients(trial.partway(t)), trial.gradients(trial.weights), strict=True)
    squares = [trial.norm(after - before) ** 2 for after, before in pairs]
    return sum(squares[1:], squares[0]) ** 0.5


def _fitted_trust(trial: Trial) -> tuple[Number, Number]:
    """C is the largest ‖g̃ − g‖/D(r) at an eighth, a quarter and half of the step, and is judged at the whole."""
    one, relative = trial.number(1), trial.relative()
    constant = trial.maximum(
        *(_gradient_move(trial, one / part) / distance([r / part for r in relative]) for part in (8, 4, 2))
    )
    return _gradient_move(trial, one), constant * distance(relative)


def _euclidean(trial: Trial) -> tuple[Number, Number]:
    """K is the largest ‖g̃ − g‖/‖ΔW‖ at an eighth, a quarter and half of the step, and is judged at the whole."""
    one = trial.number(1)
    constant = trial.maximum(*(_gradient_move(trial, one / part) * part for part in (8, 4, 2)))
    return _gradient_move(trial, one), constant


def _slope(trial: Trial, weights: list[Matrix]) -> Number:
    """Σ⟨g_k, ΔW_k⟩ at some weights."""
    pairs = zip(trial.gradients(weights), trial.changes, strict=True)
    products = [trial.inner(g, dW) for g, dW in pairs]
    return sum(products[1:], products[0])


def _curvature(trial: Trial) -> Number:
    """𝓛'' along the step, as the difference of slopes over a hundredth of it."""
    near = trial.partway(trial.number(1) / 100)
    return (_slope(trial, near) - _slope(trial, trial.weights)) * 100


def _within_curvature(trial: Trial) -> Trial:
    """Turn the step downhill as a whole, and shorten it to just below 2|𝓛'|/𝓛'' (floats alone)."""
    slope = _slope(trial, trial.weights)
    turn = trial.either(slope > 0, -trial.number(1), trial.number(1))
    trial = replace(trial, changes=[trial.times(turn, dW) for dW in trial.changes])
    limit = -2 * _slope(trial, trial.weights)
    room = trial.maximum(trial.number(1), _curvature(trial) / (limit * _SAFE))
    return replace(trial, changes=[trial.times(1 / room, dW) for dW in trial.changes])


def _curvature_margin(trial: Trial) -> Number:
    return -2 * _slope(trial, trial.weights) - _curvature(trial)


BREAKDOWN_FORM = Form(_breakdown, activations=_ALL, uses=("target",))
LEMMA1_FORM = Form(_lemma1, activations=_ALL, uses=("target",))
FITTED_FORM = Form(_fitted_trust, activations=_ALL, uses=("target",))
EUCLIDEAN_FORM = Form(_euclidean, activations=_ALL, uses=("target",))
CURVATURE_FORM = Form(
    _loss,
    (
        Condition("descent direction", lambda trial: -_slope(trial, trial.weights), strict=True),
        Condition("below the limit", _curvature_margin, strict=True),
    ),
    activations=_ALL,
    uses=("target",),
    construct=_within_curvature,
)
LEMMA2_LIMIT_FORM = Form(
    _loss,
    (
        Condition("descent direction", _descends, strict=True),
        Condition("step size", lambda trial: _limit_margin(trial, _unit(trial)), strict=True),
    ),
    activations=_ALL,
    uses=("target",),
    construct=lambda trial: _short(trial, 1),
)
LEMMA2_FORM = Form(
    _loss,
    (*LEMMA2_LIMIT_FORM.conditions, Condition("no faster than D", _breakdown_margin)),
    activations=_ALL,
    uses=("target",),
    construct=lambda trial: _short(trial, 1),
)
WITH_CONSTANT_FORM = Form(
    _loss,
    (
        Condition("descent direction", _descends, strict=True),
        Condition("step size", lambda trial: _limit_margin(trial, published_constant(trial)), strict=True),
    ),
    activations=("identity", "leaky_relu:"),
    uses=("target",),
    construct=lambda trial: _short(trial, published_constant(trial)),
)
