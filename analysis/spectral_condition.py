"""How layers' spectral norms, those of the step and the gradients' stable ranks stand to the spectral condition."""

from __future__ import annotations

import xarray as xr

from analysis.tables import Rows
from analysis.wording import span
from trust import measurements as variables
from trust.claims import weights
from trust.claims.spectral_condition import spectral_scale

__all__ = ["spectral_condition", "spectral_condition_table"]


def spectral_condition(measurements: xr.Dataset) -> xr.Dataset | None:
    """Both norms over √(d_k/d_{k−1}), for each weight matrix.

    Returns:
        ``weight``, ‖W_k‖₂/√(d_k/d_{k−1}); ``direction``, the same of d_k, a step per unit of η; ``stable_rank``,
        ‖g_k‖_F²/‖g_k‖₂²: (checkpoint, layer), NaN where not measured. None where no singular values were.
    """
    if variables.SPECTRAL_NORM not in measurements or variables.ROWS not in measurements.variables:
        return None
    own = weights(measurements)
    if not bool(own[variables.SPECTRAL_NORM].notnull().any()):
        return None
    scale = spectral_scale(measurements)
    nothing = xr.full_like(own[variables.SPECTRAL_NORM], float("nan"))
    return xr.Dataset(
        {
            "weight": own[variables.SPECTRAL_NORM] / scale,
            "direction": own.get(variables.DIRECTION_SPECTRAL_NORM, nothing) / scale,
            "stable_rank": own.get(variables.GRADIENT_STABLE_RANK, nothing),
        }
    )


def spectral_condition_table(found: xr.Dataset) -> Rows:
    """One row a checkpoint: each number's range over the weight matrices."""
    heading = ["checkpoint", "‖W‖₂ / √(d_k/d_{k−1})", "‖d‖₂ / √(d_k/d_{k−1})", "gradients' stable rank"]
    rows = [heading]
    for place, label in enumerate(found["checkpoint"].values):
        one = found.isel(checkpoint=place)
        rows.append(
            [
                str(label),
                *(span(one[name].values.tolist()) for name in ("weight", "direction", "stable_rank")),
            ]
        )
    return rows
