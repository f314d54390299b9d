"""The first layer along a slice: its preactivations are affine in η, so two products serve every η.

With W(η) = W + η d and b(η) = b + η d_b a linear layer that sees the data itself has z(η) = z + η z_d, where
z = x Wᵀ + b and z_d = x dᵀ + d_b. Both are kept for as many examples as a fixed amount of memory holds; the rest
are passed through the layer as usual. In exact arithmetic it makes no difference.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any, TypeAlias

import torch
from torch import Tensor
from torch.nn import functional
from torch.overrides import TorchFunctionMode

from probes.data.batch import Batch

__all__ = ["FirstLayer"]

_MOST_BYTES = 32 << 20
"""What z and z_d may take in all: 5,000 examples of 784 units in float32."""

_Output: TypeAlias = Callable[[bool], Tensor]
"""Gives a layer's output (n, d_1); or, told that its weight or bias is a stack, (k, n, d_1)."""


class FirstLayer:
    """Puts z + η z_d in the place of linear maps of the data itself, for the chunks that it has room for."""

    def __init__(
        self, frozen: Mapping[str, Tensor], direction: Mapping[str, Tensor], *, most_bytes: int = _MOST_BYTES
    ) -> None:
        """Take the weights and the direction.

        Args:
            frozen: W and b of every layer.
            direction: d; nothing is in it of tensors that stay put.
            most_bytes: what may be kept.
        """
        self.frozen, self.direction, self.most_bytes = frozen, direction, most_bytes
        self.kept: dict[tuple[int, int, str, str | None], tuple[Tensor, Tensor]] = {}
        self.bytes = 0

    @contextmanager
    def applied(
        self, place: int, batch: Batch, parameters: Mapping[str, Tensor], eta: float | Tensor
    ) -> Iterator[None]:
        """Inside, the network's call on this chunk takes such a layer's output from what is kept.

        Args:
            place: after how many examples the chunk begins.
            batch: the chunk.
            parameters: the very tensors that the network is called with, at η.
            eta: η; or many (k,), where ``torch.func.vmap`` calls the network with a stack of tensors.
        """
        x = batch.real_input
        if x is None or x.ndim < 2 or not x.is_contiguous():
            yield
            return

        def output(rows: Tensor, weight: str, bias: str | None) -> _Output | None:
            found = self._preactivations(place, rows, weight, bias)
            if found is None:
                return None
            z, towards = found
            if not isinstance(eta, Tensor):
                return lambda _: torch.add(z, towards, alpha=eta)
            return lambda many: torch.addcmul(z, eta.to(z)[:, None, None], towards) if many else z

        with _Replaced(x, parameters, output):
            yield

    def _preactivations(
        self, place: int, rows: Tensor, weight: str, bias: str | None
    ) -> tuple[Tensor, Tensor] | None:
        """The pair z and z_d (n, d_1) of a chunk; None where there is no room for them."""
        key = (place, len(rows), weight, bias)
        if key not in self.kept:
            size = 2 * len(rows) * self.frozen[weight].shape[0] * rows.element_size()
            if self.bytes + size > self.most_bytes:
                return None
            with torch.no_grad():
                z = functional.linear(rows, self.frozen[weight], None if bias is None else self.frozen[bias])
                shift = None if bias is None else self.direction.get(bias)
                if weight in self.direction:
                    towards = functional.linear(rows, self.direction[weight], shift)
                else:
                    towards = torch.zeros_like(z) if shift is None else shift.expand_as(z)
            self.kept[key] = (z, towards)
            self.bytes += size
        return self.kept[key]


class _Replaced(TorchFunctionMode):
    """Gives linear maps of the data itself their outputs; every other call goes its way."""

    def __init__(
        self,
        x: Tensor,
        parameters: Mapping[str, Tensor],
        output: Callable[[Tensor, str, str | None], _Output | None],
    ) -> None:
        """Remember the data as it is now, and the parameters that count."""
        super().__init__()
        self.x, self.version, self.output = x, x._version, output
        self.names = {id(tensor): name for name, tensor in parameters.items()}

    def __torch_function__(
        self, function: Callable[..., Any], types: Any, args: tuple[Any, ...] = (), kwargs: Any = None
    ) -> Any:
        kwargs = kwargs or {}
        if function is functional.linear:
            named = dict(zip(("input", "weight", "bias"), args, strict=False)) | kwargs
            given, weight, bias = (named.get(name) for name in ("input", "weight", "bias"))
            known = id(weight) in self.names and (bias is None or id(bias) in self.names)
            if known and self._is_data(given):
                name = None if bias is None else self.names[id(bias)]
                output = self.output(given, self.names[id(weight)], name)
                if output is not None:
                    return _Known.apply(given, weight, bias, output)  # type: ignore[no-untyped-call]
        return function(*args, **kwargs)

    def _is_data(self, given: Any) -> bool:
        """Whether a layer is given the data itself, a row an example, as it was."""
        x = self.x
        return (
            isinstance(given, Tensor)
            and given.ndim == 2
            and _place(given) == x.data_ptr()
            and len(given) == len(x)
            and given.numel() == x.numel()
            and given.dtype == x.dtype
            and given.is_contiguous()
            and x._version == self.version
            and not given.requires_grad
        )


def _place(tensor: Tensor) -> int | None:
    """Where its numbers lie; a stack's has no place of its own inside ``vmap``."""
    try:
        return tensor.data_ptr()
    except RuntimeError:
        return None


class _Known(torch.autograd.Function):
    """A linear map whose output is known, with its gradients in the weight and the bias."""

    @staticmethod
    def forward(x: Tensor, weight: Tensor, bias: Tensor | None, output: _Output) -> Tensor:
        return output(False)

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Any, ...], output: Tensor) -> None:
        ctx.save_for_backward(inputs[0])

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor | None, ...]:
        (x,) = ctx.saved_tensors
        _, weight, bias, _ = ctx.needs_input_grad
        return None, gradient.t() @ x if weight else None, gradient.sum(0) if bias else None, None

    @staticmethod
    def vmap(info: Any, in_dims: tuple[Any, ...], x: Tensor, *others: Any) -> tuple[Tensor, int]:
        """Of a stack of weights, biases and outputs, their first axes together."""
        return _KnownStack.apply(x, *others), 0  # type: ignore[no-untyped-call]


class _KnownStack(torch.autograd.Function):
    """The same for a stack."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, weights: Tensor, biases: Tensor | None, output: _Output) -> Tensor:
        ctx.save_for_backward(x)
        return output(True)

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx: Any, gradients: Tensor) -> tuple[Tensor | None, ...]:
        (x,) = ctx.saved_tensors
        _, weights, biases, _ = ctx.needs_input_grad
        found = torch.stack([gradient.t() @ x for gradient in gradients]) if weights else None
        return None, found, gradients.sum(1) if biases else None, None
