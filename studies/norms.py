"""``probe study norms``: what Fromage's factor 1/√(1 + η²) does to the layers' norms (Figure 2, right, of the paper).

Perceptrons are trained on MNIST by Fromage, and without its factor, which is LARS as the paper has it, at three
constant rates. A referee's form of LARS, with a weight decay chosen so that it is Fromage, is followed step by step
beside it.
"""

from __future__ import annotations

import copy
import math
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
import xarray as xr
from torch import nn
from torch.optim import Optimizer

from analysis.wording import number
from figures.panels import Panel, Series, draw_panels, numbers_of_panels
from probes.checkpoints.checkpoint import read_checkpoint
from probes.data.dataset import DataSet
from probes.networks.kinds import build
from probes.runs.training import TrainingSettings, train
from studies.frame import Conclusion, Coordinates, Interval, Study, banded, interval
from studies.parts.conclusions import beside_paper, ends_by_name, runs_where
from studies.parts.networks import perceptron
from trust.optim import Fromage

__all__ = ["Norms", "Preset", "referees_lars"]

_RULES = {"fromage": "Fromage", "lars": "without its factor"}
_GOAL = 0.9  # of the accuracy
_STABLE = 1.1


@dataclass(frozen=True)
class Preset:
    """How large the study is.

    Attributes:
        width: of the hidden layers.
        depth: weight matrices.
        rates: constant relative steps.
        batch_size: of training.
        epochs: how many.
        epoch_steps: steps of an epoch (None: one pass over the data).
        checkpoints: when norms are read, evenly.
        steps: for which the referee's form is followed.
    """

    width: int
    depth: int
    rates: tuple[float, ...]
    batch_size: int
    epochs: int
    epoch_steps: int | None
    checkpoints: int
    steps: int


PRESETS = {
    "toy": Preset(8, 3, (0.1, 0.01), 500, 1, 4, 3, 3),
    "quick": Preset(64, 4, (0.1, 0.01, 0.001), 125, 50, None, 26, 200),
    "paper": Preset(784, 4, (0.1, 0.01, 0.001), 250, 50, 240, 51, 200),
}


class Norms(Study):
    """Norms and accuracy through training, with the factor and without."""

    name = "norms"
    question = (
        "What does Fromage's factor do to the norms, what do small steps cost, and is it LARS with decay?"
    )
    presets = PRESETS
    caveats = (
        "Rates are constant here, so that norms of equal steps are compared; the other studies let them fall.",
        "Without its factor Fromage is what the paper calls LARS (the optimiser `lars`); the LARS of You et al. has a"
        " weight decay besides, with which it can be Fromage.",
        "A relative step is a share of a norm: where norms grow, steps grow with them, and accuracy need not tell.",
        "Where accuracy falls to chance, units have died, gradients are zero and norms stand still: they say nothing of"
        " the steps that were left.",
    )

    def runs(self, size: Preset) -> list[Coordinates]:
        """Both rules at each rate."""
        return [{"rule": rule, "lr": lr} for rule in _RULES for lr in size.rates]

    def measure(self, size: Preset, run: Coordinates, folder: Path, data: DataSet) -> xr.Dataset:
        """``growth`` (checkpoint, layer) of ‖W‖_F since the start, ``accuracy`` (checkpoint), and ``apart``."""
        settings = _training(size, run, data)
        files = train(settings, folder / "checkpoints", data=data)
        checkpoints = [read_checkpoint(file) for file in files]
        norms = np.array(
            [[float(one.norm()) for one in kept.tensors.values() if one.ndim == 2] for kept in checkpoints]
        )
        found = {
            "growth": (("checkpoint", "layer"), norms / norms[0]),
            "accuracy": ("checkpoint", [float(one.details["train_accuracy"]) for one in checkpoints]),
            "step": ("checkpoint", [int(one.details["step"]) for one in checkpoints]),
        }
        apart = _apart(size, settings, data) if run["rule"] == "fromage" else math.nan
        return xr.Dataset({**found, "apart": apart})

    def conclude(self, size: Preset, found: xr.Dataset) -> Conclusion:
        """How norms end, and how soon the goal is reached."""
        steps = found["step"].isel(run=0).values
        cells = {(rule, lr): runs_where(found, rule=rule, lr=lr) for rule in _RULES for lr in size.rates}
        panels = _panels(size, steps, cells)
        rows = [["rule", "η", "norms at the end", "accuracy", f"steps to {_GOAL:g}"]]
        numbers: dict[str, float] = {}
        for (rule, lr), own in cells.items():
            each = {
                "growth": interval(own["growth"].isel(checkpoint=-1)),
                "accuracy": interval(own["accuracy"].isel(checkpoint=-1)),
                "steps": _steps_to_goal(steps, own),
            }
            rows.append([_RULES[rule], f"{lr:g}", *(one.shown(3) for one in each.values())])
            numbers |= ends_by_name({f"{rule}/{lr:g}/{name}": one for name, one in each.items()})
        apart = interval(found["apart"])
        numbers["apart"] = apart.high
        return Conclusion(
            _answer(size, int(steps[-1]), cells, apart),
            numbers,
            rows,
            draw_panels(panels),
            numbers_of_panels(panels),
        )


def _training(size: Preset, run: Coordinates, data: DataSet) -> TrainingSettings:
    return TrainingSettings(
        network=perceptron(data, width=size.width, depth=size.depth),
        data=data.spec,
        optimizer=str(run["rule"]),
        lr=float(run["lr"]),
        lr_decay=1.0,
        epochs=size.epochs,
        epoch_steps=size.epoch_steps,
        batch_size=size.batch_size,
        checkpoints=str(size.checkpoints),
        seed=int(run["seed"]),
    )


