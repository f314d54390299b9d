"""The Lipschitz constants of fixed maps: against their matrices where they are linear, else against pairs of points."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.nn import functional

from probes.networks.structure.fixed_maps import FixedMap, is_look, known_map
from probes.networks.structure.tracing import Watch

F = functional
SHAPE, MASK = (2, 6, 6), torch.linspace(-2, 1, 6)


def found(function: Callable[[Tensor], Any], x: Tensor, number: int = 0) -> FixedMap | None:
    with torch.no_grad(), Watch() as watch:
        function(x)
    (call,) = [call for call in watch.calls if call.gave]
    return known_map(call, x, number, len(x))


LINEAR: dict[str, tuple[Callable[[Tensor], Any], bool]] = {
    "flatten": (lambda x: x.flatten(1), True),
    "every second": (lambda x: x[:, :, ::2, ::2], True),
    "permute": (lambda x: x.permute(0, 3, 1, 2), True),
    "zeros around": (lambda x: F.pad(x, (1, 2, 0, 3)), True),
    "around in a circle": (lambda x: F.pad(x, (1, 1, 1, 1), mode="circular"), True),
    "reflected": (lambda x: F.pad(x, (2, 2, 2, 2), mode="reflect"), True),
    "mean": (lambda x: x.mean((2, 3)), True),
    "sum": (lambda x: x.sum(1), True),
    "average pooling": (lambda x: F.avg_pool2d(x, 2), True),
    "average pooling that overlaps": (lambda x: F.avg_pool2d(x, 3, 2, 1), False),
    "average pooling that adapts": (lambda x: F.adaptive_avg_pool2d(x, 4), False),
    "nearest": (lambda x: F.interpolate(x, scale_factor=2), True),
    "bilinear": (lambda x: F.interpolate(x, scale_factor=2, mode="bilinear"), False),
    "times": (lambda x: x * -3, True),
    "over": (lambda x: x / 255, True),
    "a mask": (lambda x: x * MASK, True),
    "minus": (lambda x: -x, True),
    "plus": (lambda x: x + 1, True),
    "from": (lambda x: 1 - x, True),
    "repeated": (lambda x: x.repeat(1, 3, 1, 1), True),
}


@pytest.mark.parametrize("name", LINEAR)
def test_linear_maps_against_their_matrices(name: str) -> None:
    function, exact = LINEAR[name]
    x = torch.randn(2, *SHAPE, dtype=torch.float64)
    one = found(function, x)
    assert one is not None
    start = function(torch.zeros(1, *SHAPE, dtype=torch.float64)).flatten()
    basis = torch.eye(math.prod(SHAPE), dtype=torch.float64).view(-1, *SHAPE)
    matrix = function(basis).flatten(1) - start
    norm = float(torch.linalg.matrix_norm(matrix, ord=2))
    assert one.factor >= norm * (1 - 1e-12)  # LAPACK's rounding of 72 columns
    assert one.factor <= norm * ((1 + 1e-12) if exact else 1.5)
    assert one.constant == bool((start != 0).any())
    assert one.unchanged == (name == "flatten")


def test_each_part_by_itself() -> None:
    x = torch.randn(2, *SHAPE)
    for number in (0, 1):
        assert found(lambda x: x.chunk(2, dim=1), x, number) == FixedMap(1.0)


@pytest.mark.parametrize(
    "function",
    [
        lambda x: x.flip(0),
        lambda x: x.mean(0, keepdim=True).expand(2, -1, -1, -1).clone(),
        lambda x: x.flatten(0, 1),
        lambda x: x.double(),  # rounds on the way back
        lambda x: 1 / x,
        lambda x: x / 0,
        lambda x: x * float("inf"),
        lambda x: x**2,
        lambda x: x.cumsum(0),
        lambda x: F.interpolate(x, scale_factor=2, mode="bicubic"),
        lambda x: F.softmax(x, dim=0),
        lambda x: F.adaptive_max_pool2d(x, 9),
    ],
)
def test_what_is_no_such_map(function: Callable[[Tensor], Any]) -> None:
    with torch.no_grad(), Watch() as watch:
        x = torch.randn(2, *SHAPE)
        function(x)
    calls = [call for call in watch.calls if any(tensor is x for tensor, _ in call.given)]
    assert calls
    assert known_map(calls[0], x, 0, 2) is None


NONLINEAR: dict[str, tuple[Callable[[Tensor], Tensor], float]] = {
    "max pooling": (lambda x: F.max_pool2d(x, 2), 1.0),
    "max pooling that overlaps": (lambda x: F.max_pool2d(x, 3, 2, 1), 2.0),
    "max pooling at every place": (lambda x: F.max_pool2d(x, 3, 1), 3.0),
    "max pooling with holes": (lambda x: F.max_pool2d(x, 2, 2, 0, 2), 2.0),
    "max pooling that adapts": (lambda x: F.adaptive_max_pool2d(x, 3), 1.0),
    "max pooling that adapts and overlaps": (lambda x: F.adaptive_max_pool2d(x, 4), 2.0),
    "softmax": (lambda x: F.softmax(x, dim=3), 0.5),
    "log-softmax": (lambda x: F.log_softmax(x, dim=3), math.sqrt(6)),
}


@pytest.mark.parametrize("name", NONLINEAR)
def test_other_maps_never_move_further(name: str) -> None:
    function, factor = NONLINEAR[name]
    one = found(function, torch.randn(2, *SHAPE))
    assert one is not None
    assert one.factor == pytest.approx(factor, rel=1e-15)
    generator = torch.Generator().manual_seed(0)
    # single entries far above all others are in as many maxima as they can be
    x = torch.randn(2000, *SHAPE, generator=generator, dtype=torch.float64)
    places = torch.randint(0, x[0].numel(), (1000,), generator=generator)
    x[:1000].view(1000, -1)[torch.arange(1000), places] += 100.0
    step = torch.zeros_like(x)
    step[:1000].view(1000, -1)[torch.arange(1000), places] = 1.0
    step[1000:] = torch.randn(1000, *SHAPE, generator=generator, dtype=torch.float64)
    moved = (function(x + 1e-3 * step) - function(x)).flatten(1).norm(dim=1)
    size = 1e-3 * step.flatten(1).norm(dim=1)
    worst = float((moved / size).max())
    assert worst <= factor * (1 + 1e-9)  # rounding of numbers of order 100, over 1e-3
    if name.startswith("max"):
        assert worst >= factor / 1.5


def test_what_looks_at_numbers() -> None:
    assert not any(
        is_look(name) for name in ("shape", "size", "dim", "is_floating_point", "__len__", "device")
    )
    assert all(is_look(name) for name in ("__bool__", "item", "tolist", "is_nonzero", "equal", "__float__"))
