"""A small class-conditional generative adversarial network of two perceptrons, for MNIST images.

The generator makes an image of a class from noise, the discriminator scores whether an image is a real one of its
class (hinge loss, as in Fromage's own experiment on CIFAR-10). All weights but biases are matrices, so that layerwise
perturbations and the perceptron's bounds apply to :attr:`Generator.perceptron` as they are. It is meant for images of
14 × 14 (``mnist-14x14``): digits are as legible as at 28 × 28, without the speckles that a perceptron leaves there,
and a training takes seconds.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional

from probes.networks.perceptron import Perceptron, PerceptronSpec
from probes.runs.optimizers import make_optimizer
from studies.parts.networks import dropped_rate

__all__ = ["Discriminator", "GanSpec", "Generator", "train_gan"]

_ACTIVATION = "leaky_relu:0.2"
_WITHOUT_MOMENTUM = {"adam": {"betas": (0.0, 0.999)}, "lamb": {"betas": (0.0, 0.999)}}
"""As Fromage's authors give Adam in theirs: moving averages of gradients go round in circles in a game."""


@dataclass(frozen=True)
class GanSpec:
    """How large both networks are.

    Attributes:
        latent: numbers of noise that make an image.
        width: of hidden layers.
        depth: weight matrices of each.
    """

    latent: int = 32
    width: int = 128
    depth: int = 3


class Generator(nn.Module):
    """Images of given classes from noise: a perceptron on noise and one-hot class, then pixels between their limits.

    Attributes:
        perceptron: the network; its outputs (n, pixels) are before the sigmoid.
        low: the darkest pixel's value.
        high: the brightest's.
    """

    def __init__(self, spec: GanSpec, *, pixels: int, classes: int, low: float, high: float) -> None:
        """Build it with PyTorch's default initialisation."""
        super().__init__()
        self.perceptron = _perceptron(spec, spec.latent + classes, pixels)
        self.latent, self.classes, self.low, self.high = spec.latent, classes, low, high

    def inputs(self, noise: Tensor, labels: Tensor) -> Tensor:
        """What the perceptron takes (n, latent + classes): noise (n, latent), and the classes (n,) one-hot."""
        return torch.cat([noise, functional.one_hot(labels, self.classes).to(noise)], dim=1)

    def forward(self, noise: Tensor, labels: Tensor) -> Tensor:
        """Images (n, pixels)."""
        bright: Tensor = torch.sigmoid(self.perceptron(self.inputs(noise, labels)))
        return self.low + (self.high - self.low) * bright

    def drawn(self, labels: Tensor, generator: torch.Generator) -> Tensor:
        """Images (n, pixels) of classes (n,), from noise that the generator of random numbers draws."""
        made: Tensor = self(torch.randn(len(labels), self.latent, generator=generator), labels)
        return made


class Discriminator(nn.Module):
    """How real an image is as one of its class: a perceptron of an output a class, of which that one counts.

    Attributes:
        perceptron: the network.
    """

    def __init__(self, spec: GanSpec, *, pixels: int, classes: int) -> None:
        """Build it with PyTorch's default initialisation."""
        super().__init__()
        self.perceptron = _perceptron(spec, pixels, classes)

    def forward(self, images: Tensor, labels: Tensor) -> Tensor:
        """Scores (n,) of images (n, pixels) of classes (n,)."""
        scores: Tensor = self.perceptron(images)
        return scores.gather(1, labels[:, None])[:, 0]


def train_gan(
    images: Tensor,
    labels: Tensor,
    optimizer: str = "fromage",
    rate: float = 0.01,
    *,
    steps: int,
    seed: int,
    spec: GanSpec | None = None,
    batch_size: int = 64,
) -> tuple[Generator, Discriminator]:
    """Train both by the same optimiser and rate, a step each in turn; the same arguments give the same networks.

    The rate falls as :func:`~studies.parts.networks.dropped_rate` says. Training that leads to numbers that are not
    finite ends there, and its networks give images that are not.

    Args:
        images: real ones (n, pixels).
        labels: their classes (n,).
        optimizer: a name of :data:`probes.runs.optimizers.OPTIMIZERS`.
        rate: of its steps.
        steps: of each network.
        seed: of first weights, batches and noise.
        spec: how large the networks are.
        batch_size: real images of a step, and made ones.
    """
    spec = spec or GanSpec()
    pixels, classes = images.shape[1], int(labels.max()) + 1
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        limits = {"low": float(images.min()), "high": float(images.max())}
        generator = Generator(spec, pixels=pixels, classes=classes, **limits)
        discriminator = Discriminator(spec, pixels=pixels, classes=classes)
    more = _WITHOUT_MOMENTUM.get(optimizer, {})
    players = [
        make_optimizer(optimizer, network.parameters(), lr=rate, **more)
        for network in (discriminator, generator)
    ]
    chance = torch.Generator().manual_seed(seed)

    def made() -> tuple[Tensor, Tensor]:
        wanted = torch.randint(classes, (batch_size,), generator=chance)
        return generator.drawn(wanted, chance), wanted

    for step in range(steps):
        for player in players:
            player.param_groups[0]["lr"] = dropped_rate(rate, step, steps)
        rows = torch.randint(len(images), (batch_size,), generator=chance)
        with torch.no_grad():
            false = made()
        real = discriminator(images[rows], labels[rows])
        apart = functional.relu(1 - real).mean() + functional.relu(1 + discriminator(*false)).mean()
        _descend(players[0], apart)
        liked = discriminator(*made()).mean()
        _descend(players[1], -liked)
        if not torch.isfinite(apart + liked):
            break
    return generator, discriminator


def _descend(player: torch.optim.Optimizer, loss: Tensor) -> None:
    player.zero_grad()
    weights = [one for group in player.param_groups for one in group["params"]]
    for weight, gradient in zip(weights, torch.autograd.grad(loss, weights), strict=True):
        weight.grad = gradient
    player.step()


def _perceptron(spec: GanSpec, inputs: int, outputs: int) -> Perceptron:
    widths = (inputs, *[spec.width] * (spec.depth - 1), outputs)
    return Perceptron(PerceptronSpec(widths, _ACTIVATION, biases=(True,) * spec.depth))
