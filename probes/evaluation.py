"""Full-batch quantities of a frozen network, as sums over chunks, for any values of its parameters.

The module itself is never edited: perturbed parameters are passed through ``torch.func.functional_call``.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.func import functional_call

from probes.errors import InputError
from probes.losses import ExampleLoss, accuracy_of

__all__ = ["Evaluation", "FullBatch", "Parameters", "left_as_found", "moved_along"]

Parameters = Mapping[str, Tensor]


@contextmanager
def left_as_found(network: nn.Module) -> Iterator[None]:
    """Evaluation mode inside; afterwards, by whatever way out, modes and random state are as before."""
    modes = [(module, module.training) for module in network.modules()]
    devices = list(range(torch.cuda.device_count()))
    with torch.random.fork_rng(devices=devices):
        try:
            network.eval()
            yield
        finally:
            for module, training in modes:
                module.training = training


@dataclass(frozen=True)
class Evaluation:
    """What one pass over the data gives.

    Attributes:
        loss: mean loss, accumulated in float64.
        accuracy: share of examples classified rightly; NaN where the targets are not labels.
        gradients: of the mean loss, for each parameter that was asked for.
        outputs: of the first examples, (samples, outputs), in float64.
    """

    loss: float
    accuracy: float
    gradients: dict[str, Tensor]
    outputs: Tensor


class FullBatch:
    """A network, data and a loss, ready to be evaluated at any parameters."""

    def __init__(
        self,
        network: nn.Module,
        x: Tensor,
        y: Tensor,
        loss: ExampleLoss,
        *,
        dtype: torch.dtype = torch.float32,
        device: torch.device | str = "cpu",
        chunk: int = 500,
    ) -> None:
        """Take the network's weights as they are now (copied, in ``dtype`` on ``device``).

        Args:
            network: any module that maps x (n, …) to outputs (n, …).
            x: inputs (n, …), on the CPU; chunks of them travel to the device.
            y: targets (n, …).
            loss: losses (n,) of outputs and targets.
            dtype: float32 or float64, for everything that is computed.
            device: where.
            chunk: how many examples at once; results differ between chunk sizes by rounding alone.
        """
        if chunk < 1:
            raise InputError(f"--chunk {chunk}: must be at least 1")
        self.network, self.x, self.y, self.loss_function = network, x, y, loss
        self.dtype, self.device, self.chunk = dtype, torch.device(device), chunk
        self.frozen: dict[str, Tensor] = {
            name: self._moved(parameter).clone() for name, parameter in network.named_parameters()
        }
        self.buffers: dict[str, Tensor] = {
            name: self._moved(buffer).clone() for name, buffer in network.named_buffers()
        }

    def _moved(self, tensor: Tensor) -> Tensor:
        dtype = self.dtype if tensor.is_floating_point() else tensor.dtype
        return tensor.detach().to(device=self.device, dtype=dtype)

    def __len__(self) -> int:
        """The number of examples."""
        return len(self.x)

    def chunks(self) -> Iterator[tuple[int, Tensor, Tensor]]:
        """Pieces of the data on the device, each with the number of examples before it."""
        for start in range(0, len(self), self.chunk):
            stop = start + self.chunk
            yield start, self._moved(self.x[start:stop]), self._moved(self.y[start:stop])

    def call(self, parameters: Parameters, x: Tensor) -> Tensor:
        """The network's outputs for ``x`` at ``parameters``."""
        outputs = functional_call(self.network, (dict(parameters), self.buffers), (x,))
        if not isinstance(outputs, Tensor):
            raise InputError(f"the network returned {type(outputs).__name__}, not a tensor of outputs")
        return outputs

    def _example_losses(self, outputs: Tensor, y: Tensor) -> Tensor:
        losses = self.loss_function(outputs, y)
        if losses.shape != (len(y),):
            raise InputError(f"the loss must give one number an example, got shape {tuple(losses.shape)}")
        return losses

    def evaluate(
        self, parameters: Parameters, *, wanted: list[str] | None = None, samples: int = 0
    ) -> Evaluation:
        """Mean loss, its gradient for the ``wanted`` parameters, and the first examples' outputs.

        Gradients accumulate into one buffer a parameter, so memory does not grow with the data.
        """
        leaves = {name: parameters[name].detach().requires_grad_(True) for name in wanted or []}
        used = {name: leaves.get(name, tensor) for name, tensor in parameters.items()}
        count = len(self)
        total = torch.zeros((), dtype=torch.float64, device=self.device)
        right: Tensor | None = torch.zeros((), dtype=torch.int64, device=self.device)
        kept: list[Tensor] = []
        with torch.set_grad_enabled(bool(leaves)):
            for start, x, y in self.chunks():
                outputs = self.call(used, x)
                if leaves:
                    mean = self._example_losses(outputs, y).sum() / count
                    mean.backward()  # type: ignore[no-untyped-call]
                exact = outputs.detach().to(torch.float64)
                with torch.no_grad():
                    total += self._example_losses(exact, y if not y.is_floating_point() else y.double()).sum()
                    hits = accuracy_of(exact, y)
                right = None if right is None or hits is None else right + hits
                if start < samples:
                    kept.append(exact[: samples - start].flatten(1))
        gradients: dict[str, Tensor] = {}
        for name, leaf in leaves.items():
            gradients[name] = torch.zeros_like(leaf) if leaf.grad is None else leaf.grad
            leaf.grad = None
        outputs = torch.cat(kept) if kept else torch.zeros(0, 0, dtype=torch.float64)
        accuracy = float("nan") if right is None else float(right) / count
        return Evaluation(float(total) / count, accuracy, gradients, outputs)

    def loss(self, parameters: Parameters) -> float:
        """Mean loss at ``parameters``, accumulated in float64."""
        return self.evaluate(parameters).loss

    def directional_curvature(self, direction: Parameters) -> float:
        """dᵀ H d of the mean loss at the frozen weights, by differentiating twice (blind to ReLU's kinks)."""
        leaves = {name: self.frozen[name].detach().requires_grad_(True) for name in direction}
        used = {name: leaves.get(name, tensor) for name, tensor in self.frozen.items()}
        total = torch.zeros((), dtype=torch.float64, device=self.device)
        inputs = list(leaves.values())
        for _, x, y in self.chunks():
            mean = self._example_losses(self.call(used, x), y).sum() / len(self)
            first = torch.autograd.grad(mean, inputs, create_graph=True, materialize_grads=True)
            slope = torch.stack(
                [(g * direction[name]).sum() for name, g in zip(leaves, first, strict=True)]
            ).sum()
            if not slope.requires_grad:
                continue  # the loss is linear in the parameters: no curvature
            second = torch.autograd.grad(slope, inputs, materialize_grads=True)
            for name, product in zip(leaves, second, strict=True):
                total += (product.detach().double() * direction[name].double()).sum()
        return float(total)


def moved_along(frozen: Parameters, direction: Parameters, eta: float) -> dict[str, Tensor]:
    """W + η d, always from the frozen W, never by repeated steps."""
    return {
        name: torch.add(tensor, direction[name], alpha=eta) if name in direction else tensor
        for name, tensor in frozen.items()
    }
