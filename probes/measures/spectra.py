"""Singular values of weights, direction and perturbations as realised, in float64 and rounded to the safe side.

ΔW is the difference of the stored tensors, W̃ − W: what rounding added to ηd is in it. By default its singular values
are bounded by those of d (Weyl: |σ_i(ΔW) − ησ_i(d)| ≤ ‖ΔW − ηd‖_F), which costs no decomposition at each η; with
``--spectra slice``, and where every η has a step of its own, they are computed. Below max(m, n)·ε·‖W‖₂, with ε of the
run's dtype, a singular value of ΔW is rounding alone, and counts as zero.
"""

from __future__ import annotations

import torch

from probes.measures.breakdown import ratio
from probes.measures.measure import Floats, Found, Frozen, Measure, Point
from probes.measures.operator_norms import Spectrum, spectrum
from probes.measures.settings import SliceSettings
from trust import measurements as variables

__all__ = ["Spectra"]


class Spectra(Measure):
    """Spectral norms and condition numbers of W_l, d_l and ΔW_l, and on request of W̃_l."""

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
        self.places = {name: frozen.names.index(name) for name in frozen.weights if self.wanted}
        self.perturbed, self.norm, self.condition = (frozen.table(len(frozen.names)) for _ in range(3))
        self.weights = {name: frozen.spectrum(name) for name in self.places}
        self.directions: dict[str, Spectrum] = {}
        for name in self.places:
            if frozen.direction is not None and name in frozen.direction:
                # rounding of the gradient can look like a small singular value
                size = float(torch.linalg.vector_norm(frozen.direction[name]))
                self.directions[name] = frozen.step_spectrum(name).above(self._negligible(name, size))

    @classmethod
    def by_default(cls, settings: SliceSettings) -> bool:
        """Always: without singular values what is found is NaN."""
        return True

    @classmethod
    def records(cls, settings: SliceSettings) -> bool:
        """Unless there are none."""
        return settings.spectra != "none"

    def _negligible(self, name: str, size: float) -> float:
        """Max(m, n)·ε·size, with the run's ε: what rounding of numbers of that size can look like."""
        shape = self.frozen.evaluator.frozen[name].flatten(1).shape
        return max(shape) * torch.finfo(self.frozen.evaluator.dtype).eps * size

    def record(self, point: Point) -> None:
        """Take those of ΔW_l, and on request of W̃_l."""
        for name, k in self.places.items():
            if self.at_each:
                self.perturbed[point.row, k] = spectrum(point.moved[name]).condition_number
            if point.row > 0:
                own = self._of_change(name, point)
                self.norm[point.row, k] = own.spectral_norm
                self.condition[point.row, k] = own.condition_number

    def _of_change(self, name: str, point: Point) -> Spectrum:
        direction = self.frozen.direction
        change = point.moved[name].double() - self.frozen.evaluator.frozen[name]
        negligible = self._negligible(name, self.weights[name].spectral_norm)
        if self.at_each or direction is None:
            return spectrum(change).above(negligible)
        if name not in self.directions:
            return Spectrum(0.0, 0.0)  # it does not move
        rest = float(torch.linalg.vector_norm(self.frozen.rounding(name, change, point.eta)))
        return self.directions[name].beside(point.eta, rest).above(negligible)

    def tables(self) -> list[Floats]:
        """What is taken at each η of a line."""
        return [self.perturbed, self.norm, self.condition]

    def found(self, others: Found) -> Found:
        """Those of the frozen network, and what was recorded."""
        frozen = self.frozen
        ranks: dict[str, float] = {}
        for name in self.places:
            if name in frozen.gradient_norms:
                ranks[name] = ratio(
                    frozen.gradient_norms[name] ** 2, frozen.gradient_spectral_norm(name) ** 2
                )
        found: dict[variables.Variable, Floats] = {
            variables.SPECTRAL_NORM: self._by_layer(self.weights, "spectral_norm"),
            variables.CONDITION_NUMBER: self._by_layer(self.weights, "condition_number"),
            variables.DIRECTION_SPECTRAL_NORM: self._by_layer(self.directions, "spectral_norm"),
            variables.DIRECTION_CONDITION_NUMBER: self._by_layer(self.directions, "condition_number"),
            variables.GRADIENT_STABLE_RANK: frozen.by_layer(ranks),
        }
        if self.at_each:
            found[variables.PERTURBED_CONDITION_NUMBER] = self.perturbed
        if self.wanted:
            found[variables.PERTURBATION_SPECTRAL_NORM] = self.norm
            found[variables.PERTURBATION_CONDITION_NUMBER] = self.condition
        return found

    def _by_layer(self, spectra: dict[str, Spectrum], attribute: str) -> Floats:
        return self.frozen.by_layer({name: getattr(one, attribute) for name, one in spectra.items()})
