"""Small networks of every kind, with data that they can learn."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import torch
from torch import nn

from probes.data.dataset import DataSet
from probes.networks.images import ConvSpec, ResidualSpec
from probes.networks.kinds import build
from probes.networks.specs import NetworkSpec
from probes.networks.transformer import TransformerSpec
from probes.runs.training import TrainingSettings

CONV = ConvSpec(side=6, channels=(2, 3), outputs=3)
RESIDUAL = ResidualSpec(side=7, channels=(2, 3), blocks=(1, 2), outputs=3)
TRANSFORMER = TransformerSpec(vocabulary=7, context=5, width=8, heads=2, blocks=2)
TINY: dict[str, NetworkSpec] = {
    "conv": CONV,
    "conv-bn": replace(CONV, norm="batch"),
    "residual": RESIDUAL,
    "residual-bn": replace(RESIDUAL, norm="batch"),
    "transformer": TRANSFORMER,
}


def made(spec: NetworkSpec, *, seed: int = 0) -> Any:
    """A module with random weights, and in its norms random scales, shifts and statistics, in evaluation mode."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        network = build(spec).double()
        for module in network.modules():
            if isinstance(module, nn.BatchNorm2d | nn.LayerNorm):
                for name, tensor in module.state_dict().items():
                    if name != "num_batches_tracked":
                        tensor.uniform_(0.5, 1.5)
    return network.eval()


def toy(spec: NetworkSpec, count: int = 36) -> DataSet:
    """Examples that the network can learn: classes with a mean of their own, or characters that count upwards."""
    random = np.random.default_rng(0)
    if spec.vocabulary is not None:
        start = random.integers(0, spec.vocabulary, (count, 1))
        line = torch.from_numpy((start + np.arange(spec.inputs + 1)) % spec.vocabulary)
        return DataSet("toy", line[:, :-1].contiguous(), line[:, 1:].contiguous())
    y = np.arange(count) % 3
    means = random.normal(size=(3, spec.inputs))
    x = (random.normal(size=(count, spec.inputs)) + 2 * means[y]).astype(np.float32)
    return DataSet("toy", torch.from_numpy(x), torch.from_numpy(y))


def plan_for(spec: NetworkSpec, **changes: Any) -> TrainingSettings:
    plan = TrainingSettings(
        spec, data="toy", optimizer="adam", lr=0.01, epochs=8, batch_size=12, checkpoints="3", seed=3
    )
    return replace(plan, **changes)


def linear(h: Any, layer: Any) -> Any:
    out = h @ layer.weight.detach().numpy().T
    return out if layer.bias is None else out + layer.bias.detach().numpy()
