"""What the bounds of the ladder are made of: layer inputs, operator norms, path norms and second-order remainders.

All of it is measured on the sampled examples and in float64, at the very weights that were evaluated: ΔW is the
difference of the perturbed and the frozen tensors after their rounding, not the step that was intended.
"""

from __future__ import annotations

import contextlib
import math
from collections.abc import Mapping
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from probes.evaluation import FullBatch
from probes.networks import Perceptron
from probes.operators import Operator, find_operators, operator_norm
from probes.passages import Floats, Passage, numpy_of
from trust.paths import log10_path_distance, log10_path_norm, path_vector

__all__ = ["Ladder"]

_MOST_PATHS = 100_000
"""How many paths are compared one by one."""
_BY_EXAMPLE = ("linearisation_error", "linearisation_cosine", "input_response")
_BY_LAYER = ("perturbed_operator_norm", "perturbation_operator_norm")


class Ladder:
    """Measures the ladder's ingredients at any perturbed weights, for the first ``samples`` examples."""

    def __init__(
        self,
        batch: FullBatch,
        *,
        names: list[str],
        weights: list[str],
        direction: Mapping[str, Tensor] | None,
        samples: int,
        etas: Floats,
    ) -> None:
        """Measure what belongs to the frozen weights.

        Args:
            batch: network, data and loss.
            names: all tensors in forward order.
            weights: those that are weight matrices.
            direction: d of W + η d; None where every η has a perturbation of its own.
            samples: how many examples.
            etas: the grid.
        """
        self.names, self.weights, self.etas = names, weights, etas
        self.frozen = {name: tensor.double() for name, tensor in batch.frozen.items()}
        # as the working precision rounded them, like the weights
        self.exact = FullBatch(
            batch.network,
            batch.data[:samples].map(lambda piece: piece.to(batch.device, batch.dtype)),
            None,
            batch.loss_function,
            dtype=torch.float64,
            device=batch.device,
            chunk=min(batch.chunk, samples),
        )
        self.exact.buffers = {n: self.exact._moved(b) for n, b in batch.buffers.items()}
        self.direction = None if direction is None else {n: d.double() for n, d in direction.items()}
        self.operators = find_operators(batch, weights)
        known = [name for name in weights if self.operators[name].kind != "unknown"]
        self.passages = [Passage(self.exact, self.frozen, known, piece) for _, piece in self.exact.chunks()]
        self.called = [n for n in self.passages[0].inputs if all(n in part.inputs for part in self.passages)]
        self.owners = self._bias_owners()
        self.norms = {name: operator_norm(self.frozen[name], self.operators[name]) for name in weights}
        self.step_norms = {
            name: operator_norm(step, self.operators[name])
            for name, step in (self.direction or {}).items()
            if name in self.operators
        }
        self.chain = _plain_chain(batch.network)
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
        eta = float(self.etas[row])
        after = {name: moved[name].double() for name in self.frozen}
        change = {name: after[name] - self.frozen[name] for name in self.names}
        places = {name: k for k, name in enumerate(self.names)}
        for name in self.weights:
            operator = self.operators[name]
            step = self._step_norm(name, change[name], eta)
            # Weyl's inequality is cheap, and as an upper bound sometimes the better of the two
            exact = operator_norm(after[name], operator) if eta > 0 else self.norms[name]
            norm = min(exact, self.norms[name] + step)
            self.layered["perturbed_operator_norm"][row, places[name]] = norm
            self.layered["perturbation_operator_norm"][row, places[name]] = step
            if name in self.called:
                parts = [passage.response(name, change[name]) for passage in self.passages]
                self.response[row, places[name]] = np.concatenate(parts)
        for name in self.names:
            if name in self.owners:
                owner, length = self.owners[name], float(torch.linalg.vector_norm(change[name]))
                positions = self.operators[owner].positions
                self.response[row, places[name]] = np.concatenate(
                    [
                        np.full(len(part.batch), length * math.sqrt(part.positions(owner, positions)))
                        for part in self.passages
                    ]
                )
            elif name not in self.weights and not bool(change[name].any()):
                self.response[row, places[name]] = 0.0
        self._keep(row, "input_response", [passage.input_response(eta) for passage in self.passages])
        remainders = [passage.remainder(after, change) for passage in self.passages]
        for k, name in enumerate(("linearisation_error", "linearisation_cosine")):
            self._keep(row, name, [None if pair is None else pair[k] for pair in remainders])
        if self.chain:
            with contextlib.suppress(ValueError):  # the perturbed weights, or a product of them, overflowed
                self._paths(row, after)

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
        rounding = float(torch.linalg.vector_norm(change - eta * self.direction[name]))
        # a convolution's norm is at most the sum of its taps' norms, so √taps times the Frobenius norm
        taps = math.prod(change.shape[2:])
        return eta * self.step_norms[name] + math.sqrt(taps) * rounding

    def _paths(self, row: int, after: Mapping[str, Tensor]) -> None:
        old, new = (
            (
                [numpy_of(tensors[name]) for name in self.weights],
                [self._bias(name, tensors) for name in self.weights],
            )
            for tensors in (self.frozen, after)
        )
        self.paths["log10_path_norm"][row] = log10_path_norm(*new)
        self.paths["log10_path_distance"][row] = log10_path_distance(old[0], new[0], old[1], new[1])
        if self.countable:
            with np.errstate(divide="ignore"):
                difference = np.abs(path_vector(*new) - path_vector(*old)).sum()
                self.paths["log10_path_difference"][row] = np.log10(difference)

    def _count_of_paths(self) -> int:
        """How many paths there are, were every layer to have a bias."""
        ends = [int(self.frozen[name].shape[0]) for name in self.weights]
        from_inputs = int(self.frozen[self.weights[0]].shape[1]) * math.prod(ends)
        return from_inputs + sum(math.prod(ends[k:]) for k in range(len(ends)))

    def _bias(self, weight: str, tensors: Mapping[str, Tensor]) -> Floats | None:
        name = _bias_of(weight)
        return numpy_of(tensors[name]) if name in tensors else None

    def variables(self) -> dict[str, Any]:
        """Everything, with a ``checkpoint`` of one in front; described in docs/measurements.md."""
        sample, layer = ("checkpoint", "example"), ("checkpoint", "layer")
        sizes = [passage.sizes() for passage in self.passages]
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


def _bias_of(weight: str) -> str:
    """The name of the bias beside a weight."""
    return f"{weight.rpartition('.')[0]}.bias".removeprefix(".")


def _plain_chain(network: nn.Module) -> bool:
    """Whether it is a perceptron that nothing skips and nothing normalises: the one whose paths are known here."""
    return isinstance(network, Perceptron) and network.spec.norm == "none" and not network.spec.residual
