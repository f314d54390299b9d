"""Layer-to-output Jacobians and gates, example by example, on a small sample."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.func import functional_call

from probes.batches import Batch, padded
from probes.evaluation import FullBatch, Parameters
from probes.layers import owner_of
from probes.networks import Perceptron

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
        gates: φ'(z_k) for each hidden layer, (examples, d_k); empty where the network is no perceptron.
    """

    jacobians: dict[str, Tensor]
    gates: dict[str, Tensor]


class _Traced(nn.Module):
    """A perceptron whose forward also returns its preactivations."""

    def __init__(self, inner: Perceptron) -> None:
        super().__init__()
        self.inner = inner

    def forward(self, x: Tensor) -> tuple[Tensor, list[Tensor]]:
        return self.inner.trace(x)


class Jacobians:
    """Measures :class:`Linearisation` at any parameters, for the first ``samples`` examples of a batch."""

    def __init__(self, batch: FullBatch, *, samples: int, weights: list[str]) -> None:
        """Remember what to measure; ``weights`` are the names of the weight matrices in forward order."""
        self.batch = batch
        self.pieces = [piece for _, piece in batch.data[:samples].chunks(samples)]
        self.owners: dict[nn.Module, str] = {}
        modules = dict(batch.network.named_modules())
        for name in weights:
            self.owners.setdefault(modules[owner_of(name)], name)

    def measure(self, parameters: Parameters) -> Linearisation:
        """At every sampled example, those of one shape at once."""
        found = [
            self._measured(parameters, piece.to(self.batch.device, self.batch.dtype)) for piece in self.pieces
        ]
        common = [name for name in found[0] if all(name in part for part in found)]
        jacobians = {name: padded([part[name] for part in found]) for name in common}
        return Linearisation(jacobians, self._gates(parameters))

    def _measured(self, parameters: Parameters, piece: Batch) -> dict[str, Tensor]:
        """One backward pass serves every layer: each example is repeated once for each output."""
        inputs: dict[str, Tensor] = {}

        def keep(module: nn.Module, arguments: tuple[Any, ...]) -> None:
            if arguments and isinstance(arguments[0], Tensor) and arguments[0].is_floating_point():
                inputs.setdefault(self.owners[module], arguments[0])

        handles = [module.register_forward_pre_hook(keep) for module in self.owners]
        try:
            with torch.no_grad():
                width = self.batch.call(parameters, piece[:1].inputs).flatten(1).shape[1]
            single = {name for name, given in inputs.items() if given.ndim > 0 and len(given) == 1}
            inputs.clear()
            count = len(piece)
            repeated = piece.repeat(width)
            x = repeated.real_input
            # tokens have no derivative: then what follows them gets its graph from the parameters
            constants = {name: t.detach().requires_grad_(x is None) for name, t in parameters.items()}
            used = repeated.inputs if x is None else repeated.inputs_with(x.requires_grad_(True))
            with torch.enable_grad():
                outputs = self.batch.call(constants, used).flatten(1)
                for name in list(inputs):
                    alone = name in single and len(inputs[name]) == count * width
                    if not (alone and inputs[name].requires_grad):
                        del inputs[name]
                chosen = outputs.view(count, width, width).diagonal(dim1=1, dim2=2).sum()
                leaves = list(inputs.values())
                found = (
                    torch.autograd.grad(chosen, leaves, allow_unused=True, materialize_grads=True)
                    if leaves and chosen.requires_grad
                    else [torch.zeros_like(leaf) for leaf in leaves]
                )
        finally:
            for handle in handles:
                handle.remove()
        return {
            name: gradient.reshape(count, -1).double() for name, gradient in zip(inputs, found, strict=True)
        }

    def _gates(self, parameters: Parameters) -> dict[str, Tensor]:
        network = self.batch.network
        if not isinstance(network, Perceptron) or len(self.pieces) != 1:
            return {}
        x = self.pieces[0].to(self.batch.device, self.batch.dtype).real_input
        if x is None:
            return {}
        tensors: Mapping[str, Tensor] = {**parameters, **self.batch.buffers}
        with torch.no_grad():
            _, preactivations = functional_call(
                _Traced(network), {f"inner.{name}": tensor for name, tensor in tensors.items()}, (x,)
            )
        gates: dict[str, Tensor] = {}
        for k, z in enumerate(preactivations):
            leaf = z.detach().requires_grad_(True)
            with torch.enable_grad():
                (gate,) = torch.autograd.grad(network.activation(leaf).sum(), leaf)
            gates[f"layers.{k}.weight"] = gate.double()
        return gates


def relative_change(before: Tensor, after: Tensor) -> Tensor:
    """‖after − before‖ / ‖before‖ row by row, with 0/0 = 0 and x/0 = inf."""
    change = torch.linalg.vector_norm(after - before, dim=1)
    size = torch.linalg.vector_norm(before, dim=1)
    return torch.where((change == 0) & (size == 0), torch.zeros_like(change), change / size)


def gate_change(before: Tensor, after: Tensor) -> Tensor:
    """Row by row s = max_i |φ'(z̃_i) − φ'(z_i)| / |φ'(z_i)|, with 0/0 = 0 and x/0 = inf."""
    change = (after - before).abs()
    ratio = torch.where(change == 0, torch.zeros_like(change), change / before.abs())
    return ratio.amax(dim=1)
