"""Small problems with their Hessian and Gauss-Newton matrix in full, formed by PyTorch's own functions.

The Hessian is a row's derivative after the other, of a loss written out here; Gauss and Newton's is Jᵀ(∂²ℓ/∂f²)J from
``jacrev``. (``torch.func.hessian`` of a layer norm's scale is wrong in PyTorch 2.13: it is not even symmetric.)
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.autograd import functional
from torch.func import functional_call, jacrev
from torch.nn.attention import SDPBackend, sdpa_kernel

from probes.checkpoints.adam import AdamState
from probes.data.batch import Batch
from probes.data.batches import Batches
from probes.data.losses import resolve_loss
from probes.evaluation.curvature.operators import LossOperator
from probes.evaluation.evaluator import Evaluator
from probes.networks.images import ConvSpec
from probes.networks.transformer import TransformerSpec
from tests.probes.networks.examples import made, toy
from tests.support.reference import make, make_data

EXACT = torch.float64


def adam_state(operator: LossOperator, second: Tensor, *, step: int) -> AdamState:
    """One whose v̂ is given, flattened, with β₁ = 0.9 and ε = 1e-3."""
    moments = operator.unflatten(second * (1 - 0.99**step))
    return AdamState(moments, step=step, beta1=0.9, beta2=0.99, eps=1e-3)


@dataclass(frozen=True)
class Problem:
    network: nn.Module
    x: Tensor
    y: Tensor
    loss: str
    mean: Callable[[Tensor, Tensor], Tensor]
    """The mean loss of all outputs, by PyTorch's own function."""

    def evaluator(self, chunk: int = 4, **more: Any) -> Evaluator:
        data = Batches([Batch(self.x, self.y)])
        return Evaluator(
            self.network, data, None, resolve_loss(self.loss, data)[1], dtype=EXACT, chunk=chunk, **more
        )

    @property
    def names(self) -> list[str]:
        return [name for name, _ in self.network.named_parameters()]

    def point(self) -> Tensor:
        return torch.cat([p.detach().double().reshape(-1) for p in self.network.parameters()])

    def outputs(self, flat: Tensor) -> Tensor:
        sizes = [p.numel() for p in self.network.parameters()]
        parts = dict(zip(self.names, torch.split(flat, sizes), strict=True))
        shaped = {n: parts[n].view(p.shape) for n, p in self.network.named_parameters()}
        found: Tensor = functional_call(self.network, shaped, (self.x,))
        return found

    def hessian(self) -> Tensor:
        with sdpa_kernel(SDPBackend.MATH):
            return _hessian(lambda flat: self.mean(self.outputs(flat), self.y), self.point())

    def gauss_newton(self) -> Tensor:
        flat = self.point()
        with sdpa_kernel(SDPBackend.MATH):
            jacobian = jacrev(self.outputs)(flat).detach().reshape(-1, len(flat))
        outputs = self.outputs(flat).detach()
        inner = _hessian(lambda f: self.mean(f.view(outputs.shape), self.y), outputs.reshape(-1))
        found: Tensor = jacobian.T @ inner @ jacobian
        return found


def _hessian(function: Callable[[Tensor], Tensor], point: Tensor) -> Tensor:
    found: Tensor = functional.hessian(function, point)  # type: ignore[no-untyped-call]
    return found


def cross_entropy(outputs: Tensor, y: Tensor) -> Tensor:
    return nn.functional.cross_entropy(outputs, y)


def words(outputs: Tensor, y: Tensor) -> Tensor:
    return nn.functional.cross_entropy(outputs.flatten(0, 1), y.flatten())


def perceptron(loss: str = "cross-entropy", activation: str = "tanh") -> Problem:
    network = make((6, 9, 7, 3), activation=activation)
    x, y = make_data(10)
    if loss == "cross-entropy":
        return Problem(network.double(), x.double(), y, loss, cross_entropy)
    targets = nn.functional.one_hot(y, 3).double()
    mean = nn.functional.mse_loss if loss == "mse" else nn.functional.binary_cross_entropy_with_logits
    return Problem(network.double(), x.double(), targets, loss, mean)


def convolutional() -> Problem:
    spec = ConvSpec(4, (3, 4), 3, "none")
    data = toy(spec, 6)
    return Problem(made(spec).double(), data.x.double(), data.y, "cross-entropy", cross_entropy)


def transformer() -> Problem:
    spec = TransformerSpec(5, 4, 4, 2, 1)
    data = toy(spec, 3)
    return Problem(made(spec).double(), data.x, data.y, "cross-entropy", words)


PROBLEMS: dict[str, Callable[[], Problem]] = {
    "tanh": perceptron,
    "square loss": lambda: perceptron("mse"),
    "logits": lambda: perceptron("bce-with-logits"),
    "relu": lambda: perceptron(activation="relu"),
    "convolutions": convolutional,
    "transformer": transformer,
}
