"""Losses, gradients and outputs along a slice, and the gradient's breakdown.

Nothing here waits for a GPU: every number goes into a table on the device until all is measured.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

from probes.data.chance import chance_loss
from probes.evaluation.reductions import compare, compare_each, differences
from probes.measures.forward_passes import numpy_of
from probes.measures.jacobians import relative_change
from probes.measures.measure import Floats, Found, Frozen, Measure, Point, Points
from probes.measures.settings import SliceSettings
from trust import measurements as variables

__all__ = ["Breakdown", "ratio"]

_PRODUCT = "product"
"""⟨g̃_l, g_l⟩, from which the cosine is made."""
_BY_ETA = (variables.LOSS, variables.ACCURACY, variables.SLOPE)
_BY_LAYER = (
    variables.GRADIENT_NORM,
    variables.GRADIENT_DIFFERENCE,
    variables.PERTURBATION_NORM,
    _PRODUCT,
)
_BY_EXAMPLE = (variables.OUTPUT_CHANGE, variables.OUTPUT_GROWTH, variables.OUTPUT_DIFFERENCE_L1)


class Breakdown(Measure):
    """How loss, gradients and outputs change, against what moved."""

    name = "breakdown"
    finds = (
        *_BY_ETA,
        *_BY_EXAMPLE,
        variables.GRADIENT_NORM,
        variables.GRADIENT_DIFFERENCE,
        variables.GRADIENT_CHANGE,
        variables.GRADIENT_COSINE,
        variables.PERTURBATION_NORM,
        variables.RELATIVE_PERTURBATION,
        variables.PERTURBATION_COSINE,
        variables.WEIGHT_NORM,
        variables.CHANCE_LOSS,
        variables.SLOPE_AT_ZERO,
        variables.UPDATE_SIZE,
    )
    gradients = True

    def __init__(self, frozen: Frozen) -> None:
        """Make room on the device."""
        super().__init__(frozen)
        self.columns = {name: k for k, name in enumerate(frozen.names)}
        self.whole = frozen.direction is not None and set(frozen.direction) <= set(frozen.measured)
        self.by_eta = {name: self._room() for name in _BY_ETA}
        self.by_layer = {name: self._room(len(frozen.names)) for name in _BY_LAYER}
        resting = [k for name, k in self.columns.items() if name not in frozen.moving]
        self.by_layer[variables.PERTURBATION_NORM][:, resting] = 0.0
        self.by_example = {name: self._room(frozen.samples) for name in _BY_EXAMPLE}

    @classmethod
    def by_default(cls, settings: SliceSettings) -> bool:
        """Always: the claims are about it."""
        return True

    def _room(self, *more: int) -> Tensor:
        shape = (len(self.frozen.etas), *more)
        return torch.full(shape, torch.nan, dtype=torch.float64, device=self.frozen.evaluator.device)

    def record(self, point: Point) -> None:
        """Put what was found at an η beside the frozen network."""
        assert point.evaluation is not None, "a measure with gradients is fed evaluations"
        moved = {name: point.moved[name][None] for name in self.frozen.moving}
        rows = range(point.row, point.row + 1)
        self.record_together(Points(rows, [point.eta], moved, point.evaluation.alone()))

    def record_together(self, points: Points) -> None:
        """The same at several η at once."""
        frozen, rows, after = self.frozen, points.places, points.evaluation
        base = frozen.base
        self.by_eta[variables.LOSS][rows], self.by_eta[variables.ACCURACY][rows] = after.mean_loss, after.hits
        self.by_example[variables.OUTPUT_CHANGE][rows] = relative_change(base.outputs, after.outputs)
        lengths = [torch.linalg.vector_norm(outputs, dim=-1) for outputs in (after.outputs, base.outputs)]
        self.by_example[variables.OUTPUT_GROWTH][rows] = lengths[0] / lengths[1]
        self.by_example[variables.OUTPUT_DIFFERENCE_L1][rows] = (after.outputs - base.outputs).abs().sum(-1)
        for name in frozen.moving:
            change = differences(points.moved[name], frozen.evaluator.frozen[name])
            self.by_layer[variables.PERTURBATION_NORM][rows, self.columns[name]] = change
        slope = torch.zeros_like(after.mean_loss)
        for name in frozen.measured:
            gradient, before = after.gradients[name], base.gradients[name]
            pair, place = compare_each(gradient, before), (rows, self.columns[name])
            self.by_layer[variables.GRADIENT_NORM][place] = pair.norm
            self.by_layer[variables.GRADIENT_DIFFERENCE][place] = pair.difference
            self.by_layer[_PRODUCT][place] = pair.product
            if self.whole and frozen.direction is not None and name in frozen.direction:
                part = frozen.direction.parts[name]
                tensor = part.base()
                product = pair.product if tensor is before else compare_each(gradient, tensor).product
                slope += part.factor * product
        if self.whole:
            self.by_eta[variables.SLOPE][rows] = slope

    def found(self, others: Found) -> Found:
        """The tables, and the ratios that are made of them."""
        frozen = self.frozen
        layers: dict[str, Floats] = {name: numpy_of(table) for name, table in self.by_layer.items()}
        product = layers.pop(_PRODUCT)
        change, cosine, relative = (frozen.table(len(frozen.names)) for _ in range(3))
        for name, k in self.columns.items():
            moved = layers[variables.PERTURBATION_NORM][:, k]
            relative[:, k] = [ratio(part, frozen.weight_norms[name]) for part in moved]
        for name in frozen.measured:
            k, size = self.columns[name], frozen.gradient_norms[name]
            change[:, k] = [ratio(part, size) for part in layers[variables.GRADIENT_DIFFERENCE][:, k]]
            norms = layers[variables.GRADIENT_NORM][:, k]
            turned = (norms > 0) & (size > 0)
            cosine[turned, k] = product[turned, k] / norms[turned] / size
        evaluator = frozen.evaluator
        examples = self.by_example if evaluator.has_outputs else {}
        return {
            **{name: numpy_of(table) for name, table in (self.by_eta | examples).items()},
            variables.GRADIENT_NORM: layers[variables.GRADIENT_NORM],
            variables.GRADIENT_DIFFERENCE: layers[variables.GRADIENT_DIFFERENCE],
            variables.PERTURBATION_NORM: layers[variables.PERTURBATION_NORM],
            variables.GRADIENT_CHANGE: change,
            variables.GRADIENT_COSINE: cosine,
            variables.RELATIVE_PERTURBATION: relative,
            variables.PERTURBATION_COSINE: self._cosines(),
            variables.WEIGHT_NORM: frozen.by_layer(frozen.weight_norms),
            variables.CHANCE_LOSS: chance_loss(
                evaluator.loss_function,
                evaluator.data,
                samples=frozen.samples,
                width=frozen.base.outputs.shape[1],
            ),
            variables.SLOPE_AT_ZERO: frozen.slope,
            variables.UPDATE_SIZE: frozen.update_size,
        }

    def _cosines(self) -> Floats:
        """The cosine of θ_l, between d_l and −g_l; rounding has no angle."""
        frozen = self.frozen
        cosines: dict[str, float] = {}
        for name, step in (frozen.direction or {}).items():
            pair, size = compare(step, frozen.base.gradients[name]), frozen.gradient_norms[name]
            if float(pair.norm) > 0 and size > 0 and name not in frozen.still:
                cosines[name] = -float(pair.product / pair.norm) / size
        return frozen.by_layer(cosines)


def ratio(part: float, whole: float) -> float:
    """The quotient part / whole, with 0/0 = 0 and x/0 = inf."""
    if whole > 0 or math.isnan(part) or math.isnan(whole):
        return part / whole
    return 0.0 if part == 0 else math.inf
