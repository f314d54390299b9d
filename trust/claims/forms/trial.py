"""Claims on one small network, written once for any arithmetic: floats to search in, exact numbers to certify.

A form speaks of a :class:`Trial`: a chain h_k = φ(W_k h_{k−1} + b_k) of a few small layers with a perturbation and an
input, φ at every layer (the last one too, as in the published text). It uses only +, −, ×, ÷, whole powers and the
trial's own methods, so the same lines run on batches of float64 tensors, through which gradients flow, and on rational
numbers and intervals.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from fractions import Fraction
from functools import reduce
from typing import Any, TypeAlias

__all__ = ["Condition", "Form", "Number", "Trial", "distance", "product"]

Number: TypeAlias = Any
"""A batch of floats (a tensor), or one interval."""
Vector: TypeAlias = Any
Matrix: TypeAlias = Any


@dataclass
class Trial(ABC):
    """A small network, its perturbation and its input.

    Attributes:
        weights: W_1, …, W_L.
        changes: ΔW_1, …, ΔW_L.
        biases: b_1, …, b_L; zeros where the claim has none.
        bias_changes: Δb_1, …, Δb_L, likewise.
        x: the input.
        input_change: Δx, for claims about the input.
        target: y, for claims about the loss ½‖f(x) − y‖².
        activation: φ, by name.
        alpha: φ's lower transmission, as a number of the arithmetic.
        beta: its upper one.
    """

    weights: list[Matrix]
    changes: list[Matrix]
    biases: list[Vector]
    bias_changes: list[Vector]
    x: Vector
    input_change: Vector
    target: Vector
    activation: str
    alpha: Number
    beta: Number

    # What an arithmetic has to bring

    @abstractmethod
    def phi(self, z: Vector) -> Vector:
        """φ, entry by entry."""

    @abstractmethod
    def gate(self, z: Vector) -> Vector:
        """φ', entry by entry; at a kink the value from the left."""

    @abstractmethod
    def apply(self, matrix: Matrix, vector: Vector) -> Vector:
        """The product of a matrix and a vector."""

    @abstractmethod
    def compose(self, left: Matrix, right: Matrix) -> Matrix:
        """The product of two matrices."""

    @abstractmethod
    def transposed(self, matrix: Matrix) -> Matrix:
        """The transpose."""

    @abstractmethod
    def outer(self, left: Vector, right: Vector) -> Matrix:
        """The outer product."""

    @abstractmethod
    def gated(self, gates: Vector, matrix: Matrix) -> Matrix:
        """The matrix with its rows multiplied by the gates."""

    @abstractmethod
    def inner(self, left: Any, right: Any) -> Number:
        """⟨·,·⟩ of two vectors or two matrices."""

    @abstractmethod
    def norm(self, values: Any) -> Number:
        """√Σ·² of a vector, ‖·‖_F of a matrix."""

    @abstractmethod
    def norm1(self, vector: Vector) -> Number:
        """Σ|·|."""

    @abstractmethod
    def absolute(self, values: Any) -> Any:
        """|·|, entry by entry."""

    @abstractmethod
    def common(self, left: Any, right: Any) -> Any:
        """Entry by entry the common sign with the smaller magnitude, 0 where the signs differ."""

    @abstractmethod
    def roots(self, vector: Vector) -> Vector:
        """√, entry by entry."""

    @abstractmethod
    def at_most(self, vector: Vector) -> Vector:
        """Numbers that the entries do not exceed: themselves in floats, of intervals the upper ends."""

    @abstractmethod
    def spectral(self, matrix: Matrix) -> Number:
        """σ_max."""

    @abstractmethod
    def smallest(self, matrix: Matrix) -> Number:
        """σ_min over all min(m, n) singular values."""

    @abstractmethod
    def maximum(self, *numbers: Number) -> Number:
        """The largest."""

    @abstractmethod
    def largest(self, vector: Vector) -> Number:
        """The largest |·|."""

    @abstractmethod
    def exp(self, number: Number) -> Number:
        """The exponential function of a number; of 1 for e."""

    @abstractmethod
    def growth(self, number: Number) -> Number:
        """The exponential function less 1, without cancellation."""

    @abstractmethod
    def ones(self, vector: Vector) -> Vector:
        """Ones of the vector's shape."""

    @abstractmethod
    def number(self, value: int) -> Number:
        """A whole number as a number of the arithmetic."""

    @abstractmethod
    def moves(self, change: Any) -> Number:
        """1 where a change is not zero, else 0."""

    @abstractmethod
    def either(self, flag: Number, yes: Number, no: Number) -> Number:
        """The number ``yes`` where ``flag`` is 1, ``no`` where it is 0, without a trace of the other."""

    @abstractmethod
    def along_step(self, function: Callable[[Number], Number]) -> Number:
        """The maximum over t in [0, 1] of ``function``: in floats over a grid, in intervals an upper bound."""

    @abstractmethod
    def rounding(self, magnitude: Number) -> Number:
        """What rounding can do to a sum of terms of this magnitude: nothing in exact arithmetic."""

    @abstractmethod
    def times(self, number: Number, values: Any) -> Any:
        """A number times a vector or a matrix."""

    @abstractmethod
    def column(self, matrix: Matrix, place: int) -> Vector:
        """One column."""

    @abstractmethod
    def entry(self, vector: Vector, place: int) -> Number:
        """One entry."""

    @abstractmethod
    def root(self, ratio: Fraction) -> Number:
        """The square root of a positive rational number."""

    # What follows from it

    def width(self, vector: Vector) -> int:
        """How many entries a vector has."""
        return int(vector.shape[-1])

    def columns(self, matrix: Matrix) -> list[Vector]:
        """All columns."""
        return [self.column(matrix, place) for place in range(int(matrix.shape[-1]))]

    def root_width(self, vector: Vector) -> Number:
        """√d."""
        return self.root(Fraction(self.width(vector)))

    def scale(self, matrix: Matrix) -> Number:
        """√(d_k/d_{k−1}) of a weight matrix or its change."""
        return self.root(Fraction(int(matrix.shape[-2]), int(matrix.shape[-1])))

    @property
    def depth(self) -> int:
        """L."""
        return len(self.weights)

    @property
    def moved(self) -> list[Matrix]:
        """W̃_k = W_k + ΔW_k."""
        return [W + dW for W, dW in zip(self.weights, self.changes, strict=True)]

    @property
    def moved_biases(self) -> list[Vector]:
        """b̃_k = b_k + Δb_k."""
        return [b + db for b, db in zip(self.biases, self.bias_changes, strict=True)]

    def states(
        self, weights: list[Matrix], biases: list[Vector], x: Vector
    ) -> tuple[list[Vector], list[Vector]]:
        """h_0, …, h_L and z_1, …, z_L."""
        h, states, arguments = x, [x], []
        for W, b in zip(weights, biases, strict=True):
            z = self.apply(W, h) + b
            h = self.phi(z)
            arguments.append(z)
            states.append(h)
        return states, arguments

    def before(self) -> tuple[list[Vector], list[Vector]]:
        """The states of the frozen network."""
        return self.states(self.weights, self.biases, self.x)

    def after(self) -> tuple[list[Vector], list[Vector]]:
        """The states of the perturbed network."""
        return self.states(self.moved, self.moved_biases, self.x)

    def output_difference(self) -> Vector:
        """f̃(x) − f(x)."""
        return self.after()[0][-1] - self.before()[0][-1]

    def relative(self) -> list[Number]:
        """r_k = ‖ΔW_k‖_F/‖W_k‖_F."""
        return [self.norm(dW) / self.norm(W) for W, dW in zip(self.weights, self.changes, strict=True)]

    def condition(self, matrix: Matrix) -> Number:
        """κ, and 1 for a change that is zero."""
        some = self.moves(matrix)
        return self.either(
            some,
            self.spectral(matrix) / self.either(some, self.smallest(matrix), self.number(1)),
            self.number(1),
        )

    def common_condition(self) -> Number:
        """κ: the largest condition number of the W_k, W̃_k and ΔW_k."""
        matrices = [*self.weights, *self.moved, *self.changes]
        return self.maximum(*(self.condition(matrix) for matrix in matrices))

    def jacobian(self, weights: list[Matrix], arguments: list[Vector]) -> Matrix:
        """J_0 = Φ'_L W_L ··· Φ'_1 W_1."""
        factors = [self.gated(self.gate(z), W) for W, z in zip(weights, arguments, strict=True)]
        return reduce(lambda J, factor: self.compose(factor, J), factors[1:], factors[0])

    def loss(self, weights: list[Matrix]) -> Number:
        """½‖f(x) − y‖²."""
        residual = self.states(weights, self.biases, self.x)[0][-1] - self.target
        return self.inner(residual, residual) / 2

    def gradients(self, weights: list[Matrix]) -> list[Matrix]:
        """∂/∂W_k of ½‖f(x) − y‖², by backpropagation."""
        states, arguments = self.states(weights, self.biases, self.x)
        back = states[-1] - self.target
        found = []
        for k in reversed(range(self.depth)):
            back = self.gate(arguments[k]) * back
            found.append(self.outer(back, states[k]))
            back = self.apply(self.transposed(weights[k]), back)
        return found[::-1]

    def partway(self, t: Number) -> list[Matrix]:
        """W + tΔW."""
        return [W + self.times(t, dW) for W, dW in zip(self.weights, self.changes, strict=True)]

    def cosines(self) -> list[Number]:
        """The cosines of θ_k, the angle between ΔW_k and −g_k; 1 for a layer that does not move."""
        found = []
        for dW, g in zip(self.changes, self.gradients(self.weights), strict=True):
            some = self.moves(dW)
            length = self.either(some, self.norm(dW) * self.norm(g), self.number(1))
            found.append(self.either(some, -self.inner(dW, g) / length, self.number(1)))
        return found

    def smallest_of(self, *numbers: Number) -> Number:
        """The smallest."""
        return -self.maximum(*(-number for number in numbers))


