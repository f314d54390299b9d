"""Which model of trust explains the slice: a product over layers, or one Lipschitz constant."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import xarray as xr

from analysis.completion import completed
from trust import measurements as variables
from trust.claims.quantities import above_noise, log10, log10_trust, perturbed, whole, whole_change

__all__ = ["Growth", "compare_growth"]

_WHOLE = "all parameters"


@dataclass(frozen=True)
class Growth:
    """Two models with one constant each, fitted at small η and judged on the η that they have not seen.

    Attributes:
        checkpoint: label.
        layer: a weight matrix, or ``all parameters``.
        fitted_to: the largest η of the fit.
        judged_to: the largest η of the judgement.
        points: how many η were judged.
        deep_relative_trust: root mean square of log10(measured / C·D(r)) over the judged η.
        euclidean: the same for log10(measured / K·‖ΔW‖).
    """

    checkpoint: str
    layer: str
    fitted_to: float
    judged_to: float
    points: int
    deep_relative_trust: float
    euclidean: float

    @property
    def better(self) -> str:
        """The model with the smaller error: ``deep-relative-trust``, ``euclidean-trust`` or ``undecided``."""
        if not self.points or abs(self.deep_relative_trust - self.euclidean) < 0.01:
            return "undecided"
        return "deep-relative-trust" if self.deep_relative_trust < self.euclidean else "euclidean-trust"


def compare_growth(measurements: xr.Dataset) -> list[Growth]:
    """Fit and judge both models for the whole gradient and for every weight matrix's.

    The constants are the geometric means of measured over model on the lower half of the η at which the
    change is above the noise; the judgement is on the upper half. For a layer, ‖ΔW‖ is still that of all
    parameters.
    """
    measurements = completed(measurements)
    own = perturbed(measurements)
    trust = _along(log10_trust(own))
    moved = _along(log10(whole(own[variables.PERTURBATION_NORM])))
    changes = _along(log10(own[variables.GRADIENT_CHANGE]), "layer")
    evident = _along(above_noise(own), "layer")
    total = _along(whole_change(measurements))
    etas = own[variables.ETA].values
    layers = np.flatnonzero(own[variables.IS_WEIGHT].values)
    found: list[Growth] = []
    for place, checkpoint in enumerate(own["checkpoint"].values):
        models = trust[place], moved[place]
        change = total[place]
        found.append(_judge(str(checkpoint), _WHOLE, etas, change, np.isfinite(change), *models))
        for index in layers:
            layer = str(own["layer"].values[index])
            change, seen = changes[place, :, index], evident[place, :, index]
            found.append(_judge(str(checkpoint), layer, etas, change, seen, *models))
    return found


def _along(values: xr.DataArray, *dims: str) -> npt.NDArray[Any]:
    """(checkpoint, eta, …): arrays, of which a part is taken sooner."""
    return values.transpose("checkpoint", "eta", *dims).values


def _judge(
    checkpoint: str,
    layer: str,
    etas: npt.NDArray[np.float64],
    change: npt.NDArray[np.float64],
    seen: npt.NDArray[np.bool_],
    trust: npt.NDArray[np.float64],
    moved: npt.NDArray[np.float64],
) -> Growth:
    places = np.flatnonzero(seen & np.isfinite(trust) & np.isfinite(moved) & np.isfinite(change))
    if places.size < 2:
        nan = float("nan")
        return Growth(checkpoint, layer, nan, nan, 0, nan, nan)
    half = places.size // 2
    fit, test = places[:half], places[half:]
    errors = []
    for model in (trust, moved):
        constant = float(np.mean(change[fit] - model[fit]))
        errors.append(float(np.sqrt(np.mean((change[test] - model[test] - constant) ** 2))))
    return Growth(checkpoint, layer, float(etas[fit[-1]]), float(etas[test[-1]]), test.size, *errors)
