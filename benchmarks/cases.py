"""What is measured: frozen networks with their data and grid."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn
from torch.nn import functional

from probes.data.dataset import load_data
from probes.data.losses import LOSSES
from probes.evaluation.evaluator import Evaluator
from probes.measures.settings import SliceSettings
from probes.networks.images import ConvSpec
from probes.networks.kinds import build
from probes.networks.perceptron import Perceptron, PerceptronSpec
from probes.networks.transformer import TransformerSpec

__all__ = ["Case", "char_transformer", "conv_net", "cross_entropy", "grid", "images", "perceptron"]

LARGEST_ETA = 0.5


@dataclass(frozen=True)
class Case:
    """A frozen network, its data, and the η at which it is measured.

    Attributes:
        name: for the report.
        network: random weights of a fixed seed, float32.
        x: inputs (n, …).
        y: labels (n, …).
        etas: increasing, 0 first.
        chunk: examples that ours takes at once.
    """

    name: str
    network: nn.Module
    x: Tensor
    y: Tensor
    etas: npt.NDArray[np.float64]
    chunk: int = 1000

    def core(self, **changes: Any) -> SliceSettings:
        """The breakdown of all layers, loss, output change, cosines, norms and noise floor."""
        settings = SliceSettings(
            etas=self.etas,
            spectra="none",
            limit=False,
            curvature=None,
            spot_check=False,
            ladder=False,
            split="none",
            chunk=self.chunk,
        )
        return replace(settings, **changes)

    def batch(self) -> Evaluator:
        """Ours, ready to be evaluated at any parameters."""
        return Evaluator(self.network, self.x, self.y, LOSSES["cross-entropy"], chunk=self.chunk)

    def facts(self) -> dict[str, Any]:
        """What the JSON says of it."""
        return {
            "case": self.name,
            "examples": len(self.x),
            "chunk": self.chunk,
            "etas": len(self.etas),
            "parameters": sum(parameter.numel() for parameter in self.network.parameters()),
            "dtype": "float32",
        }


def cross_entropy(outputs: Tensor, targets: Tensor) -> Tensor:
    """The mean over all labels, whether an example has one or one for each character."""
    return functional.cross_entropy(outputs.flatten(0, -2), targets.flatten())


def grid(points: int) -> npt.NDArray[np.float64]:
    """So many η: 0, and the others in equal ratios up to 0.5."""
    return np.concatenate([[0.0], np.geomspace(1e-4, LARGEST_ETA, points - 1)])


def images(examples: int | None = None) -> tuple[Tensor, Tensor]:
    """The embedded images and their labels."""
    data = load_data("mnist", examples=examples)
    return data.x, data.y


def _seeded(make: Callable[[], nn.Module]) -> nn.Module:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        return make().eval()


def perceptron(depth: int, x: Tensor, y: Tensor, *, width: int = 784, points: int = 21) -> Case:
    """A ReLU perceptron, its weights drawn as He et al. do, so that no layer's gradient vanishes."""

    def make() -> nn.Module:
        widths = (x.shape[1], *[width] * (depth - 1), int(y.max()) + 1)
        network = Perceptron(PerceptronSpec(widths=widths, activation="relu", biases=(True,) * depth))
        for parameter in network.parameters():
            if parameter.ndim == 2:
                nn.init.kaiming_normal_(parameter, nonlinearity="relu")
        return network

    return Case(f"perceptron, {depth} layers of width {width}", _seeded(make), x, y, grid(points))


def conv_net(x: Tensor, y: Tensor, *, channels: tuple[int, ...] = (16, 32), points: int = 21) -> Case:
    """The reference network with two convolutions (``conv``), of any number of channels."""
    side = int(x.shape[1] ** 0.5)
    spec = ConvSpec(side, channels=channels, outputs=int(y.max()) + 1)
    return Case("convolutional network", _seeded(lambda: build(spec)), x, y, grid(points))


def char_transformer(examples: int, *, context: int = 64, width: int = 64, points: int = 21) -> Case:
    """The reference transformer on windows of text (``char-transformer``)."""
    data = load_data("text", examples=examples)
    spec = TransformerSpec(context=context, width=width)
    network = _seeded(lambda: build(spec))
    x, y = data.x[:, :context].contiguous(), data.y[:, :context].contiguous()
    return Case("character transformer", network, x, y, grid(points))
