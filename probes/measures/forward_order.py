"""Parameter tensors in the order of the forward pass, and those that the loss has a gradient in.

The order is that of first use: one forward pass of a few examples is watched, and a tensor comes where it first is
an argument of a torch function. Tensors that one call takes together (a linear map's weight and bias, everything
in a recurrent layer or an attention block) come by their module, as registered, the weight before the bias.
A tensor whose use cannot be seen (a compiled or scripted layer, an autograd function of the user's own) comes
where its module is first called; one whose module is not called at all comes last. So parameters that a parent
holds itself come where the parent's forward uses them, between its children. Names do not matter.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, TypeAlias

import torch
from torch import nn
from torch.nn.modules.conv import _ConvNd

from probes.evaluation.evaluator import Evaluator
from probes.networks.structure.tracing import Watch, data_uses

__all__ = ["ForwardOrder", "forward_order", "owner_of"]

_Time: TypeAlias = tuple[int, int]
"""After how many calls of torch functions, and among the modules called then in which place."""


_EXAMPLES = 2
"""How many examples are passed through: with one alone batch norm has no batch statistics."""


@contextmanager
def _first_calls(network: nn.Module, watch: Watch) -> Iterator[dict[nn.Module, _Time]]:
    """When each module is first called."""
    called: dict[nn.Module, _Time] = {}

    def note(module: nn.Module, _: Any) -> None:
        called.setdefault(module, (len(watch.calls), len(called) + 1))

    handles = [module.register_forward_pre_hook(note) for module in network.modules()]
    try:
        yield called
    finally:
        for handle in handles:
            handle.remove()


@dataclass(frozen=True)
class ForwardOrder:
    """What a forward pass tells of parameter tensors.

    Attributes:
        names: in the order of first use.
        used: those that the loss has a gradient in.
        uses: how often each meets the data, where that was seen (:func:`probes.networks.structure.tracing.data_uses`).
    """

    names: list[str]
    used: set[str]
    uses: dict[str, int]


def forward_order(network: nn.Module, evaluator: Evaluator) -> ForwardOrder:
    """Pass a few examples through the network, and watch which tensors it uses when.

    Args:
        network: the module.
        evaluator: the same network with data.
    """
    leaves = {name: tensor.detach().requires_grad_(True) for name, tensor in evaluator.frozen.items()}
    _, examples = next(evaluator.chunks(_EXAMPLES))
    known = {id(leaf): name for name, leaf in leaves.items()}
    with torch.enable_grad(), Watch() as watch, _first_calls(network, watch) as called:
        total = evaluator.example_losses(leaves, examples).sum()
    first: dict[str, _Time] = {}
    for time, call in enumerate(watch.calls, 1):
        for tensor, _ in call.given if call.gave else ():
            if id(tensor) in known:
                first.setdefault(known[id(tensor)], (time, 0))
    used: set[str] = set()
    if total.requires_grad:
        gradients = torch.autograd.grad(total, list(leaves.values()), allow_unused=True)
        used = {name for name, gradient in zip(leaves, gradients, strict=True) if gradient is not None}
    modules = dict(network.named_modules())
    places = {name: k for k, name in enumerate(modules)}
    registered = {name: k for k, name in enumerate(leaves)}

    def place(name: str) -> tuple[_Time, int, bool, int]:
        owner = owner_of(name)
        own = isinstance(modules[owner], nn.Linear | _ConvNd | nn.Bilinear)
        late = own and name.rpartition(".")[2] == "bias"
        when = first.get(name, called.get(modules[owner], (len(watch.calls) + 1, 0)))
        return when, places[owner], late, registered[name]

    data = [tensor for _, tensor in examples.leaves()]
    return ForwardOrder(sorted(leaves, key=place), used, data_uses(watch.calls, known, data))


def owner_of(name: str) -> str:
    """The path of the module that a parameter belongs to, seen through ``parametrizations.NAME.original``."""
    path = name.rpartition(".")[0]
    parts = path.split(".")
    return ".".join(parts[:-2]) if "parametrizations" in parts[-2:-1] else path