def referees_lars(parameters: list[nn.Parameter], eta: float) -> Callable[[], None]:
    """A step W ← (1 − γℓβ) W − γℓ/(1 + β) (‖W‖/‖g‖) g, with γℓ and β for which that is Fromage's of rate η.

    With p = 1/√(1 + η²) these are γℓβ = 1 − p and γℓ/(1 + β) = ηp, so that β (1 + β) = (1 − p)/(ηp).

    Args:
        parameters: tensors that have gradients, none of them zero.
        eta: η > 0.
    """
    p = 1 / math.sqrt(1 + eta * eta)
    shrunk = (
        eta * eta / (math.sqrt(1 + eta * eta) * (1 + math.sqrt(1 + eta * eta)))
    )  # 1 − p without cancellation
    decay = (math.sqrt(1 + 4 * shrunk / (eta * p)) - 1) / 2
    rate = shrunk / decay

    def step() -> None:
        with torch.no_grad():
            for W in parameters:
                assert W.grad is not None
                size = W.norm() / W.grad.norm()
                W.copy_((1 - rate * decay) * W - rate / (1 + decay) * size * W.grad)

    return step


def _apart(size: Preset, settings: TrainingSettings, data: DataSet) -> float:
    """How far apart, relatively, one step of each leads in float64, at worst, all along Fromage's path."""
    torch.manual_seed(settings.seed)
    ours = build(settings.network).double()
    with torch.no_grad():
        for tensor in ours.parameters():
            if tensor.ndim == 1:
                tensor.normal_()  # a bias of zero has no relative step
    theirs = copy.deepcopy(ours)
    ours_by: Optimizer = Fromage(ours.parameters(), lr=settings.lr)
    theirs_by = referees_lars([*theirs.parameters()], settings.lr)
    worst = 0.0
    x, y = data.x.double().flatten(1), data.y
    order = torch.Generator().manual_seed(settings.seed)
    for _ in range(size.steps):
        rows = torch.randint(len(x), (size.batch_size,), generator=order)
        theirs.load_state_dict(ours.state_dict())
        for network in (ours, theirs):
            network.zero_grad()
            nn.functional.cross_entropy(network(x[rows]), y[rows]).backward()  # type: ignore[no-untyped-call]
        ours_by.step()
        theirs_by()
        with torch.no_grad():
            pairs = zip(ours.parameters(), theirs.parameters(), strict=True)
            worst = max(worst, *(float((a - b).norm() / a.norm()) for a, b in pairs))
    return worst


def _steps_to_goal(steps: np.ndarray, own: xr.Dataset) -> Interval:
    """The first checkpoint at which the goal is reached; NaN for seeds that never do."""
    reached = own["accuracy"].values >= _GOAL
    return interval([steps[int(np.argmax(one))] if one.any() else math.nan for one in reached])


Cells = dict[tuple[str, float], xr.Dataset]


def _panels(size: Preset, steps: np.ndarray, cells: Cells) -> list[Panel]:
    panels = []
    for name, title in (("growth", "norms since the start, all layers"), ("accuracy", "training accuracy")):
        for rule, called in _RULES.items():
            series = [
                banded(
                    f"η = {lr:g}",
                    steps,
                    [interval(own[name].isel(checkpoint=k)) for k in range(len(steps))],
                    shade=place / len(size.rates),
                    mark=False,
                )
                for place, lr in enumerate(size.rates)
                for own in [cells[rule, lr]]
            ]
            if name == "growth" and rule == "lars":
                series += [
                    Series("(1 + η²)^(t/2)", steps, (1 + lr * lr) ** (steps / 2), line=":", mark=False)
                    for lr in size.rates
                ]
            growth = name == "growth"
            panels.append(
                Panel(
                    f"{called}: {title}",
                    "steps",
                    "‖W‖ / ‖W at the start‖" if growth else "accuracy",
                    series,
                    log_y=growth,
                    limits=None if growth else (0, 1.02),
                )
            )
    return panels


def _answer(size: Preset, last: int, cells: Cells, apart: Interval) -> str:
    lines = []
    for lr in size.rates:
        ends = [interval(cells[rule, lr]["growth"].isel(checkpoint=-1)) for rule in _RULES]
        right = [interval(cells[rule, lr]["accuracy"].isel(checkpoint=-1)) for rule in _RULES]
        lines.append(
            f"At η = {lr:g} norms end, after {last} steps, at {ends[0].shown(3)} of their start with the factor and"
            f" at {ends[1].shown(3)} without it ({number((1 + lr * lr) ** (last / 2), 3)} if gradients were at right"
            f" angles to weights); accuracy is {right[0].shown()} and {right[1].shown()}."
        )
    lines.append(
        f"The referee's LARS is Fromage: at each of {size.steps} steps in float64 the two lead to weights that are at"
        f" most {number(apart.high, 2)} apart, relative to a tensor's norm."
    )
    grown = [cells["fromage", lr]["growth"].isel(checkpoint=-1).values > _STABLE for lr in size.rates]
    lines.append(
        beside_paper(
            f"The paper has Fromage's factor keep the norms stable, here within a factor of {_STABLE:g}",
            np.concatenate(grown),
            "weights",
        )
    )
    return "\n".join(lines)
