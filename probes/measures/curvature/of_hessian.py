"""What measures of the Hessian share."""

from __future__ import annotations

from probes.evaluation.curvature import HessianOperator
from probes.measures.measure import Frozen, Measure
from probes.measures.settings import SliceSettings

__all__ = ["OfHessian"]


class OfHessian(Measure):
    """A measure with products of the Hessian, taken beside eigenvalues."""

    def __init__(self, frozen: Frozen) -> None:
        """See that the Hessian can be had.

        Raises:
            InputError: a module cannot be differentiated twice.
        """
        super().__init__(frozen)
        self.hessian = HessianOperator(frozen.evaluator)

    @classmethod
    def by_default(cls, settings: SliceSettings) -> bool:
        """Beside eigenvalues."""
        return bool(settings.curvature)
