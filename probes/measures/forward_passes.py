"""What passes through a frozen network for some of its examples: layer inputs, outputs, and how both respond."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.autograd.forward_ad import dual_level, unpack_dual
from torch.func import functional_call

from probes.data.batch import Batch
from probes.data.inputs import Inputs
from probes.errors import lacks_derivative
from probes.evaluation.evaluator import Evaluator
from probes.evaluation.widened import Widened
from probes.measures.measure import Floats
from trust import measurements as variables

__all__ = ["ForwardPass", "numpy_of"]


class ForwardPass:
    """One chunk of examples, in float64."""

    def __init__(
        self, exact: Evaluator, frozen: Mapping[str, Tensor], known: list[str], batch: Batch
    ) -> None:
        """Pass the examples through the frozen network once.

        Args:
            exact: the network and its loss, in float64.
            frozen: its tensors, each in float64 while it is used.
            known: weights of layers whose linear map is known.
            batch: the examples, on the device.
        """
        self.exact, self.batch = exact, batch
        self.x = batch.real_input
        self.inputs, self.outputs = self._layer_inputs(frozen, known)
        self.towards = self._input_direction(frozen)

    def _call(self, tensors: Mapping[str, Tensor], inputs: Inputs) -> Tensor:
        """The network's outputs in float64."""
        with Widened(tensors, torch.float64):
            return self.exact.call(tensors, inputs)

    def _module(self, weight: str) -> nn.Module:
        return self.exact.network.get_submodule(weight.rpartition(".")[0])

    def _layer_inputs(
        self, frozen: Mapping[str, Tensor], known: list[str]
    ) -> tuple[dict[str, Tensor], Tensor]:
        """h_{l−1} of every weight matrix at the frozen weights, and the outputs (examples, …).

        Left out where a layer's input does not have one row an example (time first, or examples merged with it).
        """
        inputs: dict[str, Tensor] = {}
        modules = {self._module(name): name for name in reversed(known)}

        def keep(module: nn.Module, arguments: tuple[Any, ...]) -> None:
            given = arguments[0] if arguments else None
            if isinstance(given, Tensor) and given.ndim > 0:
                inputs.setdefault(modules[module], given.detach())

        handles = [module.register_forward_pre_hook(keep) for module in modules]
        try:
            with torch.no_grad():
                self._call(frozen, self.batch[:1].inputs)
                single = {name for name, given in inputs.items() if len(given) == 1}
                inputs.clear()
                outputs = self._call(frozen, self.batch.inputs)
        finally:
            for handle in handles:
                handle.remove()
        rows = {n: given for n, given in inputs.items() if n in single and len(given) == len(self.batch)}
        return rows, outputs.flatten(1)

    def _input_direction(self, frozen: Mapping[str, Tensor]) -> Tensor | None:
        """For each example Δx = ‖x‖ u, u along the gradient of its loss in its input (along x where that is zero).

        None for inputs that are no real numbers (labels, tokens), or several, which cannot move.
        """
        if self.x is None:
            return None
        x = self.x.detach().clone().requires_grad_(True)
        with torch.enable_grad():
            outputs = self._call(frozen, self.batch.inputs_with(x))
            losses = self.exact.losses_of(outputs, self.batch)
            (gradient,) = torch.autograd.grad(losses.sum(), x, allow_unused=True, materialize_grads=True)
        size = _norms(gradient)
        unit = torch.where(_column(size, x) > 0, gradient / _column(size, x), x / _column(_norms(x), x))
        return torch.nan_to_num(unit) * _column(_norms(x), x)

    def applied(self, name: str, change: Tensor) -> Tensor:
        """ΔW_l h_{l−1}(x), by the layer's own module with ΔW as its weight and no bias."""
        module = self._module(name)
        values, bias = {"weight": change}, getattr(module, "bias", None)
        if bias is not None:
            values["bias"] = change.new_zeros(bias.shape)
        with torch.no_grad():
            result: Tensor = functional_call(module, values, (self.inputs[name],))
        return result

    def response(self, name: str, change: Tensor) -> Floats:
        """‖ΔW_l h_{l−1}(x)‖ (examples,)."""
        return numpy_of(_norms(self.applied(name, change)))

    def positions(self, name: str, otherwise: int) -> int:
        """At how many positions of an example a layer adds its bias; ``otherwise`` unless it is a matrix."""
        module = self._module(name)
        if not isinstance(module, nn.Linear):
            return otherwise
        return self.inputs[name][0].numel() // max(1, module.in_features)

    def linear_change(
        self, evaluator: Evaluator, frozen: Mapping[str, Tensor], change: Callable[[str], Tensor | None]
    ) -> Tensor | None:
        """∂_W f·ΔW (examples, outputs), in the evaluator's precision; None where a layer has no such derivative.

        Args:
            evaluator: the network in some precision.
            frozen: its tensors in any.
            change: gives ΔW of a tensor by its name, None where it stays put.
        """
        inputs = self.batch.to(evaluator.device, evaluator.dtype).inputs
        try:
            with torch.no_grad(), dual_level(), Widened(frozen, evaluator.dtype, change):
                found = unpack_dual(evaluator.call(frozen, inputs))  # type: ignore[no-untyped-call]
        except RuntimeError as failure:
            if not lacks_derivative(failure):
                raise
            return None
        linear: Tensor = torch.zeros_like(found.primal) if found.tangent is None else found.tangent
        return linear.flatten(1)

    def remainder(self, after: Mapping[str, Tensor], linear: Tensor) -> tuple[Floats, Floats | None]:
        """‖f̃ − f − ∂_W f·ΔW‖, and its cosine with the residual f − y where there are targets to subtract."""
        with torch.no_grad():
            error = self._call(after, self.batch.inputs).flatten(1) - self.outputs - linear
        residual = self._residual()
        if residual is None:
            return numpy_of(_norms(error)), None
        product = (residual * error).sum(1) / (_norms(residual) * _norms(error))
        return numpy_of(_norms(error)), numpy_of(product)

    def input_response(self, frozen: Mapping[str, Tensor], eta: float) -> Floats | None:
        """‖f(x + Δx) − f(x)‖ with ‖Δx‖ = η‖x‖; None for inputs that cannot move."""
        if self.x is None or self.towards is None:
            return None
        moved = self.batch.inputs_with(self.x + eta * self.towards)
        with torch.no_grad():
            shifted = self._call(frozen, moved).flatten(1)
        return numpy_of(_norms(shifted - self.outputs))

    def sizes(self) -> dict[variables.Variable, Floats]:
        """The norms of outputs, inputs and targets; NaN where inputs or targets are no real numbers."""
        unknown, x, y = np.full(len(self.batch), np.nan), self.x, self.batch.targets
        return {
            variables.OUTPUT_NORM: numpy_of(_norms(self.outputs)),
            variables.INPUT_NORM: unknown if x is None else numpy_of(_norms(x)),
            variables.INPUT_MAX: unknown if x is None else numpy_of(_rows(x).abs().amax(1)),
            variables.TARGET_NORM: unknown
            if y is None or self._residual() is None
            else numpy_of(_norms(y.double())),
        }

    def _residual(self) -> Tensor | None:
        y = self.batch.targets
        if y is None or not y.is_floating_point() or y[0].numel() != self.outputs.shape[1]:
            return None
        return self.outputs - y.reshape(self.outputs.shape).double()


def _norms(rows: Tensor) -> Tensor:
    """‖·‖₂ of every example."""
    norms: Tensor = torch.linalg.vector_norm(_rows(rows), dim=1)
    return norms


def _rows(values: Tensor) -> Tensor:
    """Every example flattened; a number is a row of one."""
    return values.reshape(len(values), -1)


def _column(values: Tensor, like: Tensor) -> Tensor:
    """One value an example, shaped to multiply ``like``."""
    return values.view(-1, *[1] * (like.ndim - 1))


def numpy_of(tensor: Tensor) -> Floats:
    """As an array on the CPU."""
    array: Floats = tensor.detach().cpu().numpy()
    return array
