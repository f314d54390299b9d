"""Full-batch quantities of a frozen network, as sums over chunks, for any values of its parameters.

The module itself is never edited: perturbed parameters are passed through ``torch.func.functional_call``.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from functools import cached_property
from typing import Any, TypeAlias, TypeVar

import torch
from torch import Tensor, nn
from torch.func import functional_call

from probes.data.batch import Batch
from probes.data.batches import Batches
from probes.data.inputs import Inputs, arguments_of, outputs_of
from probes.data.labels import accuracy_of
from probes.data.losses import BatchLoss, Loss, ModelLoss
from probes.errors import InputError, mention
from probes.evaluation.chunks import halving
from probes.system.processes import ALONE, Share, padded

__all__ = ["AroundCall", "Evaluation", "Evaluator", "Parameters"]

T = TypeVar("T")

_AT_ONCE = 1 << 17
"""Outputs that are in float64 at once: 1 MB."""

Parameters = Mapping[str, Tensor]

AroundCall: TypeAlias = Callable[[int, Batch, Parameters], AbstractContextManager[object]]
"""What the network's call on a chunk is put into: the chunk's place, the chunk, and the tensors of the call."""


@dataclass(frozen=True)
class Evaluation:
    """What one pass over the data gives, all of it on the device: reading a number waits for it.

    Attributes:
        mean_loss: accumulated in float64, ().
        hits: share of examples classified rightly, (); NaN where the targets are not labels.
        gradients: of the mean loss, for each parameter that was asked for.
        outputs: of the first examples, (samples, outputs), in float64; shorter ones have zeros behind them, and
            all is NaN where the loss calls the network itself, so that outputs cannot be had.
    """

    mean_loss: Tensor
    hits: Tensor
    gradients: dict[str, Tensor]
    outputs: Tensor

    @property
    def loss(self) -> float:
        """The mean loss as a number."""
        return float(self.mean_loss)

    @property
    def accuracy(self) -> float:
        """The share of hits as a number."""
        return float(self.hits)

    def one(self, place: int) -> Evaluation:
        """Of a stack of evaluations, whose tensors have an axis more in front, the one at a place."""
        gradients = {name: stack[place] for name, stack in self.gradients.items()}
        return Evaluation(self.mean_loss[place], self.hits[place], gradients, self.outputs[place])

    def alone(self) -> Evaluation:
        """A stack of this one."""
        gradients = {name: gradient[None] for name, gradient in self.gradients.items()}
        return Evaluation(self.mean_loss[None], self.hits[None], gradients, self.outputs[None])


@dataclass(frozen=True)
class _Sums:
    """One process's part of an evaluation: sums of losses and hits, gradients, and outputs chunk by chunk."""

    losses: Tensor
    hits: Tensor | None
    gradients: dict[str, Tensor]
    outputs: list[Tensor]


class _WithLoss(nn.Module):
    """A network inside a module that computes its loss, so that parameters can be replaced in both at once."""

    def __init__(self, network: nn.Module, loss: ModelLoss) -> None:
        super().__init__()
        self.network = network
        self.loss = loss

    def forward(self, batch: Any) -> Any:
        return self.loss.function(self.network, batch)


