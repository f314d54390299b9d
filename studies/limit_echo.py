"""``probe study limit-echo``: does the measured step limit say more than which step was in use?

Perceptrons of several depths are trained at steps that stay, at a step that is switched half-way, and by the rule that
takes its step from the limit. At some of the steps, the measured limit over all examples is set beside the step in use.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from itertools import count
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
import xarray as xr
from torch import Tensor

from analysis.wording import number
from figures.panels import Panel, Series, draw_panels, numbers_of_panels
from probes.data.dataset import DataSet
from probes.runs.optimizers import make_optimizer
from studies.frame import Conclusion, Coordinates, Interval, Study, banded, interval
from studies.parts.conclusions import beside_paper, ends_by_name, runs_where
from studies.parts.limit_cases import TITLES, VARIANTS, Case, batch_in_words, case_of, in_words, named
from studies.parts.networks import perceptron
from studies.parts.stepped import FARTHEST, Stepped
from trust.descent import lemma2_step_limit
from trust.optim import Fromage, MeasuredLimit

__all__ = ["LimitEcho", "Preset"]

Floats = npt.NDArray[np.float64]
_BETA = 0.9
"""The share of that mean that is kept at a step."""
_NEAR = 1.25
"""Within this factor of the step in use, the limit is there."""
_MOVED = 2.0
"""By this factor the rule's step has gone down, or up."""


@dataclass(frozen=True)
class Preset:
    """How large the study is.

    Attributes:
        width: of the hidden layers.
        depths: weight matrices.
        examples: trained on.
        steps: of training.
        looks: at how many of them the limit is measured, evenly; of a switched run, after the switch.
        rates: steps that stay, full batch, for each optimiser.
        batched: one each with mini-batches.
        batches: their sizes.
        switches: from which step to which, full batch.
        factors: c of the rule.
        rule_batch: its mini-batch; it is followed with the full batch too.
    """

    width: int
    depths: tuple[int, ...]
    examples: int
    steps: int
    looks: int
    rates: tuple[tuple[str, tuple[float, ...]], ...]
    batched: tuple[tuple[str, float], ...]
    batches: tuple[int, ...]
    switches: tuple[tuple[str, float, float], ...]
    factors: tuple[float, ...]
    rule_batch: int


_RATES = (("fromage", (0.01, 0.03)), ("lars", (0.01, 0.03)), ("sgd", (0.1, 0.5)))
_BATCHED = (("fromage", 0.02), ("lars", 0.02), ("sgd", 0.1))
_SWITCHES = (("fromage", 0.01, 0.03), ("fromage", 0.03, 0.01), ("sgd", 0.1, 0.5), ("sgd", 0.5, 0.1))
_FACTORS = (0.5, 0.8, 1.0, 1.25)
PRESETS = {
    "toy": Preset(8, (2, 3), 60, 48, 7, _RATES[:1], _BATCHED[:1], (20,), _SWITCHES[:1], (0.5, 1.0), 20),
    "quick": Preset(32, (2, 4, 8, 16), 1000, 1000, 31, _RATES, _BATCHED, (50, 200), _SWITCHES, _FACTORS, 100),
    "paper": Preset(
        128, (2, 4, 8, 16), 5000, 5000, 51, _RATES, _BATCHED, (50, 500), _SWITCHES, _FACTORS, 250
    ),
}


