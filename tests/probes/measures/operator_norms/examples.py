"""Layers, and a batch for them."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from probes.data.losses import resolve_loss
from probes.evaluation.evaluator import Evaluator
from probes.measures.operator_norms import Operator

MATRIX = Operator("matrix")


class Only(nn.Module):
    def __init__(self, layer: nn.Module) -> None:
        super().__init__()
        self.layer = layer

    def forward(self, x: Tensor) -> Any:
        return self.layer(x)


def batch_of(network: nn.Module, x: Tensor) -> Evaluator:
    y = torch.zeros(len(x))
    return Evaluator(network, x, y, resolve_loss("mse", y)[1], dtype=torch.float64)


def layer_of(kind: type[nn.Module], *arguments: int, seed: int = 0, **options: Any) -> nn.Module:
    torch.manual_seed(seed)
    return kind(*arguments, bias=False, dtype=torch.float64, **options)


def exact_norm(layer: nn.Module, size: tuple[int, ...]) -> float:
    """σ_max of the dense operator, by the singular values."""
    shape = (layer.in_channels, *size)
    count = math.prod(shape)
    with torch.no_grad():
        images = layer(torch.eye(count, dtype=torch.float64).view(count, *shape))
    return float(np.linalg.svd(images.flatten(1).numpy(), compute_uv=False)[0])
