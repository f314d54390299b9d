"""The modular norm's recursion against closed forms, and its bounds against derivatives in float64."""

from __future__ import annotations

import math
from itertools import pairwise

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from trust.modular_norm import (
    NormedModule,
    activation_module,
    composed,
    gradient_lipschitz,
    linear_module,
    modular_norm,
)

TANH_CURVATURE = 4 / (3 * math.sqrt(3))  # max |tanh''|


def test_two_linear_layers_in_closed_form() -> None:
    """X ↦ W_2 W_1 x: the second derivative is ΔW_2 ΔW_1 twice, with ‖ΔW_k‖ ≤ ½ each where masses are equal."""
    both = composed(linear_module(), linear_module())
    assert (both.mass, both.sensitivity) == (2.0, 1.0)
    assert both.alpha == pytest.approx(2 * 0.5 * 0.5)
    assert both.beta == pytest.approx(1.0)  # ΔW_2 W_1 Δx + W_2 ΔW_1 Δx
    assert both.gamma == 0
    heavy = composed(linear_module(mass=3.0), linear_module(mass=1.0))
    assert heavy.alpha == pytest.approx(2 * 0.75 * 0.25)


def test_the_norm_is_the_largest_share() -> None:
    modules = [linear_module(mass=1.0), NormedModule(0.0, 2.0), linear_module(mass=3.0)]
    assert modular_norm([0.5, math.nan, 0.9], modules) == pytest.approx(max(4 / 1 * 2 * 0.5, 4 / 3 * 0.9))
    assert modular_norm([0.0, 0.0, 0.0], modules) == 0


def test_the_order_of_brackets_does_not_matter() -> None:
    a, b, c = (
        linear_module(mass=0.5),
        NormedModule(0.0, 0.7, gamma=0.3),
        NormedModule(2.0, 1.3, 0.2, 0.4, 0.6),
    )
    left, right = composed(composed(a, b), c), composed(a, composed(b, c))
    for name in vars(left):
        assert getattr(left, name) == pytest.approx(getattr(right, name), rel=1e-12)


@settings(max_examples=40, deadline=None)
@given(
    seed=st.integers(0, 2**31 - 1),
    widths=st.lists(st.integers(1, 5), min_size=3, max_size=5),
    masses=st.lists(st.floats(0.1, 5), min_size=4, max_size=4),
)
def test_bounds_hold_for_perceptrons(seed: int, widths: list[int], masses: list[float]) -> None:
    """‖∂f Δw‖ ≤ 1 and ‖∂²f (Δw, Δw)‖ ≤ α for tanh chains inside the unit balls, and the loss's curvature."""
    draw = torch.Generator().manual_seed(seed)
    weights, steps, modules, norms = [], [], [], []
    for k, (before, after) in enumerate(pairwise(widths)):
        scale = math.sqrt(before / after)
        W, D = (torch.randn(after, before, generator=draw, dtype=torch.float64) for _ in range(2))
        weights.append(W / (scale * torch.linalg.matrix_norm(W, 2)))
        steps.append(D)
        modules.append(linear_module(mass=masses[k]))
        norms.append(scale * float(torch.linalg.matrix_norm(D, 2)))
        if k < len(widths) - 2:
            modules.append(activation_module(lipschitz=1.0, curvature=TANH_CURVATURE, width=after))
            norms.append(0.0)
    size = modular_norm(norms, modules)
    whole = composed(*modules)
    x = torch.randn(widths[0], generator=draw, dtype=torch.float64)
    x = x / x.norm() * math.sqrt(len(x))

    def output(t: Tensor) -> Tensor:
        h = x
        for k, (W, D) in enumerate(zip(weights, steps, strict=True)):
            h = (W + t * D / size) @ h
            h = torch.tanh(h) if k < len(weights) - 1 else h
        return h

    zero = torch.zeros((), dtype=torch.float64)
    slope = torch.func.jacfwd(output)
    first, second = slope(zero), torch.func.jacfwd(slope)(zero)
    root = math.sqrt(widths[-1])
    assert float(first.norm()) / root <= 1 + 1e-12
    assert float(second.norm()) / root <= whole.alpha * (1 + 1e-12)
    y = torch.randn(widths[-1], generator=draw, dtype=torch.float64)
    residual = output(zero) - y
    curvature = float(first @ first + residual @ second)  # of ½‖f − y‖²
    # of Δf of norm 1, ‖Δf‖₂ = √d: the derivative is at most ‖f − y‖₂√d, the second d
    bound = gradient_lipschitz(whole, slope=float(residual.norm()) * root, curvature=widths[-1])
    assert abs(curvature) <= bound * (1 + 1e-12)


@pytest.mark.parametrize(
    "call",
    [
        lambda: linear_module(mass=0.0),
        lambda: NormedModule(1.0, -1.0),
        lambda: NormedModule(1.0, 1.0, alpha=math.nan),
        lambda: activation_module(lipschitz=1.0, curvature=1.0, width=0),
        lambda: composed(),
        lambda: composed(linear_module(), NormedModule(0.0, 0.0)),
        lambda: modular_norm([1.0], [linear_module(), linear_module()]),
        lambda: modular_norm([-1.0], [linear_module()]),
    ],
)
def test_what_makes_no_sense_is_refused(call) -> None:  # type: ignore[no-untyped-def]
    with pytest.raises(ValueError, match=r"must|norms|stands"):
        call()
