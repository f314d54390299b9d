"""The search: gradient ascent on log(measured/bound) from structured starts, and scipy's optimisers on top."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from scipy.optimize import differential_evolution, minimize
from torch import Tensor

from analysis.falsifier.floats import FloatTrial
from analysis.falsifier.numbers import Floats, Rationals, float_trial, picked
from analysis.falsifier.starts import Start, starts
from trust.claims import Form

__all__ = ["WIDTHS", "Candidate", "Round", "rounds"]

WIDTHS: tuple[tuple[int, ...], ...] = (
    *((1, 1), (2, 1), (1, 2), (2, 2), (1, 1, 1), (2, 1, 2), (1, 2, 1), (2, 2, 1), (1, 2, 2), (2, 2, 2)),
    *((3, 2), (2, 3), (3, 3), (1, 1, 1, 1), (1, 2, 2, 1), (2, 2, 2, 2), (3, 2, 3), (2, 3, 2), (3, 3, 3)),
    *((3, 2, 2, 3), (2, 3, 3, 2), (1, 1, 1, 1, 1), (2, 2, 2, 2, 2)),
)
"""Widths that are searched, small ones first: whatever breaks there is a witness that can be printed."""

_BATCH, _STEPS, _RATE = 64, 40, 0.03
_PENALTY = 10.0
_SIZES = (math.log(1e-4), 3.0)
"""log of a step's size relative to its direction: below, rounding would be all there is to see."""
_CANDIDATES = 6
"""How many of a round's best are handed on."""


@dataclass(frozen=True)
class Candidate:
    """One network and how far it breaks the inequality in floats."""

    numbers: Rationals
    log_ratio: float


@dataclass(frozen=True)
class Round:
    """What one round found.

    Attributes:
        candidates: the best, best first.
        worst_log10_ratio: the largest log10(left/right) at which all conditions held; −inf where none did.
        trials: how many networks were evaluated.
    """

    candidates: list[Candidate]
    worst_log10_ratio: float
    trials: int


def rounds(
    form: Form,
    *,
    widths: Sequence[Sequence[int]],
    activations: Sequence[str],
    seed: int,
    enough: Callable[[int], bool],
) -> Iterator[Round]:
    """Round after round, over all widths and activations, each time from new starts; ends only when enough says so.

    Args:
        form: the claim.
        widths: which networks.
        activations: which φ.
        seed: of the starts.
        enough: asked between steps, with the number of networks that the round has evaluated so far; True ends
            the round and the search.
    """
    lap = 0
    while not enough(0):
        for k, shape in enumerate(widths):
            for j, activation in enumerate(activations):
                if enough(0):
                    return
                rng = np.random.default_rng([seed, lap, k, j])
                yield _round(form, tuple(shape), activation, rng, enough, thorough=lap > 0)
        lap += 1


def _round(
    form: Form,
    widths: tuple[int, ...],
    activation: str,
    rng: np.random.Generator,
    enough: Callable[[int], bool],
    *,
    thorough: bool,
) -> Round:
    start = starts(rng, widths, _BATCH, biases="biases" in form.uses)
    raw = _Raw(form, activation, start)
    best = _Best(_BATCH)
    steps = 3 * _STEPS if thorough else _STEPS
    if form.differentiable:
        _ascend(raw, best, steps, enough)
    else:
        _climb(raw, best, steps, rng, enough)
    if not enough(best.trials):
        _polish(form, activation, raw, best, rng, enough, thorough=thorough)
    found = [Candidate(numbers, ratio) for numbers, ratio in best.top(_CANDIDATES)]
    worst = max((candidate.log_ratio for candidate in found), default=-math.inf)
    return Round(found, worst / math.log(10.0), best.trials)


def _ascend(raw: _Raw, best: _Best, steps: int, enough: Callable[[int], bool]) -> None:
    """Every network for itself, along the gradient."""
    optimiser = torch.optim.Adam(raw.leaves, lr=_RATE)
    for _ in range(steps):
        trial, objective, log_ratio = raw.evaluate()
        best.keep(trial, log_ratio)
        if enough(best.trials):
            break
        optimiser.zero_grad()
        torch.where(torch.isfinite(objective), -objective, 0.0).sum().backward()
        for leaf in raw.leaves:
            if leaf.grad is not None:
                leaf.grad.nan_to_num_(0.0, 0.0, 0.0)
        optimiser.step()


