"""Theorem 1's claims as forms: both sides on one small network."""

from __future__ import annotations

from collections.abc import Sequence

from trust.claims.forms.trial import Form, Number, Trial, distance, product

__all__ = [
    "FUNCTION_FORM",
    "GATED_FORM",
    "INJECTIVE_FORM",
    "JACOBIAN_FORM",
    "LAYERWISE_FORM",
    "published_constant",
]


def never_shrink(widths: Sequence[int]) -> bool:
    """Whether W_k can be injective for every k."""
    return list(widths) == sorted(widths)


def valley(widths: Sequence[int]) -> bool:
    """Whether the widths shrink up to some layer and then grow."""
    lowest = widths.index(min(widths))
    return list(widths) == sorted(widths[:lowest], reverse=True) + sorted(widths[lowest:])


def _relative_change(trial: Trial) -> Number:
    return trial.norm(trial.output_difference()) / trial.norm(trial.before()[0][-1])


def published_constant(trial: Trial) -> Number:
    """(βκ²/α)^L."""
    kappa = trial.common_condition()
    return (trial.beta / trial.alpha * kappa * kappa) ** trial.depth


def _function(trial: Trial) -> tuple[Number, Number]:
    return _relative_change(trial), published_constant(trial) * distance(trial.relative())


def _layerwise(trial: Trial) -> tuple[Number, Number]:
    constant = product(
        [trial.beta * trial.spectral(W) / (trial.alpha * trial.smallest(W)) for W in trial.weights]
    )
    grown = [trial.condition(dW) * r for dW, r in zip(trial.changes, trial.relative(), strict=True)]
    return _relative_change(trial), constant * distance(grown)


def _jacobian_change(trial: Trial) -> Number:
    before = trial.jacobian(trial.weights, trial.before()[1])
    after = trial.jacobian(trial.moved, trial.after()[1])
    return trial.norm(after - before) / trial.norm(before)


def _jacobian(trial: Trial) -> tuple[Number, Number]:
    return _jacobian_change(trial), published_constant(trial) * distance(trial.relative())


def _gated(trial: Trial) -> tuple[Number, Number]:
    kappa = trial.maximum(*(trial.condition(matrix) for matrix in [*trial.weights, *trial.changes]))
    constant = (trial.beta / trial.alpha * kappa * kappa) ** trial.depth
    factors = []
    pairs = zip(trial.before()[1], trial.after()[1], trial.relative(), strict=True)
    for before, after, r in pairs:
        gate = trial.gate(before)
        s = trial.largest((trial.gate(after) - gate) / gate)
        factors += [r, s]
    return _jacobian_change(trial), constant * distance(factors)


FUNCTION_FORM = Form(_function)
INJECTIVE_FORM = Form(_function, widths=never_shrink)
LAYERWISE_FORM = Form(_layerwise, widths=never_shrink)
JACOBIAN_FORM = Form(_jacobian)
GATED_FORM = Form(_gated, widths=valley, uses=("biases",))
