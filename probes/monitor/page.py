"""What a monitor's log shows: its figure, and its chapter of the page that ``probe report`` writes."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import xarray as xr

from analysis.wording import number
from figures.labels import evenly_chosen, shortened
from figures.panels import Panel, Series, draw_panels, numbers_of_panels
from figures.report.blocks import Block, Chapter, Items, Picture, Points, Table
from figures.saving import save_figure, write_whole

__all__ = ["log_chapter", "log_document", "log_panels", "log_words", "write_log_figure"]

_MOST_LINES = 8
"""So many layers have a line each; of more only the spread is shown."""
_MOST_ROWS, _MOST_LAYERS = 40, 200  # of a table
_LONGEST = 40  # letters of a layer's name in a figure
_LIMITS = {
    "lemma2": "Lemma 2",
    "calibrated": "calibrated",
    "curvature": "slice curvature",
    "predicted": "predicted",
    "measured": "measured",
}
_CAPTION = (
    "Each recorded step's relative update ‖ΔW‖/‖W‖ and deep relative trust ∏(1 + r) − 1 through training, and below"
    " them the step limits and the effective constant on the held examples. Where the largest relative update comes"
    " near the measured limit, a step along the held examples' gradient that moves every layer that far would not have"
    " lowered their loss."
)


def log_panels(log: xr.Dataset) -> list[Panel]:
    """Relative updates, deep relative trust, step limits and the effective constant through training.

    Args:
        log: of :func:`probes.read_log`.
    """
    steps = log["step"].values
    trust = Series("deep relative trust", steps, _drawn(log["deep_relative_trust"]), mark=False)
    panels = [
        _panel("relative updates", "‖ΔW‖/‖W‖", _updates(log)),
        _panel("deep relative trust of a step", "∏(1 + r) − 1", [trust]),
    ]
    if log.sizes["limit_step"]:
        places = log["limit_step"].values
        limits = [
            Series(label, places, _drawn(log[name]))
            for name, label in _LIMITS.items()
            if bool(log[name].notnull().any())
        ]
        largest = Series("largest relative update", steps, _drawn(_largest(log)), line=":", mark=False)
        constant = Series("effective constant C", places, _drawn(log["constant"]))
        panels += [
            _panel("step limits", "relative perturbation", [*limits, largest]),
            _panel("effective constant", "C", [constant], {"the model's 1": 1.0}),
        ]
    return panels


def _panel(title: str, y: str, series: Sequence[Series], levels: Mapping[str, float] | None = None) -> Panel:
    """Along the steps on log axes, where there is a point to show on them."""
    there = any(np.isfinite(one.middle).any() for one in series)
    return Panel(title, "step", y, series, log_x=there, log_y=there, levels=levels or {})


def _updates(log: xr.Dataset) -> list[Series]:
    """A line a layer, from the input's to the output's shade; of many layers the middle one and the spread."""
    steps, updates = log["step"].values, log["relative_update"]
    layers = log.sizes["layer"]
    if layers <= _MOST_LINES:
        return [
            Series(
                _shown(str(name)),
                steps,
                _drawn(updates.sel(layer=name)),
                mark=False,
                shade=k / max(layers - 1, 1),
            )
            for k, name in enumerate(log["layer"].values)
        ]
    known = updates.where(np.isfinite(updates))
    low, middle, high = (_drawn(getattr(known, one)("layer")) for one in ("min", "median", "max"))
    return [Series(f"median of {layers} layers (band: all)", steps, middle, low, high, mark=False)]


def _largest(log: xr.Dataset) -> xr.DataArray:
    """The largest relative update of each step; NaN where none is known."""
    return (
        log["relative_update"].max("layer") if log.sizes["layer"] else log["deep_relative_trust"] * math.nan
    )


def _drawn(values: xr.DataArray) -> Any:
    """What a log axis has a place for."""
    return values.where(np.isfinite(values) & (values > 0)).values


def _shown(name: str) -> str:
    """A layer's name as a label: short, and no formula."""
    return shortened(name, _LONGEST).replace("$", r"\$")


def log_words(log: xr.Dataset) -> list[tuple[str, str]]:
    """What a log shows in short, a word and a sentence each."""
    said = [("updates", _updates_in_words(log))]
    if log.sizes["limit_step"]:
        said.append(("limits", _limits_in_words(log)))
        last = log.isel(limit_step=-1)
        said.append(
            (
                "constant",
                f"The effective constant C is {number(float(last['constant']))} at the end, from"
                f" {number(float(log['constant'].min()))} to {number(float(log['constant'].max()))} through training;"
                " deep relative trust sets it to 1.",
            )
        )
    cost = float(log.attrs["cost"])
    if not math.isnan(cost):
        by = {"processor": " by the processor's clock", "wall": " by the clock on the wall"}
        clock = by.get(log.attrs["clock"], "")
        said.append(("cost", f"Monitoring took {number(100 * cost, 2)} % of the training's own time{clock}."))
    if not log.attrs["closed"]:
        said.append(("end", "The log was not closed: the training goes on, or was ended from outside."))
    return said


