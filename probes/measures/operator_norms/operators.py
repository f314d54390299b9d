"""Which linear operator each weight is: a matrix, or a convolution on inputs of the size that the data have."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from probes.evaluation.evaluator import Evaluator
from probes.evaluation.frozen_state import left_as_found
from probes.networks.hugging_face import is_transposed_linear

__all__ = ["Operator", "Pairs", "Sizes", "find_operators"]

Pairs = tuple[tuple[int, int], ...]
Sizes = tuple[int, ...]


_CONVOLUTIONS = (nn.Conv1d, nn.Conv2d, nn.Conv3d)
_TRANSPOSED = (nn.ConvTranspose1d, nn.ConvTranspose2d, nn.ConvTranspose3d)


@dataclass(frozen=True)
class Operator:
    """What a weight tensor does, apart from its values; tuples have one entry a spatial axis.

    Attributes:
        kind: "matrix", "convolution", "transposed convolution" or "unknown".
        stride: steps between outputs (transposed: between inputs).
        padding: for each axis how much is added (before, after) the input; transposed: how much is cut off
            (before, after) the full output, negative where output padding adds zeros.
        dilation: steps between taps.
        groups: independent blocks of channels.
        padding_mode: "zeros", "circular", "reflect" or "replicate".
        input_size: spatial size of the layer's input.
        positions: how many output positions an example's bias is added at; 1 for a matrix that is applied to
            one vector an example.
    """

    kind: str
    stride: Sizes = ()
    padding: Pairs = ()
    dilation: Sizes = ()
    groups: int = 1
    padding_mode: str = "zeros"
    input_size: Sizes = ()
    positions: int = 1


_UNKNOWN = Operator("unknown")


def _class_of(module: nn.Module) -> type[nn.Module] | None:
    """The class of layer whose forward pass the module has; None if a subclass has changed it."""
    if is_transposed_linear(module):
        return type(module)
    for known in (nn.Linear, *_CONVOLUTIONS, *_TRANSPOSED):
        if isinstance(module, known):
            same = type(module).forward is known.forward and getattr(
                type(module), "_conv_forward", None
            ) is getattr(known, "_conv_forward", None)
            return known if same else None
    return None


def _described(module: nn.Module, given: Tensor, result: Tensor) -> Operator:
    """The operator of a layer that mapped ``given`` to ``result``, of one example."""
    if isinstance(module, nn.Linear) or is_transposed_linear(module):
        return Operator("matrix", positions=result.numel() // max(1, result.shape[-1]))
    assert isinstance(module, (*_CONVOLUTIONS, *_TRANSPOSED))
    axes = len(module.kernel_size)
    reach = [d * (k - 1) for d, k in zip(module.dilation, module.kernel_size, strict=True)]
    sizes, results = tuple(given.shape[-axes:]), tuple(result.shape[-axes:])
    kind, pairs = "convolution", [(0, 0)] * axes
    if isinstance(module.padding, str):
        if module.padding == "same":
            pairs = [(r // 2, r - r // 2) for r in reach]  # an odd one goes after, as in PyTorch
    else:
        pairs = [(p, p) for p in module.padding]
    if isinstance(module, _TRANSPOSED):
        kind = "transposed convolution"
        full = [(n - 1) * s + r + 1 for n, s, r in zip(sizes, module.stride, reach, strict=True)]
        pairs = [(p, f - p - m) for (p, _), f, m in zip(pairs, full, results, strict=True)]
    return Operator(
        kind,
        stride=tuple(module.stride),
        padding=tuple(pairs),
        dilation=tuple(module.dilation),
        groups=module.groups,
        padding_mode=module.padding_mode,
        input_size=sizes,
        positions=math.prod(results),
    )


def find_operators(evaluator: Evaluator, weights: list[str]) -> dict[str, Operator]:
    """What each of the named weights does, from a forward pass of one example of each shape.

    Only the ``weight`` of nn.Linear, nn.Conv1d–3d and nn.ConvTranspose1d–3d is known, and of subclasses that
    leave the forward pass as it is. Anything else is "unknown": recurrent and attention weights,
    parametrised ones, a convolution that was not called, and a tensor that is shared by layers that do
    different things or is applied to inputs of different sizes.
    """
    network = evaluator.network
    modules = dict(network.named_modules(remove_duplicate=False))
    every = dict(network.named_parameters(remove_duplicate=False))
    seen: dict[nn.Module, set[Operator]] = {}

    def describe(module: nn.Module, arguments: tuple[Any, ...], result: Any) -> None:
        if arguments and isinstance(arguments[0], Tensor) and isinstance(result, Tensor):
            seen[module].add(_described(module, arguments[0], result))
        else:
            seen[module].add(_UNKNOWN)

    owners: dict[str, list[tuple[str, nn.Module]]] = {}
    for name in weights:
        shared = [other for other, tensor in every.items() if tensor is every[name]]
        owners[name] = [(path.rpartition(".")[2], modules[path.rpartition(".")[0]]) for path in shared]
    known = {module for pairs in owners.values() for _, module in pairs if _class_of(module) is not None}
    seen.update((module, set()) for module in known)
    handles = [module.register_forward_hook(describe) for module in known]
    try:
        with torch.no_grad(), left_as_found(network):
            for piece in evaluator.data.pieces:  # of one shape each
                evaluator.call(evaluator.frozen, piece[:1].to(evaluator.device, evaluator.dtype).inputs)
    finally:
        for handle in handles:
            handle.remove()

    def settle(leaf: str, module: nn.Module) -> set[Operator]:
        if leaf != "weight" or module not in seen:
            return {_UNKNOWN}
        matrix = isinstance(module, nn.Linear) or is_transposed_linear(module)
        uncalled = Operator("matrix") if matrix else _UNKNOWN
        return seen[module] or {uncalled}

    found: dict[str, Operator] = {}
    for name, pairs in owners.items():
        operators = set().union(*(settle(leaf, module) for leaf, module in pairs))
        if {operator.kind for operator in operators} == {"matrix"}:
            found[name] = max(operators, key=lambda operator: operator.positions)
        else:
            found[name] = operators.pop() if len(operators) == 1 else _UNKNOWN
    return found
