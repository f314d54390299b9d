"""Losses, gradients and outputs along a slice's grid, on the device until all is measured.

Nothing here waits for a GPU: every number goes into a table on the device.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import numpy as np
import torch
from torch import Tensor

from probes.evaluation.directions import Direction
from probes.evaluation.evaluator import Evaluation, Evaluator
from probes.evaluation.reductions import compare
from probes.measures.forward_passes import Floats, numpy_of
from probes.measures.jacobians import relative_change

__all__ = ["Breakdown", "ratio"]

_BY_ETA = ("loss", "accuracy", "slope")
_BY_LAYER = ("gradient_norm", "gradient_difference", "perturbation_norm", "_product")


class Breakdown:
    """The grid's table, filled row by row."""

    def __init__(
        self,
        evaluator: Evaluator,
        base: Evaluation,
        *,
        names: list[str],
        measured: list[str],
        moving: list[str],
        direction: Direction | None,
        etas: int,
    ) -> None:
        """Make room.

        Args:
            evaluator: network, data and loss.
            base: its evaluation at the frozen weights.
            names: all tensors in forward order.
            measured: those whose gradients are measured.
            moving: those that are perturbed.
            direction: d of W + η d; None where every η has a perturbation of its own.
            etas: the size of the grid.
        """
        self.evaluator, self.base, self.moving, self.measured = evaluator, base, moving, measured
        self.columns = {name: k for k, name in enumerate(names)}
        self.direction = direction
        self.whole = direction is not None and set(direction) <= set(measured)
        self.by_eta = {name: self._room(etas) for name in _BY_ETA}
        self.by_layer = {name: self._room(etas, len(names)) for name in _BY_LAYER}
        resting = [k for name, k in self.columns.items() if name not in moving]
        self.by_layer["perturbation_norm"][:, resting] = 0.0
        samples = len(base.outputs)
        self.by_example = {name: self._room(etas, samples) for name in ("change", "l1")}

    def _room(self, *shape: int) -> Tensor:
        return torch.full(shape, torch.nan, dtype=torch.float64, device=self.evaluator.device)

    def record(self, row: int, moved: Mapping[str, Tensor], found: Evaluation) -> None:
        """Put what was found at a row's η beside the frozen network.

        Args:
            row: its place in the grid.
            moved: the perturbed tensors.
            found: the evaluation there.
        """
        self.by_eta["loss"][row], self.by_eta["accuracy"][row] = found.mean_loss, found.hits
        self.by_example["change"][row] = relative_change(self.base.outputs, found.outputs)
        self.by_example["l1"][row] = (found.outputs - self.base.outputs).abs().sum(1)
        for name in self.moving:
            change = compare(moved[name], self.evaluator.frozen[name]).difference
            self.by_layer["perturbation_norm"][row, self.columns[name]] = change
        slope = torch.zeros((), dtype=torch.float64, device=self.evaluator.device)
        for name in self.measured:
            gradient, before = found.gradients[name], self.base.gradients[name]
            pair, place = compare(gradient, before), (row, self.columns[name])
            self.by_layer["gradient_norm"][place] = pair.norm
            self.by_layer["gradient_difference"][place] = pair.difference
            self.by_layer["_product"][place] = pair.product
            if self.whole and self.direction is not None and name in self.direction:
                part = self.direction.parts[name]
                tensor = part.base()
                product = pair.product if tensor is before else compare(gradient, tensor).product
                slope += part.factor * product
        if self.whole:
            self.by_eta["slope"][row] = slope

    def losses(self) -> Floats:
        """𝓛 at each η."""
        return numpy_of(self.by_eta["loss"])

    def slopes(self) -> Floats:
        """𝓛' along the direction at each η; NaN where not all of its gradients are measured."""
        return numpy_of(self.by_eta["slope"])

    def output_difference_l1(self) -> Floats:
        """‖f̃ − f‖₁ (etas, examples)."""
        return numpy_of(self.by_example["l1"])

    def variables(
        self, gradient_norms: Mapping[str, float], weight_norms: Mapping[str, float]
    ) -> dict[str, Any]:
        """Everything, with a ``checkpoint`` of one in front; described in docs/measurements.md.

        Args:
            gradient_norms: ‖g_l‖_F at the frozen weights.
            weight_norms: ‖W_l‖_F.
        """
        layers = {name: numpy_of(table) for name, table in self.by_layer.items()}
        product = layers.pop("_product")
        for key in ("gradient_change", "gradient_cosine", "relative_perturbation"):
            layers[key] = np.full(product.shape, np.nan)
        for name, k in self.columns.items():
            change = layers["perturbation_norm"][:, k]
            layers["relative_perturbation"][:, k] = [ratio(part, weight_norms[name]) for part in change]
        for name in self.measured:
            k, size = self.columns[name], gradient_norms[name]
            layers["gradient_change"][:, k] = [
                ratio(part, size) for part in layers["gradient_difference"][:, k]
            ]
            norms = layers["gradient_norm"][:, k]
            turned = (norms > 0) & (size > 0)
            layers["gradient_cosine"][turned, k] = product[turned, k] / norms[turned] / size
        found: dict[str, Any] = {
            name: (("checkpoint", "eta"), numpy_of(table)[None]) for name, table in self.by_eta.items()
        }
        found |= {name: (("checkpoint", "eta", "layer"), table[None]) for name, table in layers.items()}
        if self.evaluator.has_outputs:
            change = numpy_of(self.by_example["change"])
            found["output_change"] = (("checkpoint", "eta", "example"), change[None])
        return found


def ratio(part: float, whole: float) -> float:
    """The quotient part / whole, with 0/0 = 0 and x/0 = inf."""
    if whole > 0 or math.isnan(part) or math.isnan(whole):
        return part / whole
    return 0.0 if part == 0 else math.inf