def _updates_in_words(log: xr.Dataset) -> str:
    rows = log_document(log)["layers"]
    known = [row for row in rows if row["median"] is not None]
    if not known:
        return "No step's relative updates are recorded."
    steps = log["step"].values
    low, high = (choose(known, key=lambda row: row["median"]) for choose in (min, max))
    words = (
        f"In {len(steps)} recorded steps from {steps[0]} to {steps[-1]} the median relative update of a layer is"
        f" {number(low['median'])} ({low['name']})"
    )
    if high is not low:
        words += f" to {number(high['median'])} ({high['name']})"
    trust = log["deep_relative_trust"]
    words += f"; deep relative trust of a step is {number(float(trust.median()))} in the median."
    odd = int((~np.isfinite(log["relative_update"].values)).any(axis=1).sum()) if log.sizes["layer"] else 0
    return words + (f" In {odd} of the steps a layer's is no finite number." if odd else "")


def _limits_in_words(log: xr.Dataset) -> str:
    last = log.isel(limit_step=-1)
    measured, step = float(last["measured"]), int(last["limit_step"])
    words = (
        f"At step {step}, the last of {log.sizes['limit_step']}, the measured step limit on {log.attrs['held']} is"
        f" {number(measured)}, the predicted one {number(float(last['predicted']))}, Lemma 2's"
        f" {number(float(last['lemma2']))}"
    )
    near = _largest(log).dropna("step")
    if near.sizes["step"] and measured > 0:
        largest = float(near.sel(step=step, method="nearest"))
        words += f"; the largest relative update of a step then is {number(largest / measured)} times the measured one"
    return f"{words}."


def log_document(log: xr.Dataset) -> dict[str, Any]:
    """A log in numbers for ``probe report --json``; null where there is none."""
    layers, steps = [], log["step"].values
    for name, values in zip(log["layer"].values, log["relative_update"].values.T, strict=True):
        rows = np.flatnonzero(np.isfinite(values))
        one: dict[str, Any] = dict.fromkeys(("name", "median", "last", "largest", "at_step"))
        one["name"] = str(name)
        if len(rows):
            there = values[rows]
            most = int(there.argmax())
            one |= {
                "median": float(np.median(there)),
                "last": float(there[-1]),
                "largest": float(there[most]),
            }
            one["at_step"] = int(steps[rows[most]])
        layers.append(one)
    names = [str(name) for name in log.data_vars if log[name].dims == ("limit_step",)]
    limits = [
        {"step": int(step)} | {name: _finite(float(log[name][place])) for name in names}
        for place, step in enumerate(log["limit_step"].values)
    ]
    return {
        "steps": log.sizes["step"],
        "layers": layers,
        "limits": limits,
        "cost": _finite(log.attrs["cost"]),
    }


def _finite(value: float) -> float | None:
    return value if math.isfinite(value) else None


def write_log_figure(
    log: xr.Dataset,
    stem: Path,
    *,
    formats: Sequence[str] = ("png", "pdf"),
    write: Callable[[Path, bytes], object] = write_whole,
) -> list[Path]:
    """The figure of a log and its numbers, as :func:`figures.saving.save_figure` writes them."""
    panels = log_panels(log)
    return save_figure(draw_panels(panels), stem, numbers_of_panels(panels), formats=formats, write=write)


def log_chapter(log: xr.Dataset, title: str, picture: Path) -> Chapter:
    """All that there is to say of a log.

    Args:
        log: of :func:`probes.read_log`.
        title: what to call it.
        picture: the figure, in PNG, with its numbers in a CSV beside it.
    """
    found = log_document(log)
    updates = [["weight matrix", "median ‖ΔW‖/‖W‖", "last", "largest", "at step"]]
    for row in evenly_chosen(found["layers"], _MOST_LAYERS):
        numbers = [_cell(row[name]) for name in ("median", "last", "largest")]
        updates.append([row["name"], *numbers, "–" if row["at_step"] is None else str(row["at_step"])])
    blocks: list[Block] = [Points(log_words(log))]
    if log.attrs["failed"]:
        blocks.append(Items([log.attrs["failed"]], beware=True))
    blocks.append(Picture(picture, _CAPTION, picture.with_suffix(".csv")))
    blocks.append(Chapter("Relative updates by layer", [Table(updates, "relative updates by layer")]))
    if found["limits"]:
        columns = (
            "measured",
            "predicted",
            "lemma2",
            "calibrated",
            "curvature",
            "constant",
            "loss",
            "accuracy",
        )
        rows = [["step", *(_LIMITS.get(name, name) for name in columns)]]
        rows += [
            [str(row["step"]), *(_cell(row[name]) for name in columns)]
            for row in evenly_chosen(found["limits"], _MOST_ROWS)
        ]
        blocks.append(Chapter("Step limits", [Table(rows, "step limits through training")]))
    return Chapter(title, blocks)


def _cell(value: float | None) -> str:
    return "–" if value is None else number(value)
