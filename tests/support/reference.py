"""The slice once more, independently: backpropagation and stepping in NumPy float64, whole batch.

Written from the definition (freeze W, step every tensor by its own norms from the frozen W, take gradients
there), sharing nothing with the probes but the names of a network's tensors.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from scipy.special import erf, expit
from torch import Tensor

from probes.networks.perceptron import Perceptron, PerceptronSpec

Array = npt.NDArray[Any]
Tensors = dict[str, Array]

_PHI: dict[str, tuple[Callable[[Array], Array], Callable[[Array], Array]]] = {
    "identity": (lambda z: z, np.ones_like),
    "relu": (lambda z: np.maximum(z, 0), lambda z: (z > 0).astype(float)),
    "leaky_relu:0.1": (lambda z: np.where(z > 0, z, 0.1 * z), lambda z: np.where(z > 0, 1.0, 0.1)),
    "tanh": (np.tanh, lambda z: 1 - np.tanh(z) ** 2),
    "silu": (lambda z: z * expit(z), lambda z: expit(z) * (1 + z * (1 - expit(z)))),
    "gelu": (
        lambda z: z * (1 + erf(z / np.sqrt(2))) / 2,
        lambda z: (1 + erf(z / np.sqrt(2))) / 2 + z * np.exp(-(z**2) / 2) / np.sqrt(2 * np.pi),
    ),
    "softplus": (lambda z: np.logaddexp(0, z), expit),
}
_EPSILON = 1e-5  # of torch's norm layers


def make(
    widths: tuple[int, ...] = (6, 8, 8, 3),
    activation: str = "relu",
    *,
    residual: bool = False,
    norm: str = "none",
    bias: bool = True,
    seed: int = 0,
) -> Perceptron:
    """A perceptron with random weights; norm layers get random scales, shifts and running statistics."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        biases = (bias,) * (len(widths) - 1)
        network = Perceptron(PerceptronSpec(widths, activation, residual, norm, biases)).double()
        for module in network.norms if network.norms is not None else []:
            for name, tensor in module.state_dict().items():
                if name != "num_batches_tracked":
                    tensor.uniform_(0.5, 1.5)
    return network.float()


def make_data(count: int = 37, features: int = 6, classes: int = 3, seed: int = 1) -> tuple[Any, Any]:
    """Inputs (count, features) in float32 and labels, as tensors."""
    random = np.random.default_rng(seed)
    x = random.normal(size=(count, features)).astype(np.float32)
    return torch.from_numpy(x), torch.from_numpy(random.integers(0, classes, count))


@dataclass
class Reference:
    """One perceptron with cross-entropy on one batch."""

    spec: PerceptronSpec
    x: Array
    y: Array

    def run(self, tensors: Tensors) -> tuple[float, Tensors, Array]:
        """Mean loss, its gradients, and the outputs."""
        phi, phi_prime = _PHI[self.spec.activation]
        depth, h = len(self.spec.widths) - 1, self.x
        kept: list[Any] = []
        for k in range(depth):
            z = h @ tensors[f"layers.{k}.weight"].T + tensors.get(f"layers.{k}.bias", 0.0)
            if k == depth - 1:
                outputs, last = z, h
                break
            hat, deviation, argument = self._normalise(tensors, k, z)
            a = phi(argument)
            skip = self.spec.residual and a.shape == h.shape
            kept.append((h, hat, deviation, argument, skip))
            h = h + a if skip else a
        shifted = outputs - outputs.max(1, keepdims=True)
        logs = shifted - np.log(np.exp(shifted).sum(1, keepdims=True))
        count = len(self.y)
        loss = -float(logs[np.arange(count), self.y].mean())
        delta = np.exp(logs)
        delta[np.arange(count), self.y] -= 1
        delta /= count
        gradients = self._layer(tensors, depth - 1, delta, last)
        back = delta @ tensors[f"layers.{depth - 1}.weight"]
        for k in reversed(range(depth - 1)):
            h, hat, deviation, argument, skip = kept[k]
            delta = back * phi_prime(argument)
            if self.spec.norm != "none":
                gradients |= {f"norms.{k}.weight": (delta * hat).sum(0), f"norms.{k}.bias": delta.sum(0)}
                delta = delta * tensors[f"norms.{k}.weight"]
                if self.spec.norm == "layer":
                    delta = delta - delta.mean(1, keepdims=True) - hat * (delta * hat).mean(1, keepdims=True)
                delta = delta / deviation
            gradients |= self._layer(tensors, k, delta, h)
            back = delta @ tensors[f"layers.{k}.weight"] + (back if skip else 0)
        return loss, gradients, outputs

    def _normalise(self, tensors: Tensors, k: int, z: Array) -> tuple[Any, Any, Array]:
        if self.spec.norm == "none":
            return None, None, z
        if self.spec.norm == "batch":
            mean, variance = tensors[f"norms.{k}.running_mean"], tensors[f"norms.{k}.running_var"]
        else:
            mean, variance = z.mean(1, keepdims=True), z.var(1, keepdims=True)
        deviation = np.sqrt(variance + _EPSILON)
        hat = (z - mean) / deviation
        return hat, deviation, hat * tensors[f"norms.{k}.weight"] + tensors[f"norms.{k}.bias"]

    @staticmethod
    def _layer(tensors: Tensors, k: int, delta: Array, h: Array) -> Tensors:
        gradients = {f"layers.{k}.weight": delta.T @ h}
        if f"layers.{k}.bias" in tensors:
            gradients[f"layers.{k}.bias"] = delta.sum(0)
        return gradients


def arrays(network: Perceptron) -> Tensors:
    """The network's tensors in float64."""
    return {name: tensor.double().numpy().copy() for name, tensor in network.state_dict().items()}


def step(tensors: Tensors, gradients: Tensors, eta: float) -> Tensors:
    """W_l − η ‖W_l‖ g_l / ‖g_l‖ for every tensor at once; one without a gradient stays put."""
    moved = dict(tensors)
    for name, g in gradients.items():
        size = np.linalg.norm(g)
        if size > 0:
            moved[name] = tensors[name] - eta * np.linalg.norm(tensors[name]) / size * g
    return moved


def moved_along(
    frozen: Mapping[str, Tensor], direction: Mapping[str, Tensor], eta: float
) -> dict[str, Tensor]:
    """W + η d."""
    return {
        name: torch.add(tensor, direction[name], alpha=eta) if name in direction else tensor
        for name, tensor in frozen.items()
    }
