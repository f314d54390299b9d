"""The slack of the product bound ∏β‖W_k‖₂ over the Jacobian's norm, as what the gates and what alignment make of it.

∏β‖W_k‖₂ / ‖A_L ··· A_1‖₂ = (∏β‖W_k‖₂ / ∏‖A_k‖₂) · (∏‖A_k‖₂ / ‖A_L ··· A_1‖₂): the second factor is 1 exactly where
the layers align.
"""

from __future__ import annotations

import numpy as np
import xarray as xr

from analysis.completion import completed
from analysis.tables import Rows
from analysis.wording import number
from trust import measurements as variables
from trust.claims.quantities import log10
from trust.claims.residual import log10_lipschitz

__all__ = ["alignment", "alignment_table"]

_PARTS = ("slack", "gates", "alignment")
_QUANTILES = (0.1, 0.5, 0.9)


def alignment(measurements: xr.Dataset) -> xr.Dataset | None:
    """The slack and its two factors in orders of magnitude, and the alignment of each suffix of layers.

    Returns:
        ``slack``, ``gates`` and ``alignment`` (checkpoint, example), the first the sum of the others (NaN, the first
        two, where the layers' norms were not measured); ``orders`` (part, quantile, checkpoint), their quantiles over
        examples; ``through`` (checkpoint, suffix), the median over examples of
        log10(‖A_L ··· A_k‖₂ / ∏‖A_j‖₂), ``suffix`` being the number of its first layer, from 1, of at least two
        layers; ``overlap`` (checkpoint, layer), the median of |⟨v_1(A_{l+1}), u_1(A_l)⟩|. None where the run did not
        measure it.
    """
    if variables.WHOLE_JACOBIAN_ALIGNMENT not in measurements:
        return None
    measurements = completed(measurements)
    known = measurements[variables.JACOBIAN_NORM].notnull().any("checkpoint").values
    own = measurements.isel(example=np.flatnonzero(known))
    norms = own[variables.LAYER_JACOBIAN_NORM]
    own = own.isel(layer=np.flatnonzero(norms.notnull().any(["checkpoint", "example"]).values))
    if not own.sizes["layer"]:
        return None
    product = log10(own[variables.LAYER_JACOBIAN_NORM]).sum("layer", skipna=False)
    aligned = own[variables.WHOLE_JACOBIAN_ALIGNMENT]
    gates = (log10_lipschitz(measurements) - product).where(np.isfinite(product))
    behind = own[variables.JACOBIAN_ALIGNMENT]
    suffixes = [aligned, *(behind.isel(layer=k, drop=True) for k in range(own.sizes["layer"] - 2))]
    through = xr.concat([one.reset_coords(drop=True) for one in suffixes], "suffix")
    whole = {"slack": gates - aligned, "gates": gates, "alignment": -aligned}
    parts = xr.concat([whole[name].reset_coords(drop=True) for name in _PARTS], "part")
    seen = parts.notnull().any("example")
    quantiles = parts.where(seen, 0.0).quantile(_QUANTILES, "example").where(seen)
    return xr.Dataset(
        {
            **whole,
            "orders": quantiles.transpose("part", "quantile", "checkpoint"),
            "through": through.median("example").transpose("checkpoint", "suffix"),
            "overlap": own[variables.SINGULAR_VECTOR_OVERLAP].median("example"),
        }
    ).assign_coords(part=list(_PARTS), suffix=np.arange(1, through.sizes["suffix"] + 1))


def alignment_table(found: xr.Dataset) -> Rows:
    """One row a checkpoint: medians over examples of the slack and its factors in orders, and the range of overlaps."""
    rows = [["checkpoint", "slack of ∏β‖W‖", "by gates", "by alignment", "overlaps of neighbours"]]
    for place, label in enumerate(found["checkpoint"].values):
        one = found.isel(checkpoint=place)
        overlaps = one["overlap"].values[np.isfinite(one["overlap"].values)]
        ends = f"{number(overlaps.min(), 2)} to {number(overlaps.max(), 2)}" if overlaps.size else "–"
        medians = one["orders"].sel(quantile=0.5).values.tolist()
        rows.append([str(label), *(number(value, 2) for value in medians), ends])
    return rows
