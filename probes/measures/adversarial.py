"""The worst perturbation that can be found at a given η, by projected gradient ascent with restarts.

A bound holds for every perturbation with ‖ΔW_l‖_F ≤ η ‖W_l‖_F, so its tightness shows against the worst one.
What is found is a lower bound of the true maximum: the problem is not concave, and the derivative of a gradient
is blind to ReLU's kinks, where the objective ``breakdown`` jumps.
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple, TypeAlias

import torch
from torch import Tensor

from probes.choices import check_choice, check_count
from probes.errors import InputError, mention
from probes.evaluation.directions import noise_direction
from probes.evaluation.evaluator import Evaluator
from probes.evaluation.frozen_state import left_as_found
from probes.evaluation.reductions import Scaled, norm, sum_into, sum_norm
from probes.measures.adversarial_objectives import GradientBreakdown, Objective, OutputChange

__all__ = ["Ascent", "Start", "Worst", "find_worst"]

Start: TypeAlias = Callable[[], Mapping[str, Tensor]]

_ROUNDING = 5e-7  # of a norm: what a change scaled to the ball's surface in float32 may exceed it by
_SMALLEST_STEP = 2.0**-12  # after a dozen halvings nothing is left to gain


@dataclass(frozen=True)
class Ascent:
    """How the worst perturbation is searched for.

    Attributes:
        objective: a name of :data:`probes.choices.CHOICES`, what is made as large as possible.
        examples: how many of the first examples the objective ``output`` averages over; ``breakdown`` takes
            the full batch.
        steps: how many points each ascent tries after its starting point.
        restarts: how many ascents start from layerwise Gaussian noise.
        seed: of that noise.
    """

    objective: str = "output"
    examples: int = 200
    steps: int = 20
    restarts: int = 3
    seed: int = 0

    def __post_init__(self) -> None:
        """Refuse what cannot be searched with.

        Raises:
            InputError: it names the setting.
        """
        check_choice("objective", self.objective)
        if self.examples < 1:
            raise InputError(f"examples {self.examples}: the objective needs at least 1")
        check_count("ascent_steps", self.steps, 1, 1_000_000)
        check_count("restarts", self.restarts, 0, 10_000)


@dataclass(frozen=True)
class Worst:
    """What the search found.

    Attributes:
        change: ΔW for each moving tensor, of the weight's shape, in the batch's dtype and on its device, with
            ‖ΔW_l‖_F ≤ η ‖W_l‖_F (1 + 1e-6).
        value: the objective at fl(W + ΔW), a plain ratio; NaN where it was finite nowhere (``change`` is 0).
        evaluations: passes over the objective's examples: for its value at the frozen weights, and for each
            value and each gradient after that.
    """

    change: dict[str, Tensor]
    value: float
    evaluations: int


def find_worst(
    evaluator: Evaluator,
    moving: list[str],
    eta: float,
    *,
    ascent: Ascent,
    start: Start | None = None,
    candidates: Sequence[Mapping[str, Tensor]] = (),
    first: str | None = None,
) -> Worst:
    """Search the product of balls ‖ΔW_l‖_F ≤ η ‖W_l‖_F for the largest objective.

    Ascents start from ``start``, from every candidate at η, and from noise. Each goes along the layerwise
    normalised gradient, with steps that are halved where they do not improve; the best point of all is kept.
    The result is therefore below no candidate, nor below ``start`` where that lies in the balls. The module,
    its modes and the random state are left as they were.

    Args:
        evaluator: the frozen network, data and loss.
        moving: names of the parameters that may move, in forward order; those of norm 0 stay put.
        eta: η > 0, the largest relative perturbation of each tensor.
        ascent: what to maximise, and how long.
        start: gives a change ΔW from before, for instance the worst at a smaller η, which is let go of as soon as
            its copies are made. Both itself and its multiple whose largest relative perturbation is η are tried.
        candidates: directions d with ‖d_l‖_F = ‖W_l‖_F, as of :mod:`probes.evaluation.directions`, tried as η d.
            A tensor that is missing, here and in ``start``, stays put; one that is not moving is ignored.
        first: whose gradient ``breakdown`` looks at (default: the first weight matrix).

    Returns:
        The worst perturbation found; the same one for the same arguments.

    Raises:
        InputError: η or a name that cannot be used, nothing to start from, or an objective that is undefined
            because its denominators vanish.
    """
    if not (eta > 0 and math.isfinite(eta)):
        raise InputError(f"{mention('etas', eta)}: a worst perturbation needs a finite η above 0")
    if not moving:
        raise InputError("there is no parameter that may move")
    for name in moving:
        if name not in evaluator.frozen:
            raise InputError(f"the network has no parameter {name}")
    if ascent.restarts == 0 and start is None and not candidates:
        raise InputError("`restarts=0`: there is nothing else to start from; use at least 1")
    with left_as_found(evaluator.network):
        return _Search(evaluator, moving, eta, ascent, first).run(start, candidates)


class _Point(NamedTuple):
    """A change, the objective there (−∞ where it is not finite), and what its gradient needs to know."""

    change: dict[str, Tensor]
    value: float
    known: Tensor | None


class _Search:
    """One search at one η."""

    def __init__(
        self, evaluator: Evaluator, moving: list[str], eta: float, ascent: Ascent, first: str | None = None
    ) -> None:
        self.evaluator, self.moving, self.eta, self.ascent = (
            evaluator,
            list(dict.fromkeys(moving)),
            eta,
            ascent,
        )
        self.radii = {name: eta * float(norm(evaluator.frozen[name])) for name in self.moving}
        self.objective: Objective = (
            OutputChange(evaluator, self.moving, ascent.examples)
            if ascent.objective == "output"
            else GradientBreakdown(evaluator, self.moving, first)
        )
        self.evaluations = 1

    def run(self, start: Start | None, candidates: Sequence[Mapping[str, Tensor]]) -> Worst:
        best: _Point | None = None
        for group in self._starts(start, candidates):
            best = self._better(best, group)
        if best is None or not math.isfinite(best.value):
            frozen = self.evaluator.frozen
            still = {name: torch.zeros_like(frozen[name]) for name in self.radii}
            return Worst(still, math.nan, self.evaluations)
        return Worst(best.change, best.value, self.evaluations)

    def _better(self, best: _Point | None, group: Iterator[dict[str, Tensor]]) -> _Point:
        """The best so far, or where the ascent from the best of a group ends."""
        found = self._ascended(max(map(self._point, group), key=lambda point: point.value))
        return found._replace(known=None) if best is None or found.value > best.value else best

    def _starts(
        self, start: Start | None, candidates: Sequence[Mapping[str, Tensor]]
    ) -> Iterator[Iterator[dict[str, Tensor]]]:
        """Groups of starting points; an ascent starts from the best of each group."""
        if start is not None:
            yield self._from_before(start())
        for direction in candidates:
            yield self._scaled(direction, [self.eta])
        for k in range(self.ascent.restarts):
            digest = hashlib.sha256(f"restart/{self.ascent.seed}/{k}".encode()).digest()
            seed = int.from_bytes(digest[:8], "little")
            yield self._scaled(noise_direction(self.evaluator.frozen, self.moving, seed=seed), [self.eta])

    def _from_before(self, change: Mapping[str, Tensor]) -> Iterator[dict[str, Tensor]]:
        largest = max(
            (
                self.eta * float(norm(change[name])) / radius
                for name, radius in self.radii.items()
                if name in change and radius > 0
            ),
            default=0.0,
        )
        return self._scaled(change, [1.0, self.eta / largest] if largest > 0 else [1.0])

    def _scaled(
        self, direction: Mapping[str, Tensor], factors: Sequence[float]
    ) -> Iterator[dict[str, Tensor]]:
        for factor in factors:
            change = {}
            for name in self.radii:
                frozen = self.evaluator.frozen[name]
                given = direction[name].detach().to(frozen.device) if name in direction else None
                change[name] = torch.zeros_like(frozen)
                if given is not None:
                    self._project(name, (given, factor), out=change[name])
            yield change

    def _project(self, name: str, *parts: Scaled, out: Tensor) -> Tensor:
        """The change nearest to Σ factor · tensor in a tensor's ball, rounded to the working precision."""
        length, radius = sum_norm(*parts), self.radii[name]
        return sum_into(out, *parts, factor=radius / length if length > radius * (1 + _ROUNDING) else 1.0)

    def _moved(self, change: Mapping[str, Tensor]) -> dict[str, Tensor]:
        return {
            name: tensor + change[name] if name in change else tensor
            for name, tensor in self.evaluator.frozen.items()
        }

    def _point(self, change: dict[str, Tensor]) -> _Point:
        """The objective at fl(W + ΔW)."""
        return _Point(change, *self._value(self._moved(change)))

    def _value(self, moved: Mapping[str, Tensor]) -> tuple[float, Tensor | None]:
        """The objective, and what its gradient needs to know; one that is not finite improves on nothing."""
        self.evaluations += 1
        value, known = self.objective.value(moved)
        value = self.evaluator.share.same(value)  # processes on unequal machines must improve alike
        return value if math.isfinite(value) else -math.inf, known

    def _corner(self, point: _Point) -> dict[str, Tensor]:
        """Where the objective linearised at a point is largest: η ‖W_l‖ G_l / ‖G_l‖.

        A tensor without a gradient is left out, and so are all where one overflowed.
        """
        self.evaluations += 1
        corner: dict[str, Tensor] = {}
        for name, gradient in self.objective.gradient(self._moved(point.change), point.known).items():
            size = float(norm(gradient))
            if not math.isfinite(size):
                return {}
            if size > 0 and self.radii[name] > 0:
                corner[name] = sum_into(gradient, (gradient, 1 / size), factor=self.radii[name])
        return corner

    def _stepped(
        self, at: _Point, corner: Mapping[str, Tensor], step: float, name: str, out: Tensor
    ) -> Tensor:
        """A tensor of the change a step s from a point towards a corner: Proj(ΔW + s/(1 − s) · corner)."""
        change = at.change[name]
        if name not in corner:
            return self._project(name, (change, 1.0), out=out)
        end = corner[name]
        parts = ((end, 1.0),) if step == 1 else ((change, 1.0), (end, step / (1 - step)))
        return self._project(name, *parts, out=out)

    def _ascended(self, at: _Point) -> _Point:
        """The best point of an ascent ΔW ← Proj(ΔW + s/(1 − s) · corner).

        The step s = 1 goes all the way to the corner, which maximises a linear objective and never lowers a
        convex one. Where a step does not improve, s is halved and stays so. What is tried is held as W + ΔW alone:
        the change is made a second time where it improves, in place.
        """
        step = 1.0
        corner: dict[str, Tensor] = {}
        for _ in range(self.ascent.steps):
            if not (math.isfinite(at.value) and step >= _SMALLEST_STEP):
                break
            corner = corner or self._corner(at)
            if not corner:
                break
            moved = dict(self.evaluator.frozen)
            for name in self.radii:
                out = torch.empty_like(moved[name])
                moved[name] = self._stepped(at, corner, step, name, out).add_(moved[name])
            value, known = self._value(moved)
            del moved
            if value > at.value:
                for name, change in at.change.items():
                    self._stepped(at, corner, step, name, change)
                at, corner = _Point(at.change, value, known), {}
            else:
                step /= 2
        return at