def _climb(
    raw: _Raw, best: _Best, steps: int, rng: np.random.Generator, enough: Callable[[int], bool]
) -> None:
    """Every network for itself, by random steps that are kept where they help: no gradient is needed."""
    here = torch.from_numpy(raw.flat())
    height = torch.full((len(here),), -torch.inf, dtype=torch.float64)
    proposed = here
    with torch.no_grad():
        for _ in range(steps):
            raw.filled(proposed)
            trial, objective, log_ratio = raw.evaluate()
            best.keep(trial, log_ratio)
            better = torch.nan_to_num(objective, nan=-torch.inf) > height
            here = torch.where(better[:, None], proposed, here)
            height = torch.where(better, objective, height)
            if enough(best.trials):
                break
            size = torch.from_numpy(10.0 ** rng.uniform(-3, 0, (len(here), 1)))
            some = torch.from_numpy(rng.random(here.shape) < rng.uniform(0.1, 1.0, (len(here), 1)))
            proposed = here + size * some * torch.from_numpy(rng.standard_normal(here.shape))
    raw.filled(here)


class _Raw:
    """Free numbers, from which networks are made that satisfy the form's conditions."""

    def __init__(self, form: Form, activation: str, start: Start) -> None:
        self.form, self.activation = form, activation
        self.used = ["weights", "directions", "x", *form.uses]
        if "biases" in form.uses:
            self.used.append("bias_changes")
        tensors = {name: [torch.from_numpy(np.array(a)) for a in arrays] for name, arrays in start.items()}
        self.mask = [(size > 0).double() for size in tensors["sizes"]]
        tensors["sizes"] = [torch.log(size.clamp(min=1e-12)) for size in tensors["sizes"]]
        self.tensors = tensors
        self.leaves = [t.requires_grad_(True) for name in [*self.used, "sizes"] for t in tensors[name]]

    def numbers(self) -> Floats:
        tensors = self.tensors
        triples = zip(tensors["sizes"], self.mask, tensors["directions"], strict=True)
        changes = [(torch.exp(size.clamp(*_SIZES)) * mask).view(-1, 1, 1) * d for size, mask, d in triples]
        return Floats(
            activation=self.activation,
            weights=list(tensors["weights"]),
            changes=changes,
            biases=[b if "biases" in self.used else torch.zeros_like(b) for b in tensors["biases"]],
            bias_changes=[
                b if "biases" in self.used else torch.zeros_like(b) for b in tensors["bias_changes"]
            ],
            x=tensors["x"][0],
            input_change=tensors["input_change"][0] * ("input_change" in self.used),
            target=tensors["target"][0] * ("target" in self.used),
        )

    def evaluate(self) -> tuple[FloatTrial, Tensor, Tensor]:
        """The trials, what is maximised, and log(left/right) (−inf where a condition fails)."""
        return _evaluate(self.form, self.numbers())

    def chosen(self, places: Tensor) -> _Raw:
        """The same for some of the networks."""
        start = {
            name: [t.detach()[places].numpy() for t in tensors] for name, tensors in self.tensors.items()
        }
        start["sizes"] = [
            np.exp(s) * m[places].numpy() for s, m in zip(start["sizes"], self.mask, strict=True)
        ]
        return _Raw(self.form, self.activation, start)

    def flat(self) -> npt.NDArray[np.float64]:
        """All free numbers as one row a network."""
        return torch.cat([leaf.detach().reshape(len(leaf), -1) for leaf in self.leaves], dim=1).numpy()

    def filled(self, flat: Tensor) -> None:
        """Take the free numbers from rows."""
        place = 0
        free = {id(leaf) for leaf in self.leaves}
        for name, tensors in self.tensors.items():  # those that are not free are the same for all
            self.tensors[name] = [
                t if id(t) in free or len(t) == len(flat) else t[:1].expand(len(flat), *t.shape[1:])
                for t in tensors
            ]
        for leaf in self.leaves:
            size = leaf[0].numel()
            leaf.data = flat[:, place : place + size].reshape(-1, *leaf.shape[1:]).clone()
            leaf.grad = None
            place += size
        if len(flat) != len(self.mask[0]):
            self.mask = [mask[:1].expand(len(flat)) for mask in self.mask]


def _evaluate(form: Form, numbers: Floats) -> tuple[FloatTrial, Tensor, Tensor]:
    trial = form.derive(form.construct(float_trial(numbers)))
    assert isinstance(trial, FloatTrial)
    left, right = form.sides(trial)
    ratio = torch.log(left) - torch.log(right)
    violation = torch.zeros_like(ratio)
    for condition in form.conditions:
        margin = condition.margin(trial) - 1e-9 * condition.strict
        violation = violation + torch.relu(-margin) + torch.where(torch.isnan(margin), torch.inf, 0.0)
    valid = (violation == 0) & torch.isfinite(ratio)
    kept = torch.where(valid, ratio.detach(), -torch.inf)
    return trial, ratio - _PENALTY * violation, kept


