"""Spectral norms of layers as linear operators: exact where affordable, otherwise certified upper bounds."""

from probes.measures.operator_norms.matrices import Operator, find_operators, operator_norm

__all__ = ["Operator", "find_operators", "operator_norm"]