class LimitEcho(Study):
    """Limit against step, through trainings whose step stays, is switched, or follows the limit."""

    name = "limit-echo"
    question = "Is the measured step limit an echo of the step in use, and what comes of stepping by it?"
    data = "mnist-14x14"
    presets = PRESETS
    caveats = (
        "ReLU perceptrons alone; the limit is along the full-batch gradient, also where training steps along a"
        " batch's.",
        "For SGD limit and step are multiples of the gradient, for Fromage and LARS shares of each tensor's norm.",
        "Why the limit comes to the step (curvature that grows until it does) is not measured here: that is the study"
        " edge-of-stability. With cross-entropy curvature falls again as the data is fitted, and of a network that does"
        " not train it need not grow: there SGD's steps may meet no limit. More steps are not known.",
        "The first time that a limit is near a switched step may be one of passing by.",
        "The rule's step cannot pass Lemma 2's limit, its cap, where its first steps mostly are: so it cannot be seen"
        " to go far up, and a part of the way down may be from that start.",
    )

    def runs(self, size: Preset) -> list[Coordinates]:
        """By optimiser, depth, batch (0: all), step, the step after the switch (0: none) and c (0: not the rule)."""
        cases = [case_of(name, lr) for name, rates in size.rates for lr in rates]
        cases += [case_of(name, lr, batch=batch) for name, lr in size.batched for batch in size.batches]
        cases += [case_of(name, lr, then=then) for name, lr, then in size.switches]
        cases += [
            case_of("fromage", 0.0, batch=batch, factor=factor)
            for batch in (0, size.rule_batch)
            for factor in size.factors
        ]
        cases += [case_of(name, 0.0, batch=size.rule_batch, factor=1.0) for name in VARIANTS]
        return [{**case, "depth": depth} for case in cases for depth in size.depths]

    def measure(self, size: Preset, run: Coordinates, folder: Path, data: DataSet) -> xr.Dataset:
        """``limit``, ``eta`` in use and ``loss`` (look) at ``step``, and ``accuracy`` at the end."""
        few = data.head(size.examples)
        spec = perceptron(few, width=size.width, depth=int(run["depth"]))
        batch = int(run["batch"]) or None
        training = Stepped(spec, few.x.float(), few.y, batch_size=batch, seed=int(run["seed"]))
        name, lr, factor = str(run["optimizer"]), float(run["lr"]), float(run["factor"])
        rule = None
        if factor:
            fromage = (_Momentum if name == "momentum" else Fromage)(training.weights)
            rule = MeasuredLimit(fromage, factor=factor)
            fromage.param_groups[0]["lr"] = rule.cap
        optimizer = rule.optimizer if rule else make_optimizer(name, training.weights, lr=lr)
        switch = size.steps // 2 if run["then"] else 0
        looks = {int(step) for step in np.linspace(switch, size.steps - 1, size.looks).round()}
        kept = []
        for step in range(size.steps):
            if switch and step == switch:
                optimizer.param_groups[0]["lr"] = float(run["then"])
            if step in looks:
                eta = optimizer.param_groups[0]["lr"]
                limit, loss = training.step_limit(relative=name != "sgd", step=eta)
                kept.append((step, eta, limit, loss))
            training.draw()
            if rule:
                rule.step(_redrawing(training) if name == "other-batch" else training.gradients)
            else:
                training.gradients()
                optimizer.step()
        columns = dict(zip(("step", "eta", "limit", "loss"), np.array(kept, dtype=float).T, strict=True))
        found = {name: ("look", values) for name, values in columns.items()}
        return xr.Dataset({**found, "accuracy": training.score(training.x, training.y)[1]})

    def conclude(self, size: Preset, found: xr.Dataset) -> Conclusion:
        """A row a case, a column a depth."""
        found = found.assign(ratio=found["limit"] / found["eta"])
        rows = [["what", *(f"depth {depth}" for depth in size.depths)]]
        numbers: dict[str, float] = {}
        for case in _cases(size):
            cells = {depth: _judged(case, _own(found, case, depth)) for depth in size.depths}
            for what in next(iter(cells.values())):
                each = {depth: cell[what] for depth, cell in cells.items()}
                rows.append([f"{in_words(case)}: {what}", *(one.shown() for one in each.values())])
                numbers |= ends_by_name(
                    {f"{named(case)}/{depth}/{what.replace(' ', '-')}": one for depth, one in each.items()}
                )
        panels = _panels(size, found)
        return Conclusion(
            _answer(size, found),
            numbers,
            rows,
            draw_panels(panels, columns=3, height=1.9),
            numbers_of_panels(panels),
        )


class _Momentum(Fromage):
    """Fromage whose steps are along a running mean of gradients."""

    def _update(self, W: Tensor, gradient: Tensor, **options: Any) -> None:
        mean = self.state[W].setdefault("mean", torch.zeros_like(W))
        super()._update(W, mean.mul_(_BETA).add_(gradient, alpha=1 - _BETA), **options)


