"""What a perturbed network is measured to do, beside what theory allows: by the code of run and report."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import numpy as np
import xarray as xr
from torch import Tensor

from analysis import find_envelopes, step_limits, summarise
from probes.evaluation.reductions import norm
from probes.limits import measure_network_limits
from probes.measures.settings import SliceSettings
from probes.playground.session import Session
from probes.slices.slice import measure_slice
from trust import measurements as variables
from trust.claims import all_claims

__all__ = ["LIMITS", "RUNGS", "limits", "readings"]

RUNGS = (
    "telescoped",
    "residual-telescoped",
    "spectral-product",
    "theorem1-function-layerwise",
    "theorem1-function",
)
"""The bounds on the output's change that are shown, the tightest first."""
LIMITS = {
    "measured": "measured",
    "predicted": "predicted",
    "lemma2": "Lemma 2",
    "calibrated": "Lemma 2, measured C",
}
_SAMPLE = 200


def readings(session: Session, moved: Mapping[str, Tensor]) -> dict[str, Any]:
    """One perturbation, measured.

    Args:
        session: with the network before.
        moved: its tensors after, by name.

    Returns:
        ``output_change``: median and worst ‖f̃ − f‖/‖f‖ of a sample; ``breakdown``: each weight matrix's
        ‖g̃ − g‖/‖g‖; ``evidence``: whether that is above the noise; ``trust``: ∏(1 + r_k) − 1; ``relative``: each r_k;
        ``loss`` before and after; ``bounds``: log10 of what each rung allows the worst example, or null, with
        whether its premises hold. Numbers that are not finite are null.
    """
    own = {name: tensor.detach() for name, tensor in session.network.named_parameters()}
    size = max(
        float(norm(moved[name] - tensor) / norm(tensor)) for name, tensor in own.items() if tensor.ndim == 2
    )
    settings = SliceSettings(
        etas=(0.0, size),  # of an update, the matrix that moves most moves by η
        direction="update",
        samples=_SAMPLE,
        limit=False,
        curvature=None,
        spot_check=False,
        split="none",
    )
    data = measure_slice(
        session.network, session.x, session.side, settings=settings, loss="mse", following=moved
    )
    weights = np.flatnonzero(data[variables.IS_WEIGHT].values)
    last = data.isel(checkpoint=0, eta=-1)
    change = last[variables.OUTPUT_CHANGE].values
    summary = summarise(data).isel(checkpoint=0, eta=-1)
    return {
        "loss": [_finite(float(value)) for value in data[variables.LOSS].values[0]],
        "output_change": [_finite(float(np.median(change))), _finite(float(np.max(change)))],
        "breakdown": [_finite(float(last[variables.GRADIENT_CHANGE][k])) for k in weights],
        "evidence": [bool(summary["above_noise"][k]) for k in weights],
        "relative": [_finite(float(last[variables.RELATIVE_PERTURBATION][k])) for k in weights],
        "trust": _finite(float(summary["deep_relative_trust"])),
        "bounds": _bounds(data),
    }


def limits(session: Session) -> dict[str, float | None]:
    """The step limits along the gradient, in relative units; null where there is none."""
    settings = SliceSettings(curvature=None)
    data = measure_network_limits(session.network, session.x, session.side, settings=settings, loss="mse")
    found = step_limits(data).isel(checkpoint=0)
    return {word: _finite(float(found[name])) for name, word in LIMITS.items()}


def _bounds(data: xr.Dataset) -> list[dict[str, Any]]:
    """Each rung that was measured: its name, log10 of what it allows, and whether its premises hold."""
    known = all_claims()
    found = find_envelopes(data, [known[name] for name in RUNGS])
    rows = []
    for name, one in found.items():
        last = one.isel(checkpoint=0, eta=-1)
        hold = float(last["premises_hold"])
        bound = _finite(float(last["log10_bound"]))
        rows.append(
            {"claim": name, "log10": bound, "premises_hold": None if math.isnan(hold) else bool(hold)}
        )
    return rows


def _finite(value: float) -> float | None:
    return value if math.isfinite(value) else None
