"""Weights at levels of what is done to them (bits, percent), each with the η that it turns out to be."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
from torch import Tensor

from probes.evaluation.evaluator import Evaluation, Evaluator
from probes.evaluation.levels import changed
from probes.evaluation.reductions import relative_difference
from probes.measures.layers import PERTURBED, Layer
from probes.measures.measure import Floats
from probes.measures.settings import SliceSettings

__all__ = ["LevelsPath"]


class LevelsPath:
    """A path whose every η > 0 is a level's.

    Attributes:
        etas: 0, and for each level the largest relative perturbation of a tensor; where that is not above the one
            before, the next number above it, so that η names the level.
        levels: NaN for the frozen network, and the levels.
    """

    def __init__(self, evaluator: Evaluator, settings: SliceSettings, layers: Sequence[Layer]) -> None:
        """Take the frozen network and what may move, and measure how far each level moves it."""
        assert settings.levels is not None
        self.evaluator, self.settings = evaluator, settings
        self.moving = [layer.name for layer in layers if layer.treatment == PERTURBED]
        self.levels: Floats = np.array([math.nan, *settings.levels])
        etas = [0.0]
        for level in settings.levels:
            etas.append(max(self._size(level), math.nextafter(etas[-1], math.inf)))
        self.etas: Floats = np.array(etas)
        self._eta, self._moved = 0.0, dict(evaluator.frozen)

    def _tensor(self, name: str, level: float) -> Tensor:
        settings = self.settings
        return changed(
            self.evaluator.frozen[name],
            level,
            direction=settings.direction,
            per_channel=settings.granularity == "channel",
            key=f"{settings.seed}/{name}",
        )

    def _size(self, level: float) -> float:
        """The largest relative perturbation of a tensor at a level; one at zero stays there."""
        frozen = self.evaluator.frozen
        return max(relative_difference(self._tensor(name, level), frozen[name]) for name in self.moving)

    def at(self, eta: float) -> dict[str, Tensor]:
        """The network's tensors at the level whose η this is."""
        if eta != self._eta:
            level = float(self.levels[self.etas.tolist().index(eta)])
            self._moved = {}  # the next ones need the memory
            own = {} if math.isnan(level) else {name: self._tensor(name, level) for name in self.moving}
            self._eta, self._moved = eta, {**self.evaluator.frozen, **own}
        return self._moved

    def evaluate(self, eta: float, *, wanted: list[str] | None = None, samples: int = 0) -> Evaluation:
        """As :meth:`probes.evaluation.evaluator.Evaluator.evaluate`, there."""
        return self.evaluator.evaluate(self.at(eta), wanted=wanted, samples=samples)

    def loss(self, eta: float) -> float:
        """The full-batch mean loss there."""
        return self.evaluator.loss(self.at(eta))

    def release(self) -> None:
        """Let go of the tensors of a level until the next call."""
        self._eta, self._moved = 0.0, dict(self.evaluator.frozen)