def _redrawing(training: Stepped) -> Callable[[], float]:
    """A closure of the batch at hand, and from its second call on of others."""
    calls = count()

    def gradients() -> float:
        if next(calls):
            training.draw()
        return training.gradients()

    return gradients


def _cases(size: Preset) -> list[dict[str, str | int | float]]:
    """What the runs are of, but for depths."""
    cases = [{k: v for k, v in run.items() if k != "depth"} for run in LimitEcho().runs(size)]
    return [case for place, case in enumerate(cases) if case not in cases[:place]]


def _own(found: xr.Dataset, case: Case, depth: int) -> xr.Dataset:
    return runs_where(found, **case, depth=depth)


def _late(own: xr.Dataset) -> xr.Dataset:
    """The looks in the last half of training."""
    return own.isel(look=slice(own.sizes["look"] // 2, None))


def _judged(case: Case, own: xr.Dataset) -> dict[str, Interval]:
    """Over seeds."""
    if case["then"]:
        return {"steps until the limit is there": interval(_arrival(own))}
    late = {"limit over step": interval(_late(own)["ratio"].median("look"))}
    if case["factor"]:
        drift = interval(_drift(own))
        return {**late, "step at the end over at a quarter": drift, "accuracy": interval(own["accuracy"])}
    return {**late, "the share that is near": interval(_near(_late(own)["ratio"]).mean("look"))}


def _near(ratio: xr.DataArray) -> xr.DataArray:
    return (ratio <= _NEAR) & (ratio >= 1 / _NEAR)


def _arrival(own: xr.Dataset) -> Floats:
    """Of each run the steps after the first look until the limit is first near; NaN where it never is."""
    near = _near(own["ratio"]).values
    steps = own["step"].values - own["step"].values[:, :1]
    return np.where(near.any(1), steps[np.arange(len(near)), near.argmax(1)], np.nan)


def _drift(own: xr.Dataset) -> Floats:
    """The rule's step in the last tenth over that around a quarter of training: medians of looks."""
    looks = own.sizes["look"]
    tenth = max(1, looks // 10)
    early = own["eta"].isel(look=slice(looks // 4, looks // 4 + tenth)).median("look")
    return np.asarray(own["eta"].isel(look=slice(-tenth, None)).median("look") / early)


def _panels(size: Preset, found: xr.Dataset) -> list[Panel]:
    def by_depth(case: Case, what: str) -> list[Series]:
        shades = {depth: place / len(size.depths) for place, depth in enumerate(size.depths)}
        return [_line(f"depth {depth}", _own(found, case, depth), what, shades[depth]) for depth in shades]

    # of LARS it would be as of Fromage
    cases = [case_of(name, rates[0]) for name, rates in size.rates if name != "lars"]
    cases.append(case_of(*size.batched[0], batch=size.batches[0]))
    top = {"searched to": FARTHEST}
    panels = [
        Panel(in_words(case), "step", "limit / step in use", by_depth(case, "ratio"), log_y=True, levels=top)
        for case in cases
    ]
    name, lr, then = size.switches[0]
    case, ends = case_of(name, lr, then=then), {f"η = {eta:g}": eta for eta in (lr, then)}
    series = by_depth(case, "limit")
    panels.append(Panel(in_words(case), "step", "limit after the switch", series, log_y=True, levels=ends))
    depth = size.depths[len(size.depths) // 2]
    for batch in (0, size.rule_batch):
        cases = [case_of("fromage", 0.0, batch=batch, factor=factor) for factor in size.factors]
        series = [_line(f"c = {case['factor']:g}", _own(found, case, depth), "eta") for case in cases]
        panels.append(
            Panel(f"the rule, {batch_in_words(batch)}", "step", f"η, depth {depth}", series, log_y=True)
        )
    return panels


def _line(label: str, own: xr.Dataset, what: str, shade: float | None = None) -> Series:
    values, steps = np.minimum(own[what].values, FARTHEST), own["step"].values[0]
    return banded(label, steps, [interval(one) for one in values.T], mark=False, shade=shade)


def _answer(size: Preset, found: xr.Dataset) -> str:
    held = found.isel(run=(found["then"].values == 0) & (found["factor"].values == 0))
    lines = [_of_steps_that_stay(TITLES[name], runs_where(held, optimizer=name)) for name, _ in size.rates]
    switches = [
        f"{TITLES[name]} {lr:g} to {then:g} {_met(runs_where(found, optimizer=name, lr=lr, then=then))}"
        for name, lr, then in size.switches
    ]
    lines.append(
        "After a switch of the step so many runs have their limit near the new one, first after so many steps (looked"
        f" at every {_every(found):g}): {'; '.join(switches)}."
    )
    lines += [_of_the_rule(size, factor, found) for factor in size.factors]
    rule = found.isel(run=(found["factor"].values > 0) & (found["optimizer"].values == "fromage"))
    below, one = rule.isel(run=rule["factor"].values < 1), runs_where(rule, factor=1.0)
    fed, moved = _drift(below) >= 1 / _MOVED, ~((_drift(one) >= 1 / _MOVED) & (_drift(one) <= _MOVED))
    lines += [
        beside_paper(
            "That less than the limit feeds sharpening, so that η falls to less than half", fed, "runs"
        ),
        beside_paper(f"That c = 1 is neutral, so that η stays within a factor of {_MOVED:g}", moved, "runs"),
    ]
    variants = [f"{how} {_ends(size, runs_where(found, optimizer=name))}" for name, how in VARIANTS.items()]
    plain = _ends(size, runs_where(one, batch=size.rule_batch))
    lines.append(
        f"With c = 1 and batches of {size.rule_batch} η ends at, with accuracy by depth: as the rule is {plain};"
        f" {'; '.join(variants)}."
    )
    return "\n".join(lines)


def _ends(size: Preset, own: xr.Dataset) -> str:
    lost = int((~np.isfinite(own["loss"].isel(look=-1))).sum())
    numberless = f"; no numbers in {lost} of {own.sizes['run']} runs" if lost else ""
    return f"{interval(own['eta'].isel(look=-1)).shown()} ({_accuracies(size, own)}{numberless})"


def _accuracies(size: Preset, own: xr.Dataset) -> str:
    each = [float(np.median(runs_where(own, depth=depth)["accuracy"])) for depth in size.depths]
    return ", ".join(f"{one:.2f}" for one in each)


def _of_steps_that_stay(title: str, own: xr.Dataset) -> str:
    late = _late(own)["ratio"].median("look")
    parts = [
        f"{batch_in_words(batch)} {interval(late.values[own['batch'].values == batch]).shown()}"
        for batch in sorted({*own["batch"].values.tolist()})
    ]
    met = int(_near(own["ratio"]).any("look").sum())
    return beside_paper(
        f"By {title} the limit begins at {interval(own['ratio'].isel(look=0)).shown()} times the step in use and is"
        f" near it at some time in {met} of {len(late)} runs; its median in the last half is: {'; '.join(parts)}. That"
        f" it is within a factor of {_NEAR:g} of the step there",
        ~_near(late).values,
        "runs",
    )


def _every(found: xr.Dataset) -> float:
    steps = found["step"].isel(run=found["then"].values > 0).values
    return float(np.diff(steps, axis=1).max())


def _met(own: xr.Dataset) -> str:
    steps = _arrival(own)
    return f"{int(np.isfinite(steps).sum())} of {len(steps)}, {interval(steps).shown()}"


def _of_the_rule(size: Preset, factor: float, found: xr.Dataset) -> str:
    parts = []
    for batch in (0, size.rule_batch):
        own = runs_where(found, optimizer="fromage", factor=factor, batch=batch)
        late = _late(own)["ratio"].median("look")
        caps = lemma2_step_limit(depth=own["depth"].values)
        capped = float((own["eta"].values >= 0.999 * caps[:, None]).mean())
        parts.append(
            f"{batch_in_words(batch)} {interval(_drift(own)).shown()} (at its cap at {capped:.0%} of looks; the limit"
            f" is {interval(late).shown()} η; accuracy by depth {_accuracies(size, own)})"
        )
    return (
        f"By the rule with c = {factor:g}, which asks for a limit of {number(1 / factor)} η, η changes from a quarter"
        f" of training to its end by a factor of: {'; '.join(parts)}."
    )
