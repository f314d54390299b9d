"""Relative updates ‖ΔW_l‖/‖W_l‖ of one step, from a copy of the weight matrices as they were before it."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn.parameter import is_lazy

from probes.evaluation.compiled import uncompiled_names
from probes.evaluation.reductions import compare
from trust.distance import deep_relative_trust

__all__ = ["Update", "Updates", "weight_matrices"]


@dataclass(frozen=True)
class Update:
    """One step.

    Attributes:
        layers: by name ‖ΔW‖_F/‖W‖_F of each weight matrix that can move, W being before the step; NaN where an entry is
            no number, infinite where W was zero and moved.
        distance: deep relative trust of the step, ∏(1 + r) − 1, over every name (a shared tensor once a name).
    """

    layers: Mapping[str, float]
    distance: float


def weight_matrices(network: nn.Module) -> dict[str, tuple[Tensor, int]]:
    """Every tensor of at least two axes that can move, by its first name, and how many names it has."""
    names: dict[int, list[str]] = {}
    tensors: dict[int, Tensor] = {}
    own = uncompiled_names(dict(network.named_parameters(remove_duplicate=False)))
    for name, parameter in own.items():
        moves = parameter.requires_grad and not is_lazy(parameter)
        if moves and parameter.ndim >= 2 and not parameter.is_complex():
            names.setdefault(id(parameter), []).append(name)
            tensors[id(parameter)] = parameter.detach()
    return {own[0]: (tensors[key], len(own)) for key, own in names.items()}


class Updates:
    """A copy of a network's weight matrices, and how far these have moved from it.

    Attributes:
        fresh: whether there is a copy that nothing was compared with.
    """

    def __init__(self, network: nn.Module) -> None:
        """Nothing is copied yet."""
        self._network = network
        self._kept: dict[str, Tensor] = {}
        self.fresh = False

    @torch.no_grad()
    def keep(self) -> None:
        """Copy the weights as they are, into the memory of the last copy where that fits."""
        kept: dict[str, Tensor] = {}
        for name, (tensor, _) in weight_matrices(self._network).items():
            old = self._kept.pop(name, None)
            kept[name] = old.copy_(tensor) if old is not None and _alike(old, tensor) else tensor.clone()
        self._kept, self.fresh = kept, True

    @torch.no_grad()
    def since(self) -> Update:
        """How far the weights have moved; of tensors that were there, and of the same shape, both times."""
        self.fresh = False
        now = weight_matrices(self._network)
        names = [name for name, (tensor, _) in now.items() if _alike(self._kept.get(name), tensor)]
        pairs = [compare(self._kept[name], now[name][0]) for name in names]
        sizes = _numbers([number for pair in pairs for number in (pair.norm, pair.difference)])
        layers = {name: _ratio(next(sizes), next(sizes)) for name in names}
        every = [value for name, value in layers.items() for _ in range(now[name][1])]
        known = not any(math.isnan(value) for value in every)
        return Update(layers, float(deep_relative_trust(every)) if known else math.nan)


def _alike(old: Tensor | None, new: Tensor) -> bool:
    """Whether one can be compared with the other, or copied into it."""
    return old is not None and (old.shape, old.dtype, old.device) == (new.shape, new.dtype, new.device)


def _numbers(tensors: Sequence[Tensor]) -> Iterator[float]:
    """Numbers on devices, each device waited for once."""
    home = {tensor.device for tensor in tensors}
    if len(home) == 1:
        return iter(torch.stack(list(tensors)).tolist())
    return iter([float(tensor) for tensor in tensors])


def _ratio(size: float, change: float) -> float:
    """As :func:`trust.norms.relative_norm`, for norms that need not be finite."""
    if change == 0:
        return 0.0
    if not (math.isfinite(size) and math.isfinite(change)):
        return math.nan
    return change / size if size > 0 else math.inf
