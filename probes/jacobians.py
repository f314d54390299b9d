"""Layer-to-output Jacobians and gates, example by example, on a small sample."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.func import functional_call

from probes.errors import InputError
from probes.evaluation import FullBatch, Parameters
from probes.networks import Perceptron

__all__ = ["Jacobians", "Linearisation", "gate_change", "relative_change"]


@dataclass(frozen=True)
class Linearisation:
    """The network's derivative at each sampled example.

    Attributes:
        jacobians: for each weight matrix W_k the Jacobian of the outputs with respect to that layer's input,
            J_{k−1} of Proposition 1 (in a residual network all paths counted), as
            (examples, outputs · inputs).
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
        """Remember what to measure; ``weights`` are the names of the weight matrices in forward order.

        Raises:
            InputError: the inputs are characters.
        """
        if not batch.x.is_floating_point():
            raise InputError("--jacobian: needs inputs that are real numbers, not characters; leave it out")
        self.batch = batch
        self.x = batch._moved(batch.x[:samples])
        self.owners: dict[nn.Module, str] = {}
        modules = dict(batch.network.named_modules())
        for name in weights:
            module = modules[name.rpartition(".")[0]]
            self.owners.setdefault(module, name)

    def measure(self, parameters: Parameters) -> Linearisation:
        """One backward pass serves every layer: the sample is repeated once for each output."""
        inputs: dict[str, Tensor] = {}

        def keep(module: nn.Module, arguments: tuple[Any, ...]) -> None:
            if arguments and isinstance(arguments[0], Tensor):
                inputs.setdefault(self.owners[module], arguments[0])

        handles = [module.register_forward_pre_hook(keep) for module in self.owners]
        try:
            with torch.no_grad():
                width = self.batch.call(parameters, self.x[:1]).flatten(1).shape[1]
            inputs.clear()
            count = len(self.x)
            repeated = self.x.repeat_interleave(width, dim=0).requires_grad_(True)
            constants = {name: tensor.detach() for name, tensor in parameters.items()}
            with torch.enable_grad():
                outputs = self.batch.call(constants, repeated).flatten(1)
                chosen = outputs.view(count, width, width).diagonal(dim1=1, dim2=2).sum()
                found = torch.autograd.grad(
                    chosen, list(inputs.values()), allow_unused=True, materialize_grads=True
                )
        finally:
            for handle in handles:
                handle.remove()
        jacobians = {
            name: gradient.reshape(count, -1).double() for name, gradient in zip(inputs, found, strict=True)
        }
        return Linearisation(jacobians, self._gates(parameters))

    def _gates(self, parameters: Parameters) -> dict[str, Tensor]:
        network = self.batch.network
        if not isinstance(network, Perceptron):
            return {}
        tensors: Mapping[str, Tensor] = {**parameters, **self.batch.buffers}
        with torch.no_grad():
            _, preactivations = functional_call(
                _Traced(network), {f"inner.{name}": tensor for name, tensor in tensors.items()}, (self.x,)
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
