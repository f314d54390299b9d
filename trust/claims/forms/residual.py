"""The claims about residual chains as forms: h_k = h_{k−1} + φ(W_k h_{k−1} + b_k) where the widths are equal.

Elsewhere there is a plain layer.
"""

from __future__ import annotations

from trust.claims.forms.trial import Form, Matrix, Number, Trial, Vector

__all__ = ["RESIDUAL_SPECTRAL_FORM", "RESIDUAL_TELESCOPED_FORM"]

_LIPSCHITZ = ("leaky_relu:", "relu", "identity", "tanh")


def _skips(matrix: Matrix) -> bool:
    return int(matrix.shape[-2]) == int(matrix.shape[-1])


def _states(trial: Trial, weights: list[Matrix], biases: list[Vector]) -> list[Vector]:
    """h_0, …, h_L."""
    states = [trial.x]
    for W, b in zip(weights, biases, strict=True):
        moved = trial.phi(trial.apply(W, states[-1]) + b)
        states.append(states[-1] + moved if _skips(W) else moved)
    return states


def _difference(trial: Trial, before: list[Vector]) -> Number:
    return trial.norm(_states(trial, trial.moved, trial.moved_biases)[-1] - before[-1])


def _telescoped(trial: Trial) -> tuple[Number, Number]:
    states, bound = _states(trial, trial.weights, trial.biases), trial.number(0)
    layers = zip(states[:-1], trial.moved, trial.changes, trial.bias_changes, strict=True)
    for h, W, dW, db in layers:
        inside = trial.spectral(W) * bound + trial.norm(trial.apply(dW, h)) + trial.norm(db)
        bound = (bound if _skips(W) else trial.number(0)) + trial.beta * inside
    return _difference(trial, states), bound


def _spectral(trial: Trial) -> tuple[Number, Number]:
    size, bound = trial.norm(trial.x), trial.number(0)
    for W, dW in zip(trial.weights, trial.changes, strict=True):
        w, d = trial.spectral(W), trial.spectral(dW)
        kept = (bound, size) if _skips(W) else (trial.number(0), trial.number(0))
        bound = kept[0] + trial.beta * ((w + d) * bound + d * size)
        size = kept[1] + trial.beta * w * size
    return _difference(trial, _states(trial, trial.weights, trial.biases)), bound


RESIDUAL_TELESCOPED_FORM = Form(_telescoped, activations=_LIPSCHITZ, uses=("biases",))
RESIDUAL_SPECTRAL_FORM = Form(_spectral, activations=_LIPSCHITZ)
