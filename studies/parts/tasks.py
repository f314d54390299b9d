"""Three tasks on real data that need no download, each a training by any optimiser and rate, and a score.

* ``classify``: images, by a convolutional network; the share of held-out ones that it gets wrong
* ``generate``: images, by an adversarial pair; their Fréchet distance from real ones among a classifier's features
* ``continue``: text, by a character transformer; its perplexity on held-out windows

All train at a constant rate, and a tenth of it in the last sixth of the steps.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache

import torch
from torch import Tensor, nn
from torch.nn import functional

from probes.data.dataset import DataSet, load_data
from probes.errors import InputError, mention
from probes.networks.images import ConvNet, ConvSpec
from probes.networks.transformer import CharTransformer, TransformerSpec
from probes.runs.optimizers import make_optimizer
from studies.parts.frechet import frechet_distance_of
from studies.parts.gan import GanSpec, train_gan
from studies.parts.networks import dropped_rate

__all__ = ["SCORES", "TASKS", "TaskSizes", "labelled_images", "real_images_distance"]

_HELD_OUT = 5
"""One example in so many is."""
_RULER = (16, 32, 32)
"""Channels of the classifier among whose features images are compared."""
_AT_ONCE = 250
"""Windows of text."""


@dataclass(frozen=True)
class TaskSizes:
    """How large the networks are, and how long they train.

    Attributes:
        images: of a step.
        channels: of the classifier's convolutions.
        classifier_steps: of its training, and of that of the classifier whose features are compared.
        gan: generator and discriminator.
        gan_steps: of each.
        windows: of text in a step.
        transformer: its network.
        transformer_steps: of its training.
    """

    images: int
    channels: tuple[int, ...]
    classifier_steps: int
    gan: GanSpec
    gan_steps: int
    windows: int
    transformer: TransformerSpec
    transformer_steps: int


def _classification_error(size: TaskSizes, optimizer: str, rate: float, seed: int, data: DataSet) -> float:
    x, y, seen, right = _split(*labelled_images(data))
    network = _classifier(x, y, size.channels, seed)
    if not _fit(network, x, y, optimizer, rate, size.classifier_steps, size.images, seed):
        return math.inf
    with torch.no_grad():
        return float((network(seen).argmax(1) != right).float().mean())


def _made_images_distance(size: TaskSizes, optimizer: str, rate: float, seed: int, data: DataSet) -> float:
    """Of as many as are held out, and of their classes."""
    x, y, _, wanted = _split(*_pooled(data))
    how = {"steps": size.gan_steps, "seed": seed, "batch_size": size.images}
    generator, _ = train_gan(x, y, optimizer, rate, spec=size.gan, **how)
    with torch.no_grad():
        made = generator.drawn(wanted, torch.Generator().manual_seed(seed))
    return _distance(size, data, made)


def real_images_distance(size: TaskSizes, data: DataSet) -> float:
    """The Fréchet distance of the held-out real images, which made ones are not expected to be below.

    Raises:
        InputError: the data are not labelled square images.
    """
    return _distance(size, data, _split(*_pooled(data))[2])


def _perplexity(size: TaskSizes, optimizer: str, rate: float, seed: int, data: DataSet) -> float:
    """Exp of the mean loss a character; the text is Python's documentation, whatever the images."""
    x, y, seen, right = _split(*(part[:, : size.transformer.context] for part in _text()))
    network = _made(lambda: CharTransformer(size.transformer), seed)
    if not _fit(network, x, y, optimizer, rate, size.transformer_steps, size.windows, seed):
        return math.inf
    batches = zip(torch.split(seen, _AT_ONCE), torch.split(right, _AT_ONCE), strict=True)
    with torch.no_grad():
        loss = sum(float(_loss(network(some), after)) * len(some) for some, after in batches) / len(seen)
    return float(torch.tensor(loss, dtype=torch.float64).exp().nan_to_num(math.inf))


