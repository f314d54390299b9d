"""What a study is: a grid of runs, what is measured in each, one figure, one verdict; and how it is run whole."""

from __future__ import annotations

import ast
import hashlib
import json
import re
from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields, is_dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, TypeAlias

import numpy as np
import numpy.typing as npt
import xarray as xr

from analysis.wording import number
from figures.panels import Series
from probes.choices import check_count
from probes.data.dataset import DataSet, load_data
from probes.errors import InputError, mention
from probes.system.callables import is_callable_spec, load_object
from probes.system.files import write_atomically
from probes.system.json_files import read_json
from probes.system.locks import FolderLock, claim_folder
from studies.catalogue import STUDIES
from studies.grid import Coordinates, Grid, check_cluster, of_users
from studies.page import Page

if TYPE_CHECKING:
    import pandas as pd  # type: ignore[import-untyped, unused-ignore]
    from matplotlib.figure import Figure

__all__ = [
    "Conclusion",
    "Interval",
    "Result",
    "Study",
    "banded",
    "claim_study",
    "find_study",
    "interval",
    "run_study",
]

Table: TypeAlias = Sequence[Sequence[str]]
MOST_SEEDS = 1000
_PARTS = {
    "preset": "the preset",
    "size": "the preset's numbers",
    "source": "the code that runs",
    "data": "the data",
    "data_hash": "what is in the data",
    "seed": "the seed",
}
"""What decides a study's numbers, in words."""


@dataclass(frozen=True)
class Conclusion:
    """What a study concludes from its runs.

    Attributes:
        answer: in words.
        numbers: by name; NaN where one is not known.
        table: for reading, the first row its heading.
        figure: of what was measured.
        drawn: the numbers in it.
    """

    answer: str
    numbers: Mapping[str, float]
    table: Table
    figure: Figure
    drawn: pd.DataFrame


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


class Study(ABC):
    """An experiment: what it runs for each seed, what it measures there, and what it concludes.

    A subclass in a file of one's own is run by ``probe study file.py:Name``.

    Attributes:
        name: of the study, and of its files.
        question: in a line.
        presets: how large it can be, by name: any objects, which only the study itself reads.
        data: the data spec that it takes where none is given.
        caveats: what the answer does not say, a sentence or two each.
    """

    name: ClassVar[str]
    question: ClassVar[str]
    presets: ClassVar[Mapping[str, Any]]
    data: ClassVar[str] = "mnist"
    caveats: ClassVar[Sequence[str]] = ()

    @abstractmethod
    def runs(self, size: Any) -> Sequence[Coordinates]:
        """The runs of one seed, each by names and values that no other has.

        Args:
            size: the preset.
        """

    @abstractmethod
    def measure(self, size: Any, run: Coordinates, folder: Path, data: DataSet) -> xr.Dataset:
        """Train and measure one run.

        Args:
            size: the preset.
            run: one of :meth:`runs`, with its ``seed``.
            folder: for what it keeps; called again after an interruption it finds there what it had written.
            data: what it is trained on.

        Returns:
            What was measured, of any dims.
        """

    @abstractmethod
    def conclude(self, size: Any, found: xr.Dataset) -> Conclusion:
        """Judge and draw.

        Args:
            size: the preset.
            found: what all runs measured, along the dim ``run``; a run's names, ``seed`` and
                ``folder`` are coordinates of it.
        """


def find_study(spec: str) -> tuple[Study, str]:
    """The study of that name, or in a file of the user's own; and where it is.

    Raises:
        InputError: there is none.
    """
    if spec in STUDIES:
        spec = STUDIES[spec].place
    elif not is_callable_spec(spec):
        file = spec.partition(":")[0]
        fix = f"name its class, as {spec}:Name" if file.endswith(".py") else "path/to/file.py:Name"
        raise InputError(f"{mention('study', spec)}: unknown (there are {', '.join(STUDIES)}, and {fix})")
    found = load_object(spec, option="study")
    if not (isinstance(found, type) and issubclass(found, Study)):
        what = "no name in it" if found is None else repr(found)[:60]
        raise InputError(
            f"{mention('study', spec)}: that is {what}, not a class made from studies.frame.Study"
        )
    missing = [name for name in ("name", "question", "presets") if not hasattr(found, name)]
    if missing or getattr(found, "__abstractmethods__", None):
        lacking = missing[0] if missing else min(found.__abstractmethods__)
        raise InputError(f"{mention('study', spec)}: the study must say its {lacking}")
    return found(), spec


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
    identity = _identity(place, preset, size) | {"data": data, "data_hash": made.digest()}
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
        figures = save_figure(
            end.figure, out / study.name, end.drawn, formats=formats, write=write_atomically
        )
        written = out / f"{study.name}.md"
        given = {"preset": preset, "seeds": str(seeds), "data": data, "out": out.resolve().name}
        figure = f"{study.name}.{'png' if 'png' in formats else formats[0]}"
        page = Page(study.name, study.question, spec, given, figure, _sizes(size, made))
        text = page.written(end.answer, end.table, study.caveats)
        write_atomically(written, text.encode())
    return Result(study.name, preset, seeds, end.answer, end.numbers, end.table, figures, written)


