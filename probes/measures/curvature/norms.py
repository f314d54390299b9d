"""Sharpness under the norms of sign descent and of Muon."""

from __future__ import annotations

import math
from collections.abc import Iterator

import torch
from torch import Tensor

from probes.evaluation.curvature.norm_sharpness import norm_sharpness, sign_step, spectral_step
from probes.evaluation.curvature.operators import LossOperator
from probes.measures.curvature.of_hessian import OfHessian
from probes.measures.measure import Found
from trust import measurements as variables

__all__ = ["ASCENTS", "NormSharpness"]

ASCENTS = 3
"""How many starts an ascent has: the gradient, and noise."""


class NormSharpness(OfHessian):
    """Lower bounds: the best that ascents find, the first from the gradient and the others from noise."""

    name = "norm-sharpness"
    finds = (variables.SIGN_SHARPNESS, variables.SPECTRAL_SHARPNESS)

    def found(self, others: Found) -> Found:
        """Ascend."""
        self.frozen.path.release()
        matrices = [name for name in self.frozen.weights if name in self.hessian.names]
        spectral = math.nan
        if matrices:
            block = self.hessian.block(matrices)
            spectral = norm_sharpness(block, spectral_step, self._starts(block))
        sign = norm_sharpness(self.hessian, sign_step, self._starts(self.hessian))
        return {variables.SIGN_SHARPNESS: sign, variables.SPECTRAL_SHARPNESS: spectral}

    def _starts(self, operator: LossOperator) -> Iterator[Tensor]:
        yield operator.flatten(self.frozen.base.gradients)
        generator = torch.Generator().manual_seed(self.frozen.settings.seed)
        for _ in range(ASCENTS - 1):
            yield torch.randn(operator.size, generator=generator, dtype=torch.float64)
