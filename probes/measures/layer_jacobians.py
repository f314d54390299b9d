"""A chain's layers, each linear at a few examples: A_k(x) = ∂h_k/∂h_{k−1}, and their products, by autograd.

The network itself is called, once: what a layer is given and gives is marked on the way, before anything changes it in
place. So a layer may be whatever its steps are: Φ'_k W_k, a convolution with its batch norm and pooling, I + F'.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.autograd.graph import GradientEdge, get_gradient_edge

from probes.data.batch import Batch
from probes.errors import InputError
from probes.evaluation.evaluator import Evaluator
from probes.measures.leading import LinearMaps
from probes.networks.structure import Reading
from probes.networks.structure.tracing import Results
from trust.layers import Layer, layers_of

__all__ = ["LayerJacobians", "layer_jacobians"]

_AT_ONCE = 1 << 18
"""Numbers of all examples at a cut, of which a few hundred vectors are held."""


@dataclass(frozen=True)
class _Cut:
    """Where one layer ends and the next begins: the place in autograd's graph, and a copy of the numbers there."""

    edge: GradientEdge
    copy: Tensor


class LayerJacobians:
    """The linear maps of a chain's layers at every example of a batch."""

    def __init__(
        self,
        exact: Evaluator,
        tensors: Mapping[str, Tensor],
        batch: Batch,
        *,
        reading: Reading,
        layers: Sequence[Layer],
    ) -> None:
        """Call the network.

        Args:
            exact: the network in float64.
            tensors: its parameters, in float64.
            batch: examples with one input of real numbers, in float64 on the device.
            reading: what the network computes.
            layers: of :func:`trust.layers.layers_of`.

        Raises:
            InputError: what a layer gives does not have one row an example.
        """
        x = batch.real_input
        assert x is not None
        calls = [reading.calls[layer.end] for layer in layers]
        with torch.enable_grad():
            given = x.detach().requires_grad_(True).clone()
            start = _marked(given)
            with Results(calls, _marked) as results:
                exact.call(tensors, batch.inputs_with(given))
        self.cuts = [start, *(results.found[call] for call, _ in calls)]
        self.examples = len(batch)
        for layer, cut in zip(layers, self.cuts[1:], strict=True):
            if cut.copy.ndim == 0 or len(cut.copy) != self.examples:
                raise InputError(
                    f"{layer.name}: gives {tuple(cut.copy.shape)} for {self.examples} examples, not one row for each"
                )

    def __len__(self) -> int:
        """The number of layers, L."""
        return len(self.cuts) - 1

    @property
    def widest(self) -> int:
        """The most numbers that an example has at a cut."""
        sizes: list[int] = [math.prod(cut.copy.shape[1:]) for cut in self.cuts]
        return max(sizes)

    def layer(self, k: int) -> LinearMaps:
        """A_k, k from 1."""
        return self._between(k - 1, k)

    def behind(self, k: int) -> LinearMaps:
        """A_L ··· A_{k+1}, what follows layer k; of the whole network for k = 0."""
        return self._between(k, len(self))

    def _between(self, start: int, end: int) -> LinearMaps:
        before, after = self.cuts[start], self.cuts[end]
        # Jᵀu is linear in u, so that its derivative is J: products with J need no other mode of differentiation
        u = torch.zeros_like(after.copy, requires_grad=True)
        with torch.enable_grad():
            (pulled,) = torch.autograd.grad(
                after.copy, before.edge, u, create_graph=True, retain_graph=True, allow_unused=True
            )

        def pull(vectors: Tensor) -> Tensor:
            (found,) = torch.autograd.grad(
                after.copy, before.edge, vectors.reshape(u.shape), retain_graph=True, allow_unused=True
            )
            return _rows(before.copy.new_zeros(before.copy.shape) if found is None else found)

        def push(vectors: Tensor) -> Tensor:
            if pulled is None or not pulled.requires_grad:
                return torch.zeros_like(_rows(u))
            (found,) = torch.autograd.grad(
                pulled, u, vectors.reshape(pulled.shape), retain_graph=True, materialize_grads=True
            )
            return _rows(found)

        sizes = [math.prod(cut.copy.shape[1:]) for cut in (before, after)]
        return LinearMaps(self.examples, sizes[0], sizes[1], push, pull, after.copy)


def _marked(tensor: Tensor) -> _Cut:
    return _Cut(get_gradient_edge(tensor), tensor.clone())


def _rows(values: Tensor) -> Tensor:
    return values.detach().flatten(1) if values.ndim > 1 else values.detach()[:, None]


def layer_jacobians(
    evaluator: Evaluator, reading: Reading, count: int
) -> Iterator[tuple[int, LayerJacobians]]:
    """Those of the first examples at the frozen weights, a few examples at a time, after how many each.

    Args:
        evaluator: the network in evaluation mode, its data and loss, in any precision.
        reading: what it computes.
        count: of how many examples.

    Raises:
        InputError: the network is no chain of layers.
    """
    layers = layers_of(reading.structure)
    if layers is None:
        raise InputError(f"the network is no chain of layers: {reading.why or 'a step in it is not known'}")
    # as the working precision rounded them, like the weights
    data = evaluator.data[:count].map(lambda piece: piece.to(evaluator.device, evaluator.dtype))
    exact = evaluator.on(data, dtype=torch.float64, chunk=1)
    tensors = {
        name: tensor.double() if tensor.is_floating_point() else tensor
        for name, tensor in evaluator.frozen.items()
    }

    def linear(batch: Batch) -> LayerJacobians:
        return LayerJacobians(exact, tensors, batch, reading=reading, layers=layers)

    exact.chunk = max(1, _AT_ONCE // linear(next(exact.chunks())[1]).widest)
    for start, batch in exact.chunks():
        yield start, linear(batch)
