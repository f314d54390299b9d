"""``probe study optimisers``: how far, which way and how well eleven optimisers step, on one network.

A ReLU perceptron without biases is trained on MNIST from the same weights by each. At some of the steps, those are
compared with the full-batch gradient: the relative perturbation of each layer, its angle, the loss's decrease beside
what the gradient predicts to first order, and what Lemma 1 promises.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch
import xarray as xr
from torch import Tensor, nn

from analysis.wording import number
from figures.panels import Panel, Series, draw_panels, numbers_of_panels
from probes.data.dataset import DataSet
from probes.networks.kinds import build
from probes.runs.optimizers import LOOKING, make_optimizer, rate_of
from studies.frame import Conclusion, Coordinates, Interval, Study, banded, interval
from studies.parts.conclusions import ends_by_name, runs_where
from studies.parts.networks import perceptron
from trust.descent import lemma1_bound
from trust.optim import agd_initialisation_

__all__ = ["Optimisers", "Preset"]

_RATES: dict[str, tuple[str, float]] = {
    "sgd": ("SGD", 0.1),
    "adam": ("Adam", 0.001),
    "fromage": ("Fromage", 0.01),
    "lars": ("LARS", 0.01),
    "lamb": ("LAMB", 0.01),
    "signsgd": ("signSGD", 0.001),
    "nero": ("Nero", 0.01),
    "madam": ("Madam", 0.01),
    "agd": ("AGD", 1.0),
    "muon": ("Muon", 0.01),
    "sam": ("SAM", 0.1),
}
"""The names in figures, and the rates in training: as published where the optimiser's authors name one."""
_DASHED = ("lars", "sam")
"""Beside Fromage, which covers it, and of SGD's colour, since there are ten."""
_OPTIONS: dict[str, dict[str, float]] = {"sam": {"rho": 0.05}}
_FIRST = 10
"""Steps at one rate for all."""
_RATE = 0.01
_STEADY = 0.05
"""How near to the rate a relative step is, to count as it."""
_PLACES = (0.25, 0.5, 0.75, 1.0)
"""Where on the way of a step gradients are taken, for Lemma 1's largest change."""


@dataclass(frozen=True)
class Preset:
    """How large the study is.

    Attributes:
        width: of the hidden layers.
        depth: weight matrices.
        batch_size: of training.
        steps: how many.
        looks: how many of them are compared with the full gradient, evenly.
    """

    width: int
    depth: int
    batch_size: int
    steps: int
    looks: int


PRESETS = {
    "toy": Preset(8, 3, 500, 12, 4),
    "quick": Preset(64, 4, 125, 400, 21),
    "paper": Preset(256, 10, 128, 2400, 49),
}


class Optimisers(Study):
    """Steps of eleven optimisers against the full gradient."""

    name = "optimisers"
    question = "How far, which way and how well do optimisers step, in the units of deep relative trust?"
    presets = PRESETS
    caveats = (
        "One rate an optimiser, none of them tuned to this network; rates are constant.",
        "All start at orthogonal weights times √(d_out/d_in), which AGD assumes and the others are not made for; Nero"
        " balances them first. There are no biases, since AGD has none, so that Muon moves every tensor.",
        "AGD's step is derived for square loss; here as everywhere the loss is cross-entropy.",
        "Lemma 1's largest gradient change is the largest of four points on the way, and could be larger between.",
    )

    def runs(self, size: Preset) -> list[Coordinates]:
        """One an optimiser."""
        return [{"optimizer": name} for name in _RATES]

    def measure(self, size: Preset, run: Coordinates, folder: Path, data: DataSet) -> xr.Dataset:
        """What :func:`_looked_at` says of some steps, ``early`` (early_step) and ``accuracy``."""
        name, seed = str(run["optimizer"]), int(run["seed"])
        early = _Training(name, rate_of(name) if name == "agd" else _RATE, size, seed, data)
        sizes = [early.relative(early.step()) for _ in range(_FIRST)]
        training = _Training(name, _RATES[name][1], size, seed, data)
        looks = sorted({int(place) for place in np.linspace(0, size.steps - 1, size.looks).round()})
        kept = []
        for step in range(size.steps):
            if step in looks:
                kept.append(_looked_at(training))
            else:
                training.step()
        found = {
            name: (
                ("look", "layer") if np.ndim(kept[0][name]) else "look",
                np.array([row[name] for row in kept]),
            )
            for name in kept[0]
        }
        return xr.Dataset(
            {
                **found,
                "step": ("look", looks),
                "early": (("early_step", "layer"), np.array(sizes)),
                "accuracy": training.accuracy(),
            }
        )

    def conclude(self, size: Preset, found: xr.Dataset) -> Conclusion:
        """A row an optimiser, and four panels."""
        steps = found["step"].isel(run=0).values
        own = {name: runs_where(found, optimizer=name) for name in _RATES}
        numbers: dict[str, float] = {}
        heading = (
            f"optimiser | r at {_RATE:g}, steps 1 to {_FIRST} | rate | r | angle | descent over prediction"
        )
        rows = [[*heading.split(" | "), "Lemma 1 promises", "accuracy"]]
        cells = {name: _cells(one) for name, one in own.items()}
        for name, each in cells.items():
            title, rate = _RATES[name]
            early = own[name]["early"].median(("layer", "run")).values
            shown = [each["relative"].shown(), f"{each['angle'].shown()}°", each["realised"].shown()]
            shown += [each["promised"].shown(), each["accuracy"].shown(3)]
            rows.append([title, " ".join(number(size, 2) for size in early), f"{rate:g}", *shown])
            numbers |= ends_by_name({f"{name}/{what}": cell for what, cell in each.items()})
            numbers |= {f"{name}/early/{k + 1}": float(size) for k, size in enumerate(early)}
        panels = _panels(steps, own)
        return Conclusion(_answer(cells, own), numbers, rows, draw_panels(panels), numbers_of_panels(panels))


