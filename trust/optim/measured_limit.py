"""Fromage's η from the step limit that is measured in training: what a step limit is good for, and what not."""

from __future__ import annotations

import math
from collections.abc import Callable
from statistics import median
from typing import Any

import torch
from torch import Tensor

from trust.descent import lemma2_step_limit, secant_step_limit
from trust.optim.fromage import Fromage, relative_direction
from trust.optim.schedules import weight_count

__all__ = ["MeasuredLimit"]

_KEPT = 5
"""Measurements whose median counts."""
_FURTHEST = 4.0
"""The factor within which a measurement is of the one before."""


class MeasuredLimit:
    """η = min(c · limit, 2^(1/L) − 1) for Fromage, where the limit is measured every 20 steps on the batch at hand.

    Along d, the relative step −(‖W‖_F/‖g‖_F) g of all tensors at once, the loss has slopes s₀ at W and s₁ at W + e d.
    limit = 2 s₀ e/(s₀ − s₁), exact for a quadratic loss (:func:`trust.descent.secant_step_limit`). e is half of the
    last measurement, of Lemma 2's limit at first; a measurement is clipped to a quarter and four times of the last, and
    the median of the last five counts. Where the slope does not grow (s₁ ≤ s₀) it is four times the last.

    What it is not: a way to a better η. The limit that Fromage meets in training is mostly an echo of the step in use,
    to which the loss's curvature adapts (the study limit-echo), and a cosine from a rate that was searched for, or from
    half of Lemma 2's limit, leads to a lower error (network-specific-rate). Known failures, of small networks:

    * c < 1 feeds sharpening: smaller steps let curvature grow until the limit is near them, so that η goes down, and
      on. That is a schedule, and fits the training data in shallow networks; in deep ones c = ½ starves before it has.
      c = ½ is an exact line search of a quadratic.
    * c = 1 is near neutral: η falls slowly (compare CDAT, arXiv 2407.06183), and without a schedule there is no end.
    * c > 1 goes to the cap, 2^(1/L) − 1.
    * Along a running mean of gradients (momentum) it led to weights that are no numbers. So Fromage alone is taken.
    * Slopes from another batch than the gradient's are not of its descent, and tell another limit. So the closure must
      give the same loss whenever it is called within a step: no dropout, no new batch.

    The measuring leaves weights and gradients bit for bit as they were. It costs one gradient more every 20 steps.
    Buffers that the closure changes (running statistics of batch norm) are changed once more.

    Args:
        optimizer: Fromage; the rule sets the ``lr`` of all its groups.
        factor: c > 0.
        depth: L; None: the optimiser's tensors of two or more axes.
        every: steps from one measurement to the next.

    Raises:
        TypeError: it is another optimiser.
        ValueError: factor is not positive and finite, depth or every below 1.

    Attributes:
        optimizer: as given.
        limit: the median that counts; NaN before the first step.
    """

    def __init__(
        self, optimizer: Fromage, *, factor: float = 1.0, depth: int | None = None, every: int = 20
    ) -> None:
        """See the class."""
        if not isinstance(optimizer, Fromage):
            raise TypeError(f"MeasuredLimit takes a Fromage, got {type(optimizer).__name__}")
        if not 0 < factor < math.inf or every < 1:
            raise ValueError(
                f"factor must be positive and finite and every at least 1, got {factor} and {every}"
            )
        self.optimizer, self.factor, self.every = optimizer, factor, every
        self.cap = float(lemma2_step_limit(depth=weight_count(optimizer) if depth is None else depth))
        self._limits: list[float] = []
        self._step = 0

    @property
    def limit(self) -> float:
        """See the class."""
        return median(self._limits) if self._limits else math.nan

    def step(self, closure: Callable[[], Any]) -> Any:
        """Take one step, by a new η where one is due.

        Args:
            closure: sets all gradients anew, for the batch of this step, and returns the loss; called twice where the
                limit is measured, once elsewhere.

        Returns:
            What the closure returned at the weights before the step.
        """
        with torch.enable_grad():
            loss = closure()
        if self._step % self.every == 0:
            self._measure(closure)
        self._step += 1
        self.optimizer.step()
        return loss

    def state_dict(self) -> dict[str, Any]:
        """All that a later run needs to go on identically, Fromage's state in it."""
        return {"optimizer": self.optimizer.state_dict(), "step": self._step, "limits": [*self._limits]}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Take up what :meth:`state_dict` gave."""
        self.optimizer.load_state_dict(state["optimizer"])
        self._step, self._limits = int(state["step"]), [float(limit) for limit in state["limits"]]

    def _measure(self, closure: Callable[[], Any]) -> None:
        last = self._limits[-1] if self._limits else self.cap
        slope, there = self._slopes(closure, last / 2)
        if -math.inf < slope < 0:  # else there is no descent, and nothing to measure
            far = math.inf if math.isnan(there) else there
            limit = float(secant_step_limit(slope=slope, eta=last / 2, slope_there=far))
            self._limits = [*self._limits, min(max(limit, last / _FURTHEST), last * _FURTHEST)][-_KEPT:]
        if self._limits:
            for group in self.optimizer.param_groups:
                group["lr"] = min(self.factor * self.limit, self.cap)

    def _slopes(self, closure: Callable[[], Any], eta: float) -> tuple[float, float]:
        """The loss's slopes at η = 0, where the gradients are of, and at η; everything is put back."""
        tensors = [
            tensor
            for group in self.optimizer.param_groups
            for tensor in group["params"]
            if tensor.grad is not None
        ]
        gradients = [tensor.grad.clone() for tensor in tensors]
        weights = [tensor.detach().clone() for tensor in tensors]
        direction = []
        for weight, gradient in zip(weights, gradients, strict=True):
            unit, size = relative_direction(weight, gradient)
            direction.append(-unit * size)
        try:
            with torch.no_grad():
                for tensor, move in zip(tensors, direction, strict=True):
                    tensor.add_(move, alpha=eta)
            with torch.enable_grad():
                closure()
            there = _along([tensor.grad for tensor in tensors], direction)
        finally:
            with torch.no_grad():
                for tensor, weight, gradient in zip(tensors, weights, gradients, strict=True):
                    tensor.copy_(weight)
                    tensor.grad = gradient
        return _along(gradients, direction), there


def _along(gradients: list[Tensor], direction: list[Tensor]) -> float:
    """Σ⟨g_l, d_l⟩."""
    return sum(
        float((gradient.double() * move).sum()) for gradient, move in zip(gradients, direction, strict=True)
    )
