"""The sharpness along a mini-batch's own gradient."""

from __future__ import annotations

import math
from collections.abc import Sequence

from probes.evaluation.curvature.operators import HessianOperator

__all__ = ["gradient_sharpness"]


def gradient_sharpness(hessian: HessianOperator, places: Sequence[int]) -> float:
    """g_Bᵀ H_B g_B / ‖g_B‖² of a batch B; NaN where it has no gradient.

    Args:
        hessian: of all data, at the weights that are meant.
        places: the batch's examples, in ascending order.
    """
    whole = hessian.evaluator
    few = whole.on(whole.data.picked(places), dtype=whole.dtype, chunk=whole.chunk)
    own = hessian.on(few)
    curved, square = own.quadratic(own.flatten(few.evaluate(own.parameters, wanted=own.names).gradients))
    return curved / square if square > 0 else math.nan
