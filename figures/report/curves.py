"""Curves to choose from: loss and breakdown of every checkpoint and layer, as a page carries them."""

from __future__ import annotations

import base64
from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import xarray as xr
from matplotlib.colors import to_hex

from figures.labels import checkpoint_names, evenly_chosen
from figures.network import Network
from figures.style import RGB, checkpoint_colors

__all__ = ["MOST_VALUES", "curves_of"]

MOST_VALUES = 120_000
"""Breakdowns of one network that a page carries; of more, some layers are left out, evenly."""

_LIMITS = {"measured": "measured", "predicted": "predicted", "lemma2": "Lemma 2"}


def curves_of(network: Network) -> dict[str, Any]:
    """One network's curves, ready for JSON; numbers that are many are float32 in base64, in the order of the dims.

    Returns:
        ``title``, ``checkpoints`` and ``layers`` (names), ``colors`` (the checkpoints', on white and on black),
        ``weights`` (which of the layers are weight matrices),
        ``all_layers`` (how many there are), ``etas``, ``loss`` (checkpoint, eta), ``change`` and ``evidence``
        (checkpoint, eta, layer; the second one byte each), ``trust`` (checkpoint, eta), and ``limits`` by name, a
        number or null for each checkpoint.
    """
    data, summary = network.measurements, network.summary
    dims = ("checkpoint", "eta", "layer")
    change = data["gradient_change"].transpose(*dims)
    most = MOST_VALUES // max(1, change.sizes["checkpoint"] * change.sizes["eta"])
    kept = evenly_chosen(range(change.sizes["layer"]), max(2, most))
    weights = data["is_weight"].values.astype(bool)
    if not weights[kept].any():
        kept = sorted({*kept, *np.flatnonzero(weights)[:1].tolist()})
    return {
        "title": network.title,
        "checkpoints": checkpoint_names(data),
        "colors": [_hex(checkpoint_colors(data.sizes["checkpoint"], on_dark=dark)) for dark in (False, True)],
        "layers": [str(name) for name in data["layer"].values[kept]],
        "weights": weights[kept].tolist(),
        "all_layers": change.sizes["layer"],
        "etas": [float(eta) for eta in data["eta"].values],
        "loss": _floats(data["loss"].transpose(*dims[:2])),
        "change": _floats(change.isel(layer=kept)),
        "evidence": _bytes(summary["above_noise"].transpose(*dims).isel(layer=kept).values.astype(np.uint8)),
        "trust": _floats(summary["deep_relative_trust"].transpose(*dims[:2])),
        "limits": {
            word: [float(value) if np.isfinite(value) else None for value in network.limits[name].values]
            for name, word in _LIMITS.items()
            if name in network.limits
        },
    }


def _hex(colors: Sequence[RGB]) -> list[str]:
    return [to_hex(color) for color in colors]


def _floats(values: xr.DataArray) -> str:
    with np.errstate(over="ignore"):  # beyond float32 is beyond any axis
        return _bytes(values.values.astype("<f4"))


def _bytes(values: npt.NDArray[Any]) -> str:
    return base64.b64encode(np.ascontiguousarray(values).tobytes()).decode("ascii")
