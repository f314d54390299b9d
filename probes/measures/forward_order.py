"""Parameter tensors in the order of the forward pass, and those that the loss has a gradient in.

The order is that of first use: one forward pass of a few examples is watched, and a tensor comes where it first is
an argument of a torch function. Tensors that one call takes together (a linear map's weight and bias, everything
in a recurrent layer or an attention block) come by their module, as registered, the weight before the bias.
A tensor whose use cannot be seen (a compiled or scripted layer, an autograd function of the user's own) comes
where its module is first called; one whose module is not called at all comes last. So parameters that a parent
holds itself come where the parent's forward uses them, between its children. Names do not matter.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.modules.conv import _ConvNd
from torch.overrides import TorchFunctionMode

from probes.evaluation.evaluator import Evaluator

__all__ = ["forward_order", "owner_of"]


_EXAMPLES = 2
"""How many examples are passed through: with one alone batch norm has no batch statistics."""


class _Uses(TorchFunctionMode):
    """Notes when tensors first go into a function that gives a tensor."""

    def __init__(self, watched: Mapping[int, str], clock: Iterator[int]) -> None:
        super().__init__()
        self.watched, self.clock = watched, clock
        self.first: dict[str, int] = {}

    def __torch_function__(
        self, function: Callable[..., Any], types: Any, args: tuple[Any, ...] = (), kwargs: Any = None
    ) -> Any:
        result = function(*args, **(kwargs or {}))
        given = {self.watched[id(t)] for t in _tensors((args, kwargs)) if id(t) in self.watched}
        if given and next(_tensors(result), None) is not None:
            now = next(self.clock)
            for name in given:
                self.first.setdefault(name, now)
        return result


def _tensors(value: Any) -> Iterator[Tensor]:
    """The tensors in nested tuples, lists and dictionaries."""
    if isinstance(value, Tensor):
        yield value
    elif isinstance(value, tuple | list):
        for item in value:
            yield from _tensors(item)
    elif isinstance(value, dict):
        yield from _tensors(list(value.values()))


@contextmanager
def _first_calls(network: nn.Module, clock: Iterator[int]) -> Iterator[dict[nn.Module, int]]:
    """When each module is first called."""
    called: dict[nn.Module, int] = {}

    def note(module: nn.Module, _: Any) -> None:
        if module not in called:
            called[module] = next(clock)

    handles = [module.register_forward_pre_hook(note) for module in network.modules()]
    try:
        yield called
    finally:
        for handle in handles:
            handle.remove()


def forward_order(network: nn.Module, evaluator: Evaluator) -> tuple[list[str], set[str]]:
    """The names in the order of first use, and those of tensors that the loss has a gradient in.

    Args:
        network: the module.
        evaluator: the same network with data, a few examples of which are passed through it.
    """
    leaves = {name: tensor.detach().requires_grad_(True) for name, tensor in evaluator.frozen.items()}
    clock = itertools.count()
    _, examples = next(evaluator.chunks(_EXAMPLES))
    known = {id(leaf): name for name, leaf in leaves.items()}
    with torch.enable_grad(), _first_calls(network, clock) as called, _Uses(known, clock) as uses:
        total = evaluator.example_losses(leaves, examples).sum()
    used: set[str] = set()
    if total.requires_grad:
        gradients = torch.autograd.grad(total, list(leaves.values()), allow_unused=True)
        used = {name for name, gradient in zip(leaves, gradients, strict=True) if gradient is not None}
    modules = dict(network.named_modules())
    places = {name: k for k, name in enumerate(modules)}
    registered = {name: k for k, name in enumerate(leaves)}

    def place(name: str) -> tuple[float, int, bool, int]:
        owner = owner_of(name)
        own = isinstance(modules[owner], nn.Linear | _ConvNd | nn.Bilinear)
        late = own and name.rpartition(".")[2] == "bias"
        first = uses.first.get(name, called.get(modules[owner], float("inf")))
        return first, places[owner], late, registered[name]

    return sorted(leaves, key=place), used


def owner_of(name: str) -> str:
    """The path of the module that a parameter belongs to, seen through ``parametrizations.NAME.original``."""
    path = name.rpartition(".")[0]
    parts = path.split(".")
    return ".".join(parts[:-2]) if "parametrizations" in parts[-2:-1] else path
