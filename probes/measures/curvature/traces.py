"""Traces of Hessian, Gauss-Newton matrix and neural tangent kernel, by Hutchinson's estimator."""

from __future__ import annotations

import math

from probes.evaluation.curvature import GaussNewtonOperator, hutchinson_trace
from probes.evaluation.curvature.traces import tangent_kernel_trace
from probes.measures.curvature.of_hessian import OfHessian
from probes.measures.measure import Found, Frozen
from trust import measurements as variables

__all__ = ["TRACE_SAMPLES", "Traces"]

TRACE_SAMPLES = 10
"""Random vectors for each trace, and so products with all data."""


class Traces(OfHessian):
    """Each trace with its standard error; NaN for those that a loss without outputs does not have."""

    name = "traces"
    finds = (
        variables.HESSIAN_TRACE,
        variables.HESSIAN_TRACE_ERROR,
        variables.GAUSS_NEWTON_TRACE,
        variables.GAUSS_NEWTON_TRACE_ERROR,
        variables.NTK_TRACE,
        variables.NTK_TRACE_ERROR,
    )

    def __init__(self, frozen: Frozen) -> None:
        """See that the matrices can be had.

        Raises:
            InputError: a module cannot be differentiated twice.
        """
        super().__init__(frozen)
        self.gauss_newton = GaussNewtonOperator(frozen.evaluator) if frozen.evaluator.has_outputs else None

    def found(self, others: Found) -> Found:
        """Estimate them."""
        evaluator, seed = self.frozen.evaluator, self.frozen.settings.seed
        self.frozen.path.release()
        hessian = hutchinson_trace(self.hessian, TRACE_SAMPLES, seed)
        gauss_newton = kernel = (math.nan, math.nan)
        if self.gauss_newton is not None:
            gauss_newton = hutchinson_trace(self.gauss_newton, TRACE_SAMPLES, seed)
            kernel = tangent_kernel_trace(
                evaluator, evaluator.frozen, self.hessian.names, TRACE_SAMPLES, seed
            )
        return dict(zip(self.finds, (*hessian, *gauss_newton, *kernel), strict=True))
