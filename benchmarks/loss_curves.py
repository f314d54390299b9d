"""The loss along one line, against the loss-landscapes package."""

from __future__ import annotations

import copy
from collections.abc import Callable, Sequence
from typing import Any

from torch import nn

from benchmarks.cases import LARGEST_ETA, Case, char_transformer, conv_net, cross_entropy, images, perceptron
from benchmarks.peers import LOSS_LANDSCAPES, peer
from benchmarks.sameness import same
from benchmarks.timing import Pair, measured
from probes.evaluation.directions import gradient_direction
from probes.evaluation.frozen_state import probing
from probes.evaluation.perturbed_weights import PerturbedWeights
from probes.slices.slice import settled_route

__all__ = ["compare", "loss_curves"]

_OURS, _THEIRS = "probes", "loss-landscapes"
_TOLERANCE = 1e-3
"""The peer steps from point to point in float32, so that rounding errors add up."""


def loss_curves(repeats: int) -> list[dict[str, Any]]:
    """The loss alone at equally spaced points of one line, against loss-landscapes' linear_interpolation."""
    x, y = images()
    sizes = [(perceptron(2, x, y), 20, 0.6), (perceptron(16, x, y), 10, 1.0), (conv_net(x, y), 20, 0.8)]
    sizes.append((char_transformer(100), 20, 1.0))
    return [compare(case, repeats, points=points, target=target) for case, points, target in sizes]


def compare(case: Case, repeats: int, *, points: int, target: float | None = None) -> dict[str, Any]:
    """Check that both give the same losses, and time them in turn; ours alone where there is no peer.

    Raises:
        DifferentNumbersError: they differ.
    """
    etas = [LARGEST_ETA * k / points for k in range(1, points + 1)]  # the points that the peer takes
    package = peer(LOSS_LANDSCAPES)
    base = case.batch()
    direction = gradient_direction(
        base.frozen, base.evaluate(base.frozen, wanted=list(base.frozen)).gradients
    )
    route = settled_route(case.core(), case.network, base.data, case.chunk)  # as a slice does
    end = copy.deepcopy(case.network)
    end.load_state_dict(PerturbedWeights(base, direction).at(LARGEST_ETA), strict=False)

    def ours() -> Sequence[float]:
        with probing(case.network, matmul=route):
            line = PerturbedWeights(case.batch(), direction)
            return [line.loss(eta) for eta in etas]

    alternatives: dict[str, Callable[[], Sequence[float]]] = {_OURS: ours}
    agreed = []
    found = ours()
    if package is not None:
        alternatives = {_THEIRS: lambda: _theirs(package, case, end, points), **alternatives}
        agreed.append(same("loss", found, alternatives[_THEIRS](), tolerance=_TOLERANCE))
    timed = measured(alternatives, [Pair(_OURS, _THEIRS, target)], repeats=repeats)
    missing = {} if package is not None else {"not_installed": [LOSS_LANDSCAPES]}
    return case.facts() | {"etas": points, "matmul": route, "same": agreed} | timed | missing


def _theirs(package: Any, case: Case, end: nn.Module, points: int) -> Sequence[float]:
    metric = package.metrics.Loss(cross_entropy, case.x, case.y)
    # without copies it would move the network and switch its gradients off
    losses: Sequence[float] = package.linear_interpolation(
        case.network, end, metric, steps=points, deepcopy_model=True
    )
    return losses
