"""The bounds of `trust.pattern` and `trust.response` as forms, without their roundings: exact arithmetic has none."""

from __future__ import annotations

from trust.claims.forms.trial import Condition, Form, Matrix, Number, Trial, Vector

__all__ = ["PATTERN_FORM", "RESPONSE_FORM"]

_PIECEWISE = ("relu", "leaky_relu:", "identity")


def _pattern(trial: Trial) -> tuple[Number, Number]:
    states, arguments = trial.before()
    e, active = trial.number(0), trial.ones(trial.x)
    for k, (W, dW, db) in enumerate(zip(trial.moved, trial.changes, trial.bias_changes, strict=True)):
        u, z = trial.apply(dW, states[k]) + db, arguments[k]
        seen = _columns(trial, W, active)
        D, active = _steepest(trial, z, u + trial.times(e, _row_norms(trial, seen)))
        e = trial.spectral(trial.gated(D, seen)) * e + trial.norm(D * u)
    return trial.norm(trial.output_difference()), e


def _steepest(trial: Trial, z: Vector, s: Vector) -> tuple[Vector, Vector]:
    """D, and 1 for the units that can move at all."""
    ones = trial.ones(z)
    if trial.activation == "identity":
        return ones, ones
    on, reached = _is_positive(trial, z), _is_positive(trial, z + s)
    crossing, a = (ones - on) * reached, _slope(trial, z)
    chord = a + (1 - a) * (z + s) / (crossing * s + (ones - crossing))
    D = trial.at_most(on + crossing * chord + (ones - on - crossing) * a)
    return D, on + crossing if trial.activation == "relu" else ones


def _response(trial: Trial) -> tuple[Number, Number]:
    states, arguments = trial.before()
    y = Q = trial.times(trial.number(0), trial.x)
    P = nu = trial.number(0)
    given = trial.ones(trial.x)
    for k, (W, dW, db) in enumerate(zip(trial.weights, trial.changes, trial.bias_changes, strict=True)):
        z = arguments[k]
        gate, R = trial.gate(z), P + nu
        linear = trial.apply(W, y) + trial.apply(dW, states[k]) + db
        bent, through = trial.apply(dW, y), trial.apply(trial.absolute(W), Q)
        seen = _columns(trial, W, given)
        rest = trial.times(P, _row_norms(trial, seen)) + trial.times(R, _row_norms(trial, dW))
        rest = rest + _smaller(trial, through, trial.times(nu, _row_norms(trial, W)))
        P = (
            trial.spectral(trial.gated(gate, seen)) * P
            + trial.smallest_of(trial.norm(gate * through), trial.spectral(W) * nu)
            + trial.norm(trial.gated(gate, dW)) * R
            + trial.norm(gate * bent)
        )
        Q, share, crossing = _crossed(trial, z, linear, bent, rest)
        moved = trial.norm(crossing * (trial.absolute(linear) + trial.absolute(bent)))
        moved = moved + (trial.spectral(W) + trial.norm(dW)) * R
        nu = trial.smallest_of(trial.norm(Q), trial.largest(share) * moved)
        y, given = gate * linear, gate if trial.activation == "relu" else trial.ones(z)
    return trial.norm(trial.output_difference()), trial.norm(y) + P + nu


def _crossed(
    trial: Trial, z: Vector, linear: Vector, bent: Vector, rest: Vector
) -> tuple[Vector, Vector, Vector]:
    """Q, κ, and 1 for the units that can cross their kink."""
    ones = trial.ones(z)
    if trial.activation == "identity":
        nothing = trial.times(trial.number(0), ones)
        return nothing, nothing, nothing
    side = ones - 2 * _is_positive(trial, z)
    s = side * linear + _positive(trial, side * bent) + rest
    beyond = s - trial.absolute(z)
    crossing = _is_positive(trial, beyond)
    Q = (1 - _slope(trial, z)) * _positive(trial, beyond)
    return Q, Q / (crossing * s + (ones - crossing)), crossing


def _is_positive(trial: Trial, values: Vector) -> Vector:
    """1 where a number is above 0, else 0, by the slopes of φ."""
    a = _slope(trial, values)
    return (trial.gate(values) - a) / (1 - a)


def _slope(trial: Trial, like: Vector) -> Vector:
    """φ's slope below its kink, for every entry."""
    return trial.gate(-trial.ones(like))


def _positive(trial: Trial, values: Vector) -> Vector:
    return (values + trial.absolute(values)) / 2


def _smaller(trial: Trial, left: Vector, right: Vector) -> Vector:
    return (left + right - trial.absolute(left - right)) / 2


def _columns(trial: Trial, matrix: Matrix, kept: Vector) -> Matrix:
    return trial.transposed(trial.gated(kept, trial.transposed(matrix)))


def _row_norms(trial: Trial, matrix: Matrix) -> Vector:
    return trial.roots(trial.apply(matrix * matrix, trial.ones(trial.column(trial.transposed(matrix), 0))))


_CONVEX = Condition("piecewise linear", lambda trial: trial.number(1) - trial.beta)

PATTERN_FORM = Form(_pattern, (_CONVEX,), activations=_PIECEWISE, uses=("biases",))
RESPONSE_FORM = Form(_response, (_CONVEX,), activations=_PIECEWISE, uses=("biases",))
