"""Exact singular values of weights, direction and perturbations, in float64."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from probes.measures.breakdown import ratio
from probes.measures.measure import Floats, Found, Frozen, Measure, Point
from probes.measures.operator_norms import Operator, operator_norm
from probes.measures.settings import SliceSettings
from trust import measurements as variables

__all__ = ["Spectra", "Spectrum", "spectrum"]


@dataclass(frozen=True)
class Spectrum:
    """Of one matrix, a weight with more than two axes being read as (out, everything else).

    Attributes:
        spectral_norm: σ_max.
        condition_number: σ_max / σ_min over all min(m, n) singular values; infinite where the matrix is rank
            deficient to float64 (σ_min ≤ max(m, n) · 2⁻⁵² · σ_max).
    """

    spectral_norm: float
    condition_number: float


def spectrum(matrix: Tensor) -> Spectrum:
    """Exact singular values by LAPACK (no power iteration, which would only bound σ_max from below)."""
    flat = matrix.detach().to(torch.float64).flatten(1)
    if not bool(torch.isfinite(flat).all()):
        return Spectrum(float("nan"), float("nan"))
    values = torch.linalg.svdvals(flat)
    largest, smallest = float(values[0]), float(values[-1])
    negligible = max(flat.shape) * torch.finfo(torch.float64).eps * largest
    return Spectrum(largest, largest / smallest if smallest > negligible else float("inf"))


class Spectra(Measure):
    """Spectral norms and condition numbers, of the frozen network and, on request, at every η.

    Where every η has a perturbation of its own, that of ΔW_l is taken there, being no multiple of one d_l.
    """

    name = "spectra"
    finds = (
        variables.SPECTRAL_NORM,
        variables.CONDITION_NUMBER,
        variables.DIRECTION_SPECTRAL_NORM,
        variables.DIRECTION_CONDITION_NUMBER,
        variables.GRADIENT_STABLE_RANK,
        variables.PERTURBED_CONDITION_NUMBER,
        variables.PERTURBATION_SPECTRAL_NORM,
        variables.PERTURBATION_CONDITION_NUMBER,
    )

    def __init__(self, frozen: Frozen) -> None:
        """Make room for what is taken at each η."""
        super().__init__(frozen)
        self.wanted = frozen.settings.spectra != "none"
        self.at_each = frozen.settings.spectra == "slice"
        self.places = {name: frozen.names.index(name) for name in frozen.weights}
        self.perturbed, self.norm, self.condition = (frozen.table(len(frozen.names)) for _ in range(3))

    @classmethod
    def by_default(cls, settings: SliceSettings) -> bool:
        """Always: without singular values what is found is NaN."""
        return True

    @classmethod
    def records(cls, settings: SliceSettings) -> bool:
        """On request only: singular values take long."""
        return settings.spectra == "slice" or settings.direction == "adversarial"

    def record(self, point: Point) -> None:
        """Take them of W̃_l, and of ΔW_l where that is no multiple of a direction."""
        for name, k in self.places.items():
            if self.at_each:
                self.perturbed[point.row, k] = spectrum(point.moved[name]).condition_number
            if self.wanted and self.frozen.direction is None and point.row > 0:
                own = spectrum(point.moved[name] - self.frozen.evaluator.frozen[name])
                self.norm[point.row, k] = own.spectral_norm
                self.condition[point.row, k] = own.condition_number

    def tables(self) -> list[Floats]:
        """What is taken at each η of a line."""
        return [self.perturbed]

    def found(self, others: Found) -> Found:
        """Those of the frozen network, and what was recorded."""
        frozen = self.frozen
        weights, directions = dict[str, Spectrum](), dict[str, Spectrum]()
        ranks: dict[str, float] = {}
        for name in frozen.weights if self.wanted else ():
            if name in frozen.gradient_norms:
                gradient = frozen.base.gradients[name].flatten(1)
                largest = operator_norm(gradient, Operator("matrix"))
                ranks[name] = ratio(frozen.gradient_norms[name] ** 2, largest**2)
            weights[name] = spectrum(frozen.evaluator.frozen[name])
            step = None if frozen.direction is None else frozen.direction.get(name)
            if step is not None:
                directions[name] = spectrum(step)
        found: dict[variables.Variable, Floats] = {
            variables.SPECTRAL_NORM: self._by_layer(weights, "spectral_norm"),
            variables.CONDITION_NUMBER: self._by_layer(weights, "condition_number"),
            variables.DIRECTION_SPECTRAL_NORM: self._by_layer(directions, "spectral_norm"),
            variables.DIRECTION_CONDITION_NUMBER: self._by_layer(directions, "condition_number"),
            variables.GRADIENT_STABLE_RANK: frozen.by_layer(ranks),
        }
        if self.at_each:
            found[variables.PERTURBED_CONDITION_NUMBER] = self.perturbed
        if frozen.direction is None:
            found[variables.PERTURBATION_SPECTRAL_NORM] = self.norm
            found[variables.PERTURBATION_CONDITION_NUMBER] = self.condition
        return found

    def _by_layer(self, spectra: dict[str, Spectrum], attribute: str) -> Floats:
        return self.frozen.by_layer({name: getattr(one, attribute) for name, one in spectra.items()})
