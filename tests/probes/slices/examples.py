"""Slices of small networks, and their reference."""

from __future__ import annotations

from typing import Any

import numpy as np
import xarray as xr
from torch import nn

from probes import SliceSettings, measure_slice
from tests.support.reference import Reference

ETAS = np.array([0.0, 1e-3, 1e-2, 0.1, 0.5])
CASES: dict[str, dict[str, Any]] = {
    "plain": {},
    "linear": {"activation": "identity"},
    "no biases": {"bias": False, "activation": "leaky_relu:0.1"},
    "one layer": {"widths": (6, 3)},
    "deep": {"widths": (6, *[8] * 7, 3), "activation": "gelu"},
    "residual": {"residual": True},
    "residual tanh": {"residual": True, "activation": "tanh", "bias": False},
    "layer norm": {"norm": "layer", "activation": "silu"},
    "batch norm": {"norm": "batch"},
    "batch norm, residual": {"norm": "batch", "residual": True, "activation": "softplus", "bias": False},
}


def measured(network: nn.Module, x: Any, y: Any, **settings: Any) -> xr.Dataset:
    """The slice, without its one-checkpoint dimension."""
    settings = {"etas": ETAS, "dtype": "float64", "limit": False, "curvature": None, **settings}
    return measure_slice(network, x, y, settings=SliceSettings(**settings)).isel(checkpoint=0)


def reference_of(network: Any, x: Any, y: Any) -> Reference:
    return Reference(network.spec, x.double().numpy(), y.numpy())
