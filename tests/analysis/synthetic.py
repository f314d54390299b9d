"""Measurements whose every number is known in closed form: a gradient slice of a quadratic loss.

𝓛(w) = ½ (w − c)ᵀ H (w − c) over two (or more) weight vectors. Its gradient H(w − c) is exact, so losses,
slopes, gradients and angles agree to float64. Any variable, coordinate or attribute can be replaced.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import xarray as xr

LAYERS = ("checkpoint", "layer")
SLICE = ("checkpoint", "eta", "layer")
DIMS: dict[str, tuple[str, ...]] = {
    **dict.fromkeys(("loss", "accuracy", "slope"), ("checkpoint", "eta")),
    "output_change": ("checkpoint", "eta", "example"),
    "jacobian_change": ("checkpoint", "eta", "layer", "example"),
    "gate_change": ("checkpoint", "eta", "layer", "example"),
    **dict.fromkeys(
        (
            "gradient_change",
            "gradient_difference",
            "gradient_cosine",
            "gradient_norm",
            "relative_perturbation",
            "perturbation_norm",
            "perturbed_condition_number",
        ),
        SLICE,
    ),
    **dict.fromkeys(
        (
            "weight_norm",
            "spectral_norm",
            "condition_number",
            "direction_spectral_norm",
            "direction_condition_number",
            "perturbation_cosine",
            "noise_floor",
        ),
        LAYERS,
    ),
    **dict.fromkeys(
        (
            "slope_at_zero",
            "curvature",
            "step_limit",
            "step_limit_searched_to",
            "step_limit_evaluations",
            "step_limit_searched_from",
            "step_limit_resolution",
            "step_limit_clear_to",
            "predicted_limit",
            "predicted_limit_gradients",
            "predicted_limit_losses",
            "loss_noise_floor",
            "output_noise_floor",
        ),
        ("checkpoint",),
    ),
}
COORDINATES = ("is_weight", "rows", "columns", "activation")


def measured(
    etas: Sequence[float] = (0.0, 0.001, 0.002, 0.004, 0.008, 0.016),
    *,
    layers: int = 2,
    width: int = 3,
    examples: int = 2,
    attributes: dict[str, str] | None = None,
    drop: Sequence[str] = (),
    **replaced: Any,
) -> xr.Dataset:
    """One checkpoint of a gradient slice; ``replaced`` values broadcast to their variable's dims.

    Unless replaced: a plain chain of square leaky ReLU layers without biases, ‖W_l‖₂ = 1, κ = 2 for W_l and
    3 for ΔW_l, every output moved by η/10, every Jacobian by η/20, no gate at all, and a step limit of
    exactly 2|𝓛'(0)|/𝓛''.
    """
    rng = np.random.default_rng(0)
    size = layers * width
    H = rng.standard_normal((size, size))
    H = H @ H.T + np.eye(size)
    w, c = rng.standard_normal(size), rng.standard_normal(size)
    parts = [slice(k * width, (k + 1) * width) for k in range(layers)]
    g = H @ (w - c)
    d = np.concatenate([-np.linalg.norm(w[p]) * g[p] / np.linalg.norm(g[p]) for p in parts])
    grid = np.array(etas, dtype=float)
    gradients = np.array([H @ (w + eta * d - c) for eta in grid])

    def norms(vectors: Any) -> Any:
        return np.stack([np.linalg.norm(vectors[..., p], axis=-1) for p in parts], axis=-1)

    before, after = norms(g), norms(gradients)
    change = norms(gradients - g)
    dots = np.stack([gradients[:, p] @ g[p] for p in parts], axis=-1)
    slope, curvature = float(g @ d), float(d @ H @ d)
    moved = grid[:, None]
    values: dict[str, Any] = {
        "loss": 0.5 * (w - c) @ H @ (w - c) + grid * slope + 0.5 * grid**2 * curvature,
        "accuracy": 1.0,
        "slope": gradients @ d,
        "output_change": grid[:, None] / 10,
        "gradient_change": change / before,
        "gradient_difference": change,
        "gradient_cosine": dots / (after * before),
        "gradient_norm": after,
        "relative_perturbation": moved,
        "perturbation_norm": moved * norms(w),
        "weight_norm": norms(w),
        "spectral_norm": 1.0,
        "condition_number": 2.0,
        "direction_spectral_norm": 1.0,
        "direction_condition_number": 3.0,
        "perturbed_condition_number": 2.5,
        "jacobian_change": grid[:, None, None] / 20,
        "gate_change": 0.0,
        "perturbation_cosine": 1.0,
        "noise_floor": 1e-13,
        "slope_at_zero": slope,
        "curvature": curvature,
        "step_limit": -2 * slope / curvature,
        "step_limit_searched_to": max(grid[-1], 1.0),
        "step_limit_evaluations": 5.0,
        "step_limit_searched_from": grid[1],
        "step_limit_resolution": 2.0,
        "step_limit_clear_to": -2 * slope / curvature,
        "predicted_limit": -1.9 * slope / curvature,
        "predicted_limit_gradients": 2.0,
        "predicted_limit_losses": 1.0,
        "loss_noise_floor": 1e-16,
        "output_noise_floor": 1e-13,
    }
    values |= {name: value for name, value in replaced.items() if name in DIMS}
    sizes = {"checkpoint": 1, "eta": grid.size, "layer": layers, "example": examples}
    coordinates: dict[str, Any] = {
        "is_weight": True,
        "rows": 5,
        "columns": 5,
        "activation": ["leaky_relu:0.5"] * (layers - 1) + ["identity"],
    }
    coordinates |= {name: value for name, value in replaced.items() if name in COORDINATES}
    unknown = set(replaced) - set(DIMS) - set(COORDINATES)
    assert not unknown, unknown
    return xr.Dataset(
        {
            name: (dims, np.broadcast_to(np.array(values[name], float), [sizes[dim] for dim in dims]).copy())
            for name, dims in DIMS.items()
            if name not in drop
        },
        coords={
            "checkpoint": ["c0"],
            "eta": grid,
            "layer": [f"layers.{k}.weight" for k in range(layers)],
            "example": np.arange(examples),
            **{name: ("layer", np.broadcast_to(np.array(v), layers)) for name, v in coordinates.items()},
        },
        attrs={
            "architecture": "perceptron",
            "residual": "false",
            "norm": "none",
            "biases": "false",
            "epsilon": 2.0**-52,
            **(attributes or {}),
        },
    )
