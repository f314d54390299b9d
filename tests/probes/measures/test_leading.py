"""Leading singular values and vectors by products, against LAPACK's of the matrices."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor

from probes.measures import leading as module
from probes.measures.leading import LinearMaps, leading


def maps(matrices: Tensor, **more: Any) -> LinearMaps:
    def times(matrix: Tensor, vectors: Tensor) -> Tensor:
        return (matrix @ vectors[..., None])[..., 0]

    examples, outputs, inputs = matrices.shape
    return LinearMaps(
        examples, inputs, outputs, lambda v: times(matrices, v), lambda u: times(matrices.mT, u), matrices
    )


def matrices(outputs: int, inputs: int) -> Tensor:
    """Two random ones, zero, one whose singular values are all equal, and one of rank one."""
    generator = torch.Generator().manual_seed(0)
    made = torch.randn(5, outputs, inputs, generator=generator, dtype=torch.float64)
    made[2] = 0
    made[3] = torch.eye(outputs, inputs, dtype=torch.float64)
    made[4] = made[0, :, :1] @ made[0, :1]
    return made


@pytest.mark.parametrize("shape", [(5, 7), (7, 5), (1, 6), (6, 1), (90, 130), (130, 90)])
def test_they_are_lapacks(shape: tuple[int, int]) -> None:
    given = matrices(*shape)
    found = leading(maps(given))
    left, values, right = torch.linalg.svd(given, full_matrices=False)
    values = torch.nn.functional.pad(values, (0, 1))[:, :2]
    # a value is a root of one of AᵀA: where it is zero, of its rounding
    largest = values[:, :1].clamp(min=1.0)
    torch.testing.assert_close(found.values[:, 0], values[:, 0], rtol=1e-12, atol=1e-14)
    assert bool(((found.values - values).abs() <= 1e-6 * largest).all())
    for k in (0, 1, 4):  # the others' are any of many
        assert float((found.left[k] @ left[k, :, 0]).abs()) == pytest.approx(1, abs=1e-9)
        assert float((found.right[k] @ right[k, 0]).abs()) == pytest.approx(1, abs=1e-9)


def test_equal_singular_values_are_seen_in_a_space_that_is_not_whole() -> None:
    assert min(90, 130) > module.DENSE
    pair = torch.diag(torch.tensor([2.0, 2.0, *[1.0 / (k + 2) for k in range(98)]], dtype=torch.float64))
    values = leading(maps(pair[None])).values
    torch.testing.assert_close(values, torch.full_like(values, 2.0), rtol=1e-12, atol=0)


def test_what_has_not_converged_is_not_known(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "_MOST", 6)
    given = matrices(90, 130)
    values = leading(maps(given)).values
    assert values[[0, 1]].isnan().all()
    assert values[[2, 3], 0].tolist() == [0.0, pytest.approx(1.0)]


def test_what_is_not_finite_is_not_known() -> None:
    given = matrices(5, 7)
    given[1, 0, 0] = torch.inf
    values = leading(maps(given)).values
    assert values[1].isnan().all()
    assert values[[0, 2, 3, 4]].isfinite().all()
