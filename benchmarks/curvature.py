"""The largest eigenvalue by products of ours, against curvlinops' operators in scipy's eigsh as its users call it."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from typing import Any

import torch
from scipy.sparse.linalg import LinearOperator, eigsh
from torch import Tensor, nn

from benchmarks.cases import Case, char_transformer, conv_net, images, perceptron
from benchmarks.peers import CURVLINOPS, peer
from benchmarks.sameness import same
from benchmarks.timing import Pair
from probes.evaluation.curvature import (
    Eigenpairs,
    GaussNewtonOperator,
    HessianOperator,
    LossOperator,
    eigenpairs,
)
from probes.evaluation.frozen_state import probing

__all__ = ["compare", "curvature"]

_COLD, _WARM, _THEIRS = "probes", "probes, from 5 steps before", "curvlinops"
_TOLERANCE = 1e-5
_BEFORE, _FURTHER, _RATE = 15, 5, 0.05
_HALF = 0.5
_OPERATORS: dict[str, type[LossOperator]] = {"Hessian": HessianOperator, "GGN": GaussNewtonOperator}


def curvature(repeats: int) -> list[dict[str, Any]]:
    """The largest eigenvalue after 20 steps to a residual of 1e-4, cold and warm, and curvlinops' in eigsh.

    In processor time.
    """
    x, y = images()
    cases = [
        (perceptron(2, x, y), "Hessian"),
        (perceptron(2, x, y), "GGN"),
        (conv_net(x, y), "Hessian"),
        (char_transformer(100), "GGN"),  # curvlinops' Hessian of layer norms is wrong with this PyTorch
    ]
    return [compare(case, kind, repeats) for case, kind in cases]


def compare(case: Case, kind: str, repeats: int) -> dict[str, Any]:
    """Check that both find the same eigenvalue, and time them in turn; ours alone where there is no curvlinops.

    Raises:
        DifferentNumbersError: they differ.
    """
    with probing(case.network):
        _descend(case, _BEFORE)
        before = eigenpairs(_OPERATORS[kind](case.batch()), 1).vectors
        _descend(case, _FURTHER)
        operator = _OPERATORS[kind](case.batch())
        ours: dict[str, Callable[[], Eigenpairs]] = {
            _COLD: lambda: eigenpairs(operator, 1),
            _WARM: lambda: eigenpairs(operator, 1, start=before),
        }
        alternatives: dict[str, Callable[[], object]] = {**ours}
        counts: dict[str, dict[str, int]] = {}
        residuals: dict[str, float] = {}
        agreed = []
        found = {name: run() for name, run in ours.items()}
        curvlinops = peer(CURVLINOPS)
        if curvlinops is not None:
            matrix = getattr(curvlinops, f"{kind}LinearOperator")
            value, vector, counts[_THEIRS] = _theirs(matrix, case)
            image = operator.product(vector)
            residuals[_THEIRS] = float(torch.linalg.vector_norm(image - value * vector)) / abs(value)
            alternatives = {_THEIRS: lambda: _theirs(matrix, case), **alternatives}
            agreed = [
                same(f"{name}, largest eigenvalue", one.values, [value], tolerance=_TOLERANCE)
                for name, one in found.items()
            ]
        for name, one in found.items():
            counts[name], residuals[name] = {"products": one.products}, float(one.residuals[0])
        seconds = _processor_time(alternatives, repeats)
    pairs = [Pair(_COLD, _THEIRS, _HALF), Pair(_WARM, _THEIRS, _HALF), Pair(_WARM, _COLD)]
    compared = [pair.compared(seconds) for pair in pairs if {pair.of, pair.to} <= set(seconds)]
    facts = case.facts() | {"case": f"{case.name}, {kind}", "etas": 1}
    told = {
        "same": agreed,
        "seconds": seconds,
        "compared": compared,
        "counts": counts,
        "residuals": residuals,
    }
    return facts | told | ({} if curvlinops is not None else {"not_installed": [CURVLINOPS]})


def _descend(case: Case, steps: int) -> None:
    """So many full-batch steps, in place."""
    named = dict(case.network.named_parameters())
    for _ in range(steps):
        evaluator = case.batch()
        gradients = evaluator.evaluate(evaluator.frozen, wanted=list(named)).gradients
        with torch.no_grad():
            for name, parameter in named.items():
                parameter.sub_(gradients[name], alpha=_RATE)


def _theirs(matrix: Any, case: Case) -> tuple[float, Tensor, dict[str, int]]:
    """Eigenvalue, eigenvector and products, by eigsh with its own number of Lanczos vectors, to 1e-4 too."""
    chunks = [
        (case.x[start : start + case.chunk], case.y[start : start + case.chunk].flatten())
        for start in range(0, len(case.x), case.chunk)
    ]
    operator = matrix(
        nn.Sequential(case.network, nn.Flatten(0, -2)),  # each character of a text is classified
        nn.CrossEntropyLoss(),
        list(case.network.parameters()),
        chunks,
        check_deterministic=False,
        num_data=len(case.x),
    ).to_scipy()
    products = 0

    def product(v: Any) -> Any:
        nonlocal products
        products += 1
        return operator @ v

    counted = LinearOperator(operator.shape, matvec=product, dtype=operator.dtype)
    values, vectors = eigsh(counted, k=1, which="LA", tol=1e-4)
    return float(values[0]), torch.from_numpy(vectors[:, 0]), {"products": products}


def _processor_time(alternatives: Mapping[str, Callable[[], object]], repeats: int) -> dict[str, list[float]]:
    """Of each in turn."""
    seconds: dict[str, list[float]] = {name: [] for name in alternatives}
    for _ in range(repeats):
        for name, run in alternatives.items():
            begin = time.process_time()
            run()
            seconds[name].append(time.process_time() - begin)
    return seconds
