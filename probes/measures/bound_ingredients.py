"""What the bounds of the ladder are made of: layer inputs, operator norms, path norms and second-order remainders.

All of it is measured on the sampled examples and in float64, at the very weights that were evaluated: ΔW is the
difference of the perturbed and the frozen tensors after their rounding, not the step that was intended.
"""

from __future__ import annotations

import contextlib
import copy
import math
from collections.abc import Callable, Mapping

import numpy as np
import torch
from torch import Tensor

from probes.evaluation.evaluator import Evaluator
from probes.evaluation.reductions import sum_norm
from probes.measures.folding import FoldedNorms
from probes.measures.forward_passes import ForwardPass, numpy_of
from probes.measures.measure import Floats, Found, Frozen, Measure, Point
from probes.measures.operator_norms import LARGE, NormAlongLine, Operator, find_operators, operator_norm
from probes.measures.settings import SliceSettings
from trust import measurements as variables
from trust.paths import log10_path_norm_and_distance, path_vector

__all__ = ["BoundIngredients"]

_MOST_PATHS = 100_000
"""How many paths are compared one by one."""
_BY_EXAMPLE = (variables.LINEARISATION_ERROR, variables.LINEARISATION_COSINE, variables.INPUT_RESPONSE)
_BY_LAYER = (variables.PERTURBED_OPERATOR_NORM, variables.PERTURBATION_OPERATOR_NORM)
_PATHS = (variables.LOG10_PATH_NORM, variables.LOG10_PATH_DISTANCE, variables.OPPOSITE_SIGNS)
_SIZES = (variables.OUTPUT_NORM, variables.INPUT_NORM, variables.INPUT_MAX, variables.TARGET_NORM)