@dataclass(frozen=True)
class Condition:
    """A premise of a form that can be broken by the numbers themselves.

    Attributes:
        name: the premise's.
        margin: at least 0 where it holds.
        strict: it must be above 0.
    """

    name: str
    margin: Callable[[Trial], Number]
    strict: bool = False


@dataclass(frozen=True)
class Form:
    """A claim on one trial.

    Attributes:
        sides: both sides of the inequality left ≤ right.
        conditions: premises that the numbers can break; all others hold by construction.
        activations: the φ that the premises allow, the first being the default; a parameter may be added to a
            name that ends in a colon.
        widths: whether the premises allow d_0, …, d_L.
        uses: which of ``biases``, ``input_change`` and ``target`` there are; others are zero.
        construct: makes the conditions hold (up to rounding), in floats.
        derive: computes numbers that follow from others exactly, in any arithmetic.
        differentiable: gradients flow through the sides in floats.
    """

    sides: Callable[[Trial], tuple[Number, Number]]
    conditions: tuple[Condition, ...] = ()
    activations: tuple[str, ...] = ("leaky_relu:", "identity")
    widths: Callable[[Sequence[int]], bool] = lambda widths: True
    uses: tuple[str, ...] = ()
    construct: Callable[[Trial], Trial] = lambda trial: trial
    derive: Callable[[Trial], Trial] = lambda trial: trial
    differentiable: bool = True


def product(numbers: Sequence[Number]) -> Number:
    """The product of at least one number."""
    return reduce(lambda a, b: a * b, numbers)


def distance(relative: Sequence[Number]) -> Number:
    """∏(1 + r_k) − 1 as a sum of terms that are not negative: D_k = D_{k−1} + r_k(1 + D_{k−1})."""
    return reduce(lambda D, r: D + r * (D + 1), relative[1:], relative[0])