class Evaluator:
    """A network, data and a loss, ready to be evaluated at any parameters."""

    def __init__(
        self,
        network: nn.Module,
        x: Tensor | Batches,
        y: Tensor | None,
        loss: Loss,
        *,
        dtype: torch.dtype = torch.float32,
        device: torch.device | str = "cpu",
        chunk: int = 500,
        precision: str = "full",
        share: Share = ALONE,
        divisible: bool = True,
    ) -> None:
        """Take the network's weights as they are now, in ``dtype`` on ``device``.

        They are copied only where dtype or device differ: the network must not be trained meanwhile.

        Args:
            network: any module that maps inputs (n, …) to outputs (n, …), see :func:`probes.data.inputs.outputs_of`.
            x: inputs (n, …), or batches of any form, on the CPU; chunks of them travel to the device.
            y: targets (n, …); None for batches, which have their own.
            loss: losses (n,) of outputs and targets, or another of :mod:`probes.data.losses`.
            dtype: float32 or float64, for everything that is computed.
            device: where.
            chunk: how many examples at once; results differ between chunk sizes by rounding alone.
            precision: "bfloat16" for layers in bfloat16, by autocast; else all is in ``dtype``.
            share: the processes that evaluate together, all with all the data; results differ between their numbers
                by rounding alone.
            divisible: whether an example's output does not depend on the others in its chunk, so that chunks may be
                halved where memory runs out.
        """
        if chunk < 1:
            raise InputError(f"{mention('chunk', chunk)}: must be at least 1")
        self.network, self.loss_function = network, loss
        self.data = x if isinstance(x, Batches) else Batches([Batch(x, y)])
        self.has_outputs = not isinstance(loss, ModelLoss)
        self.dtype, self.device, self.chunk = dtype, torch.device(device), chunk
        self.precision = precision
        self.share = share
        self.divisible = divisible and self.has_outputs
        self.frozen: dict[str, Tensor] = {
            name: self._moved(parameter) for name, parameter in network.named_parameters()
        }
        self.buffers: dict[str, Tensor] = {
            name: self._moved(buffer).clone() for name, buffer in network.named_buffers()
        }

    def _moved(self, tensor: Tensor) -> Tensor:
        dtype = self.dtype if tensor.is_floating_point() else tensor.dtype
        return tensor.detach().to(device=self.device, dtype=dtype)

    def on(self, data: Batches, *, dtype: torch.dtype, chunk: int) -> Evaluator:
        """The same network and loss with other data, in another precision, in other chunks."""
        return Evaluator(
            self.network,
            data,
            None,
            self.loss_function,
            dtype=dtype,
            device=self.device,
            chunk=chunk,
            precision=self.precision,
            divisible=self.divisible,
        )

    def __len__(self) -> int:
        """The number of examples."""
        return len(self.data)

    def chunks(self, count: int | None = None) -> Iterator[tuple[int, Batch]]:
        """Pieces of the first ``count`` examples (None: of all) on the device, after how many examples each.

        A loss that calls the network itself gets the user's own batches, where there were any.
        """
        data = self.data if count is None else self.data[:count]
        for start, batch in data.chunks(self.chunk, as_given=not self.has_outputs):
            yield start, batch.to(self.device, self.dtype)

    def own_chunks(self, chunk: int) -> Iterator[tuple[int, Batch]]:
        """Pieces of this process's examples on the device, after how many of all examples each."""
        part = self._own_part
        if part.start < part.stop:
            for start, batch in self.data[part].chunks(chunk, as_given=not self.has_outputs):
                yield part.start + start, batch.to(self.device, self.dtype)

    @cached_property
    def _own_part(self) -> slice:
        """A loss that calls the network itself keeps its batches whole: its mean over half of one may be another."""
        if self.has_outputs or self.share.size == 1:
            return self.share.part(len(self))
        starts = [start for start, _ in self.data.chunks(self.chunk, as_given=True)]
        own = self.share.part(len(starts))
        return slice(*([*starts, len(self)][place] for place in (own.start, own.stop)))

    def call(self, parameters: Parameters, inputs: Inputs) -> Tensor:
        """The network's outputs for a batch's inputs at ``parameters``."""
        arguments, named = arguments_of(inputs)
        tensors = (dict(parameters), self.buffers)
        if self.precision != "bfloat16" or self.dtype == torch.float64:
            return outputs_of(functional_call(self.network, tensors, arguments, named))
        with torch.autocast(self.device.type, torch.bfloat16, cache_enabled=False):
            return outputs_of(functional_call(self.network, tensors, arguments, named)).to(self.dtype)

    def example_losses(self, parameters: Parameters, batch: Batch) -> Tensor:
        """Losses (n,) of a batch on the device."""
        if isinstance(self.loss_function, ModelLoss):
            return self._model_losses(self.loss_function, parameters, batch)
        return self.losses_of(self.call(parameters, batch.inputs), batch)

    def losses_of(self, outputs: Tensor, batch: Batch) -> Tensor:
        """Losses (n,) of outputs, for a loss that is a function of them.

        Raises:
            InputError: the loss is of another form, or there are no targets.
        """
        loss = self.loss_function
        if isinstance(loss, ModelLoss):
            raise InputError("the loss calls the network itself: it is no function of outputs")
        if isinstance(loss, BatchLoss):
            losses = loss.function(outputs, batch)
        elif batch.targets is None:
            raise InputError("the data has no targets, which this loss needs")
        else:
            losses = loss(outputs, batch.targets)
        if not isinstance(losses, Tensor) or losses.shape != (len(batch),):
            shape = tuple(losses.shape) if isinstance(losses, Tensor) else type(losses).__name__
            raise InputError(
                f"the loss must give one number an example, got shape {shape}; torch's own do with"
                ' reduction="none"'
            )
        return losses

    def residuals(self, outputs: Tensor, batch: Batch) -> Tensor:
        """∂ℓ/∂f(x) over the number of all examples, in the shape of a batch's outputs.

        Raises:
            InputError: as :meth:`losses_of`.
        """
        leaf = outputs.detach().requires_grad_(True)
        with torch.enable_grad():
            mean = self.losses_of(leaf, batch).sum() / len(self)
        (found,) = torch.autograd.grad(mean, leaf)
        return found

    def _model_losses(self, loss: ModelLoss, parameters: Parameters, batch: Batch) -> Tensor:
        """Each example's loss, or for each the batch's mean, with every way into the network at ``parameters``."""
        inside = {f"network.{name}": tensor for name, tensor in {**self.buffers, **parameters}.items()}
        found = functional_call(_WithLoss(self.network, loss), inside, (batch.given(),))
        if isinstance(found, Tensor) and found.ndim == 0:
            return found.expand(len(batch))
        if not isinstance(found, Tensor) or found.shape != (len(batch),):
            shape = tuple(found.shape) if isinstance(found, Tensor) else type(found).__name__
            raise InputError(
                f"the loss of (model, batch) must give the batch's mean or one number an example, got {shape}"
            )
        return found

    def evaluate(
        self,
        parameters: Parameters,
        *,
        wanted: list[str] | None = None,
        samples: int = 0,
        around: AroundCall | None = None,
        residuals_at: Parameters | None = None,
    ) -> Evaluation:
        """Mean loss, its gradient for the ``wanted`` parameters, and the first examples' outputs.

        Gradients accumulate into one buffer a parameter, so memory does not grow with the data.

        Args:
            parameters: the network's tensors.
            wanted: whose gradients.
            samples: of how many examples the outputs are kept.
            around: a context for the network's call on each chunk.
            residuals_at: other tensors of the network: gradients are then those with every example's residual
                ∂ℓ/∂f(x) as it is there, (1/n) Σ_i r_iᵀ ∂f(x_i)/∂W, for a loss that is a function of outputs.
        """

        def run(chunk: int) -> _Sums:
            return self._own_sums(chunk, parameters, wanted or [], samples, around, residuals_at)

        sums = self._remembering(run)
        known = (
            padded(sums.outputs)
            if sums.outputs
            else torch.zeros(0, 0, dtype=torch.float64, device=self.device)
        )
        total, right, count = sums.losses, sums.hits, len(self)
        if self.share.size > 1:
            total, right = self._summed(sums.gradients, total, right)
            known = self.share.gather(known)
        if not self.has_outputs:
            known = torch.full((samples, 1), torch.nan, dtype=torch.float64)
        hits = torch.full_like(total, torch.nan) if right is None else right / count
        return Evaluation(total / count, hits, sums.gradients, known)

    def _own_count(self) -> int:
        part = self._own_part
        examples: int = part.stop - part.start
        return max(examples, 1)

    def in_chunks(self, run: Callable[[int], T]) -> tuple[T, int]:
        """Run what goes through this process's examples, in smaller chunks where memory runs out."""
        chunk = min(self.chunk, self._own_count())
        return halving(run, chunk, smallest=1 if self.divisible else chunk)

    def _remembering(self, run: Callable[[int], T]) -> T:
        """The same; where memory ran out, the next evaluation need not find out again."""
        found, chunk = self.in_chunks(run)
        if chunk < min(self.chunk, self._own_count()):
            self.chunk = chunk
        return found

    def _own_sums(
        self,
        chunk: int,
        parameters: Parameters,
        wanted: list[str],
        samples: int,
        around: AroundCall | None,
        residuals_at: Parameters | None,
    ) -> _Sums:
        """This process's part of an evaluation."""
        leaves = {name: parameters[name].detach().requires_grad_(True) for name in wanted}
        used = {name: leaves.get(name, tensor) for name, tensor in parameters.items()}
        count = len(self)
        total = torch.zeros((), dtype=torch.float64, device=self.device)
        right: Tensor | None = torch.zeros((), dtype=torch.float64, device=self.device)
        kept: list[Tensor] = []
        with torch.set_grad_enabled(bool(leaves)):
            for start, batch in self.own_chunks(chunk):
                outputs = None
                if self.has_outputs:
                    with nullcontext() if around is None else around(start, batch, used):
                        outputs = self.call(used, batch.inputs)
                if leaves or outputs is None:
                    losses = (
                        self.example_losses(used, batch)
                        if outputs is None
                        else self.losses_of(outputs, batch)
                    )
                    if leaves and not losses.requires_grad:
                        raise InputError("the loss has no gradient: it does not depend on the weights")
                    if leaves and (residuals_at is None or outputs is None):
                        (losses.sum() / count).backward()  # type: ignore[no-untyped-call]
                    elif leaves and outputs is not None and residuals_at is not None:
                        with torch.no_grad():
                            there = self.call(residuals_at, batch.inputs)
                        outputs.backward(self.residuals(there, batch))  # type: ignore[no-untyped-call]
                if outputs is None:
                    total += losses.detach().double().sum()
                    right = None
                    continue
                outputs = outputs.detach()
                with torch.no_grad():
                    total += self._exact_losses(outputs, batch).sum()
                    hits = None if batch.targets is None else accuracy_of(outputs, batch.targets)
                right = None if right is None or hits is None else right + hits
                if start < samples:
                    kept.append(outputs[: samples - start].double().flatten(1))
        gradients: dict[str, Tensor] = {}
        for name, leaf in leaves.items():
            gradients[name] = torch.zeros_like(leaf) if leaf.grad is None else leaf.grad
            leaf.grad = None
        return _Sums(total, right, gradients, kept)

    def _summed(
        self, gradients: dict[str, Tensor], total: Tensor, right: Tensor | None
    ) -> tuple[Tensor, Tensor | None]:
        """Gradients (in place), losses and hits of all processes; no hits where one has no labels to hit."""
        sums = total.new_zeros(3)
        sums[0] = total
        sums[1 if right is not None else 2] = 1 if right is None else right
        self.share.sum_([*gradients.values(), sums])
        return sums[0], None if bool(sums[2] > 0) else sums[1]

    def loss(self, parameters: Parameters, *, around: AroundCall | None = None) -> float:
        """The mean loss at ``parameters`` that :meth:`evaluate` finds, and nothing else: no graph, hits or outputs."""
        total = self._remembering(lambda chunk: self._own_losses(chunk, parameters, around))
        self.share.sum_([total])
        return float(total / len(self))

    # No inference mode: what a module keeps of a call (a table of angles, a mask) could not be differentiated later.
    @torch.no_grad()
    def _own_losses(self, chunk: int, parameters: Parameters, around: AroundCall | None) -> Tensor:
        """The sum over this process's examples, () in float64."""
        total = torch.zeros((), dtype=torch.float64, device=self.device)
        for start, batch in self.own_chunks(chunk):
            if self.has_outputs:
                with nullcontext() if around is None else around(start, batch, parameters):
                    outputs = self.call(parameters, batch.inputs)
                total += self._exact_losses(outputs, batch).sum()
            else:
                total += self.example_losses(parameters, batch).double().sum()
        return total

    def _exact_losses(self, outputs: Tensor, batch: Batch) -> Tensor:
        """Losses (n,) of outputs, computed in float64 of as many examples at once as a cache holds."""
        rows = max(1, _AT_ONCE * len(batch) // max(1, outputs.numel()))
        parts = [slice(start, start + rows) for start in range(0, len(batch), rows)]
        exact = [self.losses_of(outputs[part].double(), batch[part].with_double_targets()) for part in parts]
        return exact[0] if len(exact) == 1 else torch.cat(exact)
