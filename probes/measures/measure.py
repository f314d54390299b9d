"""The protocol: what is measured on a slice is a measure, one class in one file.

A measure declares its variables, is made for one frozen network, records a point for each η, and tells what it found.
The slice feeds it (:mod:`probes.slices.slice`), and knows nothing of what it measures.
"""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import ClassVar, Protocol, TypeAlias

import numpy as np
import numpy.typing as npt
from torch import Tensor

from probes.checkpoints.adam import AdamState
from probes.evaluation.directions import Direction
from probes.evaluation.evaluator import Evaluation, Evaluator
from probes.evaluation.reductions import compare, norm
from probes.measures.layers import PERTURBED, Layer
from probes.measures.loss_search import Look
from probes.measures.operator_norms import Spectrum, spectrum
from probes.measures.settings import SliceSettings
from probes.networks.structure import Reading, read_structure
from trust.measurements import Variable
from trust.structure import Structure

__all__ = ["Floats", "Found", "Frozen", "Measure", "PerturbedPath", "Point", "Points"]

Floats: TypeAlias = npt.NDArray[np.float64]
Found: TypeAlias = Mapping[Variable, npt.ArrayLike]
"""Arrays by their variable, with its dims but for ``checkpoint``, which the slice adds."""


class PerturbedPath(Protocol):
    """The perturbed weights at each η: on a line W + η d, or each η's own.

    Attributes:
        etas: the grid, 0 first, where it is this network's own; None: the settings'.
    """

    @property
    def etas(self) -> Floats | None:
        """See the class."""
        ...

    def at(self, eta: float) -> Mapping[str, Tensor]:
        """The network's tensors at η, good until the next call."""
        ...

    def evaluate(self, eta: float, *, wanted: list[str] | None = None, samples: int = 0) -> Evaluation:
        """As :meth:`probes.evaluation.evaluator.Evaluator.evaluate`, there."""
        ...

    def loss(self, eta: float) -> float:
        """The full-batch mean loss there."""
        ...

    def release(self) -> None:
        """Let go of what the next call can make again."""
        ...


@dataclass(frozen=True)
class Frozen:
    """One frozen network with its data, loss, direction and settings: what every measure is made for.

    Attributes:
        evaluator: network, data and loss.
        settings: what to measure, and how.
        base: the evaluation at the frozen weights, with the gradients of all trainable tensors.
        layers: every tensor, in the order of the forward pass, and how it is treated.
        measured: names of the tensors whose gradients are measured at each η.
        direction: d of W + η d; None where every η has a perturbation of its own.
        path: the perturbed weights.
        update_size: the size of a real update in units of η; NaN where the direction is none.
        mixed: whether an example's output depends on the others.
        still: names of tensors whose gradient is zero but for rounding: no direction is read off it.
        adam: Adam's second moments at this checkpoint, under the module's own names; None where they are not known.
    """

    evaluator: Evaluator
    settings: SliceSettings
    base: Evaluation
    layers: Sequence[Layer]
    measured: list[str]
    direction: Direction | None
    path: PerturbedPath
    update_size: float
    mixed: bool
    still: frozenset[str] = frozenset()
    adam: AdamState | None = None

    @property
    def etas(self) -> Floats:
        """The grid, 0 first: the path's own, where only the weights tell what it is."""
        return self.settings.etas if self.path.etas is None else self.path.etas

    @property
    def samples(self) -> int:
        """The number of examples whose outputs are kept."""
        return len(self.base.outputs)

    @cached_property
    def names(self) -> list[str]:
        """All tensors in the order of the forward pass."""
        return [layer.name for layer in self.layers]

    @cached_property
    def weights(self) -> list[str]:
        """Those that are weight matrices."""
        return [layer.name for layer in self.layers if layer.is_weight]

    @cached_property
    def moving(self) -> list[str]:
        """Those that are perturbed."""
        return [layer.name for layer in self.layers if layer.treatment == PERTURBED]

    @cached_property
    def gradient_norms(self) -> dict[str, float]:
        """‖g_l‖_F of every trainable tensor."""
        return {name: float(norm(gradient)) for name, gradient in self.base.gradients.items()}

    @cached_property
    def weight_norms(self) -> dict[str, float]:
        """‖W_l‖_F."""
        return {name: float(norm(self.evaluator.frozen[name])) for name in self.names}

    @cached_property
    def slope(self) -> float:
        """𝓛'(0) = ⟨g, d⟩; NaN where there is no direction."""
        if self.direction is None:
            return math.nan
        return sum(
            part.factor * float(compare(self.base.gradients[name], part.base()).product)
            for name, part in self.direction.parts.items()
        )

    @cached_property
    def looks(self) -> list[Look]:
        """What measures saw on the line at other η than the grid's, for those that come later."""
        return []

    @cached_property
    def _spectra(self) -> dict[tuple[str, str], Spectrum]:
        return {}

    def spectrum(self, name: str) -> Spectrum:
        """Of W_l, found once."""
        return self._found("weight", name, self.evaluator.frozen[name])

    def step_spectrum(self, name: str) -> Spectrum:
        """Of d_l, found once."""
        return self._found("step", name, {} if self.direction is None else self.direction)

    def rounding(self, name: str, change: Tensor, eta: float) -> Tensor:
        """ΔW_l − ηd_l on a line, what rounding added, from ΔW_l in float64."""
        assert self.direction is not None
        return change - eta * self.direction[name].double()

    def gradient_spectral_norm(self, name: str) -> float:
        """‖g_l‖₂; where the direction is a multiple of the gradient, so are its singular values."""
        gradient = self.base.gradients[name]
        part = None if self.direction is None else self.direction.parts.get(name)
        if part is not None and part.factor != 0 and part.base() is gradient:
            return self.step_spectrum(name).spectral_norm / abs(part.factor)
        return self._found("gradient", name, gradient).spectral_norm

    def _found(self, what: str, name: str, tensor: Tensor | Mapping[str, Tensor]) -> Spectrum:
        if (what, name) not in self._spectra:
            self._spectra[what, name] = spectrum(tensor if isinstance(tensor, Tensor) else tensor[name])
        return self._spectra[what, name]

    @cached_property
    def reading(self) -> Reading:
        """What the network computes, as read off its forward pass."""
        return read_structure(self.evaluator)

    @property
    def structure(self) -> Structure | None:
        """Its steps, under the module's own names; None where they cannot be told."""
        return self.reading.structure

    def table(self, *more: int) -> Floats:
        """Room for a number at each η and each place of further axes, NaN until it is known."""
        return np.full((len(self.etas), *more), np.nan)

    def by_layer(self, values: Mapping[str, float]) -> Floats:
        """Numbers by name as an array (layer,), NaN where there is none."""
        return np.array([values.get(name, np.nan) for name in self.names])


