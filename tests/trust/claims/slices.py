"""Small slices beside the tensors that they were measured at, for references in plain NumPy to start from."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
import torch
import xarray as xr
from torch import Tensor

from probes.measures.bound_ingredients import BoundIngredients
from probes.measures.measure import Point
from probes.measures.settings import SliceSettings
from probes.networks.perceptron import Perceptron, PerceptronSpec
from probes.slices.slice import measure_slice
from tests.trust.claims.examples import CLAIMS

Array = npt.NDArray[np.float64]
ETAS = np.array([0.0, 0.01, 0.1, 0.3, 0.4])
LADDER = [claim.id for claim in CLAIMS.values() if 80 <= claim.number < 90]
PATHS = ["path-metric", "path-metric-midpoint", "path-metric-direct"]


@dataclass
class Case:
    """What was measured, and the tensors that it was measured at, for references to start from."""

    found: xr.Dataset
    before: list[tuple[Array, Array]]
    after: list[list[tuple[Array, Array]]]
    x: Array
    y: Array
    activation: str

    @property
    def depth(self) -> int:
        return len(self.before)


def network_of(
    widths: tuple[int, ...], activation: str, *, biases: bool = False, seed: int = 0
) -> Perceptron:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        spec = PerceptronSpec(widths, activation, biases=(biases,) * (len(widths) - 1))
        return Perceptron(spec).double()


def case_of(
    widths: tuple[int, ...] = (4, 5, 4, 3),
    activation: str = "tanh",
    *,
    biases: bool = False,
    seed: int = 0,
    scale: float = 1.0,
    **settings: Any,
) -> Case:
    network = network_of(widths, activation, biases=biases, seed=seed)
    rng = np.random.default_rng(seed)
    x = torch.from_numpy(scale * rng.normal(size=(6, widths[0])))
    y = torch.from_numpy(rng.normal(size=(6, widths[-1])))
    return measured(network, x, y, **settings)


def measured(network: Perceptron, x: Tensor, y: Tensor, **settings: Any) -> Case:
    seen: list[Mapping[str, Tensor]] = []
    following = settings.pop("following", None)

    record = BoundIngredients.record

    def spy(self: BoundIngredients, point: Point) -> None:
        seen.append({name: tensor.clone() for name, tensor in point.moved.items()})
        record(self, point)

    settings = {"etas": ETAS, "dtype": "float64", "limit": False, "curvature": None, **settings}
    settings.setdefault("samples", 6)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(BoundIngredients, "record", spy)
        found = measure_slice(
            network, x, y, settings=SliceSettings(**settings), loss="mse", following=following
        )
    found.attrs["loss"] = "mse"  # as a run adds it

    def chain(tensors: Mapping[str, Tensor]) -> list[tuple[Array, Array]]:
        parts = []
        for k in range(network.spec.depth):
            weight = tensors[f"layers.{k}.weight"].detach().double().numpy()
            bias = tensors.get(f"layers.{k}.bias")
            parts.append((weight, np.zeros(len(weight)) if bias is None else bias.detach().double().numpy()))
        return parts

    before = chain(dict(network.named_parameters()))
    return Case(found, before, [chain(m) for m in seen], x.numpy(), y.numpy(), network.spec.activation)


def with_values(measurements: xr.Dataset, **values: Any) -> xr.Dataset:
    """A copy with some variables replaced, broadcast to their dims."""
    changed = measurements.copy()
    for name, value in values.items():
        changed[name] = xr.zeros_like(measurements[name]) + value
    return changed


def with_activation(measurements: xr.Dataset, name: str) -> xr.Dataset:
    names = [name if str(a) != "identity" else "identity" for a in measurements["activation"].values]
    return measurements.assign_coords(activation=("layer", names))


def phi(name: str, z: Array) -> Array:
    if name.startswith("leaky_relu"):
        return np.where(z > 0, z, float(name.partition(":")[2]) * z)
    return {"relu": np.maximum(z, 0), "tanh": np.tanh(z), "identity": z}[name]


def states(case: Case, chain: list[tuple[Array, Array]], x: Array) -> list[Array]:
    """h_0, …, h_L, the last one without φ."""
    found = [x]
    for k, (W, b) in enumerate(chain):
        z = W @ found[-1] + b
        found.append(z if k == case.depth - 1 else phi(case.activation, z))
    return found


def top(W: Array) -> float:
    return float(np.linalg.svd(W, compute_uv=False)[0])
