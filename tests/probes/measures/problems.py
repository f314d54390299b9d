"""Small networks to look for the worst perturbation of, and the objectives once more by an independent network."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from probes.data.losses import LOSSES
from probes.evaluation.evaluator import Evaluator
from tests.support.reference import Reference, arrays

OBJECTIVES = ("output", "breakdown")
EXACT = torch.float64


def batch_of(network: nn.Module, x: Any, y: Any, loss: str = "cross-entropy", **settings: Any) -> Evaluator:
    return Evaluator(network, x, y, LOSSES[loss], **{"dtype": EXACT, "chunk": 10, **settings})


def linear(weight: Any, bias: Any = None) -> nn.Linear:
    """One layer with given values."""
    weight = torch.as_tensor(weight, dtype=EXACT)
    layer = nn.Linear(weight.shape[1], weight.shape[0], bias=bias is not None, dtype=EXACT)
    with torch.no_grad():
        layer.weight.copy_(weight)
        if bias is not None:
            layer.bias.copy_(torch.as_tensor(bias, dtype=EXACT))
    return layer


class Scalar(nn.Module):
    """x ↦ φ(w) x for one number w."""

    def __init__(self, w: float, phi: Any) -> None:
        super().__init__()
        self.w, self.phi = nn.Parameter(torch.tensor([[w]], dtype=EXACT)), phi

    def forward(self, x: Tensor) -> Any:
        return x * self.phi(self.w)


def random(*shape: int, seed: int = 0) -> Any:
    return np.random.default_rng(seed).normal(size=shape)


def norm(tensor: Tensor) -> float:
    return float(tensor.double().norm())


def relative(evaluator: Evaluator, change: dict[str, Tensor]) -> dict[str, float]:
    """r_l of the tensors that are not zero."""
    sizes = {name: norm(evaluator.frozen[name]) for name in change}
    return {name: norm(change[name]) / size for name, size in sizes.items() if size > 0}


def independent(network: Any, x: Any, y: Any, change: dict[str, Any], objective: str, count: int) -> float:
    """The objective at a change by NumPy, for a perceptron with cross-entropy."""
    reference, tensors = Reference(network.spec, x.double().numpy(), y.numpy()), arrays(network)
    moved = {name: tensor + np.asarray(change.get(name, 0.0)) for name, tensor in tensors.items()}
    (_, before, outputs), (_, after, new) = reference.run(tensors), reference.run(moved)
    if objective == "output":
        ratios = np.linalg.norm(new - outputs, axis=1) / np.linalg.norm(outputs, axis=1)
        return float(ratios[:count].mean())
    g, g0 = after["layers.0.weight"], before["layers.0.weight"]
    return float(np.linalg.norm(g - g0) / np.linalg.norm(g0))
