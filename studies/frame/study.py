"""What a study is: a grid of runs, what is measured in each, and what is concluded from them."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, TypeAlias

import xarray as xr

from probes.data.dataset import DataSet

if TYPE_CHECKING:
    import pandas as pd  # type: ignore[import-untyped, unused-ignore]
    from matplotlib.figure import Figure

__all__ = ["Conclusion", "Coordinates", "Study", "Table"]

Coordinates: TypeAlias = Mapping[str, str | int | float]
"""A run by the names and values that tell it from the others."""

Table: TypeAlias = Sequence[Sequence[str]]


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
