"""Layer-to-output Jacobians and gates, example by example, on a small sample."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from probes.data.batch import Batch
from probes.data.inputs import Inputs
from probes.errors import is_out_of_memory
from probes.evaluation.evaluator import Evaluator, Parameters
from probes.measures.forward_order import owner_of
from probes.networks.activations import activation_function
from probes.networks.structure import Reading
from probes.networks.structure.tracing import Arguments
from probes.system.processes import padded

__all__ = ["Jacobians", "Linearisation", "gate_change", "relative_change"]


@dataclass(frozen=True)
class Linearisation:
    """The network's derivative at each sampled example.

    Attributes:
        jacobians: for each weight matrix W_k the Jacobian of the outputs with respect to that layer's input,
            J_{k−1} of Proposition 1 (in a residual network all paths counted), as
            (examples, outputs · inputs). A module's input is that of its first weight matrix and of its first
            call. Missing where a module is never called, its input is no floating tensor (tokens), or
            does not have one row an example.
        gates: φ'(z_k) for each weight matrix with one activation behind it, (examples, d_k); empty where the
            network's structure is not known.
    """

    jacobians: dict[str, Tensor]
    gates: dict[str, Tensor]


class _NotBatchedError(Exception):
    """A function in the network has no rule for many gradients at once."""


@dataclass(frozen=True)
class _Form:
    """What one example of a piece gives: the outputs' number, and the layers whose input has a row an example."""

    width: int
    single: set[str]


