"""The full-batch gradient at each η, by the same chunks, against curvlinops'."""

from __future__ import annotations

import copy
from collections import deque
from collections.abc import Iterator
from typing import Any

import torch
from torch import Tensor

from benchmarks.cases import Case, char_transformer, conv_net, images, perceptron
from benchmarks.machine import target
from benchmarks.peers import CURVLINOPS, peer
from benchmarks.sameness import same
from benchmarks.timing import Pair, measured
from probes.evaluation.directions import Direction, gradient_direction
from probes.evaluation.evaluator import Evaluator
from probes.evaluation.frozen_state import probing
from probes.evaluation.perturbed_weights import PerturbedWeights
from probes.slices.slice import settled_route

__all__ = ["compare", "gradients"]

_OURS, _THEIRS = "probes", "curvlinops"
_TOLERANCE = 1e-3
"""Other products round otherwise, and in float32 a ReLU's argument near 0 then falls on the other side."""

Point = tuple[float, dict[str, Tensor]]
"""Loss and gradients."""


def gradients(repeats: int) -> list[dict[str, Any]]:
    """Loss and every gradient at each η of a slice, in chunks of 1,000, against curvlinops' gradient_and_loss."""
    x, y = images()
    linear = target(intel=1.0, amd=0.6)
    cases = [
        (perceptron(2, x, y, points=6), linear),
        (perceptron(16, x, y, points=3), linear),
        (conv_net(x, y, points=6), 1.0),
        (char_transformer(100, points=6), 1.0),
    ]
    return [compare(case, repeats, most=most) for case, most in cases]


def compare(case: Case, repeats: int, *, most: float | None = None) -> dict[str, Any]:
    """Check that both give the same gradients, and time them in turn; ours alone where there is no curvlinops.

    Raises:
        DifferentNumbersError: they differ.
    """
    evaluator = case.batch()
    names = list(evaluator.frozen)
    base = evaluator.evaluate(evaluator.frozen, wanted=names)
    direction = gradient_direction(evaluator.frozen, base.gradients)
    route = settled_route(case.core(), case.network, evaluator.data, case.chunk)  # as a slice does
    curvlinops = peer(CURVLINOPS)

    def ours() -> Iterator[Point]:
        with probing(case.network, matmul=route):
            yield from _ours(evaluator, direction, case)

    alternatives = {_OURS: lambda: _exhausted(ours())}
    agreed = []
    if curvlinops is None:
        _exhausted(ours())
    else:
        # one after the other: a route is the whole process's
        found = [(loss, {n: g.clone() for n, g in gradients.items()}) for loss, gradients in ours()]
        agreed = _agreed(list(_sizes(iter(found), _theirs(curvlinops, evaluator, direction, case))))
        alternatives = {
            _THEIRS: lambda: _exhausted(_theirs(curvlinops, evaluator, direction, case)),
            **alternatives,
        }
    timed = measured(alternatives, [Pair(_OURS, _THEIRS, most)], repeats=repeats)
    missing = {} if curvlinops is not None else {"not_installed": [CURVLINOPS]}
    return case.facts() | {"matmul": route, "same": agreed} | timed | missing


def _exhausted(points: Iterator[Point]) -> None:
    deque(points, maxlen=0)


def _ours(evaluator: Evaluator, direction: Direction, case: Case) -> Iterator[Point]:
    perturbed = PerturbedWeights(evaluator, direction)
    for eta in case.etas:
        found = evaluator.evaluate(perturbed.at(float(eta)), wanted=list(direction))
        yield found.loss, found.gradients


def _theirs(curvlinops: Any, evaluator: Evaluator, direction: Direction, case: Case) -> Iterator[Point]:
    network = copy.deepcopy(case.network)
    named = dict(network.named_parameters())
    chunks = [
        (case.x[start : start + case.chunk], case.y[start : start + case.chunk].flatten())
        for start in range(0, len(case.x), case.chunk)
    ]
    operator = curvlinops.HessianLinearOperator(
        lambda inputs: network(inputs).flatten(0, -2),  # each character of a text is classified
        torch.nn.CrossEntropyLoss(),
        list(named.values()),
        chunks,
        check_deterministic=False,
        num_data=len(case.x),
    )
    for eta in case.etas:
        with torch.no_grad():
            for name, parameter in named.items():
                torch.add(evaluator.frozen[name], direction[name], alpha=float(eta), out=parameter)
        gradients, loss = operator.gradient_and_loss()
        yield float(loss), dict(zip(named, gradients, strict=True))


def _sizes(ours: Iterator[Point], theirs: Iterator[Point]) -> Iterator[tuple[float, float, float]]:
    """At each η the losses, and the relative difference of the gradient that differs most."""
    for (loss, gradients), (other_loss, others) in zip(ours, theirs, strict=True):
        norm = torch.linalg.vector_norm
        worst = max(float(norm(gradients[name] - other) / norm(other)) for name, other in others.items())
        yield loss, other_loss, worst


def _agreed(points: list[tuple[float, float, float]]) -> list[dict[str, Any]]:
    losses, others, worst = zip(*points, strict=True)
    gap = [1.0 + difference for difference in worst]
    return [
        same("loss", losses, others, tolerance=_TOLERANCE),
        same("gradients, the worst tensor's norm", gap, [1.0] * len(gap), tolerance=_TOLERANCE),
    ]
