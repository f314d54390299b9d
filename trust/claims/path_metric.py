"""The path metric of ReLU networks: as published, through the midpoint, and without its premise."""

from __future__ import annotations

from typing import Any

import numpy as np
import xarray as xr

from trust import measurements as variables
from trust.claims.claim import Claim, Measurements, Premise, Quantity
from trust.claims.forms import output as forms
from trust.claims.output import LADDER, output_claim, relative_to_output
from trust.claims.premises import CHAIN, EQUAL_SIGNS, RELU
from trust.claims.quantities import change_allowance, evident_change, output_triangle, perturbed, weights
from trust.paths import log10_path_metric_bound

__all__ = ["PATH_METRIC", "PATH_METRIC_DIRECT", "PATH_METRIC_MIDPOINT"]


def _path_change(measurements: Measurements) -> xr.DataArray:
    own = perturbed(measurements)
    return evident_change(own[variables.OUTPUT_DIFFERENCE_L1] / own[variables.OUTPUT_NORM], measurements)


def _path_allowance(measurements: Measurements) -> xr.DataArray:
    """The outputs' noise is known in ‖·‖₂, and ‖·‖₁ is at most √(number of outputs) times it."""
    own = perturbed(measurements)
    outputs = int(weights(measurements)[variables.ROWS].values[-1])
    change = own[variables.OUTPUT_DIFFERENCE_L1] / own[variables.OUTPUT_NORM]
    return change_allowance(change, outputs**0.5 * measurements[variables.OUTPUT_NOISE_FLOOR])


def _path_triangle(measurements: Measurements) -> xr.DataArray:
    """Of ‖·‖₁ ≤ √(number of outputs) ‖·‖₂: at least what the triangle inequality says."""
    outputs = int(weights(measurements)[variables.ROWS].values[-1])
    return output_triangle(measurements) + 0.5 * float(np.log10(max(outputs, 1)))


def _path_bound(distance: str) -> Quantity:
    def quantity(measurements: Measurements) -> xr.DataArray:
        own = perturbed(measurements)
        known = own[distance].notnull() & own[variables.INPUT_MAX].notnull()  # of tokens there is no size
        found = xr.apply_ufunc(
            lambda log10_distance, size: log10_path_metric_bound(log10_distance, input_max=size),
            own[distance].where(known, 0.0),
            own[variables.INPUT_MAX].fillna(0.0),
        )
        return relative_to_output(found.where(known), measurements)

    return quantity


def _path_claim(
    id: str,
    source: str,
    distance: str,
    formula: str,
    number: int,
    *,
    midpoint: bool = False,
    premises: tuple[Premise, ...] = (),
    **more: Any,
) -> Claim:
    variable = variables.LOG10_PATH_DISTANCE if midpoint else variables.LOG10_PATH_DIFFERENCE
    add = LADDER if midpoint else "a network of at most 100,000 paths (they are counted one by one)"
    return output_claim(
        id,
        source,
        f"‖f̃(x) − f(x)‖₁ ≤ max(‖x‖_∞, 1) · {distance}",
        _path_bound(variable),
        (CHAIN, RELU, *premises),
        number,
        (variable, variables.OUTPUT_DIFFERENCE_L1, variables.INPUT_MAX),
        add=add,
        formula=r"\|\tilde{f}(x) - f(x)\|_1 \le \max(\|x\|_\infty, 1) \cdot " + formula,
        left="ℓ1 change of the output over ‖f(x)‖₂, example by example",
        measured=_path_change,
        log10_allowance=_path_allowance,
        trivial=_path_triangle,
        **more,
    )


_PATHS = "‖Φ(W) − Φ(W̃)‖₁, Φ the vector of all path products"
_PATHS_FORMULA = r"\|\Phi(W) - \Phi(\tilde{W})\|_1"

PATH_METRIC = _path_claim(
    "path-metric",
    "Gonon, Brisebarre, Riccietti and Gribonval 2025",
    f"{_PATHS}, if W and W̃ have no weights of opposite signs",
    _PATHS_FORMULA,
    84,
    premises=(EQUAL_SIGNS,),
    proved=True,
    form=forms.PATH_FORM,
)

PATH_METRIC_MIDPOINT = _path_claim(
    "path-metric-midpoint",
    "this toolkit: the path metric through the midpoint of both networks",
    "[PN(W) + PN(W̃) − 2 PN(m)], m the common sign with the smaller magnitude",
    r"\bigl[\mathrm{PN}(W) + \mathrm{PN}(\tilde{W}) - 2 \mathrm{PN}(m)\bigr]",
    85,
    midpoint=True,
    proved=True,
    form=forms.PATH_MIDPOINT_FORM,
)

PATH_METRIC_DIRECT = _path_claim(
    "path-metric-direct",
    "nobody: the path metric without its premise, to show what the premise is for",
    _PATHS,
    _PATHS_FORMULA,
    86,
    form=forms.PATH_DIRECT_FORM,
    mended_by="path-metric",
    mend="W and W̃ have no weights of opposite signs (or the bound goes through their midpoint)",
)
