"""At how many η a network is best evaluated at once: by the clock, and only where the numbers are the same."""

from __future__ import annotations

import time
import warnings
from collections.abc import Hashable
from weakref import WeakKeyDictionary

import torch
from torch import Tensor, nn

from probes.evaluation.directions import Direction
from probes.evaluation.evaluator import Evaluation, Evaluator
from probes.evaluation.perturbed_weights import PerturbedWeights

__all__ = ["fastest_count"]

_MOST, _FEWEST = 32, 4
_TIMED = 8
"""At once, where there is room for so many; more of them take less still."""
_MOST_BYTES = 64 << 20
"""What the tensors of all η at once may take."""
_COPIES = 4
"""Of the parameters for each η: moved, their gradients, and room for products of them."""
_CLEARLY_FASTER = 1.05
_WORTH_SAVING = 0.1
"""Of an evaluation's time, what calls take must be more."""
_SAMPLE, _AGREE = 4, 1e-9
_ETAS = (0.001, 0.002)

_found: WeakKeyDictionary[nn.Module, dict[Hashable, int]] = WeakKeyDictionary()


def fastest_count(evaluator: Evaluator) -> int:
    """How many η at once take least time for each; 1 where one after the other does, or nothing else works.

    Many at once must fit into little memory, give the same numbers in float64 on a few examples, and take clearly
    less time on all of the evaluator's. What is found for a network is found once in a process.

    Args:
        evaluator: the network with its loss, and examples for one chunk.
    """
    where = evaluator.dtype, evaluator.device, evaluator.precision, torch.get_num_threads()
    key = (len(evaluator), evaluator.data.first.signature(), id(evaluator.loss_function), where)
    known = _found.setdefault(evaluator.network, {})
    if key not in known:
        known[key] = _fastest(evaluator)
    return known[key]


def _fastest(evaluator: Evaluator) -> int:
    names = [name for name, parameter in evaluator.network.named_parameters() if parameter.requires_grad]
    if not names or not evaluator.has_outputs or _room(_bytes_of(evaluator)) < _FEWEST:
        return 1
    try:
        count = _room(_bytes_of(evaluator) + int(_kept_by_example(evaluator, names) * len(evaluator)))
        with warnings.catch_warnings():
            warnings.filterwarnings("error", message=".*performance drop")  # no rule for stacks, but a loop
            faster = count >= _FEWEST and _is_faster(evaluator, names, min(count, _TIMED))
            return count if faster and _agree(evaluator, names) else 1
    except Exception:  # of anybody's network and loss: what cannot be tried is not done
        return 1


def _room(bytes_each: int) -> int:
    return min(_MOST_BYTES // max(bytes_each, 1), _MOST)


def _bytes_of(evaluator: Evaluator) -> int:
    return _COPIES * sum(tensor.nbytes for tensor in evaluator.frozen.values())


def _line(evaluator: Evaluator, names: list[str]) -> PerturbedWeights:
    """Weights that grow: any direction would do."""
    return PerturbedWeights(evaluator, Direction.of({name: evaluator.frozen[name] for name in names}))


def _kept_by_example(evaluator: Evaluator, names: list[str]) -> float:
    """Bytes that an example's evaluation keeps, forward for backward, but for weights and data, which are there."""
    few = evaluator.on(evaluator.data[:_SAMPLE], dtype=evaluator.dtype, chunk=_SAMPLE)
    data = (tensor for _, batch in few.chunks() for _, tensor in batch.leaves())
    there = {_place(tensor) for tensor in (*few.frozen.values(), *data)}
    kept: dict[int, int] = {}

    def noted(tensor: Tensor) -> Tensor:
        kept[_place(tensor)] = tensor.untyped_storage().nbytes()
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(noted, lambda tensor: tensor):
        few.evaluate(few.frozen, wanted=names)
    return sum(size for place, size in kept.items() if place not in there) / len(few)


def _place(tensor: Tensor) -> int:
    return tensor.untyped_storage().data_ptr()


def _agree(evaluator: Evaluator, names: list[str]) -> bool:
    """Whether two η at once give in float64 what each gives alone."""
    line = _line(evaluator.on(evaluator.data[:_SAMPLE], dtype=torch.float64, chunk=_SAMPLE), names)
    _, together = line.evaluate_together(_ETAS, wanted=names, samples=_SAMPLE)
    return all(
        _same(together.one(place), line.evaluate(eta, wanted=names, samples=_SAMPLE))
        for place, eta in enumerate(_ETAS)
    )


def _same(a: Evaluation, b: Evaluation) -> bool:
    pairs = [(a.mean_loss, b.mean_loss), (a.outputs, b.outputs)]
    pairs += [(a.gradients[name], b.gradients[name]) for name in b.gradients]
    largest = max((float(gradient.abs().max()) for gradient in b.gradients.values()), default=0.0)
    least = [0.0, 0.0] + [_AGREE * largest] * len(b.gradients)
    return all(
        torch.allclose(one, other, rtol=_AGREE, atol=atol, equal_nan=True)
        for (one, other), atol in zip(pairs, least, strict=True)
    )


def _is_faster(evaluator: Evaluator, names: list[str], count: int) -> bool:
    """Whether so many at once take clearly less time for each than one alone."""
    line = _line(evaluator, names)
    few = _line(evaluator.on(evaluator.data[:_SAMPLE], dtype=evaluator.dtype, chunk=_SAMPLE), names)
    clock = time.process_time if evaluator.device.type == "cpu" else time.perf_counter

    def alone(line: PerturbedWeights) -> float:
        start = clock()
        _ = line.evaluate(_ETAS[0], wanted=names).loss  # reading it waits for a GPU
        return clock() - start

    def together() -> float:
        start = clock()
        line.evaluate_together(_ETAS[:1] * count, wanted=names)[1].mean_loss.tolist()
        return (clock() - start) / count

    alone(few), alone(line)  # the first call prepares what later ones find ready
    single = alone(line)
    if min(alone(few), alone(few)) < _WORTH_SAVING * single:
        return False
    together()
    each, single = min(together(), together()), min(single, alone(line))
    return each * _CLEARLY_FASTER < single
