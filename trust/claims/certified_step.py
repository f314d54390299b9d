"""A step along which the loss provably falls: not an estimate of the measured limit, but a proof below it."""

from __future__ import annotations

import numpy as np
import xarray as xr

from trust import measurements as variables
from trust.claims.claim import Claim, Kind, Measurements, Premise
from trust.claims.pattern import PIECEWISE_LINEAR
from trust.claims.premises import BLOCKS
from trust.claims.quantities import log10, perturbed

__all__ = ["CERTIFIED_STEP"]

_ROUNDING = 1e-12  # of a mean loss, relative to it or to 1: float64's, many times over


def _cross_entropy(measurements: Measurements) -> xr.DataArray:
    """By its name; NaN where the measurements do not say which loss it was."""
    named, loss = "loss" in measurements.attrs, measurements.attrs.get("loss")
    truth = float(loss == "cross-entropy") if named else np.nan
    return xr.full_like(measurements["checkpoint"], truth, dtype=float).reset_coords(drop=True)


def _certified(measurements: Measurements) -> xr.DataArray:
    """log10 of the certified step (checkpoint); −inf where none was found."""
    return log10(measurements[variables.CERTIFIED_STEP])


def _returned(measurements: Measurements) -> xr.DataArray:
    """log10 of the smallest measured η with the same examples' mean loss back at its start.

    Where none is, of the largest measured η or the certified one: as far as can be told it holds.
    """
    own = perturbed(measurements)
    rise = own[variables.LOSS_RISE].mean("example")
    size = abs(measurements[variables.LOSS].isel(eta=0, drop=True)).clip(min=1.0)
    eta = xr.zeros_like(rise) + own[variables.ETA]
    # a touch below it, for at that very η nothing may be certified
    first = eta.where(rise > _ROUNDING * size).min("eta") * (1 - 1e-6)
    return log10(first.fillna(np.maximum(eta.max("eta"), measurements[variables.CERTIFIED_STEP])))


CERTIFIED_STEP = Claim(
    id="certified-step",
    source="this toolkit: the softmax's curvature, the linear response, and what kinks can add",
    statement="𝓛(η) < 𝓛(0) for every 0 < η ≤ the certified step, 𝓛 the mean over the N examples of `pattern`",
    formula=r"\mathcal{L}(\eta) < \mathcal{L}(0) \text{ for every } 0 < \eta \le \text{the certified step}",
    left="the certified step, against the smallest measured η at which the same examples' mean loss is back",
    measured=_certified,
    bound=_returned,
    kind=Kind.LEMMA,
    premises=(
        BLOCKS,
        PIECEWISE_LINEAR,
        Premise("cross-entropy", "the loss is the cross-entropy of labels", _cross_entropy),
    ),
    needs=(variables.CERTIFIED_STEP, variables.LOSS_RISE, variables.LOSS),
    add="`pattern=N` (for the cross-entropy of chains of ReLU, leaky ReLU or linear layers, residual ones too)",
    number=55,
    subject="step",
    proved=True,
)
