"""The loss's second derivative along the slice, at the frozen weights."""

from __future__ import annotations

import math

from probes.evaluation.curvature import directional_curvature
from probes.measures.measure import Found, Measure
from probes.measures.settings import SliceSettings
from trust import measurements as variables

__all__ = ["Curvature"]


class Curvature(Measure):
    """dᵀHd by differentiating twice; NaN where it was not asked for or there is no direction."""

    name = "curvature"
    finds = (variables.CURVATURE,)

    @classmethod
    def by_default(cls, settings: SliceSettings) -> bool:
        """Always: ``--no-curvature`` leaves NaN."""
        return True

    def found(self, others: Found) -> Found:
        """Measure it; two sets of gradients are held, so the path lets go of its own tensors first."""
        frozen = self.frozen
        value = math.nan
        if frozen.direction is not None:
            frozen.path.release()
            if frozen.settings.curvature is not None:
                value = directional_curvature(frozen.evaluator, frozen.direction)
        return {variables.CURVATURE: value}
