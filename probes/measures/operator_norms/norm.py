"""The spectral norm of a layer as a linear operator, whatever its kind."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from probes.measures.operator_norms.convolutions import convolution_norm
from probes.measures.operator_norms.matrices import matrix_norm
from probes.measures.operator_norms.operators import Operator

__all__ = ["operator_norm"]


def operator_norm(weight: Tensor, operator: Operator) -> float:
    """The spectral norm of a layer without its bias, or an upper bound on it, in float64 and rounded up.

    NaN for an "unknown" operator or entries that are not finite; infinite beyond float64's range.

    * Matrix (out, in): exact (within 1e-11 for sides up to 1024) while the smaller side is at most
      ``LARGEST_EXACT``; beyond, at most ``OVERESTIMATE`` = 1.01 times σ_max.
    * Convolution (out, in / groups, taps…) and transposed convolution (in, out / groups, taps…): exact (as a
      matrix) where the operator's matrix has at most ``LARGEST_DENSE`` rows and columns in each group.
      Otherwise an upper bound: the operator is a restriction of one on a torus, whose norm is the largest
      over its frequencies. With circular padding that keeps the size (stride dividing it) the torus is the
      input itself and the bound is the norm. Reflected or replicated padding costs the square root of how
      often an input position is copied. Where the torus has more frequencies than a grid that is good to
      ``OVERESTIMATE_AXIS`` = 1.005 an axis, that grid is used and the bound multiplied accordingly.
    """
    values = weight.detach().to(device="cpu", dtype=torch.float64)
    if operator.kind == "unknown":
        return float("nan")
    largest = max(map(abs, map(float, values.aminmax()))) if values.numel() else 0.0
    if not math.isfinite(largest):
        return float("nan")
    if largest == 0:
        return 0.0
    # To [½, 1) by a power of two, which is exact, in two steps because 2^±1074 is no float64.
    exponent = math.frexp(largest)[1]
    half = -exponent // 2
    values = (values * 2.0**half).mul_(2.0 ** (-exponent - half))
    norm = matrix_norm(values.flatten(1)) if operator.kind == "matrix" else convolution_norm(values, operator)
    try:
        scaled = math.ldexp(norm, exponent)
    except OverflowError:
        return float("inf")
    return scaled if norm == 0 or scaled > 2.0**-1021 else math.nextafter(scaled, math.inf)
