"""Weights along a direction, W + η d, at any η, and evaluations there with what does not depend on η done once."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from probes.evaluation.directions import Direction
from probes.evaluation.evaluator import AroundCall, Evaluation, Evaluator
from probes.evaluation.first_layer import FirstLayer
from probes.evaluation.stacks import evaluate_stack

__all__ = ["PerturbedWeights"]


class PerturbedWeights:
    """A frozen network's parameters moved along a direction.

    Attributes:
        at_once: how many η are best evaluated together; 1 once that has failed.
    """

    etas = None

    def __init__(self, evaluator: Evaluator, direction: Direction, *, at_once: int = 1) -> None:
        """Take the network, its data and loss, the direction, and how many η to evaluate together."""
        self.evaluator, self.direction = evaluator, direction
        self.at_once = at_once
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

    def evaluate_together(
        self, etas: Sequence[float], *, wanted: list[str], samples: int = 0
    ) -> tuple[dict[str, Tensor], Evaluation]:
        """The tensors at every one of k η, and the evaluations there, all with an axis (k, …) in front.

        Raises:
            Exception: of any kind, where the network or its loss cannot be evaluated at a stack of tensors.
        """
        frozen = self.evaluator.frozen
        moved = {name: tensor.expand(len(etas), *tensor.shape) for name, tensor in frozen.items()}
        for name, part in self.direction.parts.items():
            moved[name] = torch.empty_like(moved[name], memory_format=torch.contiguous_format)
            for eta, out in zip(etas, moved[name], strict=True):
                part.added_to(frozen[name], eta, out=out)
        every = torch.tensor(etas, dtype=torch.float64, device=self.evaluator.device)
        stacks = {name: moved[name] for name in frozen if name in self.direction or name in wanted}
        return moved, evaluate_stack(
            self.evaluator, stacks, wanted=wanted, samples=samples, around=self._around(every)
        )

    def loss(self, eta: float) -> float:
        """As :meth:`probes.evaluation.evaluator.Evaluator.loss`, at W + η d."""
        return self.evaluator.loss(self.at(eta), around=self._around(eta))

    def _around(self, eta: float | Tensor) -> AroundCall | None:
        """The context that puts the known first layer into the network's calls."""
        if self.evaluator.precision != "full":
            return None  # beside layers in bfloat16 a product in float32 would be another function
        return lambda place, batch, used: self.first.applied(place, batch, used, eta)