def _absolute(place: str) -> str:
    file, _, name = place.rpartition(":")
    return f"{Path(file).resolve()}:{name}" if file.endswith(".py") else place


def _identity(place: str, preset: str, size: Any) -> dict[str, str]:
    """What decides a study's numbers: its size and, of a user's own, the file.

    Raises:
        InputError: the size does not say what it is.
    """
    if re.search(r" at 0x[0-9a-f]+", repr(size)):
        raise InputError(
            f"{mention('preset', preset)}: it does not say what it is, so that a study could be continued; make it of"
            " numbers, text and the like, or a dataclass"
        )
    found = {"preset": preset, "size": repr(size)}
    file, _, name = place.rpartition(":")
    if file.endswith(".py"):
        found["source"] = hashlib.sha256(_what_runs(Path(file), name).encode()).hexdigest()[:16]
    return found


def _what_runs(file: Path, name: str) -> str:
    """A user's file without its comments and without what its study concludes, which may change between runs."""
    tree = ast.parse(file.read_bytes())
    for node in tree.body:
        if isinstance(node, ast.ClassDef) and node.name == name:
            node.body = [
                part
                for part in node.body
                if not (isinstance(part, ast.FunctionDef) and part.name == "conclude")
            ]
    return ast.dump(tree)


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


@dataclass(frozen=True)
class Interval:
    """Of a number over seeds: the median, the smallest and the largest of those that are known."""

    low: float
    middle: float
    high: float

    def shown(self, digits: int = 2) -> str:
        """As text: the median, and in brackets the ends where they differ."""
        middle, low, high = (number(value, digits) for value in (self.middle, self.low, self.high))
        return middle if low == high else f"{middle} ({low}–{high})"


def interval(values: npt.ArrayLike | xr.DataArray) -> Interval:
    """What seeds gave; NaN where none gave anything."""
    known = np.asarray(values, dtype=float).ravel()
    known = known[~np.isnan(known)]
    if not len(known):
        return Interval(np.nan, np.nan, np.nan)
    return Interval(float(known.min()), float(np.median(known)), float(known.max()))


def banded(label: str, x: npt.ArrayLike, intervals: Sequence[Interval], **look: Any) -> Series:
    """A line through the medians, and a band from the smallest to the largest."""
    middle, low, high = ([getattr(one, name) for one in intervals] for name in ("middle", "low", "high"))
    return Series(label, x, middle, low, high, **look)


def claim_study(out: Path, name: str, identity: Mapping[str, Any]) -> FolderLock:
    """Make a folder this study's, or continue it, with its lock held.

    Args:
        out: the folder.
        name: of the study, and of the file in the folder that says which it is.
        identity: what decides its numbers.

    Raises:
        InputError: the folder holds something else, or cannot be written.
    """
    marker = out / f"{name}.json"
    lock = claim_folder(out, lambda: _refuse_another(out, marker, identity))
    try:
        if not marker.is_file():
            write_atomically(marker, (json.dumps(identity) + "\n").encode())
    except BaseException:
        lock.release()
        raise
    return lock


def _refuse_another(out: Path, marker: Path, identity: Mapping[str, Any]) -> None:
    if marker.is_file():
        try:
            existing = read_json(marker)
        except ValueError:
            existing = None
        if existing != identity:
            known = existing if isinstance(existing, dict) else {}
            other = (
                ", ".join(_PARTS[name] for name in _PARTS if known.get(name) != identity.get(name))
                or "something"
            )
            raise InputError(
                f"{out}: holds another study, or this one with {other} other; choose another `out`"
            )
        return
    if out.is_dir() and any(not entry.name.startswith(".") for entry in out.iterdir()):
        raise InputError(f"{out}: is not empty and holds no study of this name; choose another `out`")
