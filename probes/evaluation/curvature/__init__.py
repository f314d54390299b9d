"""Second derivatives of the full-batch loss: products with Hessian and Gauss-Newton matrix, their eigenvalues, traces.

Nothing is ever formed that is larger than the parameters and a few vectors of their size. It imports the evaluator
and what stands below.
"""

from probes.evaluation.curvature.along import directional_curvature
from probes.evaluation.curvature.eigenvalues import Eigenpairs, eigenpairs
from probes.evaluation.curvature.operators import (
    GaussNewtonOperator,
    HessianOperator,
    LossOperator,
    Operator,
)
from probes.evaluation.curvature.preconditioning import Preconditioned, adam_diagonal
from probes.evaluation.curvature.traces import hutchinson_trace

__all__ = [
    "Eigenpairs",
    "GaussNewtonOperator",
    "HessianOperator",
    "LossOperator",
    "Operator",
    "Preconditioned",
    "adam_diagonal",
    "directional_curvature",
    "eigenpairs",
    "hutchinson_trace",
]
