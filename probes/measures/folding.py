"""Batch norm in evaluation mode folded into the weight before it: what both together are, and how that changes.

With s = scale/√(variance + ε) and t = shift − s ⊙ mean, the running statistics staying as they are, a weight and its
batch norm are z = (s ⊙ W) h + (s ⊙ b + t). All in float64; changes are sums of products with ΔW, Δb, Δscale and
Δshift, so that none is a difference of nearly equal numbers.
"""

from __future__ import annotations

import math
from collections.abc import Mapping

import torch
from torch import Tensor

from probes.measures.forward_passes import ForwardPass
from probes.measures.measure import Floats, Frozen
from probes.measures.operator_norms import Operator, operator_norm
from probes.networks.structure import BatchNorm
from trust import measurements as variables
from trust.measurements import Variable
from trust.residual_bounds import stages
from trust.structure import Step

__all__ = ["FoldedNorms"]

_ROUNDINGS = 4 * torch.finfo(torch.float64).eps
"""At least what an entry, a sum of two products of three numbers, errs by relative to the sum of its terms' sizes."""


class FoldedNorms:
    """Norms of, and responses to, every stage with a batch norm, at each η."""

    def __init__(self, frozen: Frozen, operators: Mapping[str, Operator]) -> None:
        """Find them; there are none where the network's structure is not known.

        Args:
            frozen: the network.
            operators: what each weight does.
        """
        known = [] if frozen.structure is None or frozen.structure.repeats else stages(frozen.structure)
        self.stages = [step for step in known if step.norm or step.kind == "batch norm"]
        self.norms: Mapping[str, BatchNorm] = frozen.reading.batch_norms
        self.operators, self.frozen = operators, frozen
        rows, count = len(frozen.names), frozen.samples
        self.tables: dict[Variable, Floats] = {
            variables.PERTURBED_STAGE_NORM: frozen.table(rows),
            variables.PERTURBATION_STAGE_NORM: frozen.table(rows),
            variables.STAGE_RESPONSE: frozen.table(rows, count),
        }

    @property
    def alone(self) -> list[str]:
        """Scales of batch norms that no weight takes in."""
        return [step.name for step in self.stages if step.kind == "batch norm"]

    def record(
        self, row: int, moved: Mapping[str, Tensor], passes: list[ForwardPass], called: list[str]
    ) -> None:
        """Measure at one η.

        Args:
            row: the place of η.
            moved: the tensors there.
            passes: what passes through the frozen network.
            called: names whose inputs are known.
        """
        for step in self.stages:
            place = self.frozen.names.index(step.name)
            after = self._affine(step, moved)
            map_change, constant_change, slack = self._changes(step, moved)
            self.tables[variables.PERTURBED_STAGE_NORM][row, place] = self._norm(step, after, _size(after))
            change = self._norm(step, map_change, slack)
            if not bool(map_change.any()):
                change = 0.0
            self.tables[variables.PERTURBATION_STAGE_NORM][row, place] = change
            if step.name in called:
                parts = [_response(step, part, map_change, constant_change) for part in passes]
                self.tables[variables.STAGE_RESPONSE][row, place] = torch.cat(parts).cpu().numpy()

    def found(self) -> dict[Variable, Floats]:
        """What was measured; nothing where there is no batch norm."""
        if not self.stages:
            return {}
        frozen = self.frozen.evaluator.frozen
        sizes = {}
        for step in self.stages:
            affine = self._affine(step, frozen)
            sizes[step.name] = self._norm(step, affine, _size(affine))
        return {variables.STAGE_NORM: self.frozen.by_layer(sizes), **self.tables}

    def _scale(self, norm: BatchNorm) -> Tensor:
        """1/√(variance + ε)."""
        return (norm.variance.double() + norm.epsilon).rsqrt()

    def _norm_of(self, step: Step) -> BatchNorm:
        return self.norms[step.norm or step.name]

    def _affine(self, step: Step, tensors: Mapping[str, Tensor]) -> Tensor:
        """The linear part: s ⊙ W, or s alone."""
        norm = self._norm_of(step)
        s = tensors[norm.scale].double() * self._scale(norm)
        return _rows(s, tensors[step.name].double()) if step.norm else s

    def _changes(self, step: Step, moved: Mapping[str, Tensor]) -> tuple[Tensor, Tensor, float]:
        """The changes of the linear part and of the constant, and the sizes of the terms of the first."""
        norm, frozen = self._norm_of(step), self.frozen.evaluator.frozen
        root = self._scale(norm)

        def change(name: str) -> Tensor:
            return moved[name].double() - frozen[name].double()

        ds, after = change(norm.scale) * root, moved[norm.scale].double() * root
        constant = -ds * norm.mean.double()
        if norm.shift:
            constant = constant + change(norm.shift)
        if not step.norm:
            return ds, constant, _size(ds)
        if step.bias:
            constant = constant + after * change(step.bias) + ds * frozen[step.bias].double()
        terms = _rows(after, change(step.name)), _rows(ds, frozen[step.name].double())
        return terms[0] + terms[1], constant, _size(terms[0]) + _size(terms[1])

    def _norm(self, step: Step, values: Tensor, size: float) -> float:
        """Of a linear part, with what its entries' rounding can add: √taps times their Frobenius norm, as a map."""
        if step.kind == "batch norm":
            return float(values.abs().max()) * (1 + _ROUNDINGS)
        slack = _ROUNDINGS * size * math.sqrt(math.prod(values.shape[2:]))
        return operator_norm(values, self.operators[step.name]) + slack


def _rows(factors: Tensor, values: Tensor) -> Tensor:
    """Each output's weights times its factor."""
    return factors.view(-1, *[1] * (values.ndim - 1)) * values


def _size(values: Tensor) -> float:
    return float(torch.linalg.vector_norm(values))


def _response(step: Step, part: ForwardPass, map_change: Tensor, constant: Tensor) -> Tensor:
    """‖ΔW h + Δb‖ of every example."""
    given = part.inputs[step.name]
    if step.kind == "batch norm":
        moved = given * map_change.view(-1, *[1] * (given.ndim - 2))
    else:
        moved = part.applied(step.name, map_change)
    moved = moved + constant.view(-1, *[1] * (moved.ndim - 2))
    norms: Tensor = torch.linalg.vector_norm(moved.flatten(1), dim=1)
    return norms
