"""Measures of second derivatives: along the slice, eigenvalues, traces, on mini-batches and under other norms.

What is computed is in :mod:`probes.evaluation.curvature`; here is what of it belongs to a checkpoint.
"""

from probes.measures.curvature.along import Curvature
from probes.measures.curvature.batches import BatchSharpness
from probes.measures.curvature.eigenvalues import Eigenvalues
from probes.measures.curvature.gradients import GradientCurvature
from probes.measures.curvature.norms import NormSharpness
from probes.measures.curvature.traces import Traces

__all__ = ["BatchSharpness", "Curvature", "Eigenvalues", "GradientCurvature", "NormSharpness", "Traces"]
