"""The gradient's change taken apart: what the Jacobians did, what the residuals did, and what cancels in the mean.

With r_i = ∂ℓ/∂f(x_i) and J_i = ∂f(x_i)/∂W_l a layer's gradient is g = mean_i r_iᵀJ_i. Its change v = g̃ − g is

    A = mean_i r_iᵀ(J̃_i − J_i), the residuals held, plus B = mean_i (r̃_i − r_i)ᵀJ̃_i, the rest.

A takes one more gradient of all examples. What single examples do is measured on a few of them, by default so few that
it takes a tenth of a slice's time at most.
"""

from __future__ import annotations

import numpy as np
import torch

from probes.evaluation.evaluator import Evaluator, Parameters
from probes.evaluation.reductions import compare
from probes.measures.breakdown import ratio
from probes.measures.example_gradients import example_norms
from probes.measures.forward_passes import numpy_of
from probes.measures.measure import Floats, Found, Frozen, Measure, Point
from probes.measures.noise_floor import in_parts
from probes.measures.settings import SliceSettings
from trust import measurements as variables

__all__ = ["Split"]

_QUANTILES = (0.5, 0.9, 1.0)
_WHOLE = (variables.FROZEN_RESIDUAL_CHANGE, variables.RESIDUAL_CHANGE)
_SAMPLE = (
    variables.MEAN_EXAMPLE_CHANGE,
    variables.SAMPLE_CANCELLATION,
    variables.SAMPLE_RESIDUAL_FACTOR,
    variables.SAMPLE_GRADIENT_CHANGE,
)


class Split(Measure):
    """The split of every measured layer, at η₀ (the first η at or above it) or at every η.

    The signed form C = ⟨A, v⟩/(‖v‖‖g‖D) + ⟨B, v⟩/(‖v‖‖g‖D) needs no more than the three norms ‖A‖, ‖B‖ and ‖v‖,
    since ⟨A, v⟩ = (‖v‖² + ‖A‖² − ‖B‖²)/2. Where examples mix (batch statistics) there is no single example's part.
    """

    name = "split"
    finds = (
        *_WHOLE,
        *_SAMPLE,
        variables.EXAMPLE_GRADIENT_CHANGE,
        variables.EXAMPLES_WITHOUT_GRADIENT,
        variables.SPLIT_EXAMPLES,
        variables.QUANTILE,
    )
    gradients = True

    def __init__(self, frozen: Frozen) -> None:
        """Make room, and choose the examples."""
        super().__init__(frozen)
        self.columns = {name: k for k, name in enumerate(frozen.names)}
        self.by_layer = {name: frozen.table(len(frozen.names)) for name in (*_WHOLE, *_SAMPLE)}
        self.quantiles = frozen.table(len(frozen.names), len(_QUANTILES))
        self.without: dict[str, float] = {}
        self.small = variables.small_eta_place(frozen.etas.tolist())
        self.count = 0 if frozen.mixed else min(frozen.settings.split_examples, len(frozen.evaluator))

    @classmethod
    def by_default(cls, settings: SliceSettings) -> bool:
        """Unless ``--split none``."""
        return settings.split != "none"

    @classmethod
    def fits(cls, frozen: Frozen) -> bool:
        """Where the loss is a function of outputs, and so has residuals."""
        return frozen.evaluator.has_outputs

    def record(self, point: Point) -> None:
        """Measure at η₀, or at any η but 0."""
        everywhere = self.frozen.settings.split == "slice"
        if point.row == self.small or (everywhere and point.row > 0):
            self._record_whole(point)
            if self.count:
                self._record_sample(point)

    def _record_whole(self, point: Point) -> None:
        """A and B of all examples; the gradients of A are let go of before there are others."""
        frozen, evaluator = self.frozen, self.frozen.evaluator
        assert point.evaluation is not None, "a measure with gradients is fed evaluations"
        after, before = point.evaluation.gradients, frozen.base.gradients
        held = evaluator.evaluate(
            point.moved, wanted=frozen.measured, residuals_at=evaluator.frozen
        ).gradients
        for name in frozen.measured:
            place, size = (point.row, self.columns[name]), frozen.gradient_norms[name]
            gradient = held.pop(name)
            parts = (compare(gradient, before[name]), compare(after[name], gradient))
            for variable, part in zip(_WHOLE, parts, strict=True):
                self.by_layer[variable][place] = ratio(float(part.difference), size)

    def _record_sample(self, point: Point) -> None:
        """What single examples do, and their own mean, as many tensors at once as memory likes."""
        frozen = self.frozen
        whole = frozen.evaluator
        few = whole.on(whole.data[: self.count], dtype=whole.dtype, chunk=whole.chunk)
        for names in in_parts(whole, frozen.measured):
            norms = _means(few, point.moved, names)
            sizes, changes = example_norms(few, point.moved, names)
            for k, name in enumerate(names):
                self._put(point.row, name, norms[k], sizes[:, k], changes[:, k])

    def _put(self, row: int, name: str, means: Floats, sizes: Floats, changes: Floats) -> None:
        """One layer's numbers from ‖Σg_i‖, ‖ΣA_i‖, ‖Σv_i‖ and the norms ‖g_i‖ and ‖A_i‖ of single examples."""
        place, (size, change, whole) = (row, self.columns[name]), means.tolist()
        total, moved = float(sizes.sum()), float(changes.sum())
        cancellation, residual = np.nan, np.nan
        if moved > 0:
            cancellation = ratio(change, moved) * ratio(total, size)
            residual = ratio(whole, change)
        found = (ratio(moved, total), cancellation, residual, ratio(whole, size))
        for variable, value in zip(_SAMPLE, found, strict=True):
            self.by_layer[variable][place] = value
        some = sizes > 0
        self.without[name] = float((~some).sum())
        if some.any():
            ratios = changes[some] / sizes[some]
            self.quantiles[place] = np.quantile(ratios, _QUANTILES, method="inverted_cdf")

    def found(self, others: Found) -> Found:
        """The tables."""
        return {
            **self.by_layer,
            variables.EXAMPLE_GRADIENT_CHANGE: self.quantiles,
            variables.EXAMPLES_WITHOUT_GRADIENT: self.frozen.by_layer(self.without),
            variables.SPLIT_EXAMPLES: float(self.count),
            variables.QUANTILE: np.array(_QUANTILES),
        }


def _means(few: Evaluator, moved: Parameters, names: list[str]) -> Floats:
    """‖mean g_i‖, ‖mean A_i‖ and ‖mean v_i‖ of each tensor (names, 3)."""
    before = few.evaluate(few.frozen, wanted=names).gradients
    held = few.evaluate(moved, wanted=names, residuals_at=few.frozen).gradients
    pairs = {name: compare(before[name], held.pop(name)) for name in names}
    after = few.evaluate(moved, wanted=names).gradients
    rows = [
        torch.stack(
            [pairs[name].norm, pairs[name].difference, compare(after.pop(name), before[name]).difference]
        )
        for name in names
    ]
    return numpy_of(torch.stack(rows))
