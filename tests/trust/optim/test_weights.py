"""Rules for singular values against their closed forms."""

from __future__ import annotations

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from trust.optim import cap_singular_values_, normalise_spectral_norm_


def test_a_diagonal_matrix_is_cut_or_scaled() -> None:
    diagonal = torch.tensor([4.0, -3.0, 0.5], dtype=torch.float64)
    capped = cap_singular_values_(torch.diag(diagonal), 2.0)
    torch.testing.assert_close(capped, torch.diag(diagonal.clamp(-2, 2)), rtol=0, atol=1e-14)
    scaled = normalise_spectral_norm_(torch.diag(diagonal), 2.0)
    torch.testing.assert_close(scaled, torch.diag(diagonal / 2), rtol=0, atol=1e-14)


@settings(max_examples=40, deadline=None)
@given(seed=st.integers(0, 2**32 - 1), cap=st.floats(0.1, 10.0))
def test_a_cap_keeps_singular_vectors(seed: int, cap: float) -> None:
    generator = torch.Generator().manual_seed(seed)
    u, _ = torch.linalg.qr(torch.randn(6, 4, generator=generator, dtype=torch.float64))
    v, _ = torch.linalg.qr(torch.randn(4, 4, generator=generator, dtype=torch.float64))
    sigma = torch.tensor([7.0, 3.0, 1.0, 0.2], dtype=torch.float64)
    weight = nn.Parameter(((u * sigma) @ v.T).reshape(6, 2, 2))
    assert cap_singular_values_(weight, cap) is weight
    # four roundings of a norm of 7
    torch.testing.assert_close(
        weight.detach().reshape(6, 4), (u * sigma.clamp(max=cap)) @ v.T, rtol=0, atol=1e-13
    )
    assert weight.is_leaf
    assert weight.requires_grad


def test_what_needs_no_change_gets_none() -> None:
    weight = torch.randn(5, 3, generator=torch.Generator().manual_seed(0))
    before = weight.clone()
    cap_singular_values_(weight, float(torch.linalg.matrix_norm(weight, 2)) * 1.001)
    assert torch.equal(weight, before)
    assert not normalise_spectral_norm_(torch.zeros(2, 2), 3.0).any()


@pytest.mark.parametrize("rule", [cap_singular_values_, normalise_spectral_norm_])
def test_what_is_refused(rule: object) -> None:
    for target in (0.0, -1.0, math.inf, math.nan):
        with pytest.raises(ValueError, match="positive and finite"):
            rule(torch.ones(2, 2), target)  # type: ignore[operator]
    with pytest.raises(ValueError, match="two axes"):
        rule(torch.ones(2), 1.0)  # type: ignore[operator]
