"""A network trained step by step on plain arrays, where a study looks between steps or at another batch."""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import Tensor, nn

from probes.measures.step_limit import find_step_limit
from probes.networks.kinds import build
from probes.networks.specs import NetworkSpec
from trust.optim.fromage import relative_direction

__all__ = ["FARTHEST", "Stepped"]

FARTHEST = 100.0
"""How many times as far as asked for a step limit is looked for."""


class Stepped:
    """A network with its examples and the batch at hand; cross-entropy.

    Attributes:
        network: as built.
        weights: its parameters.
        batch: rows of the examples.
    """

    def __init__(self, spec: NetworkSpec, x: Tensor, y: Tensor, *, batch_size: int | None, seed: int) -> None:
        """Build it.

        Args:
            spec: of the network.
            x: examples (n, …).
            y: labels (n, …).
            batch_size: of training; None: all examples.
            seed: of the weights and of the batches.
        """
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            self.network = build(spec)
        self.weights = [*self.network.parameters()]
        self.x, self.y, self.batch_size = x, y, batch_size
        self.order = torch.Generator().manual_seed(seed)
        self.batch: Tensor | slice = slice(None)

    def draw(self) -> None:
        """Take the next batch, drawn with replacement."""
        if self.batch_size is not None:
            self.batch = torch.randint(len(self.x), (self.batch_size,), generator=self.order)

    def gradients(self) -> float:
        """Set those of the batch at hand, and return its loss: a closure for an optimiser."""
        self.network.zero_grad()
        loss = _loss(self.network(self.x[self.batch]), self.y[self.batch])
        loss.backward()  # type: ignore[no-untyped-call]
        return float(loss.detach())

    def whole(self) -> tuple[float, list[Tensor]]:
        """Loss and gradients over all examples."""
        loss = _loss(self.network(self.x), self.y)
        return float(loss.detach()), [*torch.autograd.grad(loss, self.weights)]

    def score(self, x: Tensor, y: Tensor) -> tuple[float, float]:
        """Loss and accuracy on other examples, in evaluation mode."""
        self.network.eval()
        with torch.no_grad():
            outputs = self.network(x)
            right = (outputs.argmax(-1) == y).float().mean()
            found = float(_loss(outputs, y)), float(right)
        self.network.train()
        return found

    def step_limit(self, *, relative: bool, step: float) -> tuple[float, float]:
        """The measured limit over all examples, along a step on the full gradient.

        Args:
            relative: whether it is a share of each tensor's norm, as Fromage's, or a multiple of the gradient.
            step: the one in use, in the same unit.

        Returns:
            The limit, infinite where the loss is still below its start at 100 steps, NaN where rounding hides every
            descent; and the loss.
        """
        start, gradients = self.whole()
        moves = gradients
        if relative:
            pairs = zip(self.weights, gradients, strict=True)
            moves = [unit * size for W, g in pairs for unit, size in [relative_direction(W.detach(), g)]]
        slope = -sum(float((g * move).sum()) for g, move in zip(gradients, moves, strict=True))
        if not math.isfinite(start) or slope == 0:
            return math.nan, start
        found = find_step_limit(
            lambda eta: self._loss_along(moves, eta),
            start=start,
            slope=slope,
            guess=step,
            largest=FARTHEST * step,
        )
        return (math.inf if math.isnan(found.measured) else found.measured or math.nan), start

    def _loss_along(self, moves: Sequence[Tensor], eta: float) -> float:
        names = [name for name, _ in self.network.named_parameters()]
        there = {
            name: W.detach() - eta * move for name, W, move in zip(names, self.weights, moves, strict=True)
        }
        with torch.no_grad():
            return float(_loss(torch.func.functional_call(self.network, there, (self.x,)), self.y))


def _loss(outputs: Tensor, y: Tensor) -> Tensor:
    """The mean over examples, and over the characters of each."""
    return nn.functional.cross_entropy(outputs.reshape(-1, outputs.shape[-1]), y.reshape(-1))
