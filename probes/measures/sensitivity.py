"""The Jacobians' and gates' change along a slice, for a few examples."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import numpy.typing as npt
from torch import Tensor

from probes.evaluation.evaluator import Evaluator
from probes.measures.jacobians import Jacobians, gate_change, relative_change

__all__ = ["Sensitivity"]


class Sensitivity:
    """Measures both at any perturbed weights, for the first ``count`` of ``kept`` examples."""

    def __init__(
        self,
        evaluator: Evaluator,
        *,
        names: list[str],
        weights: list[str],
        count: int,
        kept: int,
        etas: int,
    ) -> None:
        """Measure what belongs to the frozen weights.

        Args:
            evaluator: network, data and loss.
            names: all tensors in forward order.
            weights: those that are weight matrices.
            count: how many examples are measured.
            kept: how many the results have a place for; beyond ``count`` they are NaN.
            etas: the size of the grid.
        """
        self.names, self.weights, self.count = names, weights, count
        self.probe = Jacobians(evaluator, samples=count, weights=weights)
        self.before = self.probe.measure(evaluator.frozen)
        self.jacobian_change = np.full((etas, len(names), kept), np.nan)
        self.gate_change = np.full((etas, len(names), kept), np.nan)

    def record(self, row: int, moved: Mapping[str, Tensor]) -> None:
        """Measure at the η of a row of the grid."""
        after = self.probe.measure(moved)
        for k, name in enumerate(self.names):
            if name in self.before.jacobians and name in after.jacobians:
                change = relative_change(self.before.jacobians[name], after.jacobians[name])
                self.jacobian_change[row, k, : self.count] = change.cpu().numpy()
            if name in self.before.gates:
                change = gate_change(self.before.gates[name], after.gates[name])
                self.gate_change[row, k, : self.count] = change.cpu().numpy()
        if self.before.gates:  # the last layer is linear
            self.gate_change[row, self.names.index(self.weights[-1]), : self.count] = 0.0

    def tables(self) -> list[npt.NDArray[np.float64]]:
        """What :meth:`record` fills, row by row."""
        return [self.jacobian_change, self.gate_change]

    def variables(self) -> dict[str, Any]:
        """``jacobian_change`` and, for perceptrons, ``gate_change``, with a ``checkpoint`` of one in front."""
        dims = ("checkpoint", "eta", "layer", "example")
        found: dict[str, Any] = {"jacobian_change": (dims, self.jacobian_change[None])}
        if self.before.gates:
            found["gate_change"] = (dims, self.gate_change[None])
        return found
