"""Extreme eigenvalues of Hessian and Gauss-Newton matrix, whole and block by block."""

from __future__ import annotations

import numpy as np
from torch import Tensor

from probes.errors import InputError
from probes.evaluation.curvature import (
    Eigenpairs,
    GaussNewtonOperator,
    HessianOperator,
    LossOperator,
    Preconditioned,
    adam_diagonal,
    eigenpairs,
)
from probes.measures.measure import Floats, Found, Frozen, Measure
from probes.measures.settings import SliceSettings
from trust import measurements as variables
from trust.measurements import Variable

__all__ = ["Eigenvalues"]

Pair = tuple[Variable, Variable]

_HESSIAN = (variables.HESSIAN_EIGENVALUE, variables.HESSIAN_RESIDUAL)
_LOWEST = (variables.LOWEST_HESSIAN_EIGENVALUE, variables.LOWEST_HESSIAN_RESIDUAL)
_GAUSS_NEWTON = (variables.GAUSS_NEWTON_EIGENVALUE, variables.GAUSS_NEWTON_RESIDUAL)
_PRECONDITIONED = (variables.PRECONDITIONED_EIGENVALUE, variables.PRECONDITIONED_RESIDUAL)
_BLOCKS = (
    (variables.LAYER_HESSIAN_EIGENVALUE, variables.LAYER_HESSIAN_RESIDUAL),
    (variables.LAYER_GAUSS_NEWTON_EIGENVALUE, variables.LAYER_GAUSS_NEWTON_RESIDUAL),
)


class Eigenvalues(Measure):
    """The largest of the Hessian, the Gauss-Newton matrix, each weight matrix's blocks; the Hessian's smallest.

    A search begins near the gradient, which leans towards the largest eigenvalues, and the others begin at what the
    Hessian's found: a checkpoint's numbers come of that checkpoint alone, whatever was measured before.
    """

    name = "eigenvalues"
    finds = (*_HESSIAN, *_LOWEST, *_GAUSS_NEWTON, *_BLOCKS[0], *_BLOCKS[1], *_PRECONDITIONED)

    def __init__(self, frozen: Frozen) -> None:
        """See that the matrices can be had.

        Raises:
            InputError: no number of eigenvalues was given, or a module cannot be differentiated twice.
        """
        super().__init__(frozen)
        self.largest, self.smallest = frozen.settings.curvature or 0, frozen.settings.curvature_lowest
        if not (self.largest or self.smallest):
            raise InputError("`measure='eigenvalues'`: how many? add `curvature=K`")
        self.hessian = HessianOperator(frozen.evaluator)
        with_outputs = frozen.evaluator.has_outputs and self.largest > 0
        self.gauss_newton = GaussNewtonOperator(frozen.evaluator) if with_outputs else None
        self.adam = None
        if frozen.adam is not None and self.largest:
            self.adam = Preconditioned(self.hessian, adam_diagonal(frozen.adam, self.hessian))

    @classmethod
    def by_default(cls, settings: SliceSettings) -> bool:
        """Where eigenvalues of either end are asked for."""
        return bool(settings.curvature or settings.curvature_lowest)

    def found(self, others: Found) -> Found:
        """Search for all of them."""
        frozen = self.frozen
        frozen.path.release()
        start = self.hessian.flatten(frozen.base.gradients)
        found: dict[Variable, Floats] = {}
        if self.smallest:
            lowest = eigenpairs(self.hessian, self.smallest, which="smallest", seed=frozen.settings.seed)
            found |= self._told(_LOWEST, lowest)
        if not self.largest:
            return found
        top = self._top(self.hessian, start)
        found |= self._told(_HESSIAN, top)
        start = top.vectors.sum(1)
        if self.gauss_newton is not None:
            found |= self._told(_GAUSS_NEWTON, self._top(self.gauss_newton, start))
        if self.adam is not None:
            found |= self._told(_PRECONDITIONED, self._top(self.adam, start / self.adam.scale))
        for names, matrix in zip(_BLOCKS, (self.hessian, self.gauss_newton), strict=True):
            if matrix is not None:
                found |= self._blocks(names, matrix, self.hessian.unflatten(start))
        return found

    def _top(self, operator: LossOperator | Preconditioned, start: Tensor) -> Eigenpairs:
        return eigenpairs(operator, self.largest, start=start, seed=self.frozen.settings.seed)

    def _told(self, names: Pair, pairs: Eigenpairs) -> dict[Variable, Floats]:
        return dict(zip(names, self._padded(pairs), strict=True))

    def _padded(self, pairs: Eigenpairs) -> tuple[Floats, Floats]:
        """Values and residuals (rank,), NaN where the matrix has no more."""
        ranks = max(self.largest, self.smallest)
        values, residuals = np.full(ranks, np.nan), np.full(ranks, np.nan)
        values[: len(pairs.values)], residuals[: len(pairs.values)] = pairs.values, pairs.residuals
        return values, residuals

    def _blocks(self, names: Pair, matrix: LossOperator, starts: dict[str, Tensor]) -> dict[Variable, Floats]:
        """Each weight matrix's own block (layer, rank)."""
        shape = (len(self.frozen.names), max(self.largest, self.smallest))
        values, residuals = np.full(shape, np.nan), np.full(shape, np.nan)
        for place, name in enumerate(self.frozen.names):
            if name in self.frozen.weights and name in starts:
                pairs = self._top(matrix.block([name]), starts[name].reshape(-1))
                values[place], residuals[place] = self._padded(pairs)
        return {names[0]: values, names[1]: residuals}