TASKS: dict[str, Callable[[TaskSizes, str, float, int, DataSet], float]] = {
    "classify": _classification_error,
    "generate": _made_images_distance,
    "continue": _perplexity,
}
"""Each trains by an optimiser at a rate, from a seed, and gives a score: smaller is better, infinite if it diverges."""
SCORES = {"classify": "held-out error", "generate": "Fréchet distance", "continue": "held-out perplexity"}


def labelled_images(data: DataSet) -> tuple[Tensor, Tensor]:
    """Images (n, pixels) and labels (n,).

    Raises:
        InputError: they are something else.
    """
    x, y = data.x, data.y
    pixels = math.prod(x.shape[1:])
    if not x.is_floating_point() or y.ndim != 1 or math.isqrt(pixels) ** 2 != pixels or pixels % 2:
        raise InputError(
            f"{mention('data', data.spec)}: needs labelled square images of an even side, such as mnist's"
        )
    return x.float().flatten(1), y


def _pooled(data: DataSet) -> tuple[Tensor, Tensor]:
    """The images at half their side, as the adversarial pair takes them."""
    images, labels = labelled_images(data)
    side = math.isqrt(images.shape[1])
    return functional.avg_pool2d(images.view(-1, 1, side, side), 2).flatten(1), labels


@cache
def _text() -> tuple[Tensor, Tensor]:
    data = load_data("text")
    return data.x, data.y


def _split(x: Tensor, y: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """What is trained on and what is held out, the same for all seeds."""
    order = torch.randperm(len(x), generator=torch.Generator().manual_seed(0))
    held = max(1, len(x) // _HELD_OUT)
    return x[order[held:]], y[order[held:]], x[order[:held]], y[order[:held]]


def _made(build: Callable[[], nn.Module], seed: int) -> nn.Module:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return build()


def _classifier(x: Tensor, y: Tensor, channels: tuple[int, ...], seed: int) -> nn.Module:
    spec = ConvSpec(side=math.isqrt(x.shape[1]), channels=channels, outputs=int(y.max()) + 1)
    return _made(lambda: ConvNet(spec), seed)


def _fit(
    network: nn.Module, x: Tensor, y: Tensor, optimizer: str, rate: float, steps: int, batch: int, seed: int
) -> bool:
    """Train on random batches; False as soon as a loss is not finite."""
    weights = [*network.parameters()]
    rule = make_optimizer(optimizer, weights, lr=rate)
    order = torch.Generator().manual_seed(seed)
    for step in range(steps):
        rule.param_groups[0]["lr"] = dropped_rate(rate, step, steps)
        rows = torch.randint(len(x), (batch,), generator=order)
        loss = _loss(network(x[rows]), y[rows])
        if not torch.isfinite(loss):
            return False
        for weight, gradient in zip(weights, torch.autograd.grad(loss, weights), strict=True):
            weight.grad = gradient
        rule.step()
    return all(bool(torch.isfinite(weight).all()) for weight in weights)


def _loss(outputs: Tensor, y: Tensor) -> Tensor:
    """Mean cross-entropy of outputs (n, …, classes)."""
    return functional.cross_entropy(outputs.flatten(0, -2), y.flatten())


_rulers: dict[tuple[str, int, int], tuple[nn.Module, Tensor]] = {}
"""Of each data set and training: a network that gives features, and those of the real training images."""


def _distance(size: TaskSizes, data: DataSet, images: Tensor) -> float:
    """From the real training images, among features of a classifier that is the same for all runs."""
    key = (data.digest(), size.classifier_steps, size.images)
    if key not in _rulers:
        x, y, _, _ = _split(*_pooled(data))
        network = _classifier(x, y, _RULER, 0)
        _fit(network, x, y, "adam", 0.001, size.classifier_steps, size.images, 0)
        network.head = nn.Identity()  # what is left are the last convolution's outputs
        with torch.no_grad():
            _rulers[key] = network, network(x)
    network, real = _rulers[key]
    with torch.no_grad():
        return frechet_distance_of(network(images).numpy(), real.numpy())
