"""How far neighbouring layers' Jacobians are aligned, on examples of a chain of layers.

The layers' maps and products with them are in ``layer_jacobians``, their leading singular values in ``leading``.
"""

from probes.measures.alignment.measure import Alignment, alignment_of, check_examples

__all__ = ["Alignment", "alignment_of", "check_examples"]