class _Best:
    """The best of each starting point so far."""

    def __init__(self, count: int) -> None:
        self.ratio = torch.full((count,), -torch.inf, dtype=torch.float64)
        self.numbers: list[Rationals | _Later | None] = [None] * count
        self.trials = 0

    def keep(self, trial: FloatTrial, ratio: Tensor) -> None:
        self.trials += len(ratio)
        better = torch.nonzero(ratio > self.ratio).flatten().tolist()
        for place in better:
            self.ratio[place] = ratio[place]
            self.numbers[place] = None
        if better:
            self._snapshot(trial, better)

    def _snapshot(self, trial: FloatTrial, places: list[int]) -> None:
        lists: dict[str, Any] = {
            n: [t.detach().clone() for t in getattr(trial, n)]
            for n in ("weights", "changes", "biases", "bias_changes")
        }
        vectors: dict[str, Any] = {
            n: getattr(trial, n).detach().clone() for n in ("x", "input_change", "target")
        }
        frozen = replace(trial, **lists, **vectors)
        for place in places:
            self.numbers[place] = _Later(frozen, place)

    def add(self, trial: FloatTrial, ratio: Tensor) -> None:
        """Candidates beyond the starting points."""
        self.trials += len(ratio)
        place = int(ratio.argmax())
        if torch.isfinite(ratio[place]):
            self.ratio = torch.cat([self.ratio, ratio[place : place + 1]])
            self.numbers.append(picked(trial, place))

    def top(self, count: int) -> list[tuple[Rationals, float]]:
        order: list[int] = torch.argsort(self.ratio, descending=True, stable=True).tolist()
        found: list[tuple[Rationals, float]] = []
        for place in order[:count]:
            numbers = self.numbers[place]
            if numbers is not None and math.isfinite(float(self.ratio[place])):
                exact = numbers.exact() if isinstance(numbers, _Later) else numbers
                found.append((exact, float(self.ratio[place])))
        return found


@dataclass(frozen=True)
class _Later:
    """A trial of a batch whose fractions are made when they are needed."""

    trial: FloatTrial
    place: int

    def exact(self) -> Rationals:
        return picked(self.trial, self.place)


def _polish(
    form: Form,
    activation: str,
    raw: _Raw,
    best: _Best,
    rng: np.random.Generator,
    enough: Callable[[int], bool],
    *,
    thorough: bool,
) -> None:
    """L-BFGS from the best point; in later laps differential evolution around it too."""
    _, _, ratio = raw.evaluate()
    one = raw.chosen(torch.argsort(ratio, descending=True)[:1])

    class StopError(Exception):
        """Enough."""

    def value_and_slope(flat: npt.NDArray[np.float64]) -> tuple[float, npt.NDArray[np.float64]]:
        if enough(best.trials):
            raise StopError
        one.filled(torch.from_numpy(np.array(flat))[None])
        for leaf in one.leaves:
            leaf.requires_grad_(True)
        trial, objective, log_ratio = one.evaluate()
        best.add(trial, log_ratio) if bool(log_ratio[0] > best.ratio.max()) else None
        best.trials += 1
        if not bool(torch.isfinite(objective[0])):
            return 1e6, np.zeros_like(flat)
        slopes = torch.autograd.grad(-objective.sum(), one.leaves, materialize_grads=True)
        slope = torch.cat([g.reshape(-1) for g in slopes]).nan_to_num(0.0, 0.0, 0.0).numpy()
        return -float(objective[0].detach()), slope

    def values(flats: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
        if enough(best.trials):
            raise StopError
        with torch.no_grad():
            one.filled(torch.from_numpy(np.ascontiguousarray(flats.T)))
            trial, objective, log_ratio = one.evaluate()
        best.add(trial, log_ratio)
        return torch.where(torch.isfinite(objective), -objective, 1e6).numpy()

    origin = one.flat()[0]
    try:
        if form.differentiable:
            minimize(
                value_and_slope,
                origin,
                jac=True,
                method="L-BFGS-B",
                options={"maxiter": 30 if not thorough else 100},
            )
        if thorough and origin.size <= 30:
            bounds = [(v - 2.0, v + 2.0) for v in origin]
            differential_evolution(
                values,
                bounds,
                maxiter=15,
                popsize=8,
                rng=rng,
                vectorized=True,
                updating="deferred",
                polish=False,
                x0=origin,
            )
    except StopError:
        return