class _Training:
    """One network under one optimiser, step by step, with its mini-batches."""

    def __init__(self, name: str, rate: float, size: Preset, seed: int, data: DataSet) -> None:
        spec = replace(perceptron(data, width=size.width, depth=size.depth), biases=(False,) * size.depth)
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            self.network = build(spec)
            for weight in self.network.parameters():
                agd_initialisation_(weight)
        self.weights = [*self.network.parameters()]
        self.optimizer = make_optimizer(name, self.weights, lr=rate, **_OPTIONS.get(name, {}))
        self.looking = name in LOOKING
        self.x, self.y, self.size = data.x.float().flatten(1), data.y, size
        self.order = torch.Generator().manual_seed(seed)

    def step(self) -> list[Tensor]:
        """Take one, and say by what the weights moved."""
        rows = torch.randint(len(self.x), (self.size.batch_size,), generator=self.order)
        before = [weight.detach().clone() for weight in self.weights]

        def gradients() -> float:
            self.optimizer.zero_grad()
            loss = nn.functional.cross_entropy(self.network(self.x[rows]), self.y[rows])
            loss.backward()  # type: ignore[no-untyped-call]
            return float(loss)

        gradients()
        self.optimizer.step(gradients if self.looking else None)
        self.moved_from = before
        return [weight.detach() - old for weight, old in zip(self.weights, before, strict=True)]

    def relative(self, change: list[Tensor]) -> list[float]:
        """r_l of the step before."""
        return [float(move.norm() / old.norm()) for move, old in zip(change, self.moved_from, strict=True)]

    def whole(self, weights: list[Tensor]) -> tuple[float, list[Tensor]]:
        """Loss and gradients of all examples, at other weights than the network's."""
        leaves = [weight.detach().requires_grad_() for weight in weights]
        named = dict(zip((name for name, _ in self.network.named_parameters()), leaves, strict=True))
        outputs = torch.func.functional_call(self.network, named, (self.x,))
        loss = nn.functional.cross_entropy(outputs, self.y)
        return float(loss), [*torch.autograd.grad(loss, leaves)]

    def accuracy(self) -> float:
        """Of all examples."""
        with torch.no_grad():
            return float((self.network(self.x).argmax(1) == self.y).float().mean())


def _looked_at(training: _Training) -> dict[str, float | list[float]]:
    """Take a step, and compare it with the full gradient.

    ``relative`` and ``angle`` (in degrees, to −g) for each layer; ``predicted`` = Σ⟨g_l, ΔW_l⟩, ``descent``, the loss's
    change, and Lemma 1's ``bound`` on it.
    """
    start = [weight.detach().clone() for weight in training.weights]
    loss, gradients = training.whole(start)
    change = training.step()
    losses, worst = [], [0.0] * len(start)
    for place in _PLACES:
        weights = [old + place * move for old, move in zip(start, change, strict=True)]
        there, others = training.whole(weights)
        losses.append(there)
        apart = [float((other - g).norm()) for other, g in zip(others, gradients, strict=True)]
        worst = [max(pair) for pair in zip(worst, apart, strict=True)]
    products = [float((g * move).sum()) for g, move in zip(gradients, change, strict=True)]
    g_norms, d_norms = ([float(one.norm()) for one in some] for some in (gradients, change))
    cosines = [
        min(1.0, max(-1.0, -product / (g * d))) if g * d > 0 else math.nan
        for product, g, d in zip(products, g_norms, d_norms, strict=True)
    ]
    bound = lemma1_bound(
        gradient_norms=g_norms, perturbation_norms=d_norms, cosines=cosines, worst_gradient_changes=worst
    )
    return {
        "relative": training.relative(change),
        "angle": [math.degrees(math.acos(cosine)) for cosine in cosines],
        "predicted": sum(products),
        "descent": losses[-1] - loss,
        "bound": float(bound),
    }


