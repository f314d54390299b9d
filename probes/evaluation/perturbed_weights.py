"""Weights along a direction, W + η d, at any η, and evaluations there with what does not depend on η done once."""

from __future__ import annotations

import torch
from torch import Tensor

from probes.evaluation.directions import Direction
from probes.evaluation.evaluator import AroundCall, Evaluation, Evaluator
from probes.evaluation.first_layer import FirstLayer

__all__ = ["PerturbedWeights"]


class PerturbedWeights:
    """A frozen network's parameters moved along a direction."""

    def __init__(self, evaluator: Evaluator, direction: Direction) -> None:
        """Take the network, its data and loss, and the direction."""
        self.evaluator, self.direction = evaluator, direction
        self.first = FirstLayer(evaluator.frozen, direction)
        self._moved: dict[str, Tensor] = {}
        self._eta: float | None = None

    def at(self, eta: float) -> dict[str, Tensor]:
        """W + η d, always from the frozen W, never by repeated steps.

        The tensors that move lie in buffers that the next call writes over.
        """
        frozen = self.evaluator.frozen
        for name, part in self.direction.parts.items() if eta != self._eta else ():
            if name not in self._moved:
                self._moved[name] = torch.empty_like(frozen[name])
            part.added_to(frozen[name], eta, out=self._moved[name])
        self._eta = eta
        return {name: self._moved.get(name, tensor) for name, tensor in frozen.items()}

    def release(self) -> None:
        """Let go of the buffers until the next call."""
        self._moved, self._eta = {}, None

    def evaluate(self, eta: float, *, wanted: list[str] | None = None, samples: int = 0) -> Evaluation:
        """As :meth:`probes.evaluation.evaluator.Evaluator.evaluate`, at W + η d."""
        return self.evaluator.evaluate(self.at(eta), wanted=wanted, samples=samples, around=self._around(eta))

    def loss(self, eta: float) -> float:
        """As :meth:`probes.evaluation.evaluator.Evaluator.loss`, at W + η d."""
        return self.evaluator.loss(self.at(eta), around=self._around(eta))

    def _around(self, eta: float) -> AroundCall | None:
        """The context that puts the known first layer into the network's calls."""
        if self.evaluator.precision != "full":
            return None  # beside layers in bfloat16 a product in float32 would be another function
        return lambda place, batch, used: self.first.applied(place, batch, used, eta)
