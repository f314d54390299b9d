"""The spectral condition: ‖W_k‖₂ and ‖ΔW_k‖₂ of order √(d_k/d_{k−1}), so that every layer's outputs keep their size.

A convolution's weight is read as the matrix (out, in · taps), as its spectral norm here is.
"""

from __future__ import annotations

import numpy as np
import xarray as xr

from trust import measurements as variables
from trust.claims.claim import Claim, Kind, Measurements
from trust.claims.quantities import log10, weights
from trust.measurements import Variable

__all__ = ["SPECTRAL_CONDITION", "SPECTRAL_CONDITION_STEP", "spectral_scale"]


def spectral_scale(measurements: Measurements) -> xr.DataArray:
    """√(d_k/d_{k−1}) of each weight matrix (layer)."""
    own = weights(measurements)
    return xr.apply_ufunc(np.sqrt, own[variables.ROWS] / own[variables.COLUMNS])


def _scale(measurements: Measurements) -> xr.DataArray:
    return log10(spectral_scale(measurements)).broadcast_like(weights(measurements)[variables.WEIGHT_NORM])


def _claim(id: str, statement: str, formula: str, left: str, norm: Variable, number: int) -> Claim:
    return Claim(
        id=id,
        source="Yang, Simon and Bernstein, A Spectral Condition for Feature Learning, 2023 (arXiv 2310.17813)",
        statement=statement,
        formula=formula,
        left=left,
        measured=lambda measurements: log10(weights(measurements)[norm]).where(
            weights(measurements)[norm] > 0
        ),
        bound=_scale,
        kind=Kind.ESTIMATE,
        needs=(norm, variables.ROWS, variables.COLUMNS, variables.WEIGHT_NORM),
        add="singular values (leave out `spectra='none'`)",
        number=number,
        subject="weights",
    )


SPECTRAL_CONDITION = _claim(
    "spectral-condition",
    "‖W_k‖₂ is near √(d_k/d_{k−1}) in every layer",
    r"\|W_k\|_2 \approx \sqrt{\frac{d_k}{d_{k - 1}}} \text{ in every layer}",
    "‖W_k‖₂, against √(d_k/d_{k−1})",
    variables.SPECTRAL_NORM,
    92,
)

SPECTRAL_CONDITION_STEP = _claim(
    "spectral-condition-step",
    "‖d_k‖₂, the step's norm per unit of η, is near √(d_k/d_{k−1}) in every layer",
    r"\|\mathbf{d}_k\|_2 \approx \sqrt{\frac{d_k}{d_{k - 1}}}",  # bold: d_k is the layer's width
    "‖d_k‖₂, against √(d_k/d_{k−1})",
    variables.DIRECTION_SPECTRAL_NORM,
    93,
)