def _cells(own: xr.Dataset) -> dict[str, Interval]:
    """Over seeds: medians over looks and layers, and the share of looks at which Lemma 1 promises a descent."""
    return {
        "relative": interval(own["relative"].median(("look", "layer"))),
        "angle": interval(own["angle"].median(("look", "layer"))),
        "realised": interval(_realised(own).median("look")),
        "promised": interval((own["bound"] < 0).mean("look")),
        "downhill": interval((own["descent"] < 0).mean("look")),
        "accuracy": interval(own["accuracy"]),
    }


def _panels(steps: np.ndarray, own: Mapping[str, xr.Dataset]) -> list[Panel]:
    def lines(values: Callable[[xr.Dataset], xr.DataArray], x: np.ndarray) -> list[Series]:
        """Of each optimiser, a number a run and place along x."""
        return [
            banded(
                _RATES[name][0],
                x,
                [interval(one) for one in values(found).values.T],
                mark=False,
                line="--" if name in _DASHED else "-",
            )
            for name, found in own.items()
        ]

    first, relative = np.arange(1, _FIRST + 1), "r, median layer"
    return [
        Panel(
            f"first steps at {_RATE:g} (AGD: its own)",
            "step",
            relative,
            lines(lambda one: one["early"].median("layer"), first),
            log_y=True,
        ),
        Panel(
            "at each one's rate",
            "step",
            relative,
            lines(lambda one: one["relative"].median("layer"), steps),
            log_y=True,
        ),
        Panel(
            "angle to the full gradient",
            "step",
            "degrees, median layer",
            lines(lambda one: one["angle"].median("layer"), steps),
            limits=(0, 110),
        ),
        Panel(
            "loss's change over the gradient's prediction",
            "step",
            "ratio",
            lines(_realised, steps),
            levels={"first order": 1.0},
            limits=(-2, 2),
        ),
    ]


def _realised(own: xr.Dataset) -> xr.DataArray:
    """The loss's change over Σ⟨g_l, ΔW_l⟩, where that is a decrease."""
    return (own["descent"] / own["predicted"]).where(own["predicted"] < 0)


def _shares(cells: Mapping[str, Interval]) -> str:
    return " and ".join(f"{cells[name].middle:.0%}" for name in ("promised", "downhill"))


def _answer(cells: Mapping[str, Mapping[str, Interval]], own: Mapping[str, xr.Dataset]) -> str:
    def listed(texts: Mapping[str, str]) -> str:
        return ", ".join(f"{_RATES[name][0]} {text}".rstrip() for name, text in texts.items()) or "none"

    spans = {
        name: (float(sizes.min()), float(sizes.max()))
        for name in _RATES
        if name != "agd"
        for sizes in [own[name]["early"].median(("layer", "run")).values]
    }
    steady = [name for name, span in spans.items() if all(abs(end / _RATE - 1) < _STEADY for end in span)]
    others = {
        name: f"{number(low, 2)} to {number(high, 2)}"
        for name, (low, high) in spans.items()
        if name not in steady
    }
    by_angle = sorted(cells, key=lambda name: cells[name]["angle"].middle)
    return "\n".join(
        [
            f"Where {_RATE:g} is asked for, the median layer's relative perturbation is within {_STEADY:.0%} of it at"
            f" each of the first {_FIRST} steps by {listed(dict.fromkeys(steady, ''))}. By others it is"
            f" {listed(others)}.",
            "In training the median layer's step is so many degrees from the full gradient:"
            f" {listed({name: cells[name]['angle'].shown() for name in by_angle})}.",
            "Of the change that the gradient predicts, the median step realises"
            f" {listed({name: cells[name]['realised'].shown() for name in cells})}.",
            "Lemma 1 promises a decrease at so many of the steps, and the loss decreases at so many:"
            f" {listed({name: _shares(one) for name, one in cells.items()})}.",
        ]
    )
