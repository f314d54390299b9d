"""A study run whole: its runs, its figure, its page."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields, is_dataclass
from pathlib import Path
from typing import Any

import numpy as np
import xarray as xr

from probes.choices import check_count
from probes.data.dataset import DataSet, load_data
from probes.errors import InputError, mention
from probes.system.files import write_atomically
from studies.frame.finding import find_study
from studies.frame.grid import Grid, check_cluster, of_users
from studies.frame.identity import claim_study, identity_of
from studies.frame.outcome import Outcome, write_outcome
from studies.frame.study import Conclusion, Coordinates, Table

__all__ = ["Result", "run_study"]

MOST_SEEDS = 1000


@dataclass(frozen=True)
class Result:
    """What a study ends with.

    Attributes:
        study: its name.
        preset: how large it was.
        seeds: over how many.
        answer: in words.
        numbers: by name; NaN where one is not known.
        table: for reading, the first row its heading.
        figures: files: the figure in its formats, and its numbers.
        page: the file that says it all.
    """

    study: str
    preset: str
    seeds: int
    answer: str
    numbers: Mapping[str, float]
    table: Table
    figures: Sequence[Path]
    page: Path


def run_study(
    spec: str,
    preset: str,
    out: Path,
    *,
    seeds: int = 3,
    data: str | None = None,
    formats: tuple[str, ...] = ("png", "pdf"),
    jobs: int | None = None,
    dask: str | None = None,
) -> Result:
    """Run a study whole; what is in the folder already is not done again, and seeds may be added.

    Args:
        spec: a name of :data:`studies.catalogue.STUDIES`, or ``file.py:Name``.
        preset: a name of the study's presets.
        out: the folder for everything.
        seeds: how many times each run is made.
        data: a data spec, ``mnist:FOLDER`` for the full 60,000 images; None: the study's own.
        formats: of the figure.
        jobs: processes that share the runs; None: as many as there are cores.
        dask: the address of a Dask scheduler whose workers share them.

    Raises:
        InputError: there is no such study or preset, another study is in the folder, or it cannot be written.
    """
    from figures.saving import save_figure

    study, place = find_study(spec)
    if preset not in study.presets:
        raise InputError(f"{mention('preset', preset)}: the study has {', '.join(study.presets)}")
    check_count("seeds", seeds, 1, MOST_SEEDS)
    if jobs is not None:
        check_count("jobs", jobs, 1, MOST_SEEDS)
    data = data or study.data
    size, made = study.presets[preset], load_data(data)
    grid = Grid(_absolute(place), preset, data, out.resolve())  # workers may be elsewhere
    if dask is not None:
        check_cluster(dask)  # before there is a folder
    identity = identity_of(place, preset, size) | {"data": data, "data_hash": made.digest()}
    with of_users(place):
        planned = study.runs(size)
    if not planned or not all(isinstance(run, Mapping) for run in planned):
        raise InputError(
            f"{mention('study', spec)}: runs must return one mapping a run at least, such as [{{'depth': 2}}]"
        )
    if any("seed" in run for run in planned):
        raise InputError(f"{mention('study', spec)}: seeds are the frame's; let no run of it be named `seed`")
    runs: list[Coordinates] = [{**run, "seed": seed} for seed in range(seeds) for run in planned]
    with claim_study(out, study.name, identity):
        each = zip(grid.run(runs, jobs=jobs, dask=dask), runs, strict=True)
        labelled = [_labelled(one, {**run, "folder": str(grid.folder(run))}) for one, run in each]
        found = xr.concat(labelled, "run", join="outer")
        with of_users(place):
            end = study.conclude(size, found)
        if not isinstance(end, Conclusion):
            raise InputError(
                f"{mention('study', spec)}: conclude must return a studies.frame.Conclusion, got {type(end).__name__}"
            )
        shown = tuple(dict.fromkeys(("png", *formats)))  # its page shows the PNG
        figures = save_figure(end.figure, out / study.name, end.drawn, formats=shown, write=write_atomically)
        outcome = Outcome(
            name=study.name,
            question=study.question,
            study=spec,
            given={"preset": preset, "seeds": str(seeds), "data": data, "out": out.resolve().name},
            sizes=_sizes(size, made),
            answer=end.answer,
            table=end.table,
            caveats=study.caveats,
        )
        page = write_outcome(outcome, out)
    return Result(study.name, preset, seeds, end.answer, end.numbers, end.table, figures, page)


def _absolute(place: str) -> str:
    file, _, name = place.rpartition(":")
    return f"{Path(file).resolve()}:{name}" if file.endswith(".py") else place


def _sizes(size: Any, data: DataSet) -> dict[str, str]:
    """What a preset is, by the names of its fields, and of what data."""
    found = (
        {field.name: getattr(size, field.name) for field in fields(size)}
        if is_dataclass(size)
        else {"": size}
    )
    shown = {name.replace("_", " "): _in_short(value) for name, value in found.items()}
    return shown | {"data": f"{len(data)} examples of {data.spec}"}


def _in_short(value: Any) -> str:
    if isinstance(value, np.ndarray):
        return f"{len(value)} from {value.min():g} to {value.max():g}"
    if isinstance(value, Mapping):
        return ", ".join(f"{key}: {_in_short(one)}" for key, one in value.items())
    if isinstance(value, (tuple, list)):
        return ", ".join(_in_short(one) for one in value)
    if is_dataclass(value):
        parts = {field.name.replace("_", " "): getattr(value, field.name) for field in fields(value)}
        return f"({'; '.join(f'{name} {_in_short(part)}' for name, part in parts.items())})"
    return "all" if value is None else f"{value:g}" if isinstance(value, float) else str(value)


def _labelled(found: xr.Dataset, run: Coordinates) -> xr.Dataset:
    return found.expand_dims("run").assign_coords({name: ("run", [value]) for name, value in run.items()})
