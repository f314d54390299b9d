"""The worst perturbation that is found at each η, each search starting from the one before."""

from __future__ import annotations

import math
from collections.abc import Sequence

from torch import Tensor

from probes.evaluation.directions import gradient_direction
from probes.evaluation.evaluator import Evaluation, Evaluator
from probes.measures.adversarial import find_worst
from probes.measures.layers import PERTURBED, Layer
from probes.measures.settings import SliceSettings

__all__ = ["AdversarialPath"]


class AdversarialPath:
    """A path whose every η > 0 is searched for anew, so that η must come in the grid's order, each once."""

    etas = None

    def __init__(
        self, evaluator: Evaluator, settings: SliceSettings, base: Evaluation, layers: Sequence[Layer]
    ) -> None:
        """Take the frozen network, its gradients, and what may move."""
        self.evaluator, self.settings, self.base = evaluator, settings, base
        self.moving = [layer.name for layer in layers if layer.treatment == PERTURBED]
        self.first = next(layer.name for layer in layers if layer.is_weight and layer.trainable)
        self.change: dict[str, Tensor] | None = None
        self.values: dict[float, float] = {0.0: 0.0}
        self._eta, self._moved = 0.0, dict(evaluator.frozen)

    def at(self, eta: float) -> dict[str, Tensor]:
        """The network's tensors under the worst perturbation found at η."""
        if eta != self._eta:
            self._moved = {}  # the search needs the memory
            self._eta, self._moved = eta, self._search(eta)
        return self._moved

    def _search(self, eta: float) -> dict[str, Tensor]:
        frozen = self.evaluator.frozen
        downhill = gradient_direction(frozen, {name: self.base.gradients[name] for name in self.moving})
        uphill = downhill.times(-1.0)
        found = find_worst(
            self.evaluator,
            self.moving,
            eta,
            ascent=self.settings.ascent(),
            start=None if self.change is None else self._handed_over,
            candidates=(downhill, uphill),
            first=self.first,
        )
        self.change, self.values[eta] = found.change, found.value
        return {name: tensor + found.change.get(name, 0.0) for name, tensor in frozen.items()}

    def _handed_over(self) -> dict[str, Tensor]:
        """The change before, of which nothing is kept."""
        change, self.change = self.change or {}, None
        return change

    def evaluate(self, eta: float, *, wanted: list[str] | None = None, samples: int = 0) -> Evaluation:
        """As :meth:`probes.evaluation.evaluator.Evaluator.evaluate`, there."""
        return self.evaluator.evaluate(self.at(eta), wanted=wanted, samples=samples)

    def loss(self, eta: float) -> float:
        """The full-batch mean loss there."""
        return self.evaluator.loss(self.at(eta))

    def release(self) -> None:
        """Nothing: the search takes too long to do it twice."""

    def value(self, eta: float) -> float:
        """What the objective came to at an η of the grid."""
        return self.values.get(eta, math.nan)
