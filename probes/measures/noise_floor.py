"""The noise floor: how far two evaluations of one gradient differ, proved before anything is measured."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import Tensor

from probes.errors import InputError
from probes.evaluation.evaluator import Evaluation, Evaluator
from probes.evaluation.reductions import compare, norm, relative_difference
from probes.measures.jacobians import relative_change
from probes.measures.measure import Found, Frozen
from trust import measurements as variables

__all__ = [
    "NoiseFloor",
    "Precision",
    "in_parts",
    "measure_noise_floor",
    "measure_precision",
    "two_precisions",
    "without_gradient",
]

_MOST_SAMPLED, _FEWEST_SAMPLED = 200, 8  # examples compared with float64
_SHARE = (
    200  # of so many evaluations of an example one is of the sample: both precisions take some 3 % of a slice
)
_STOCHASTIC = 1e-3  # no rounding error of a repeated float32 gradient is this large
_SMALLEST = 1e-300
_SUSPECT = 1e-4  # of which two evaluations in a better precision differ by more is mostly rounding
_VANISHED = 1e-6  # a gradient that float64 makes smaller by this much was rounding: float32's ε is 5e8 times float64's
_ROUNDING = 1e4  # times ε of the largest gradient: no rounding is larger
_AT_ONCE = 48 << 20  # bytes of gradients that are compared all at once
_PARTS = 4


@dataclass(frozen=True)
class NoiseFloor:
    """What rounding alone does.

    Attributes:
        gradients: for each parameter, the larger of the relative differences between two evaluations
            at η = 0, and between the working precision and a better one (for float64: another order of
            summation) on a small sample; none where the gradient is zero but for rounding.
        loss: the same for the loss.
        outputs: the same for an example's outputs, the worst on the sample.
    """

    gradients: dict[str, float]
    loss: float
    outputs: float

    def found(self, frozen: Frozen) -> Found:
        """As variables; that of outputs where there are any."""
        return {
            variables.NOISE_FLOOR: frozen.by_layer(self.gradients),
            variables.LOSS_NOISE_FLOOR: self.loss,
            **({variables.OUTPUT_NOISE_FLOOR: self.outputs} if frozen.evaluator.has_outputs else {}),
        }


@dataclass(frozen=True)
class Precision:
    """What the working precision costs on a small sample, relative to a better one.

    Attributes:
        gradients: for each parameter.
        loss: of the mean loss.
        outputs: of an example's outputs, the worst on the sample.
        vanished: parameters whose gradient on the sample is zero but for rounding: it shrinks as the precision grows.
    """

    gradients: dict[str, float]
    loss: float
    outputs: float
    vanished: frozenset[str] = frozenset()


def measure_precision(
    evaluator: Evaluator, names: list[str], *, evaluations: int, together: bool = False
) -> Precision:
    """Evaluate a small sample in the working precision and in float64.

    Large networks' gradients are compared part by part, so that at most four copies of the parameters are needed.

    Args:
        evaluator: what is measured.
        names: parameters whose gradients count.
        evaluations: how many times all data are evaluated besides, beside which the sample is to be small.
        together: whether an output depends on all examples of its chunk, so that the sample must be one chunk.
    """
    wanted = len(evaluator.data) * evaluations // _SHARE
    rows = min(max(wanted, _FEWEST_SAMPLED), _MOST_SAMPLED, len(evaluator.data))
    working, reference = two_precisions(evaluator, rows, together=together)
    gradients: dict[str, float] = {}
    vanished: set[str] = set()
    for part in in_parts(evaluator, names):
        a = working.evaluate(working.frozen, wanted=part, samples=rows)
        b = reference.evaluate(reference.frozen, wanted=part, samples=rows)
        coarse = a.gradients
        if working.dtype == torch.float64:
            suspects = [name for name in part if _differ(a.gradients[name], b.gradients[name])]
            coarse = _in_float32(reference, suspects)
        vanished |= {name for name, gradient in coarse.items() if _vanishes(b.gradients[name], gradient)}
        for name in part:  # and let go of both before there are more
            gradients[name] = relative_difference(a.gradients.pop(name), b.gradients.pop(name))
    outputs = relative_change(b.outputs.flip(0), a.outputs)
    finite = outputs[torch.isfinite(outputs)]
    worst = float(finite.max()) if len(finite) else float("nan")
    loss = abs(a.loss - b.loss) / max(abs(b.loss), _SMALLEST)
    return Precision(gradients, loss, worst, frozenset(vanished))


def two_precisions(evaluator: Evaluator, count: int, *, together: bool) -> tuple[Evaluator, Evaluator]:
    """The first examples in the working precision and, in reverse order, in float64 (as good: in other chunks).

    Args:
        evaluator: what is measured.
        count: how many examples.
        together: whether an output depends on all examples of its chunk.
    """
    few = evaluator.data[:count]
    # float64 is checked against another order of summation
    chunk = 37 if evaluator.dtype == torch.float64 and not together else evaluator.chunk
    working = evaluator.on(few, dtype=evaluator.dtype, chunk=evaluator.chunk)
    return working, evaluator.on(few.flip(), dtype=torch.float64, chunk=chunk)


def _in_float32(evaluator: Evaluator, names: list[str]) -> dict[str, Tensor]:
    """Gradients that float64 alone does not tell from rounding, in a coarser precision."""
    if not names:
        return {}
    coarse = evaluator.on(evaluator.data, dtype=torch.float32, chunk=evaluator.chunk)
    return coarse.evaluate(coarse.frozen, wanted=names).gradients


def _vanishes(exact: Tensor, coarse: Tensor) -> bool:
    return bool(norm(exact) < _VANISHED * norm(coarse))


def _differ(a: Tensor, b: Tensor) -> bool:
    pair = compare(a, b)
    return bool(pair.difference > _SUSPECT * pair.norm)


def without_gradient(gradients: Mapping[str, Tensor], precision: Precision) -> frozenset[str]:
    """The parameters whose gradient is zero but for rounding, as that of a key's bias under softmax is.

    It vanished on the sample, and that of all examples is no larger than rounding can make it.
    """
    epsilon = max((torch.finfo(gradient.dtype).eps for gradient in gradients.values()), default=0.0)
    sizes = {name: float(norm(gradient)) for name, gradient in gradients.items()}
    largest = _ROUNDING * epsilon * max(sizes.values(), default=0.0)
    return frozenset(name for name in precision.vanished if sizes[name] <= largest)


def in_parts(evaluator: Evaluator, names: list[str]) -> list[list[str]]:
    """The names in one part, or in several where their gradients take much memory."""
    total = sum(evaluator.frozen[name].nbytes for name in names)
    parts: list[list[str]] = [[]]
    size = 0
    for name in names:
        if parts[-1] and total > _AT_ONCE and size + evaluator.frozen[name].nbytes > total / _PARTS:
            parts.append([])
            size = 0
        parts[-1].append(name)
        size += evaluator.frozen[name].nbytes
    return parts


def measure_noise_floor(
    evaluator: Evaluator,
    first: Evaluation,
    precision: Precision,
    names: list[str],
    *,
    samples: int = 0,
    still: frozenset[str] = frozenset(),
) -> tuple[NoiseFloor, Evaluation]:
    """Evaluate again, and take the larger of what differs and what the precision costs.

    Args:
        evaluator: what is measured.
        first: its evaluation at the frozen weights.
        precision: of the same.
        names: parameters whose gradients are evaluated again; the others' floors are what the precision costs.
        samples: how many examples' outputs the second evaluation keeps.
        still: those whose gradient is zero but for rounding, which have no floor.

    Returns:
        The floor, and the second evaluation.

    Raises:
        InputError: the two evaluations differ by more than rounding: the network or loss is stochastic.
    """
    again = evaluator.evaluate(evaluator.frozen, wanted=names, samples=samples)
    repeat = {name: relative_difference(again.gradients[name], first.gradients[name]) for name in names}
    sizes = {name: float(norm(first.gradients[name])) for name in names}
    # a gradient that is zero but for rounding (a bias before batch norm) may differ wholly
    rounding = 100 * torch.finfo(evaluator.dtype).eps * max(sizes.values())
    worst = max(names, key=lambda name: repeat[name] if sizes[name] > rounding else 0.0)
    if repeat[worst] > _STOCHASTIC and sizes[worst] > rounding:
        raise InputError(
            f"two evaluations of the same gradient differ by {repeat[worst]:.1e} in {worst}: the network or"
            " the loss is stochastic; switch its randomness off before probing"
        )
    floors = {
        name: max(repeat.get(name, 0.0), floor)
        for name, floor in precision.gradients.items()
        if name not in still
    }
    loss = max(abs(again.loss - first.loss) / max(abs(first.loss), _SMALLEST), precision.loss)
    return NoiseFloor(floors, loss, precision.outputs), again
