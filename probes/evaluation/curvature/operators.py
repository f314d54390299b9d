"""Symmetric matrices that are known by their products with vectors: the Hessian, and Gauss and Newton's."""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from typing import Protocol, Self, TypeVar

import torch
from torch import Tensor
from torch.nn.attention import SDPBackend, sdpa_kernel

from probes.data.batch import Batch
from probes.errors import InputError
from probes.evaluation.curvature.derivatives import check_twice_differentiable
from probes.evaluation.curvature.products import gauss_newton_product, has_forward_mode, hessian_product
from probes.evaluation.evaluator import Evaluator, Parameters
from probes.system.processes import Share

__all__ = [
    "GaussNewtonOperator",
    "HessianOperator",
    "LossOperator",
    "Operator",
    "led",
]

T = TypeVar("T")


class Operator(Protocol):
    """A symmetric matrix (n, n) known by its products.

    Attributes:
        size: n.
        share: the processes that take every product together, all with the same vector.
        dtype: of what is computed.
        device: where.
    """

    size: int
    share: Share
    dtype: torch.dtype
    device: torch.device

    def product(self, v: Tensor) -> Tensor:
        """The matrix times v (n,), in ``dtype`` on the device."""
        ...


class LossOperator(ABC):
    """A matrix of the full-batch mean loss over the flattened tensors ``names``, one behind the other.

    Products take every example once, in chunks, and constant memory. Attention runs in plain matrix products, which
    can be differentiated twice.

    Attributes:
        names: of the tensors.
        size: the number of their elements.
    """

    def __init__(
        self,
        evaluator: Evaluator,
        parameters: Parameters | None = None,
        names: Sequence[str] | None = None,
    ) -> None:
        """Check on two examples that it can be had.

        Args:
            evaluator: network, data and loss.
            parameters: the network's tensors; None: the frozen ones.
            names: of the tensors that the matrix is of, a layer's own for its block; None: the trainable ones.

        Raises:
            InputError: there are no such tensors, or PyTorch cannot differentiate a module, which it names.
        """
        self._begin(evaluator, evaluator.frozen if parameters is None else parameters, names)
        with sdpa_kernel(SDPBackend.MATH):
            self._check()

    def _begin(self, evaluator: Evaluator, parameters: Parameters, names: Sequence[str] | None) -> None:
        trainable = [name for name, one in evaluator.network.named_parameters() if one.requires_grad]
        chosen = trainable if names is None else list(names)
        missing = [name for name in chosen if name not in parameters]
        if missing or not chosen:
            raise InputError(
                f"curvature: no parameter {missing[0]}" if missing else "curvature: nothing trains"
            )
        self.evaluator, self.parameters, self.names = evaluator, parameters, chosen
        self.share, self.dtype, self.device = evaluator.share, evaluator.dtype, evaluator.device
        self.shapes = [parameters[name].shape for name in chosen]
        self.lengths = [parameters[name].numel() for name in chosen]
        self.size = sum(self.lengths)

    def block(self, names: Sequence[str]) -> Self:
        """The same matrix's diagonal block of some tensors; what was checked is not checked again.

        Raises:
            InputError: there is no such tensor.
        """
        return self._like(self.evaluator, names)

    def on(self, evaluator: Evaluator) -> Self:
        """The same matrix of the loss on other data; what was checked is not checked again."""
        return self._like(evaluator, self.names)

    def _like(self, evaluator: Evaluator, names: Sequence[str]) -> Self:
        made = object.__new__(type(self))
        vars(made).update(vars(self))
        made._begin(evaluator, self.parameters, names)
        return made

    def flatten(self, tensors: Mapping[str, Tensor]) -> Tensor:
        """The tensors ``names`` one behind the other (n,), in ``dtype`` on the device."""
        return torch.cat(
            [tensors[name].detach().reshape(-1).to(self.device, self.dtype) for name in self.names]
        )

    def unflatten(self, v: Tensor) -> dict[str, Tensor]:
        """A vector (n,) as tensors by name, in ``dtype`` on the device."""
        parts = torch.split(v.detach().to(self.device, self.dtype), self.lengths)
        return {
            name: part.view(shape) for name, part, shape in zip(self.names, parts, self.shapes, strict=True)
        }

    def quadratic(self, v: Tensor) -> tuple[float, float]:
        """vᵀHv, NaN where v (n,) is zero, and ‖v‖²; in float64 but for the product.

        Raises:
            InputError: as :meth:`product`.
        """
        square = float(v.double() @ v.double())
        return float(self.product(v).double() @ v.double()) if square > 0 else math.nan, square

    def product(self, v: Tensor) -> Tensor:
        """The matrix times v (n,), on all processes together.

        Raises:
            InputError: memory runs out with one example too.
        """
        vector = self.unflatten(v)
        evaluator = self.evaluator

        def run(chunk: int) -> dict[str, Tensor]:
            sums = {name: torch.zeros_like(one) for name, one in vector.items()}
            for _, batch in evaluator.own_chunks(chunk):
                found = self._of(batch, vector)
                for name, part in (found or {}).items():
                    sums[name] += part
            return sums

        with sdpa_kernel(SDPBackend.MATH):
            sums, _ = evaluator.in_chunks(run)
        self.share.sum_(sums.values())
        return self.flatten(sums)

    @abstractmethod
    def _check(self) -> None:
        """Refuse what cannot be differentiated."""

    @abstractmethod
    def _of(self, batch: Batch, vector: Mapping[str, Tensor]) -> Mapping[str, Tensor] | None:
        """A batch's part of the product; None for zero."""


class HessianOperator(LossOperator):
    """H = ∇²𝓛, the second derivatives where they exist: blind to ReLU's kinks."""

    def _check(self) -> None:
        check_twice_differentiable(self.evaluator, self.parameters, self.names)

    def _of(self, batch: Batch, vector: Mapping[str, Tensor]) -> Mapping[str, Tensor] | None:
        found = hessian_product(self.evaluator, self.parameters, batch, vector, len(self.evaluator))
        return None if found is None else found[1]


class GaussNewtonOperator(LossOperator):
    """G = mean_i J_iᵀ (∂²ℓ_i/∂f²) J_i, positive semidefinite for losses that are convex in the outputs."""

    def _check(self) -> None:
        if not self.evaluator.has_outputs:
            raise InputError(
                "the Gauss-Newton matrix is of a loss that is a function of outputs; this one calls the network itself"
            )
        self.forward = has_forward_mode(self.evaluator, self.parameters, self.names)
        if not self.forward:
            check_twice_differentiable(self.evaluator, self.parameters, self.names)

    def _of(self, batch: Batch, vector: Mapping[str, Tensor]) -> Mapping[str, Tensor] | None:
        count = len(self.evaluator)
        return gauss_newton_product(
            self.evaluator, self.parameters, batch, vector, count, forward=self.forward
        )


def led(operator: Operator, work: Callable[[Callable[[Tensor], Tensor]], T]) -> T:
    """What ``work`` finds by products that all processes take together: the first leads.

    Args:
        operator: the matrix.
        work: gets the product, and decides by what it gives where to go on.
    """
    share = operator.share
    if share.size == 1:
        return work(operator.product)
    v = torch.zeros(operator.size, dtype=operator.dtype, device=operator.device)
    found: list[Tensor] = []

    def together(_: float) -> float:
        share.copy_([v])
        found[:] = [operator.product(v)]
        return 0.0

    def search(ask: Callable[[float], float]) -> T:
        def product(one: Tensor) -> Tensor:
            v.copy_(one)
            ask(0.0)
            return found[0]

        return work(product)

    return share.led(search, together)
