"""What a worst perturbation makes as large as possible, with its derivative: an output's change or a breakdown."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Protocol

import torch
from torch import Tensor

from probes.data.inputs import Inputs
from probes.errors import InputError
from probes.evaluation.evaluator import Evaluator, Parameters
from probes.evaluation.reductions import norm

__all__ = ["GradientBreakdown", "Objective", "OutputChange"]


class Objective(Protocol):
    """What is maximised, at parameters W̃ of the whole network."""

    def value(self, parameters: Parameters) -> tuple[float, Tensor | None]:
        """The objective, possibly not finite, and what ``gradient`` needs to know of this point."""

    def gradient(self, parameters: Parameters, known: Tensor | None) -> dict[str, Tensor]:
        """Its derivative for each moving tensor, the caller's; ``known`` is from ``value`` at the same point."""


class OutputChange:
    """The mean of ‖f̃(x) − f(x)‖ / ‖f(x)‖ over the first examples, those with f(x) = 0 left out."""

    def __init__(self, evaluator: Evaluator, moving: list[str], examples: int) -> None:
        """Evaluate f(x).

        Raises:
            InputError: the output vanishes for every example, or outputs cannot be had.
        """
        self.evaluator, self.moving, self.examples = evaluator, moving, min(examples, len(evaluator))
        if not evaluator.has_outputs:
            raise InputError(
                "`objective='output'`: the loss calls the network itself, so there are no outputs; use"
                " `objective='breakdown'`"
            )
        with torch.no_grad():
            self.before = [evaluator.call(evaluator.frozen, x).double().flatten(1) for x in self._inputs()]
        sizes = [torch.linalg.vector_norm(outputs, dim=1) for outputs in self.before]
        self.used = [size != 0 for size in sizes]
        count = sum(int(used.sum()) for used in self.used)
        if count == 0:
            raise InputError(
                f"`objective='output'`: the output is 0 for all of the first {self.examples} examples"
            )
        self.weights = [1 / (count * size[used]) for used, size in zip(self.used, sizes, strict=True)]

    def _inputs(self) -> Iterator[Inputs]:
        for _, batch in self.evaluator.chunks(self.examples):
            yield batch.inputs

    def _parts(self, parameters: Parameters) -> Iterator[Tensor]:
        known = zip(self._inputs(), self.before, self.used, self.weights, strict=True)
        for x, before, used, weights in known:
            # in float64, because the squares of small changes underflow
            change = self.evaluator.call(parameters, x).double().flatten(1)[used] - before[used]
            yield (torch.linalg.vector_norm(change, dim=1) * weights).sum()

    def value(self, parameters: Parameters) -> tuple[float, None]:
        """The mean; the gradient needs to know nothing of it."""
        with torch.no_grad():
            return sum(float(part) for part in self._parts(parameters)), None

    def gradient(self, parameters: Parameters, known: Tensor | None) -> dict[str, Tensor]:
        """Chunk by chunk; an example whose output has not changed adds nothing."""
        leaves = _leaves(parameters, self.moving)
        with torch.enable_grad():
            for part in self._parts({**parameters, **leaves}):
                _accumulate(part, leaves)
        total = _accumulated(leaves)
        self.evaluator.share.copy_(total.values())
        return total


class GradientBreakdown:
    """‖g̃ − g‖_F / ‖g‖_F of the first weight matrix's gradient g of the mean loss over the full batch."""

    def __init__(self, evaluator: Evaluator, moving: list[str], first: str | None = None) -> None:
        """Evaluate g.

        Raises:
            InputError: there is no weight matrix, or g vanishes.
        """
        self.evaluator, self.moving = evaluator, moving
        matrices = [name for name, tensor in evaluator.frozen.items() if tensor.ndim >= 2]
        ordered = [name for name in moving if name in matrices]
        if not matrices:
            raise InputError("`objective='breakdown'`: the network has no weight matrix")
        # the order of registration, unless all move and the caller's order says better
        self.first = first or (ordered if len(ordered) == len(matrices) else matrices)[0]
        self.before = evaluator.evaluate(evaluator.frozen, wanted=[self.first]).gradients[self.first]
        self.size = float(norm(self.before))
        if self.size == 0:
            raise InputError(
                f"`objective='breakdown'`: the gradient of {self.first} is 0 before anything moves"
            )

    def value(self, parameters: Parameters) -> tuple[float, Tensor]:
        """The breakdown, and g̃ − g in float64."""
        after = self.evaluator.evaluate(parameters, wanted=[self.first]).gradients[self.first]
        difference = after.double().sub_(self.before)
        return float(norm(difference)) / self.size, difference

    def gradient(self, parameters: Parameters, known: Tensor | None) -> dict[str, Tensor]:
        """∂‖g̃ − g‖ = ⟨∂g̃, v⟩ with v = (g̃ − g)/‖g̃ − g‖: a Hessian-vector product, chunk by chunk."""
        evaluator = self.evaluator
        leaves = _leaves(parameters, [*self.moving, self.first])
        moved = {name: leaves[name] for name in self.moving}
        length = 0.0 if known is None else float(norm(known))
        if known is None or length == 0:
            return _accumulated(moved)
        towards = (known / length).to(evaluator.dtype)
        used = {**parameters, **leaves}
        with torch.enable_grad():
            for _, examples in evaluator.own_chunks(evaluator.chunk):
                mean = evaluator.example_losses(used, examples).sum() / len(evaluator)
                (g,) = torch.autograd.grad(
                    mean, [leaves[self.first]], create_graph=True, materialize_grads=True
                )
                _accumulate((g * towards).sum() / self.size, moved)
        total = _accumulated(moved)
        evaluator.share.sum_(total.values())
        return total


def _leaves(parameters: Parameters, names: list[str]) -> dict[str, Tensor]:
    return {name: parameters[name].detach().requires_grad_(True) for name in names}


def _accumulate(of: Tensor, leaves: Mapping[str, Tensor]) -> None:
    """Add the derivative of ``of`` to the leaves' gradients, which are one set however many are added."""
    if of.requires_grad:  # else it is constant
        of.backward(inputs=list(leaves.values()))  # type: ignore[no-untyped-call]


def _accumulated(leaves: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """The leaves' gradients, zeros where nothing was added."""
    found = {}
    for name, leaf in leaves.items():
        found[name] = torch.zeros_like(leaf) if leaf.grad is None else leaf.grad
        leaf.grad = None
    return found
