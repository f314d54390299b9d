"""``probe study theorem1``: where Theorem 1 says something, and what is left of it as its premises are spoiled.

Its premises hold for a leaky ReLU network without biases, of orthogonal matrices of one width, along noise, whose
singular values are all alike. From there one premise after the other is spoiled, at depths from 1 to 50: the network is
trained, it gets biases, its nonlinearity is ReLU, the direction is the gradient. At each the measured change of the
function stands beside the theorem's finite bound, and every rung between.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
import xarray as xr
from torch import nn

from analysis import find_envelopes
from analysis.verdicts import ROUNDING
from analysis.wording import power
from figures.panels import Panel, draw_panels, numbers_of_panels
from probes.data.dataset import DataSet
from probes.measures.settings import SliceSettings
from probes.networks.kinds import build
from probes.networks.perceptron import Perceptron, PerceptronSpec
from probes.slices.slice import measure_slice
from studies.frame import Conclusion, Coordinates, Interval, Study, banded, interval
from studies.parts.conclusions import beside_paper, ends_by_name, runs_where
from trust.optim import Fromage

__all__ = ["PRESETS", "Preset", "Theorem1"]

_SPOILED = {
    "none": "all premises hold",
    "trained": "after training",
    "biases": "with biases",
    "relu": "ReLU in place of leaky ReLU",
    "gradient": "along the gradient",
}
_MEASURED = "measured change"
_RUNGS = {
    "telescoped": "telescoped",
    "spectral-product": "spectral product",
    "theorem1-function-layerwise": "Theorem 1, layer by layer",
    "theorem1-function": "Theorem 1",
}
_BATCH, _LR = 125, 0.01
_LEAST = 1e-6
"""Orders of magnitude: less is rounding, and no slack."""


@dataclass(frozen=True)
class Preset:
    """How large the study is.

    Attributes:
        width: of every layer, inputs and outputs too.
        depths: numbers of layers.
        examples: that are measured.
        steps: of training, where that spoils a premise.
        eta: at which the changes are compared.
    """

    width: int
    depths: tuple[int, ...]
    examples: int
    steps: int
    eta: float = 1e-3


PRESETS = {
    "toy": Preset(6, (1, 3), 20, 3),
    "quick": Preset(64, (1, 2, 3, 5, 10, 20, 50), 200, 300),
    "paper": Preset(784, (1, 2, 3, 5, 10, 20, 50), 1000, 1000),
}


class Theorem1(Study):
    """The function's change beside the bounds, against depth, as premises are spoiled."""

    name = "theorem1"
    question = "Where does Theorem 1 say something, and what spoils it?"
    presets = PRESETS
    caveats = (
        "Layers have one width: images are averaged down to it, and as many outputs as there are units are read.",
        "Each premise is spoiled by itself, of a network that keeps the others at its start; training spoils more than"
        " one, for weights are not orthogonal after it.",
        "The worst example counts, as in the theorem, at one η.",
        "κ of the theorem as published is the worst of all weights and of all perturbations: here that of the noise (of"
        " gradients, of deficient rank, infinite), the same whatever the weights, so that several rows say the same. It"
        " models ReLU by α = β = ½ and stays finite; layer by layer ReLU has its own α = 0, and the bound is infinite.",
    )

    def runs(self, size: Preset) -> list[Coordinates]:
        """Each spoiled premise at each depth, the deepest first."""
        return [{"spoiled": what, "depth": depth} for depth in reversed(size.depths) for what in _SPOILED]

    def measure(self, size: Preset, run: Coordinates, folder: Path, data: DataSet) -> xr.Dataset:
        """log10 of the measured change and of each bound, relative to the outputs, of the worst example (rung)."""
        few = data.head(size.examples)
        x, y = _narrow(few.x, size.width), few.y % size.width
        network = _network(size, run)
        if run["spoiled"] == "trained":
            _trained(network, _narrow(data.x, size.width), data.y % size.width, size.steps, int(run["seed"]))
        settings = SliceSettings(
            etas=np.array([0.0, size.eta]),
            direction="gradient" if run["spoiled"] == "gradient" else "noise",
            seed=int(run["seed"]),
            samples=size.examples,
            dtype="float64",
            spectra="slice",
            limit=False,
            curvature=None,
            spot_check=False,
            split="none",
        )
        found = measure_slice(network, x, y, settings=settings)
        envelopes = find_envelopes(found, [*_RUNGS], subject="function")
        rungs = {_MEASURED: next(iter(envelopes.values()))["log10_measured"]}
        rungs |= {name: own["log10_bound"] for name, own in envelopes.items()}
        nothing = xr.DataArray(math.nan)
        values = [float(rungs.get(name, nothing).squeeze()) for name in (_MEASURED, *_RUNGS)]
        return xr.Dataset({"log10": ("rung", values)}, {"rung": [_MEASURED, *_RUNGS]})

    def conclude(self, size: Preset, found: xr.Dataset) -> Conclusion:
        """What each bound says of each spoiled premise."""
        depths = sorted(size.depths)
        cells = {
            (what, depth, rung): _interval(found, what, depth, rung)
            for what in _SPOILED
            for depth in depths
            for rung in (_MEASURED, *_RUNGS)
        }
        gaps = {
            (what, depth, rung): _interval(found, what, depth, rung, above=True)
            for what in _SPOILED
            for depth in depths
            for rung in _RUNGS
        }
        panels = [
            Panel(
                title,
                "layers",
                "orders above the measured change",
                [
                    banded(label, depths, [_positive(gaps[what, depth, rung]) for depth in depths])
                    for rung, label in _RUNGS.items()
                ],
                log_x=True,
                log_y=True,
                limits=(0.05, 1000),
            )
            for what, title in _SPOILED.items()
        ]
        table = [["premises", "layers", _MEASURED, *_RUNGS.values()]]
        for what, title in _SPOILED.items():
            for depth in depths:
                own = [_shown(cells[what, depth, rung]) for rung in (_MEASURED, *_RUNGS)]
                table.append([title, str(depth), *own])
        numbers = ends_by_name({f"{what}/{depth}/{rung}": one for (what, depth, rung), one in cells.items()})
        true = runs_where(found, spoiled=next(iter(_SPOILED)))["log10"]
        paper = beside_paper(
            "The paper's Theorem 1 bounds the change where all its premises hold",
            true.sel(rung="theorem1-function") < true.sel(rung=_MEASURED) - ROUNDING,
            "networks, however far the bound is above it",
        )
        least = gaps[next(iter(_SPOILED)), depths[0], "theorem1-function"]
        plainly = (
            f"So it is true and says nothing of the size: where it is nearest, at {depths[0]} layer with all premises,"
            f" it is {_orders(least)} orders above."
        )
        return Conclusion(
            f"{_answer(size, depths, gaps)}\n{plainly}\n{paper}",
            numbers,
            table,
            draw_panels(panels, columns=3),
            numbers_of_panels(panels),
        )


