"""The worst perturbation that can be found at a given η, by projected gradient ascent with restarts.

A bound holds for every perturbation with ‖ΔW_l‖_F ≤ η ‖W_l‖_F, so its tightness shows against the worst one.
What is found is a lower bound of the true maximum: the problem is not concave, and the derivative of a gradient
is blind to ReLU's kinks, where the objective ``breakdown`` jumps.
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple, Protocol

import torch
from torch import Tensor

from probes.data.inputs import Inputs
from probes.errors import InputError
from probes.evaluation.directions import noise_direction
from probes.evaluation.evaluator import Evaluator, Parameters
from probes.evaluation.frozen_state import left_as_found

__all__ = ["OBJECTIVES", "Ascent", "Worst", "find_worst"]

OBJECTIVES = {
    "output": "the mean over examples of ‖f̃(x) − f(x)‖ / ‖f(x)‖",
    "breakdown": "‖g̃ − g‖_F / ‖g‖_F of the first weight matrix's full-batch gradient g",
}

_ROUNDING = 5e-7  # of a norm: what a change scaled to the ball's surface in float32 may exceed it by
_SMALLEST_STEP = 2.0**-12  # after a dozen halvings nothing is left to gain


@dataclass(frozen=True)
class Ascent:
    """How the worst perturbation is searched for.

    Attributes:
        objective: a name of :data:`OBJECTIVES`, what is made as large as possible.
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
        if self.objective not in OBJECTIVES:
            raise InputError(f"--objective {self.objective}: unknown; known are {', '.join(OBJECTIVES)}")
        if self.examples < 1:
            raise InputError(f"examples {self.examples}: the objective needs at least 1")
        if self.steps < 1:
            raise InputError(f"--ascent-steps {self.steps}: must be at least 1")
        if self.restarts < 0:
            raise InputError(f"--restarts {self.restarts}: must be at least 0")


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
    start: Mapping[str, Tensor] | None = None,
    candidates: Sequence[Mapping[str, Tensor]] = (),
    first: str | None = None,
) -> Worst:
    """Search the product of balls ‖ΔW_l‖_F ≤ η ‖W_l‖_F for the largest objective.

    Ascents start from every candidate at η, from ``start``, and from noise. Each goes along the layerwise
    normalised gradient, with steps that are halved where they do not improve; the best point of all is kept.
    The result is therefore below no candidate, nor below ``start`` where that lies in the balls. The module,
    its modes and the random state are left as they were.

    Args:
        evaluator: the frozen network, data and loss.
        moving: names of the parameters that may move, in forward order; those of norm 0 stay put.
        eta: η > 0, the largest relative perturbation of each tensor.
        ascent: what to maximise, and how long.
        start: a change ΔW from before, for instance the worst at a smaller η. Both itself and its multiple
            whose largest relative perturbation is η are tried.
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
        raise InputError(f"--etas {eta}: a worst perturbation needs a finite η above 0")
    if not moving:
        raise InputError("there is no parameter that may move")
    for name in moving:
        if name not in evaluator.frozen:
            raise InputError(f"the network has no parameter {name}")
    if ascent.restarts == 0 and start is None and not candidates:
        raise InputError("--restarts 0: there is nothing else to start from; use at least 1")
    with left_as_found(evaluator.network):
        return _Search(evaluator, moving, eta, ascent, first).run(start, candidates)


def _norm(tensor: Tensor) -> float:
    return float(torch.linalg.vector_norm(tensor, dtype=torch.float64))


class _Objective(Protocol):
    """What is maximised, at parameters W̃ of the whole network."""

    def value(self, parameters: Parameters) -> tuple[float, Tensor | None]:
        """The objective, possibly not finite, and what ``gradient`` needs to know of this point."""

    def gradient(self, parameters: Parameters, known: Tensor | None) -> dict[str, Tensor]:
        """Its derivative in float64 for each moving tensor; ``known`` is from ``value`` at the same point."""


class _OutputChange:
    """The mean of ‖f̃(x) − f(x)‖ / ‖f(x)‖ over the first examples, those with f(x) = 0 left out."""

    def __init__(self, evaluator: Evaluator, moving: list[str], examples: int) -> None:
        """Evaluate f(x).

        Raises:
            InputError: the output vanishes for every example, or outputs cannot be had.
        """
        self.evaluator, self.moving, self.examples = evaluator, moving, min(examples, len(evaluator))
        if not evaluator.has_outputs:
            raise InputError(
                "--objective output: the loss calls the network itself, so there are no outputs; use --objective"
                " breakdown"
            )
        with torch.no_grad():
            self.before = [evaluator.call(evaluator.frozen, x).double().flatten(1) for x in self._inputs()]
        sizes = [torch.linalg.vector_norm(outputs, dim=1) for outputs in self.before]
        self.used = [size != 0 for size in sizes]
        count = sum(int(used.sum()) for used in self.used)
        if count == 0:
            raise InputError(
                f"--objective output: the output is 0 for all of the first {self.examples} examples"
            )
        self.weights = [1 / (count * size[used]) for used, size in zip(self.used, sizes, strict=True)]

    def _inputs(self) -> Iterator[Inputs]:
        for _, batch in self.evaluator.chunks(self.examples):
            yield batch.inputs

    def _parts(self, parameters: Parameters) -> Iterator[Tensor]:
        known = zip(self._inputs(), self.before, self.used, self.weights, strict=True)
        for x, before, used, weights in known:
            # in float64, because the squares of small changes underflow
            change = self.evaluator.call(parameters, x).double().flatten(1)[used] - before[used]
            yield (torch.linalg.vector_norm(change, dim=1) * weights).sum()

    def value(self, parameters: Parameters) -> tuple[float, None]:
        with torch.no_grad():
            return sum(float(part) for part in self._parts(parameters)), None

    def gradient(self, parameters: Parameters, known: Tensor | None) -> dict[str, Tensor]:
        """Chunk by chunk; an example whose output has not changed adds nothing."""
        leaves = _leaves(parameters, self.moving)
        total = _zeros(leaves)
        with torch.enable_grad():
            for part in self._parts({**parameters, **leaves}):
                _accumulate(total, part, leaves)
        self.evaluator.share.copy_(total.values())
        return total


class _Breakdown:
    """‖g̃ − g‖_F / ‖g‖_F of the first weight matrix's gradient g of the mean loss over the full batch."""

    def __init__(self, evaluator: Evaluator, moving: list[str], first: str | None = None) -> None:
        """Evaluate g.

        Raises:
            InputError: there is no weight matrix, or g vanishes.
        """
        self.evaluator, self.moving = evaluator, moving
        matrices = [name for name, tensor in evaluator.frozen.items() if tensor.ndim >= 2]
        ordered = [name for name in moving if name in matrices]
        if not matrices:
            raise InputError("--objective breakdown: the network has no weight matrix")
        # the order of registration, unless all move and the caller's order says better
        self.first = first or (ordered if len(ordered) == len(matrices) else matrices)[0]
        self.before = evaluator.evaluate(evaluator.frozen, wanted=[self.first]).gradients[self.first]
        self.size = _norm(self.before)
        if self.size == 0:
            raise InputError(
                f"--objective breakdown: the gradient of {self.first} is 0 before anything moves"
            )

    def value(self, parameters: Parameters) -> tuple[float, Tensor]:
        """The breakdown, and g̃ − g in float64."""
        after = self.evaluator.evaluate(parameters, wanted=[self.first]).gradients[self.first]
        difference = after.double() - self.before.double()
        return _norm(difference) / self.size, difference

    def gradient(self, parameters: Parameters, known: Tensor | None) -> dict[str, Tensor]:
        """∂‖g̃ − g‖ = ⟨∂g̃, v⟩ with v = (g̃ − g)/‖g̃ − g‖: a Hessian-vector product, chunk by chunk."""
        evaluator = self.evaluator
        leaves = _leaves(parameters, [*self.moving, self.first])
        moved = {name: leaves[name] for name in self.moving}
        total = _zeros(moved)
        length = 0.0 if known is None else _norm(known)
        if known is None or length == 0:
            return total
        towards = (known / length).to(evaluator.dtype)
        used = {**parameters, **leaves}
        with torch.enable_grad():
            for _, examples in evaluator.own_chunks(evaluator.chunk):
                mean = evaluator.example_losses(used, examples).sum() / len(evaluator)
                (g,) = torch.autograd.grad(
                    mean, [leaves[self.first]], create_graph=True, materialize_grads=True
                )
                _accumulate(total, (g * towards).sum(), moved)
        evaluator.share.sum_(total.values())
        return {name: product / self.size for name, product in total.items()}


