"""Norms of matrices, against singular values and closed forms."""

from __future__ import annotations

import itertools
import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from probes.measures.operator_norms import Operator, operator_norm
from probes.measures.operator_norms import matrices as module
from tests.probes.measures.operator_norms.examples import MATRIX


def matrices() -> dict[str, Tensor]:
    random = torch.Generator().manual_seed(1)

    def normal(*shape: int) -> Tensor:
        return torch.randn(*shape, generator=random, dtype=torch.float64)

    return {
        "one": torch.tensor([[-3.7]], dtype=torch.float64),
        "row": normal(1, 50),
        "column": normal(300, 1),
        "square": normal(120, 120),
        "wide": normal(30, 700),
        "tall": normal(700, 30),
        "rank deficient": normal(90, 3) @ normal(3, 110),
        "orthogonal": torch.linalg.qr(normal(100, 100)).Q,
        "positive": normal(80, 90).abs(),
        "ill scaled": normal(60, 60) * torch.logspace(0, -300, 60, dtype=torch.float64),
        "single": normal(40, 50).float(),
        "half": normal(40, 50).half(),
    }


@pytest.mark.parametrize("scale", [1.0, 1e200, 1e-200, 1e-300])
@pytest.mark.parametrize("name", matrices())
def test_matrices(name: str, scale: float) -> None:
    matrix = matrices()[name]
    if matrix.dtype == torch.float64:
        matrix = matrix * scale
    reference = np.linalg.svd(matrix.double().numpy(), compute_uv=False)[0]
    norm = operator_norm(matrix, MATRIX)
    assert reference * (1 - 1e-14 * math.sqrt(max(matrix.shape))) <= norm <= reference * (1 + 1e-11)


def hadamard(order: int) -> Tensor:
    found = torch.ones(1, 1, dtype=torch.float64)
    for _ in range(order):
        found = torch.cat([torch.cat([found, found], 1), torch.cat([found, -found], 1)])
    return found


@pytest.mark.parametrize("order", [2, 4, 6, 8, 10])
def test_norms_that_are_known_are_never_underestimated(order: int) -> None:
    """H has entries ±1 and σ = √(its side), the worst case of ‖A‖_F / σ; ones have σ = √(m n)."""
    side = 2**order
    norm = operator_norm(hadamard(order), MATRIX)
    assert 2.0 ** (order / 2) <= norm <= 2.0 ** (order / 2) * (1 + 1e-11)
    ones = operator_norm(torch.ones(4 * side, side), MATRIX)
    assert 2.0 * side <= ones <= 2.0 * side * (1 + 1e-11)


@settings(max_examples=80)
@given(st.integers(1, 40), st.integers(1, 40), st.integers(0, 2**31), st.integers(-900, 900))
def test_a_product_with_a_vector_is_never_longer(m: int, n: int, seed: int, exponent: int) -> None:
    random = torch.Generator().manual_seed(seed)
    matrix = torch.randn(m, n, generator=random, dtype=torch.float64) ** 3 * 2.0**exponent
    norm = operator_norm(matrix, MATRIX) * 2.0**-exponent
    _, _, right = torch.linalg.svd(matrix * 2.0**-exponent)
    image = matrix * 2.0**-exponent @ right[0]
    assert float(image.norm() / right[0].norm()) <= norm * (1 + 1e-15)


def test_scales_at_the_ends_of_the_range() -> None:
    assert operator_norm(torch.zeros(3, 4), MATRIX) == 0
    assert operator_norm(torch.zeros(0, 4), MATRIX) == 0
    tiny = operator_norm(torch.full((1, 1), 5e-324, dtype=torch.float64), MATRIX)
    assert 5e-324 <= tiny <= 1e-323
    assert operator_norm(torch.full((2, 2), 1.5e308, dtype=torch.float64), MATRIX) == math.inf
    assert operator_norm(torch.full((1, 1), 1.5e308, dtype=torch.float64), MATRIX) < math.inf


@pytest.mark.parametrize("bad", [float("nan"), float("inf"), -float("inf")])
def test_entries_that_are_not_finite_have_no_norm(bad: float) -> None:
    weight = torch.ones(3, 3)
    weight[1, 2] = bad
    assert math.isnan(operator_norm(weight, MATRIX))
    assert math.isnan(operator_norm(torch.ones(3, 3), Operator("unknown")))


def test_squaring_is_at_most_a_hundredth_above(monkeypatch: pytest.MonkeyPatch) -> None:
    """Worst when all singular values are equal, where only the number of squarings helps."""
    monkeypatch.setattr(module, "LARGEST_EXACT", 0)
    some = [*matrices().values(), *(hadamard(order) for order in range(10)), torch.eye(300)]
    some += [torch.diag(torch.linspace(low, 1, 200, dtype=torch.float64)) for low in (0.0, 0.9, 0.99)]
    for matrix, scale in itertools.product(some, (1.0, 1e-150)):
        scaled = matrix.double() * scale
        reference = np.linalg.svd(scaled.numpy(), compute_uv=False)[0]
        norm = operator_norm(scaled, MATRIX)
        assert reference * (1 - 1e-14 * math.sqrt(max(matrix.shape))) <= norm <= 1.01001 * reference
