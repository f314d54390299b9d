"""Spectral norms of layers as linear operators: exact where affordable, otherwise certified upper bounds.

The operator of a convolution is the map of its whole input to its whole output, whose norm depends on the
input's size and is not that of the weight read as an (out, in · taps) matrix. These numbers go into upper
bounds, so nothing here is ever a lower estimate: no iteration is believed without a proof of what it may have
missed, and every result is rounded up.
"""

from probes.measures.operator_norms.along_line import LARGE, NormAlongLine
from probes.measures.operator_norms.norm import operator_norm
from probes.measures.operator_norms.operators import Operator, find_operators
from probes.measures.operator_norms.singular_values import Spectrum, spectrum

__all__ = ["LARGE", "NormAlongLine", "Operator", "Spectrum", "find_operators", "operator_norm", "spectrum"]
