"""What the bounds of the ladder are made of: layer inputs, operator norms, path norms and second-order remainders.

All of it is measured on the sampled examples and in float64, at the very weights that were evaluated: ΔW is the
difference of the perturbed and the frozen tensors after their rounding, not the step that was intended.
"""

from __future__ import annotations

import contextlib
import copy
import math
from collections.abc import Mapping
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from probes.evaluation.evaluator import Evaluator
from probes.measures.forward_passes import Floats, ForwardPass, numpy_of
from probes.measures.operator_norms import Operator, find_operators, operator_norm
from probes.networks.perceptron import Perceptron
from trust.paths import log10_path_norm_and_distance, path_vector

__all__ = ["Ladder"]

_MOST_PATHS = 100_000
"""How many paths are compared one by one."""
_BY_EXAMPLE = ("linearisation_error", "linearisation_cosine", "input_response")
_BY_LAYER = ("perturbed_operator_norm", "perturbation_operator_norm")


class Ladder:
    """Measures the ladder's ingredients at any perturbed weights, for the first ``samples`` examples."""

    def __init__(
        self,
        evaluator: Evaluator,
        *,
        names: list[str],
        weights: list[str],
        direction: Mapping[str, Tensor] | None,
        samples: int,
        etas: Floats,
    ) -> None:
        """Measure what belongs to the frozen weights.

        Args:
            evaluator: network, data and loss.
            names: all tensors in forward order.
            weights: those that are weight matrices.
            direction: d of W + η d; None where every η has a perturbation of its own.
            samples: how many examples.
            etas: the grid.
        """
        self.names, self.weights, self.etas = names, weights, etas
        self.frozen = (
            evaluator.frozen
        )  # in the working precision: what is in float64 is made where it is needed
        # as the working precision rounded them, like the weights
        data = evaluator.data[:samples].map(lambda piece: piece.to(evaluator.device, evaluator.dtype))
        self.exact = copy.copy(evaluator)
        self.exact.data, self.exact.dtype, self.exact.chunk = (
            data,
            torch.float64,
            min(evaluator.chunk, samples),
        )
        self.exact.frozen = {}
        self.exact.buffers = _in_double(evaluator.buffers)
        self.direction = direction
        self.operators = find_operators(evaluator, weights)
        known = [name for name in weights if self.operators[name].kind != "unknown"]
        frozen = _in_double(self.frozen)
        self.passes = [ForwardPass(self.exact, frozen, known, piece) for _, piece in self.exact.chunks()]
        del frozen
        self.called = [n for n in self.passes[0].inputs if all(n in part.inputs for part in self.passes)]
        self.owners = self._bias_owners()
        self.norms = {name: operator_norm(self.frozen[name], self.operators[name]) for name in weights}
        self.step_norms = {
            name: operator_norm(step, self.operators[name])
            for name, step in (self.direction or {}).items()
            if name in self.operators
        }
        self.chain = _plain_chain(evaluator.network)
        count = len(self.exact)
        self.layered = {name: np.full((len(etas), len(names)), np.nan) for name in _BY_LAYER}
        self.sampled = {name: np.full((len(etas), count), np.nan) for name in _BY_EXAMPLE}
        self.response = np.full((len(etas), len(names), count), np.nan)
        self.countable = self.chain and self._count_of_paths() <= _MOST_PATHS
        kept = ["log10_path_norm", "log10_path_distance"]
        kept += ["log10_path_difference"] if self.countable else []
        self.paths = {name: np.full(len(etas), np.nan) for name in kept}

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

    def record(self, row: int, moved: Mapping[str, Tensor]) -> None:
        """Measure at one η.

        Args:
            row: its place in the grid.
            moved: the perturbed tensors.
        """
        places = {name: k for k, name in enumerate(self.names)}
        for name in self.names:
            after = moved[name].double()
            change = after - self.frozen[name]
            if name in self.weights:
                self._operator(row, places[name], name, after, change)
            elif name in self.owners:
                self.response[row, places[name]] = self._bias_response(name, change)
            elif not bool(change.any()):
                self.response[row, places[name]] = 0.0
        self._linearisation(row, moved)
        if self.chain:
            with contextlib.suppress(ValueError):  # the perturbed weights, or a product of them, overflowed
                self._paths(row, moved)

    def _linearisation(self, row: int, moved: Mapping[str, Tensor]) -> None:
        """How outputs respond to the input, and how far they are from linear in the weights.

        One set of parameters in float64 is held at a time, and a second one, their change, while it is followed.
        """
        eta = float(self.etas[row])
        frozen = _in_double(self.frozen)
        self._keep(row, "input_response", [part.input_response(frozen, eta) for part in self.passes])
        change = {
            name: moved[name].double() - tensor if name in self.names else torch.zeros_like(tensor)
            for name, tensor in frozen.items()
        }
        linear = [part.linear_change(frozen, change) for part in self.passes]
        del frozen, change
        if any(part is None for part in linear):
            return
        after = _in_double(moved)
        remainders = [
            passage.remainder(after, part)
            for passage, part in zip(self.passes, linear, strict=True)
            if part is not None
        ]
        for k, name in enumerate(("linearisation_error", "linearisation_cosine")):
            self._keep(row, name, [pair[k] for pair in remainders])

    def _operator(self, row: int, place: int, name: str, after: Tensor, change: Tensor) -> None:
        """A weight's norms, and what its change does to its inputs."""
        operator, eta = self.operators[name], float(self.etas[row])
        step = self._step_norm(name, change, eta)
        # Weyl's inequality is cheap, and as an upper bound sometimes the better of the two
        exact = operator_norm(after, operator) if eta > 0 else self.norms[name]
        self.layered["perturbed_operator_norm"][row, place] = min(exact, self.norms[name] + step)
        self.layered["perturbation_operator_norm"][row, place] = step
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

    def _keep(self, row: int, name: str, parts: list[Floats | None]) -> None:
        """Put the chunks' numbers in their row, if they could be measured."""
        known = [part for part in parts if part is not None]
        if len(known) == len(parts):
            self.sampled[name][row] = np.concatenate(known)

    def _step_norm(self, name: str, change: Tensor, eta: float) -> float:
        """‖ΔW‖ from above: η‖d‖ and the norm of what rounding added, or at once where there is no direction."""
        operator = self.operators[name]
        if self.direction is None or operator.padding_mode != "zeros":
            return operator_norm(change, operator)  # other padding copies entries, unknown to the taps below
        if name not in self.direction:
            return 0.0
        rounding = float(torch.linalg.vector_norm(change - eta * self.direction[name].double()))
        # a convolution's norm is at most the sum of its taps' norms, so √taps times the Frobenius norm
        taps = math.prod(change.shape[2:])
        return eta * self.step_norms[name] + math.sqrt(taps) * rounding

    def _paths(self, row: int, after: Mapping[str, Tensor]) -> None:
        pair = (self.frozen, after)
        layers = ((self._layer(name, pair[0]), self._layer(name, pair[1])) for name in self.weights)
        norm, distance = log10_path_norm_and_distance(layers)
        self.paths["log10_path_norm"][row] = norm
        self.paths["log10_path_distance"][row] = distance
        if self.countable:
            old, new = (
                tuple(zip(*(self._layer(name, tensors) for name in self.weights), strict=True))
                for tensors in pair
            )
            with np.errstate(divide="ignore"):
                difference = np.abs(path_vector(*new) - path_vector(*old)).sum()
                self.paths["log10_path_difference"][row] = np.log10(difference)

    def _count_of_paths(self) -> int:
        """How many paths there are, were every layer to have a bias."""
        ends = [int(self.frozen[name].shape[0]) for name in self.weights]
        from_inputs = int(self.frozen[self.weights[0]].shape[1]) * math.prod(ends)
        return from_inputs + sum(math.prod(ends[k:]) for k in range(len(ends)))

    def _layer(self, weight: str, tensors: Mapping[str, Tensor]) -> tuple[Floats, Floats | None]:
        """A layer's weight and bias, in float64."""
        bias = tensors.get(_bias_of(weight))
        return numpy_of(tensors[weight].double()), None if bias is None else numpy_of(bias.double())

    def tables(self) -> list[Floats]:
        """What :meth:`record` fills, row by row."""
        return [*self.layered.values(), *self.sampled.values(), self.response, *self.paths.values()]

    def variables(self) -> dict[str, Any]:
        """Everything, with a ``checkpoint`` of one in front; described in docs/measurements.md."""
        sample, layer = ("checkpoint", "example"), ("checkpoint", "layer")
        sizes = [passage.sizes() for passage in self.passes]
        once = {name: np.concatenate([part[name] for part in sizes]) for name in sizes[0]}
        found: dict[str, Any] = {name: (sample, values[None]) for name, values in once.items()}
        for key, norms in (("operator_norm", self.norms), ("direction_operator_norm", self.step_norms)):
            found[key] = (layer, np.array([[norms.get(name, np.nan) for name in self.names]]))
        found |= {n: (("checkpoint", "eta", "layer"), v[None]) for n, v in self.layered.items()}
        found |= {n: (("checkpoint", "eta", "example"), v[None]) for n, v in self.sampled.items()}
        found["perturbation_response"] = (("checkpoint", "eta", "layer", "example"), self.response[None])
        found |= {n: (("checkpoint", "eta"), v[None]) for n, v in self.paths.items()}
        return found

    def operator_kinds(self) -> list[str]:
        """For each tensor what its weight is as an operator; empty for vectors."""
        unknown = Operator("unknown")
        return [self.operators.get(n, unknown).kind if n in self.weights else "" for n in self.names]


def _in_double(tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Real numbers in float64, others as they are."""
    return {n: t.double() if t.is_floating_point() else t for n, t in tensors.items()}


def _bias_of(weight: str) -> str:
    """The name of the bias beside a weight."""
    return f"{weight.rpartition('.')[0]}.bias".removeprefix(".")


def _plain_chain(network: nn.Module) -> bool:
    """Whether it is a perceptron that nothing skips and nothing normalises: the one whose paths are known here."""
    return isinstance(network, Perceptron) and network.spec.norm == "none" and not network.spec.residual