def _leaves(parameters: Parameters, names: list[str]) -> dict[str, Tensor]:
    return {name: parameters[name].detach().requires_grad_(True) for name in names}


def _zeros(leaves: Mapping[str, Tensor]) -> dict[str, Tensor]:
    return {name: torch.zeros_like(leaf, dtype=torch.float64) for name, leaf in leaves.items()}


def _accumulate(total: dict[str, Tensor], of: Tensor, leaves: Mapping[str, Tensor]) -> None:
    """Add the derivative of ``of`` to ``total``."""
    if not of.requires_grad:
        return  # constant
    found = torch.autograd.grad(of, list(leaves.values()), materialize_grads=True)
    for name, gradient in zip(leaves, found, strict=True):
        total[name] += gradient.detach().double()


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
        self.radii = {name: eta * _norm(evaluator.frozen[name]) for name in self.moving}
        self.objective: _Objective = (
            _OutputChange(evaluator, self.moving, ascent.examples)
            if ascent.objective == "output"
            else _Breakdown(evaluator, self.moving, first)
        )
        self.evaluations = 1

    def run(self, start: Mapping[str, Tensor] | None, candidates: Sequence[Mapping[str, Tensor]]) -> Worst:
        best = _Point(self._projected({}), -math.inf, None)
        for group in self._starts(start, candidates):
            found = self._ascended(max(map(self._point, group), key=lambda point: point.value))
            best = max(best, found, key=lambda point: point.value)
        value = best.value if math.isfinite(best.value) else math.nan
        return Worst(best.change, value, self.evaluations)

    def _starts(
        self, start: Mapping[str, Tensor] | None, candidates: Sequence[Mapping[str, Tensor]]
    ) -> Iterator[list[dict[str, Tensor]]]:
        """Groups of starting points; an ascent starts from the best of each group."""
        for direction in candidates:
            yield [self._scaled(direction, self.eta)]
        if start is not None:
            largest = max(
                (
                    self.eta * _norm(start[name]) / radius
                    for name, radius in self.radii.items()
                    if name in start and radius > 0
                ),
                default=0.0,
            )
            group = [self._scaled(start, 1.0)]
            if largest > 0:
                group.append(self._scaled(start, self.eta / largest))
            yield group
        for k in range(self.ascent.restarts):
            digest = hashlib.sha256(f"restart/{self.ascent.seed}/{k}".encode()).digest()
            seed = int.from_bytes(digest[:8], "little")
            yield [self._scaled(noise_direction(self.evaluator.frozen, self.moving, seed=seed), self.eta)]

    def _scaled(self, direction: Mapping[str, Tensor], factor: float) -> dict[str, Tensor]:
        return self._projected(
            {
                name: direction[name].detach().to(self.evaluator.frozen[name].device, torch.float64) * factor
                for name in self.moving
                if name in direction
            }
        )

    def _projected(self, wanted: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """The nearest change in the balls to ``wanted`` (float64), rounded to the working precision."""
        change: dict[str, Tensor] = {}
        for name, radius in self.radii.items():
            frozen = self.evaluator.frozen[name]
            step = wanted.get(name)
            if step is None:
                change[name] = torch.zeros_like(frozen)
                continue
            length = _norm(step)
            if length > radius * (1 + _ROUNDING):
                step = step * (radius / length)
            change[name] = step.to(frozen.dtype)
        return change

    def _moved(self, change: Mapping[str, Tensor]) -> dict[str, Tensor]:
        return {
            name: tensor + change[name] if name in change else tensor
            for name, tensor in self.evaluator.frozen.items()
        }

    def _point(self, change: dict[str, Tensor]) -> _Point:
        """The objective at fl(W + ΔW); one that is not finite improves on nothing."""
        self.evaluations += 1
        value, known = self.objective.value(self._moved(change))
        value = self.evaluator.share.same(value)  # processes on unequal machines must improve alike
        return _Point(change, value if math.isfinite(value) else -math.inf, known)

    def _corner(self, point: _Point) -> dict[str, Tensor]:
        """Where the objective linearised at a point is largest: η ‖W_l‖ G_l / ‖G_l‖, in float64.

        A tensor without a gradient is left out, and so are all where one overflowed.
        """
        self.evaluations += 1
        corner: dict[str, Tensor] = {}
        for name, gradient in self.objective.gradient(self._moved(point.change), point.known).items():
            size = _norm(gradient)
            if not math.isfinite(size):
                return {}
            if size > 0 and self.radii[name] > 0:
                corner[name] = gradient / size * self.radii[name]
        return corner

    def _ascended(self, at: _Point) -> _Point:
        """The best point of an ascent ΔW ← Proj(ΔW + s/(1 − s) · corner).

        The step s = 1 goes all the way to the corner, which maximises a linear objective and never lowers a
        convex one. Where a step does not improve, s is halved and stays so.
        """
        step = 1.0
        corner: dict[str, Tensor] = {}
        for _ in range(self.ascent.steps):
            if not (math.isfinite(at.value) and step >= _SMALLEST_STEP):
                break
            corner = corner or self._corner(at)
            if not corner:
                break
            wanted = {name: change.double() for name, change in at.change.items()}
            for name, end in corner.items():
                wanted[name] = end if step == 1 else wanted[name] + step / (1 - step) * end
            tried = self._point(self._projected(wanted))
            if tried.value > at.value:
                at, corner = tried, {}
            else:
                step /= 2
        return at
