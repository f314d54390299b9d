"""The sharpness that mini-batches meet: E_B[g_Bᵀ H_B g_B / ‖g_B‖²]."""

from __future__ import annotations

import numpy as np
import torch

from probes.errors import InputError
from probes.evaluation.curvature import HessianOperator
from probes.evaluation.curvature.batches import gradient_sharpness
from probes.evaluation.curvature.traces import mean_and_error
from probes.measures.measure import Found, Frozen, Measure
from probes.measures.settings import SliceSettings
from trust import measurements as variables

__all__ = ["BATCHES", "BatchSharpness"]

BATCHES = 32
"""Random batches that are averaged."""


class BatchSharpness(Measure):
    """Of random batches without an example twice, each drawn anew; processes take different ones.

    The edge of stochastic stability of arXiv 2412.20553. A batch without gradient does not count. A batch of all
    examples is taken once, and has no standard error.
    """

    name = "batch-sharpness"
    finds = (variables.BATCH_SHARPNESS, variables.BATCH_SHARPNESS_ERROR)

    def __init__(self, frozen: Frozen) -> None:
        """See that the Hessian can be had.

        Raises:
            InputError: no size of the batches was given, or a module cannot be differentiated twice.
        """
        super().__init__(frozen)
        self.size = min(frozen.settings.batch_sharpness, len(frozen.evaluator))
        if self.size < 1:
            raise InputError("`measure='batch-sharpness'`: of how many examples? add `batch_sharpness=N`")
        self.hessian = HessianOperator(frozen.evaluator)

    @classmethod
    def by_default(cls, settings: SliceSettings) -> bool:
        """Where a size is given."""
        return settings.batch_sharpness > 0

    def found(self, others: Found) -> Found:
        """Take the batches."""
        evaluator, share = self.frozen.evaluator, self.frozen.evaluator.share
        self.frozen.path.release()
        count = BATCHES if self.size < len(evaluator) else 1
        random = np.random.default_rng([self.frozen.settings.seed, self.size])
        values = torch.zeros(count, dtype=torch.float64)
        for place in range(count):
            chosen = random.choice(len(evaluator), self.size, replace=False)
            if place % share.size == share.rank:
                values[place] = gradient_sharpness(self.hessian, np.sort(chosen).tolist())
        share.sum_([values])
        known = values[values.isfinite()].tolist()
        mean, error = mean_and_error(known) if known else (np.nan, np.nan)
        return {variables.BATCH_SHARPNESS: mean, variables.BATCH_SHARPNESS_ERROR: error}