@dataclass(frozen=True)
class Point:
    """One η of the grid.

    Attributes:
        row: its place in the grid; 0 is the frozen network itself.
        eta: η.
        moved: the network's tensors there, good until the next point.
        evaluation: loss, outputs and the measured gradients there; None for measures that ask for no gradients.
    """

    row: int
    eta: float
    moved: Mapping[str, Tensor]
    evaluation: Evaluation | None = None


@dataclass(frozen=True)
class Points:
    """Neighbouring points of the grid that are measured together.

    Attributes:
        rows: their places in the grid.
        etas: of each.
        moved: the network's tensors there, each with an axis (k, …) for the points in front.
        evaluation: all evaluations there, every tensor with that axis in front.
    """

    rows: range
    etas: Sequence[float]
    moved: Mapping[str, Tensor]
    evaluation: Evaluation

    @property
    def places(self) -> slice:
        """Their rows in a table."""
        return slice(self.rows.start, self.rows.stop)

    def __iter__(self) -> Iterator[Point]:
        """One after the other."""
        for k, (row, eta) in enumerate(zip(self.rows, self.etas, strict=True)):
            moved = {name: stack[k] for name, stack in self.moved.items()}
            yield Point(row, eta, moved, self.evaluation.one(k))


class Measure(ABC):
    """Something that is measured on a slice, with a name of its own.

    A subclass in a file of this room is known by its ``name``; a user's own is given as ``file.py:Name``.

    Attributes:
        name: as ``probe run --measure`` takes it.
        finds: the entries of the vocabulary that it may find; its own are made in its file.
        uses: entries that it looks up in what others found, if they were measured.
        gradients: whether a point must come with gradients.
    """

    name: ClassVar[str]
    finds: ClassVar[tuple[Variable, ...]]
    uses: ClassVar[tuple[Variable, ...]] = ()
    gradients: ClassVar[bool] = False

    def __init__(self, frozen: Frozen) -> None:
        """Measure what belongs to the frozen weights, and make room for each η."""
        self.frozen = frozen

    @classmethod
    def by_default(cls, settings: SliceSettings) -> bool:
        """Whether it belongs to the set that is measured where the user names none."""
        return False

    @classmethod
    def records(cls, settings: SliceSettings) -> bool:
        """Whether it looks at every η."""
        return cls.record is not Measure.record

    @classmethod
    def fits(cls, frozen: Frozen) -> bool:
        """Whether it has a meaning for this network, loss and direction; where it has none it is left out."""
        return True

    def record(self, point: Point) -> None:
        """Measure at one η. Processes that share a run record different η, unless points come with gradients."""
        raise NotImplementedError

    def record_together(self, points: Points) -> None:
        """Measure at several η whose evaluations are there; one after the other, unless all at once is faster."""
        for point in points:
            self.record(point)

    def tables(self) -> list[Floats]:
        """What :meth:`record` fills, η first: rows that other processes recorded are put into it."""
        return []

    @abstractmethod
    def found(self, others: Found) -> Found:
        """All that was measured, once every η is recorded.

        Args:
            others: what those measures found that are in ``uses``.
        """