Cells = Mapping[tuple[str, int, str], Interval]


def _narrow(x: torch.Tensor, width: int) -> torch.Tensor:
    """Images averaged down to ``width`` numbers, each of as many neighbouring pixels as there are."""
    return nn.functional.adaptive_avg_pool1d(x.double().flatten(1), width)


def _network(size: Preset, run: Coordinates) -> Perceptron:
    """Orthogonal matrices of one width, with what is spoiled."""
    depth = int(run["depth"])
    spec = PerceptronSpec(
        widths=(size.width,) * (depth + 1),
        activation="relu" if run["spoiled"] == "relu" else "leaky_relu:0.1",
        biases=(run["spoiled"] == "biases",) * depth,
    )
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(int(run["seed"]))
        network = build(spec)
        assert isinstance(network, Perceptron)
        for tensor in network.parameters():
            if tensor.ndim == 2:
                nn.init.orthogonal_(tensor)
            else:
                nn.init.normal_(tensor, std=size.width**-0.5)
    return network.double().eval()


def _trained(network: Perceptron, x: torch.Tensor, y: torch.Tensor, steps: int, seed: int) -> None:
    optimizer, order = Fromage(network.parameters(), lr=_LR), torch.Generator().manual_seed(seed)
    for _ in range(steps):
        rows = torch.randint(len(x), (_BATCH,), generator=order)
        optimizer.zero_grad()
        nn.functional.cross_entropy(network(x[rows]), y[rows]).backward()  # type: ignore[no-untyped-call]
        optimizer.step()


def _interval(found: xr.Dataset, what: str, depth: int, rung: str, *, above: bool = False) -> Interval:
    """Over seeds; where asked for, how far above the measured change of the same seed."""
    same = (found["spoiled"] == what).values & (found["depth"] == depth).values
    values = found["log10"].sel(rung=rung).values[same]
    return interval(values - found["log10"].sel(rung=_MEASURED).values[same] if above else values)


def _positive(one: Interval) -> Interval:
    """Without what a log axis cannot show: none, less than nothing, and infinity."""
    ends = (one.low, one.middle, one.high)
    return Interval(*(value if _LEAST < value < math.inf else math.nan for value in ends))


def _shown(one: Interval) -> str:
    low, middle, high = (power(value) for value in (one.low, one.middle, one.high))
    return middle if low == high else f"{middle} ({low}–{high})"


def _answer(size: Preset, depths: list[int], gaps: Cells) -> str:
    lines = []
    for what, title in _SPOILED.items():
        parts = []
        for depth in (depths[0], depths[len(depths) // 2], depths[-1]):
            theorem, best = (gaps[what, depth, rung] for rung in ("theorem1-function", "telescoped"))
            above = _orders(theorem) if math.isfinite(theorem.middle) else "infinitely many"
            parts.append(f"{above} at {depth} (telescoped {_orders(best)})")
        head = title[0].upper() + title[1:]
        lines.append(
            f"{head}: by so many orders is Theorem 1's bound above the change: {', '.join(parts)} layers."
        )
    heading = (
        f"At η = {size.eta:g}, medians over seeds (and ranges) of the worst example, from few layers to many."
    )
    return "\n".join([heading, *lines])


def _orders(one: Interval) -> str:
    ends = (
        round(value, 1) + 0.0 if abs(value) < 10 else round(value)
        for value in (one.low, one.middle, one.high)
    )
    low, middle, high = (f"{value:g}" for value in ends)
    return middle if low == high else f"{middle} ({low} to {high})"
