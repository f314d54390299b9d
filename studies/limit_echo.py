"""``probe study limit-echo``: does the measured step limit say more than which step was in use?

Perceptrons of several depths are trained at steps that stay, at a step that is switched half-way, and by the rule that
takes its step from the limit. At some of the steps, the measured limit over all examples is set beside the step in use.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TypeAlias

import numpy as np
import numpy.typing as npt
import xarray as xr

from figures.panels import Panel, Series, draw_panels, numbers_of_panels
from probes.data.dataset import DataSet
from probes.runs.optimizers import make_optimizer
from studies.frame import Conclusion, Interval, Study, banded, interval
from studies.grid import Coordinates
from studies.pieces import beside_paper, ends_by_name, perceptron, runs_where
from studies.stepped import Stepped
from trust.optim import Fromage, MeasuredLimit

__all__ = ["LimitEcho", "Preset"]

Floats = npt.NDArray[np.float64]
_TITLES = {"fromage": "Fromage", "lars": "LARS", "sgd": "SGD"}
Case: TypeAlias = Mapping[str, str | int | float]
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
        " edge-of-stability. What would come after more steps is not known.",
        "The rule's step cannot pass Lemma 2's limit, where its first steps mostly are: so it cannot be seen to go far"
        " up, and a part of the way down may be from that start.",
    )

    def runs(self, size: Preset) -> list[Coordinates]:
        """By optimiser, depth, batch (0: all), step, the step after the switch (0: none) and c (0: not the rule)."""
        cases = [_case(name, lr) for name, rates in size.rates for lr in rates]
        cases += [_case(name, lr, batch=batch) for name, lr in size.batched for batch in size.batches]
        cases += [_case(name, lr, then=then) for name, lr, then in size.switches]
        cases += [
            _case("fromage", 0.0, batch=batch, factor=factor)
            for batch in (0, size.rule_batch)
            for factor in size.factors
        ]
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
            fromage = Fromage(training.weights)
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
                rule.step(training.gradients)
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
                rows.append([f"{_described(case)}: {what}", *(one.shown() for one in each.values())])
                numbers |= ends_by_name(
                    {f"{_named(case)}/{depth}/{what.replace(' ', '-')}": one for depth, one in each.items()}
                )
        panels = _panels(size, found)
        return Conclusion(
            _answer(size, found),
            numbers,
            rows,
            draw_panels(panels, columns=3, height=1.9),
            numbers_of_panels(panels),
        )


def _case(
    optimizer: str, lr: float, *, batch: int = 0, then: float = 0.0, factor: float = 0.0
) -> dict[str, str | int | float]:
    return {"optimizer": optimizer, "lr": lr, "then": then, "batch": batch, "factor": factor}


def _cases(size: Preset) -> list[dict[str, str | int | float]]:
    """What the runs are of, but for depths."""
    cases = [{k: v for k, v in run.items() if k != "depth"} for run in LimitEcho().runs(size)]
    return [case for place, case in enumerate(cases) if case not in cases[:place]]


def _own(found: xr.Dataset, case: Case, depth: int) -> xr.Dataset:
    return runs_where(found, **case, depth=depth)


def _described(case: Case) -> str:
    batch = f"batches of {case['batch']}" if case["batch"] else "full batch"
    if case["factor"]:
        return f"c = {case['factor']:g}, {batch}"
    then = f" → {case['then']:g}" if case["then"] else ""
    return f"{_TITLES[str(case['optimizer'])]} at {case['lr']:g}{then}, {batch}"


def _named(case: Case) -> str:
    batch = case["batch"] or "full"
    if case["factor"]:
        return f"rule/{case['factor']:g}/{batch}"
    then = f"-to-{case['then']:g}" if case["then"] else ""
    return f"{case['optimizer']}/{case['lr']:g}{then}/{batch}"


def _late(own: xr.Dataset) -> xr.Dataset:
    """The looks in the last half of training."""
    return own.isel(look=slice(own.sizes["look"] // 2, None))


def _judged(case: Case, own: xr.Dataset) -> dict[str, Interval]:
    """Over seeds."""
    if case["then"]:
        return {"steps until the limit is there": interval(_arrival(own))}
    late = {"limit over step": interval(_late(own)["ratio"].median("look"))}
    if case["factor"]:
        return {**late, "step at the end over at a quarter": interval(_drift(own)), **_end(own)}
    return {**late, "the share that is near": interval(_near(_late(own)["ratio"]).mean("look"))}


def _end(own: xr.Dataset) -> dict[str, Interval]:
    return {"accuracy": interval(own["accuracy"])}


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
    def by_depth(case: Case, what: str = "ratio") -> list[Series]:
        return [
            _line(f"depth {depth}", _own(found, case, depth), what, place / len(size.depths))
            for place, depth in enumerate(size.depths)
        ]

    panels = []
    for name, rates in size.rates:
        if name != "lars":  # which is as Fromage
            case = _case(name, rates[0])
            panels.append(Panel(_described(case), "step", "limit / step in use", by_depth(case), log_y=True))
    name, lr = size.batched[0]
    case = _case(name, lr, batch=size.batches[0])
    panels.append(Panel(_described(case), "step", "limit / step in use", by_depth(case), log_y=True))
    case = _case(*size.switches[0][:2], then=size.switches[0][2])
    ends = {f"η = {eta:g}": eta for eta in size.switches[0][1:]}
    panels.append(
        Panel(
            _described(case),
            "step",
            "limit, from the switch on",
            by_depth(case, "limit"),
            log_y=True,
            levels=ends,
        )
    )
    depth = size.depths[len(size.depths) // 2]
    for batch in (0, size.rule_batch):
        series = [
            _line(
                f"c = {factor:g}",
                _own(found, _case("fromage", 0.0, batch=batch, factor=factor), depth),
                "eta",
            )
            for factor in size.factors
        ]
        where = f"batches of {batch}" if batch else "full batch"
        panels.append(Panel(f"η = c · limit, depth {depth}, {where}", "step", "η", series, log_y=True))
    return panels


def _line(label: str, own: xr.Dataset, what: str, shade: float | None = None) -> Series:
    values = own[what].where(np.isfinite(own[what])).values
    steps = own["step"].values[0]
    return banded(label, steps, [interval(one) for one in values.T], mark=False, shade=shade)


def _answer(size: Preset, found: xr.Dataset) -> str:
    held = found.isel(run=(found["then"].values == 0) & (found["factor"].values == 0))
    lines = []
    for batch in (0, *size.batches):
        for name in _TITLES:
            own = runs_where(held, optimizer=name, batch=batch)
            if own.sizes["run"]:
                lines.append(_of_steps_that_stay(_TITLES[name], batch, own))
    switched = found.isel(run=found["then"].values > 0)
    for name, lr, then in size.switches:
        own = runs_where(switched, optimizer=name, lr=lr, then=then)
        lines.append(_of_a_switch(_TITLES[name], lr, then, own))
    lines += [
        _of_the_rule(factor, batch, runs_where(found, factor=factor, batch=batch))
        for batch in (0, size.rule_batch)
        for factor in size.factors
    ]
    return "\n".join(lines)


def _of_steps_that_stay(title: str, batch: int, own: xr.Dataset) -> str:
    late = _late(own)["ratio"].median("look")
    before = interval(own["ratio"].isel(look=0)).shown()
    where = f"with batches of {batch}" if batch else "with the full batch"
    return beside_paper(
        f"{title} {where}: the limit begins at {before} of the step in use; in the last half its median is"
        f" {interval(late).shown()}. That it is there within a factor of {_NEAR:g}",
        ~_near(late).values,
        "runs",
    )


def _of_a_switch(title: str, lr: float, then: float, own: xr.Dataset) -> str:
    steps = _arrival(own)
    every = own["step"].values[0, 1] - own["step"].values[0, 0]
    return (
        f"{title} switched from {lr:g} to {then:g}: of {len(steps)} runs {int(np.isfinite(steps).sum())} have their"
        f" limit near the new step in the steps that follow, first after {interval(steps).shown()} of them (looked at"
        f" every {every:g})."
    )


def _of_the_rule(factor: float, batch: int, own: xr.Dataset) -> str:
    drift, late = _drift(own), _late(own)["ratio"].median("look")
    down, up = int((drift < 1 / _MOVED).sum()), int((drift > _MOVED).sum())
    where = f"batches of {batch}" if batch else "the full batch"
    return (
        f"The rule with c = {factor:g} and {where}: from a quarter of training to its end η changes by a factor of"
        f" {interval(drift).shown()}, and falls to less than half in {down} of {len(drift)} runs (more than doubles in"
        f" {up}). The limit is {interval(late).shown()} of η, where {1 / factor:g} is asked for; accuracy ends at"
        f" {interval(own['accuracy']).shown()}."
    )
