"""A study of a user's own, as docs/how-to/own-study.md shows one."""

from __future__ import annotations

import os
import signal
from pathlib import Path
from typing import Any

import numpy as np
import xarray as xr

from figures.panels import Panel, draw_panels, numbers_of_panels
from probes.data.dataset import DataSet
from studies.frame import Conclusion, Coordinates, Study, banded, interval


class Squares(Study):
    """Squares of the first numbers, plus the seed."""

    name = "squares"
    question = "How large are squares?"
    presets = {"quick": 3, "twice": [1, 1]}  # noqa: RUF012
    caveats = ("Nothing is said of cubes.",)

    def runs(self, size: Any) -> list[Coordinates]:
        """The numbers."""
        return [{"number": number} for number in (range(size) if isinstance(size, int) else size)]

    def measure(self, size: Any, run: Coordinates, folder: Path, data: DataSet) -> xr.Dataset:
        """A number's square; a file says how often it was asked for, and another that the process be killed once."""
        with (folder / "calls").open("a") as calls:
            calls.write("x")
        fatal = folder.parent.parent / f".kill-{run['number']}"
        if fatal.exists():
            fatal.unlink()
            os.kill(os.getpid(), signal.SIGKILL)
        if (folder.parent.parent / ".fail").exists():
            raise ZeroDivisionError("no number is that large")
        powers = [float(run["number"]) ** power + int(run["seed"]) for power in (1, 2)]
        return xr.Dataset({"value": ("power", powers), "threads": os.getpid()}, {"power": ["one", "two"]})

    def conclude(self, size: Any, found: xr.Dataset) -> Conclusion:
        """The largest."""
        numbers = np.unique(found["number"]).tolist()
        squares = found["value"].sel(power="two")
        intervals = [interval(squares[found["number"].values == number]) for number in numbers]
        panels = [Panel("squares", "number", "its square", [banded("square", numbers, intervals)])]
        named = {
            f"{number}/{name}": getattr(one, name)
            for number, one in zip(numbers, intervals, strict=True)
            for name in ("low", "middle", "high")
        }
        table = [
            ["number", "square"],
            *([str(number), f"{one.middle:g}"] for number, one in zip(numbers, intervals, strict=True)),
        ]
        return Conclusion(
            f"As large as {intervals[-1].high:g}.",
            named,
            table,
            draw_panels(panels),
            numbers_of_panels(panels),
        )


class Unfinished(Study):
    """Without anything."""


NUMBER = 3
