"""What a step against the gradient meets: the breakdown's slope without kinks, and the critical learning rate."""

from __future__ import annotations

import math

import torch

from probes.evaluation.directions import Direction
from probes.evaluation.perturbed_weights import PerturbedWeights
from probes.evaluation.reductions import norm
from probes.measures.breakdown import ratio
from probes.measures.curvature.of_hessian import OfHessian
from probes.measures.measure import Found
from probes.measures.step_limit import find_step_limit
from trust import measurements as variables

__all__ = ["GradientCurvature"]

_FARTHEST = 1000.0
"""How many times as far as a quadratic loss's the critical learning rate may be."""


class GradientCurvature(OfHessian):
    """Products of the Hessian with the slice's direction and with the gradient, and a search along the gradient."""

    name = "gradient-curvature"
    finds = (variables.BREAKDOWN_SLOPE, variables.GRADIENT_SHARPNESS, variables.GRADIENT_STEP_LIMIT)

    def found(self, others: Found) -> Found:
        """Two products, and the losses that the search takes."""
        frozen, hessian = self.frozen, self.hessian
        frozen.path.release()
        slopes: dict[str, float] = {}
        if frozen.direction is not None:
            still = {name: torch.zeros_like(frozen.evaluator.frozen[name]) for name in hessian.names}
            along = {name: part for name, part in frozen.direction.items() if name in still}
            image = hessian.unflatten(hessian.product(hessian.flatten({**still, **along})))
            slopes = {
                name: ratio(float(norm(image[name])), frozen.gradient_norms[name]) for name in frozen.measured
            }
        gradients = {name: frozen.base.gradients[name] for name in hessian.names}
        curved, square = hessian.quadratic(hessian.flatten(gradients))
        return {
            variables.BREAKDOWN_SLOPE: frozen.by_layer(slopes),
            variables.GRADIENT_SHARPNESS: curved / square if square > 0 else math.nan,
            variables.GRADIENT_STEP_LIMIT: self._limit(gradients, square, curved),
        }

    def _limit(self, gradients: dict[str, torch.Tensor], square: float, curved: float) -> float:
        """The smallest s found with 𝓛(W − sg) back at its start, searched in units of a quadratic loss's."""
        evaluator = self.frozen.evaluator
        if not (0 < square < math.inf and math.isfinite(curved) and math.isfinite(self.frozen.base.loss)):
            return math.nan
        size = math.hypot(*(self.frozen.weight_norms[name] for name in gradients))
        unit = 2 * square / curved if curved > 0 else size / math.sqrt(square)
        path = PerturbedWeights(evaluator, Direction.of(gradients).times(-unit))
        found = evaluator.share.led(
            lambda loss: find_step_limit(
                loss, start=self.frozen.base.loss, slope=-unit * square, guess=1.0, largest=_FARTHEST
            ),
            path.loss,
        )
        return unit * found.measured
