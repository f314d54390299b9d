"""``probe study lyapunov``: do finite-time Lyapunov exponents of training predict the loss it ends with?

Many networks that differ in their initial weights alone are trained by full-batch gradient descent. A small difference
of the weights grows with each step by I − ηH, and the logarithm of its growth, averaged over a window of steps, is the
window's exponent: above 0 neighbouring trainings part, below they come together (Sharafi, Martin and Hallerberg).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
import torch
import xarray as xr

from figures.panels import Panel, Series, draw_panels, numbers_of_panels
from probes.data.dataset import DataSet
from probes.runs.training_settings import TrainingSettings
from studies.frame import Conclusion, Coordinates, Interval, Study, banded, interval
from studies.parts.conclusions import ends_by_name, runs_where
from studies.parts.networks import perceptron
from studies.parts.statistics import rank_correlation
from studies.parts.trajectory import Follower

__all__ = ["Lyapunov", "Preset", "exponents"]

Floats = npt.NDArray[np.float64]
_EXPONENT, _LOSS = "exponent", "loss"
_PER = 1000
"""Steps that exponents are told for."""


@dataclass(frozen=True)
class Preset:
    """How large the study is.

    Attributes:
        width: of the two hidden layers.
        examples: trained on.
        cases: activation and step η of each kind of training.
        members: networks of each kind and seed.
        window: steps of a window.
        windows: how many there are.
        early: how many of them are early, when the exponent is to tell the end.
    """

    width: int
    examples: int
    cases: tuple[tuple[str, float], ...]
    members: int
    window: int
    windows: int
    early: int


_CASES = (("tanh", 0.05), ("tanh", 0.1), ("relu", 0.05), ("relu", 0.15))
PRESETS = {
    "toy": Preset(4, 30, _CASES[:2], 3, 5, 4, 2),
    "quick": Preset(32, 500, _CASES, 6, 50, 16, 4),
    "paper": Preset(32, 500, _CASES, 30, 50, 60, 4),
}


class Lyapunov(Study):
    """The largest exponent, window after window, and its rank correlation with the final loss."""

    name = "lyapunov"
    question = "Do finite-time Lyapunov exponents early in training predict the loss it ends with?"
    data = "mnist-14x14"
    presets = PRESETS
    caveats = (
        "The exponent is that of one difference, random at the start and carried along from window to window by the"
        " exact derivative of the step, I − ηH; for ReLU networks H is blind to the kinks.",
        "Networks of one kind differ in their initial weights alone. The published ones learn regression tasks with"
        " three layers and differ in more.",
        "Intervals of rank correlations are 95 % bootstrap intervals over networks.",
    )

    def runs(self, size: Preset) -> list[Coordinates]:
        """Each member of each kind."""
        return [
            {"activation": activation, "lr": lr, "member": member}
            for activation, lr in size.cases
            for member in range(size.members)
        ]

    def measure(self, size: Preset, run: Coordinates, folder: Path, data: DataSet) -> xr.Dataset:
        """``exponent`` a step of each window, the ``loss`` at its end, and its last step ``step``."""
        few = data.head(size.examples)
        settings = TrainingSettings(
            network=perceptron(few, width=size.width, depth=3, activation=str(run["activation"])),
            data=few.spec,
            examples=size.examples,
            loss="half-square",
            batch_size=None,
        )
        seed = int(run["seed"]) * size.members + int(run["member"])
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            follower = Follower(settings, few)
        growth, losses = exponents(follower, float(run["lr"]), size.window * size.windows, seed)
        ends = np.arange(1, size.windows + 1) * size.window
        return xr.Dataset(
            {
                _EXPONENT: ("window", growth.reshape(size.windows, size.window).mean(1)),
                _LOSS: ("window", losses[ends]),
            },
            {"window": ends},
        )

    def conclude(self, size: Preset, found: xr.Dataset) -> Conclusion:
        """How well the exponent ranks the networks."""
        own = {case: runs_where(found, activation=case[0], lr=case[1]) for case in size.cases}
        ranks = {case: _ranks(size, one) for case, one in own.items()}
        panels = _panels(size, own)
        numbers = {
            f"{_named(case)}/{name}": one for case, ranked in ranks.items() for name, one in ranked.items()
        }
        heading = ["network", "η", "exponent per 1,000 steps, early", "last", "loss, last"]
        heading += [
            f"rank correlation with the last loss: {what}" for what in ("early exponent", "early loss")
        ]
        table = [
            [
                *_titles(case),
                *(ranks[case][name].shown() for name in ("early", "late", _LOSS, _EXPONENT, "baseline")),
            ]
            for case in size.cases
        ]
        return Conclusion(
            _answer(size, ranks, len(next(iter(own.values()))["run"])),
            ends_by_name(numbers),
            [heading, *table],
            draw_panels(panels, columns=len(size.cases), height=1.8),
            numbers_of_panels(panels),
        )


def exponents(follower: Follower, lr: float, steps: int, seed: int) -> tuple[Floats, Floats]:
    """Train by gradient descent, and carry a difference of the weights along.

    Args:
        follower: the network where training begins; it is trained.
        lr: η.
        steps: how many.
        seed: of the difference's direction.

    Returns:
        The logarithm of the difference's growth in each step (steps,), and the loss before each and at the end
        (steps + 1,). NaN from where they are not finite on.
    """
    operator, evaluator = follower.operator, follower.evaluator
    parameters = dict(follower.network.named_parameters())
    delta = torch.randn(operator.size, generator=torch.Generator().manual_seed(seed))
    delta /= delta.norm()
    growth, losses = np.full(steps, np.nan), np.full(steps + 1, np.nan)
    for step in range(steps):
        found = evaluator.evaluate(evaluator.frozen, wanted=operator.names)
        moved = delta - lr * operator.product(delta)
        size = float(moved.double().norm())
        if not (np.isfinite(found.loss) and np.isfinite(size) and size > 0):
            return growth, losses
        growth[step], losses[step] = np.log(size), found.loss
        delta = moved / size
        with torch.no_grad():
            for name, gradient in found.gradients.items():
                parameters[name].sub_(gradient, alpha=lr)
    losses[steps] = evaluator.loss(evaluator.frozen)
    return growth, losses


def _named(case: tuple[str, float]) -> str:
    return f"{case[0]}/{case[1]:g}"


def _titles(case: tuple[str, float]) -> tuple[str, str]:
    return {"relu": "ReLU"}.get(case[0], case[0]), f"{case[1]:g}"


def _ranks(size: Preset, own: xr.Dataset) -> dict[str, Interval]:
    """Of one kind: exponents, the last loss, and what ranks it how well."""
    early = own[_EXPONENT].isel(window=slice(size.early)).mean("window", skipna=False).values
    last = own[_LOSS].values[:, -1]
    return {
        "early": interval(_PER * early),
        "late": interval(_PER * own[_EXPONENT].values[:, -1]),
        _LOSS: interval(last),
        _EXPONENT: rank_correlation(early, last),
        "baseline": rank_correlation(own[_LOSS].values[:, size.early - 1], last),
    }


def _panels(size: Preset, own: Mapping[tuple[str, float], xr.Dataset]) -> list[Panel]:
    above: list[Panel] = []
    middle: list[Panel] = []
    below: list[Panel] = []
    for case, one in own.items():
        ends = one["window"].values.astype(float)
        title, lr = _titles(case)
        lines = [interval(_PER * one[_EXPONENT].values[:, k]) for k in range(len(ends))]
        above.append(
            Panel(
                f"{title}, η = {lr}",
                "steps",
                "exponent per 1,000 steps" if not above else "",
                [
                    banded("of all networks", ends, lines, mark=False),
                    Series("no growth", ends, np.zeros(len(ends)), line=":", mark=False, shade=0.0),
                ],
            )
        )
        last = one[_LOSS].values[:, -1]
        ranked = {
            "of the exponent": [
                rank_correlation(one[_EXPONENT].values[:, k], last) for k in range(len(ends))
            ],
            "of the loss": [rank_correlation(one[_LOSS].values[:, k], last) for k in range(len(ends))],
        }
        middle.append(
            Panel(
                "",
                "steps",
                "rank correlation\nwith the last loss" if not middle else "",
                [
                    banded(name, ends, ranks, shade=shade, mark=False)
                    for (name, ranks), shade in zip(ranked.items(), (0.2, 0.7), strict=True)
                ],
                limits=(-1.05, 1.05),
            )
        )
        early = one[_EXPONENT].isel(window=slice(size.early)).mean("window", skipna=False).values
        below.append(
            Panel(
                "",
                "early exponent",
                "last loss" if not below else "",
                [Series("a network", _PER * early, last, line="")],
            )
        )
    return [*above, *middle, *below]


def _answer(size: Preset, ranks: Mapping[tuple[str, float], dict[str, Interval]], networks: int) -> str:
    lines = []
    for case, own in ranks.items():
        title, lr = _titles(case)
        one = own[_EXPONENT]
        told = "predicts" if one.low > 0 or one.high < 0 else "is not seen to predict"
        lines.append(
            f"{title}, η = {lr}: the exponent of the first {size.early * size.window} steps {told} the loss after"
            f" {size.windows * size.window} (rank correlation {one.shown()} over {networks} networks); the loss at that"
            f" time has {own['baseline'].shown()}."
        )
    return "\n".join(lines)