class BoundIngredients(Measure):
    """Measures the ladder's ingredients at any perturbed weights, for the sampled examples."""

    name = "ladder"
    finds = (
        *_SIZES,
        variables.OPERATOR,
        variables.OPERATOR_NORM,
        variables.DIRECTION_OPERATOR_NORM,
        *_BY_LAYER,
        variables.PERTURBATION_RESPONSE,
        *_BY_EXAMPLE,
        *_PATHS,
        variables.LOG10_PATH_DIFFERENCE,
        variables.STAGE_NORM,
        variables.PERTURBED_STAGE_NORM,
        variables.PERTURBATION_STAGE_NORM,
        variables.STAGE_RESPONSE,
    )

    def __init__(self, frozen: Frozen) -> None:
        """Measure what belongs to the frozen weights."""
        super().__init__(frozen)
        evaluator, samples = frozen.evaluator, frozen.samples
        self.names, self.weights, self.etas = frozen.names, frozen.weights, frozen.etas
        # in the working precision: what is in float64 is made where it is needed
        self.before = evaluator.frozen
        # as the working precision rounded them, like the weights
        data = evaluator.data[:samples].map(lambda piece: piece.to(evaluator.device, evaluator.dtype))
        self.exact, self.single = (
            _in_precision(evaluator, dtype) for dtype in (torch.float64, torch.float32)
        )
        self.exact.data, self.exact.chunk = data, min(evaluator.chunk, samples)
        self.direction = frozen.direction
        self.operators = find_operators(evaluator, self.weights)
        known = [name for name in self.weights if self.operators[name].kind != "unknown"]
        self.folded = FoldedNorms(frozen, self.operators)
        known += self.folded.alone
        self.passes = [ForwardPass(self.exact, self.before, known, piece) for _, piece in self.exact.chunks()]
        self.along = None if self.direction is None else self._linear(self.exact, self.direction.get)
        self.called = [n for n in self.passes[0].inputs if all(n in part.inputs for part in self.passes)]
        self.owners = self._bias_owners()
        self.norms = {name: self._frozen_norm(name) for name in self.weights}
        moving = [name for name in self.direction or () if name in self.operators]
        self.step_norms = {name: self._direction_norm(name) for name in moving}
        self.lines = {name: self._line(name) for name in moving if self._is_large(name)}
        structure = frozen.structure
        self.layers = (
            [(step.name, step.bias) for step in structure.steps if step.kind == "weight"]
            if structure is not None and structure.is_perceptron is True
            else []
        )
        count = len(self.exact)
        self.layered = {name: frozen.table(len(self.names)) for name in _BY_LAYER}
        self.sampled = {name: frozen.table(count) for name in _BY_EXAMPLE}
        self.response = frozen.table(len(self.names), count)
        self.countable = bool(self.layers) and self._count_of_paths() <= _MOST_PATHS
        kept = (*_PATHS, variables.LOG10_PATH_DIFFERENCE) if self.countable else _PATHS
        self.paths = {name: frozen.table() for name in kept}

    @classmethod
    def by_default(cls, settings: SliceSettings) -> bool:
        """With ``--ladder``, which needs singular values."""
        return settings.ladder and settings.spectra != "none"

    @classmethod
    def fits(cls, frozen: Frozen) -> bool:
        """Where outputs are defined example by example."""
        return frozen.evaluator.has_outputs and frozen.samples > 0 and not frozen.mixed

    def _bias_owners(self) -> dict[str, str]:
        """Which weight matrix each bias belongs to, where its layer was called and simply adds its bias."""
        weights = {name.rpartition(".")[0]: name for name in self.weights}
        return {
            name: weights[name.rpartition(".")[0]]
            for name in self.names
            if name.rpartition(".")[2] == "bias"
            and name.rpartition(".")[0] in weights
            and weights[name.rpartition(".")[0]] in self.called
        }

    def record(self, point: Point) -> None:
        """Measure at one η."""
        row, moved = point.row, point.moved
        places = {name: k for k, name in enumerate(self.names)}
        for name in self.names:
            change = moved[name].to(torch.float64, copy=True).sub_(self.before[name])
            if name in self.weights:
                self._operator(row, places[name], name, moved[name], change)
            elif name in self.owners:
                self.response[row, places[name]] = self._bias_response(name, change)
            elif not bool(change.any()):
                self.response[row, places[name]] = 0.0
        self.folded.record(row, moved, self.passes, self.called)
        self._linearisation(row, moved)
        if self.layers:
            with contextlib.suppress(ValueError):  # the perturbed weights, or a product of them, overflowed
                self._paths(row, moved)

    def _linearisation(self, row: int, moved: Mapping[str, Tensor]) -> None:
        """How outputs respond to the input, and how far they are from linear in the weights."""
        eta = float(self.etas[row])
        responses = [part.input_response(self.before, eta) for part in self.passes]
        self._keep(row, variables.INPUT_RESPONSE, responses)
        linear = self._linear_change(moved, eta)
        if linear is None:
            return
        remainders = [
            passage.remainder(moved, part) for passage, part in zip(self.passes, linear, strict=True)
        ]
        for k, name in enumerate((variables.LINEARISATION_ERROR, variables.LINEARISATION_COSINE)):
            self._keep(row, name, [pair[k] for pair in remainders])

    def _frozen_norm(self, name: str) -> float:
        """‖W_l‖₂, as a linear map."""
        if self.operators[name].kind == "matrix":
            return self.frozen.spectrum(name).spectral_norm
        return operator_norm(self.before[name], self.operators[name])

    def _direction_norm(self, name: str) -> float:
        """‖d_l‖₂, as a linear map."""
        assert self.direction is not None
        if self.operators[name].kind == "matrix":
            return self.frozen.step_spectrum(name).spectral_norm
        return operator_norm(self.direction[name], self.operators[name])

    def _is_large(self, name: str) -> bool:
        """Whether it pays to follow a matrix's norm along the line."""
        return self.operators[name].kind == "matrix" and min(self.before[name].flatten(1).shape) >= LARGE

    def _line(self, name: str) -> NormAlongLine:
        assert self.direction is not None
        step = self.frozen.step_spectrum(name)
        own = self.frozen.spectrum(name)
        return NormAlongLine(self.before[name], self.direction[name], own, step, self.etas.tolist())

    def _linear_change(self, moved: Mapping[str, Tensor], eta: float) -> list[Tensor] | None:
        """∂_W f·ΔW of every chunk; None where there is no such derivative.

        On a line it is η ∂_W f·d and what rounding added, of which float32 keeps more digits than matter.
        """

        def change(name: str) -> Tensor:
            return moved[name].double() - self.before[name].double()

        def rounding(name: str) -> Tensor | None:
            moves = self.direction is not None and name in self.direction
            return self.frozen.rounding(name, change(name), eta) if moves else None

        if self.direction is None:
            return self._linear(self.exact, change)
        if self.along is None:
            return None
        rest = self._linear(self.single, rounding)
        return (
            None if rest is None else [eta * one + other for one, other in zip(self.along, rest, strict=True)]
        )

    def _linear(self, evaluator: Evaluator, change: Callable[[str], Tensor | None]) -> list[Tensor] | None:
        """∂_W f·ΔW of every chunk, ΔW being zero where it is None; None where there is no such derivative."""
        found = [part.linear_change(evaluator, self.before, change) for part in self.passes]
        known = [one for one in found if one is not None]
        return known if len(known) == len(found) else None

    def _operator(self, row: int, place: int, name: str, after: Tensor, change: Tensor) -> None:
        """A weight's norms, and what its change does to its inputs."""
        operator, eta = self.operators[name], float(self.etas[row])
        rounding = self._rounding(name, after, eta)
        step = self._step_norm(name, change, eta, rounding)
        # Weyl's inequality is cheap, and as an upper bound sometimes the better of the two
        if eta == 0:
            exact = self.norms[name]
        elif name in self.lines and rounding is not None:
            exact = self.lines[name].at(eta, rounding)
        else:
            exact = operator_norm(after.double(), operator)
        self.layered[variables.PERTURBED_OPERATOR_NORM][row, place] = min(exact, self.norms[name] + step)
        self.layered[variables.PERTURBATION_OPERATOR_NORM][row, place] = step
        if name in self.called:
            parts = [passage.response(name, change) for passage in self.passes]
            self.response[row, place] = np.concatenate(parts)

    def _bias_response(self, name: str, change: Tensor) -> Floats:
        """‖Δb‖ times the root of the number of positions, (examples,)."""
        owner, length = self.owners[name], float(torch.linalg.vector_norm(change))
        positions = self.operators[owner].positions
        return np.concatenate(
            [
                np.full(len(part.batch), length * math.sqrt(part.positions(owner, positions)))
                for part in self.passes
            ]
        )

    def _keep(self, row: int, name: variables.Variable, parts: list[Floats | None]) -> None:
        """Put the chunks' numbers in their row, if they could be measured."""
        known = [part for part in parts if part is not None]
        if len(known) == len(parts):
            self.sampled[name][row] = np.concatenate(known)

    def _rounding(self, name: str, after: Tensor, eta: float) -> float | None:
        """‖ΔW − ηd‖_F, what rounding added; None where there is no direction."""
        if self.direction is None:
            return None
        if name not in self.direction:
            return 0.0
        return sum_norm((after, 1.0), (self.before[name], -1.0), (self.direction[name], -eta))

    def _step_norm(self, name: str, change: Tensor, eta: float, rounding: float | None) -> float:
        """‖ΔW‖ from above: η‖d‖ and the norm of what rounding added, or at once where there is no direction."""
        operator = self.operators[name]
        if rounding is None or operator.padding_mode != "zeros":
            return operator_norm(change, operator)  # other padding copies entries, unknown to the taps below
        if name not in self.step_norms:
            return 0.0
        # a convolution's norm is at most the sum of its taps' norms, so √taps times the Frobenius norm
        taps = math.prod(change.shape[2:])
        return eta * self.step_norms[name] + math.sqrt(taps) * rounding

    def _paths(self, row: int, after: Mapping[str, Tensor]) -> None:
        pair = (self.before, after)
        layers = ((self._layer(*names, pair[0]), self._layer(*names, pair[1])) for names in self.layers)
        norm, distance = log10_path_norm_and_distance(layers)
        self.paths[variables.LOG10_PATH_NORM][row] = norm
        self.paths[variables.LOG10_PATH_DISTANCE][row] = distance
        self.paths[variables.OPPOSITE_SIGNS][row] = sum(
            int((self.before[name].sign() * after[name].sign() < 0).sum())
            for names in self.layers
            for name in names
            if name
        )
        if self.countable:
            old, new = (
                tuple(zip(*(self._layer(*names, tensors) for names in self.layers), strict=True))
                for tensors in pair
            )
            with np.errstate(divide="ignore"):
                difference = np.abs(path_vector(*new) - path_vector(*old)).sum()
                self.paths[variables.LOG10_PATH_DIFFERENCE][row] = np.log10(difference)

    def _count_of_paths(self) -> int:
        """How many paths there are, were every layer to have a bias."""
        ends = [int(self.before[name].shape[0]) for name, _ in self.layers]
        from_inputs = int(self.before[self.layers[0][0]].shape[1]) * math.prod(ends)
        return from_inputs + sum(math.prod(ends[k:]) for k in range(len(ends)))

    def _layer(self, weight: str, bias: str, tensors: Mapping[str, Tensor]) -> tuple[Floats, Floats | None]:
        """A layer's weight and bias, in float64."""
        return numpy_of(tensors[weight].double()), numpy_of(tensors[bias].double()) if bias else None

    def tables(self) -> list[Floats]:
        """What :meth:`record` fills, row by row."""
        own = [*self.layered.values(), *self.sampled.values(), self.response, *self.paths.values()]
        return [*own, *self.folded.tables.values()] if self.folded.stages else own

    def found(self, others: Found) -> Found:
        """Everything; sizes of examples, and operators, are those of the frozen network."""
        sizes = [passage.sizes() for passage in self.passes]
        return {
            **{name: np.concatenate([part[name] for part in sizes]) for name in _SIZES},
            variables.OPERATOR: self._operator_kinds(),
            variables.OPERATOR_NORM: self.frozen.by_layer(self.norms),
            variables.DIRECTION_OPERATOR_NORM: self.frozen.by_layer(self.step_norms),
            **self.layered,
            **self.sampled,
            variables.PERTURBATION_RESPONSE: self.response,
            **self.paths,
            **self.folded.found(),
        }

    def _operator_kinds(self) -> list[str]:
        """For each tensor what its weight is as a linear map; empty for vectors."""
        unknown = Operator("unknown")
        return [self.operators.get(n, unknown).kind if n in self.weights else "" for n in self.names]


def _in(dtype: torch.dtype, tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Real numbers in a precision, others as they are."""
    return {n: t.to(dtype) if t.is_floating_point() else t for n, t in tensors.items()}


def _in_precision(evaluator: Evaluator, dtype: torch.dtype) -> Evaluator:
    """The same network and loss in another precision, without tensors of its own."""
    other = copy.copy(evaluator)
    other.dtype, other.precision, other.frozen = dtype, "full", {}
    other.buffers = _in(dtype, evaluator.buffers)
    return other
