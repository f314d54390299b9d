"""Small made-up networks: the shapes and coordinates of real measurements, values chosen to be told apart."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import pandas as pd
import xarray as xr
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

ETAS = np.array([0.0, 1e-3, 1e-2, 1e-1, 1.0])
LAYERS = ["layers.0.weight", "layers.0.bias", "layers.1.weight", "layers.1.bias", "layers.2.weight"]
IS_WEIGHT = np.array([True, False, True, False, True])


@dataclass(frozen=True)
class Network:
    """What a report of one network is made from."""

    title: str
    measurements: xr.Dataset
    summary: xr.Dataset
    limits: xr.Dataset
    history: pd.DataFrame | None
    envelopes: Mapping[str, xr.Dataset]
    slack: xr.Dataset | None
    split: xr.Dataset | None
    labels: xr.Dataset | None
    alignment: xr.Dataset | None
    curvature: xr.Dataset | None = None
    alarms: tuple[str, ...] = ()
    in_short: tuple[tuple[str, str], ...] = ()
    introduction: tuple[str, ...] = ()
    probed: tuple[tuple[str, str], ...] = ()
    judged: tuple[object, ...] = ()
    sections: tuple[tuple[str, str, list[list[str]]], ...] = ()
    warnings: tuple[str, ...] = ()
    unfinished: tuple[str, ...] = ()


def network(title: str = "3 layers", *, checkpoints: int = 3, steps: bool = True, seed: int = 0) -> Network:
    """A network with everything known, every value different from every other."""
    rng = np.random.default_rng(seed)
    names = [f"epoch-{k:02d}" for k in range(checkpoints)]
    coords = {"checkpoint": names, "eta": ETAS, "layer": LAYERS, "is_weight": ("layer", IS_WEIGHT)}
    if steps:
        coords["step"] = ("checkpoint", 12 * np.arange(checkpoints))
        coords["train_accuracy"] = ("checkpoint", np.linspace(0.1, 0.9, checkpoints))
    grid, layered = ("checkpoint", "eta"), ("checkpoint", "eta", "layer")
    shape = (checkpoints, len(ETAS), len(LAYERS))

    def numbers(*sizes: int) -> np.ndarray:
        return 10.0 ** rng.uniform(-1, 2, sizes)

    change = numbers(*shape) * ETAS[:, None]
    accuracy = rng.uniform(size=shape[:2])
    measurements = xr.Dataset(
        {
            "loss": (grid, numbers(*shape[:2])),
            "accuracy": (grid, accuracy),
            "gradient_change": (layered, change),
        },
        coords,
    )
    trust = np.broadcast_to(np.expm1(3 * np.log1p(ETAS)), shape[:2])
    summary = xr.Dataset(
        {
            "deep_relative_trust": (grid, trust.copy()),
            "above_noise": (layered, np.ones(shape, bool)),
            "constant": (("checkpoint", "layer"), numbers(checkpoints, len(LAYERS))),
        },
        coords,
    )
    along = {name: value for name, value in coords.items() if name in ("checkpoint", "step")}
    limits = xr.Dataset(
        {
            name: ("checkpoint", numbers(checkpoints))
            for name in ("calibrated", "curvature", "predicted", "certified", "measured")
        }
        | {"lemma2": ("checkpoint", np.full(checkpoints, 2 ** (1 / 3) - 1))}
        | {"searched_to": ("checkpoint", np.full(checkpoints, 7.0))},
        along,
    )
    functions = ("theorem1-function", "theorem1-function-layerwise")
    measured = rng.uniform(-2, 0, shape)
    weights = [name for name, weight in zip(LAYERS, IS_WEIGHT, strict=True) if weight]
    envelopes = {
        claim: xr.Dataset(
            {
                "log10_measured": (grid, measured[..., 0]),
                "log10_measured_median": (grid, measured[..., 0] - 0.5),
                "log10_bound": (grid, rng.uniform(3, 400, shape[:2])),
            },
            {"checkpoint": names, "eta": ETAS},
            {"claim": claim, "subject": "function"},
        )
        for claim in functions
    }
    envelopes["theorem1-jacobian"] = xr.Dataset(
        {
            "log10_measured": (layered, measured[..., IS_WEIGHT]),
            "log10_measured_median": (layered, measured[..., IS_WEIGHT] - 0.5),
            "log10_bound": (layered, rng.uniform(3, 400, shape)[..., IS_WEIGHT]),
        },
        {"checkpoint": names, "eta": ETAS, "layer": weights},
        {"claim": "theorem1-jacobian", "subject": "jacobian"},
    )
    step = np.arange(20)
    history = pd.DataFrame(
        {"step": step, "epoch": step / 10, "loss": numbers(20), "accuracy": rng.uniform(size=20)}
    )
    slack = slack_of(rng.uniform(0.5, 30, (4, checkpoints, len(ETAS) - 1)), measured[:, 1:, 0], along)
    split = split_of(rng, coords)
    measurements["frozen_residual_change"] = (layered, np.where(ETAS[:, None] > 0, change / 3, np.nan))
    summary["frozen_above_noise"] = (layered, np.ones(shape, bool))
    labels = xr.Dataset(
        {
            "kept": (grid, rng.uniform(0.5, 1, shape[:2])[:, 1:]),
            "certified": (grid, rng.uniform(0.3, 0.5, shape[:2])[:, 1:]),
            "certified_by": (("rung", *grid), rng.uniform(0, 0.3, (2, *shape[:2]))[..., 1:]),
            "examples": ("checkpoint", np.full(checkpoints, 60)),
        },
        {**along, "eta": ETAS[1:], "rung": ["pattern-telescoped", "telescoped"]},
    )
    aligned = xr.Dataset(
        {
            "through": (("checkpoint", "suffix"), -rng.uniform(0, 1, (checkpoints, 3))),
            "orders": (("part", "quantile", "checkpoint"), rng.uniform(0, 1, (3, 3, checkpoints))),
        },
        {**along, "suffix": [1, 2, 3], "part": ["slack", "gates", "alignment"], "quantile": [0.1, 0.5, 0.9]},
    )
    forms = ("hessian", "gauss_newton", "block", "batch_sharpness", "critical_sharpness", "edge")
    curvature = xr.Dataset({name: ("checkpoint", numbers(checkpoints)) for name in forms}, along)
    return Network(
        title, measurements, summary, limits, history, envelopes, slack, split, labels, aligned, curvature
    )


FACTORS = ["single examples", "cancellation", "residuals"]


def split_of(rng: np.random.Generator, coords: dict[str, object]) -> xr.Dataset:
    """A constant taken apart, at two η."""
    shape = (len(coords["checkpoint"]), 2, len(LAYERS))
    dims = ("checkpoint", "eta", "layer")
    return xr.Dataset(
        {
            "log10_factor": (("factor", *dims), rng.uniform(-1, 2, (3, *shape))),
            "constant": (dims, 10.0 ** rng.uniform(0, 2, shape)),
            "jacobian_constant": (dims, 10.0 ** rng.uniform(0, 1, shape)),
            "example_constant": ((*dims, "quantile"), 10.0 ** rng.uniform(0, 1, (*shape, 3))),
        },
        coords | {"eta": ETAS[1:3], "factor": FACTORS, "quantile": [0.5, 0.9, 1.0]},
        {"small_eta": ETAS[1]},
    )


RUNGS = ["measured", "telescoped", "spectral-product", "theorem1-function-layerwise", "theorem1-function"]
CAUSES = ["alignment", "data-independent norms", "conditioning and α", "one worst κ"]


def slack_of(share: np.ndarray, measured: np.ndarray, coords: dict[str, object]) -> xr.Dataset:
    """The slack from its shares (cause, checkpoint, eta) and the measured change (checkpoint, eta)."""
    rungs = np.concatenate([measured[None], measured + np.cumsum(share, axis=0)])
    return xr.Dataset(
        {
            "log10_rung": (("rung", "checkpoint", "eta"), rungs),
            "share": (("cause", "checkpoint", "eta"), share),
            "total": (("checkpoint", "eta"), share.sum(0)),
            "premises_hold": (("rung", "checkpoint", "eta"), np.ones(rungs.shape, bool)),
        },
        {**coords, "eta": ETAS[1:], "rung": RUNGS, "cause": CAUSES},
    )


def axes() -> Axes:
    """Axes of the caller's own."""
    return Figure().subplots()


def drawn(line: Line2D) -> tuple[np.ndarray, np.ndarray]:
    """The points of a line that are seen."""
    x, y = np.asarray(line.get_xdata(), float), np.asarray(line.get_ydata(), float)
    return x[np.isfinite(y)], y[np.isfinite(y)]


def marks(ax: Axes) -> list[Line2D]:
    """The triangles at the upper edge."""
    return [line for line in ax.lines if line.get_gid() == "mark at the edge"]


def zeros(ax: Axes) -> list[Line2D]:
    """The points in the strip of zeros."""
    return [line for line in ax.lines if line.get_gid() == "strip of zeros"]


def hollow(ax: Axes) -> list[Line2D]:
    """The lines of hollow points."""
    return [line for line in ax.lines if line.get_markerfacecolor() == "white"]


def legend_texts(ax: Axes) -> list[str]:
    """What the legend says."""
    legend = ax.get_legend()
    return [] if legend is None else [text.get_text() for text in legend.get_texts()]