class Jacobians:
    """Measures :class:`Linearisation` at any parameters, for the first ``samples`` examples of a batch."""

    def __init__(
        self, evaluator: Evaluator, *, samples: int, weights: list[str], reading: Reading | None = None
    ) -> None:
        """Remember what to measure.

        Args:
            evaluator: network, data and loss.
            samples: of how many examples.
            weights: the names of the weight matrices in forward order.
            reading: what the network computes, for its gates.
        """
        self.evaluator = evaluator
        self.pieces = [piece for _, piece in evaluator.data[:samples].chunks(samples)]
        self.owners: dict[nn.Module, str] = {}
        modules = dict(evaluator.network.named_modules())
        for name in weights:
            self.owners.setdefault(modules[owner_of(name)], name)
        self.forms: dict[int, _Form] = {}
        self.batched = True
        gated = evaluator.precision == "full" and len(self.pieces) == 1
        self.structure = reading.structure if gated and reading is not None else None
        self.activation_calls = () if reading is None else reading.activation_calls
        self._gates: dict[str, Tensor] = {}

    def measure(self, parameters: Parameters) -> Linearisation:
        """At every sampled example, those of one shape at once."""
        self._gates = {}
        found = [self._measured(k, parameters, piece) for k, piece in enumerate(self._on_device())]
        common = [name for name in found[0] if all(name in part for part in found)]
        jacobians = {name: padded([part[name] for part in found]) for name in common}
        return Linearisation(jacobians, self._gates)

    def _on_device(self) -> Iterator[Batch]:
        for piece in self.pieces:
            yield piece.to(self.evaluator.device, self.evaluator.dtype)

    def _measured(self, place: int, parameters: Parameters, piece: Batch) -> dict[str, Tensor]:
        """One forward pass, and a backward pass for all outputs at once, serve every layer."""
        if place not in self.forms:
            self.forms[place] = self._form(parameters, piece)
        form = self.forms[place]
        if self.batched:
            try:
                return self._backward(parameters, piece, form, times=1)
            except _NotBatchedError:
                self.batched = False
        return self._backward(parameters, piece, form, times=form.width)

    def _form(self, parameters: Parameters, piece: Batch) -> _Form:
        """See what one example gives."""
        with torch.no_grad(), self._inputs() as inputs:
            width = self.evaluator.call(parameters, piece[:1].inputs).flatten(1).shape[1]
        return _Form(width, {name for name, given in inputs.items() if given.ndim > 0 and len(given) == 1})

    @contextmanager
    def _inputs(self) -> Iterator[dict[str, Tensor]]:
        """What the layers are given while the network is called."""
        inputs: dict[str, Tensor] = {}

        def keep(module: nn.Module, arguments: tuple[Any, ...]) -> None:
            if arguments and isinstance(arguments[0], Tensor) and arguments[0].is_floating_point():
                inputs.setdefault(self.owners[module], arguments[0])

        handles = [module.register_forward_pre_hook(keep) for module in self.owners]
        try:
            yield inputs
        finally:
            for handle in handles:
                handle.remove()

    def _backward(
        self, parameters: Parameters, piece: Batch, form: _Form, *, times: int
    ) -> dict[str, Tensor]:
        """The Jacobians, with every example so many times: once for all outputs, or once for each of them."""
        count, width = len(piece), form.width
        repeated = piece.repeat(times)
        x = repeated.real_input
        # tokens have no derivative: then what follows them gets its graph from the parameters
        constants = {name: t.detach().requires_grad_(x is None) for name, t in parameters.items()}
        used = repeated.inputs if x is None else repeated.inputs_with(x.detach().requires_grad_(True))
        with torch.enable_grad(), self._inputs() as inputs:
            outputs = self._outputs(constants, used, times).flatten(1)
            for name in list(inputs):
                alone = name in form.single and len(inputs[name]) == count * times
                if not (alone and inputs[name].requires_grad):
                    del inputs[name]
            leaves = list(inputs.values())
            if not leaves or not outputs.requires_grad:
                found = [leaf.new_zeros(count, width, *leaf.shape[1:]) for leaf in leaves]
            elif times == width:
                chosen = outputs.view(count, width, width).diagonal(dim1=1, dim2=2).sum()
                found = list(torch.autograd.grad(chosen, leaves, allow_unused=True, materialize_grads=True))
            else:
                each = torch.eye(width, dtype=outputs.dtype, device=outputs.device)
                try:
                    rows = torch.autograd.grad(
                        outputs,
                        leaves,
                        each[:, None].expand(width, count, width),
                        is_grads_batched=True,
                        allow_unused=True,
                        materialize_grads=True,
                    )
                except RuntimeError as error:
                    if is_out_of_memory(error):
                        raise
                    raise _NotBatchedError from error
                found = [row.transpose(0, 1) for row in rows]
        return {
            name: gradient.reshape(count, -1).double() for name, gradient in zip(inputs, found, strict=True)
        }

    def _outputs(self, parameters: Parameters, inputs: Inputs, times: int) -> Tensor:
        """The outputs; on the way the gates φ'(z_k) are kept, of each example once."""
        if self.structure is None:
            return self.evaluator.call(parameters, inputs)
        calls = {name: self.activation_calls[k] for name, k in self.structure.gates.items()}
        with Arguments(calls.values()) as arguments:
            outputs = self.evaluator.call(parameters, inputs)
        for name, call in calls.items():
            leaf = arguments.found[call][::times].requires_grad_(True)
            activation = activation_function(self.structure.activations[name])
            (gate,) = torch.autograd.grad(activation(leaf).sum(), leaf)
            self._gates[name] = gate.flatten(1).double()
        return outputs


def relative_change(before: Tensor, after: Tensor) -> Tensor:
    """‖after − before‖ / ‖before‖ row by row, with 0/0 = 0 and x/0 = inf; ``after`` may be a stack."""
    change = torch.linalg.vector_norm(after - before, dim=-1)
    size = torch.linalg.vector_norm(before, dim=-1)
    return torch.where((change == 0) & (size == 0), torch.zeros_like(change), change / size)


def gate_change(before: Tensor, after: Tensor) -> Tensor:
    """Row by row s = max_i |φ'(z̃_i) − φ'(z_i)| / |φ'(z_i)|, with 0/0 = 0 and x/0 = inf."""
    change = (after - before).abs()
    ratio = torch.where(change == 0, torch.zeros_like(change), change / before.abs())
    return ratio.amax(dim=1)
