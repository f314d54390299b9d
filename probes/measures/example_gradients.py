"""Gradients of single examples, by their norms: of linear layers from what passes through them, else one by one.

The gradient of example i in the weight of a linear layer z = Wh + b is g_i = δ_i h_iᵀ with δ_i = ∂(r_i·f(x_i))/∂z_i,
r_i the residual that is pulled back (Goodfellow, "Efficient per-example gradient computations", arXiv 1510.01799).
One pass over many examples therefore gives ‖g_i‖ = ‖δ_i‖‖h_i‖ of them all, and with δ̃ = δ + a, h̃ = h + b at other
weights

    ‖g̃_i − g_i‖² = ‖a_i h̃_iᵀ + δ_i b_iᵀ‖² = ‖a_i‖²‖h̃_i‖² + ‖δ_i‖²‖b_i‖² + 2⟨a_i, δ_i⟩⟨h̃_i, b_i⟩.

It is used where the sum of the g_i that it gives is the gradient that autograd gives. Gradients in other tensors are
made for many examples at once where the network can be vectorised, else for each in a pass of its own, which any
network can.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from typing import Any, cast

import torch
from torch import Tensor, nn

from probes.data.batch import Batch
from probes.data.inputs import leaves, transformed
from probes.evaluation.evaluator import Evaluator, Parameters
from probes.evaluation.reductions import compare
from probes.measures.forward_passes import numpy_of
from probes.measures.measure import Floats

__all__ = ["example_norms"]

_AT_ONCE = 2**24
"""How many numbers the gradients of single examples may have together."""
_SAME = 1e-3
"""How far, relatively, the sum of δ_i h_iᵀ may be from autograd's gradient: rounding, many times over."""
_Pairs = dict[str, tuple[Tensor, Tensor]]


def example_norms(few: Evaluator, moved: Parameters, names: Sequence[str]) -> tuple[Floats, Floats]:
    """‖g_i‖, and ‖g̃_i − g_i‖ with every example's residual held, both (examples, names), as parts of the mean.

    Args:
        few: the examples, at the frozen weights.
        moved: other weights, where g̃ is.
        names: of the tensors.
    """
    found: dict[str, list[Tensor]] = {name: [] for name in names}
    linear = _linear_layers(few.network, names)
    for _, chunk in few.data.chunks(few.chunk or len(few.data)):
        batch = chunk.to(few.device, few.dtype)
        residual = few.residuals(few.call(few.frozen, batch.inputs).detach(), batch)
        for name, norms in _of_linear_layers(few, moved, linear, batch, residual).items():
            found[name].append(norms)
    rest = [name for name in names if sum(len(part) for part in found[name]) < len(few.data)]
    if rest:
        for name, norms in zip(rest, _of_others(few, moved, rest).unbind(1), strict=True):
            found[name] = [norms]
    table = numpy_of(torch.stack([torch.cat(found[name]) for name in names], dim=1))
    return table[..., 0], table[..., 1]


def _linear_layers(network: nn.Module, names: Sequence[str]) -> dict[str, nn.Linear]:
    """By tensor the linear layer that it is the weight or bias of, and nothing else's."""
    owners: dict[int, list[str]] = {}
    for name, parameter in network.named_parameters(remove_duplicate=False):
        owners.setdefault(id(parameter), []).append(name)
    found = {}
    for place, module in network.named_modules():
        if type(module) is not nn.Linear:
            continue
        for own, tensor in module.named_parameters(recurse=False):
            name = f"{place}.{own}" if place else own
            if own in ("weight", "bias") and name in names and owners[id(tensor)] == [name]:
                found[name] = module
    return found


def _of_linear_layers(
    few: Evaluator, moved: Parameters, linear: dict[str, nn.Linear], batch: Batch, residual: Tensor
) -> dict[str, Tensor]:
    """Norms (examples, 2) of those whose gradient is δ hᵀ of one call."""
    before, after = (_passed(few, weights, linear, batch, residual) for weights in (few.frozen, moved))
    found = {}
    for name in before.keys() & after.keys():
        (δ, h), (δ_moved, h_moved) = before[name], after[name]
        a, b = δ_moved - δ, h_moved - h
        size = δ.norm(dim=1) * h.norm(dim=1)
        change = (a.norm(dim=1) * h_moved.norm(dim=1)) ** 2 + (δ.norm(dim=1) * b.norm(dim=1)) ** 2
        change = change + 2 * (a * δ).sum(1) * (h_moved * b).sum(1)
        found[name] = torch.stack([size, change.clamp(min=0).sqrt()], dim=1)
    return found


def _passed(
    few: Evaluator, weights: Parameters, linear: dict[str, nn.Linear], batch: Batch, residual: Tensor
) -> _Pairs:
    """δ and h of each linear layer's weight, δ and 1 of its bias, in float64 (examples, …)."""
    calls: dict[nn.Module, list[tuple[Tensor, Tensor]]] = {module: [] for module in linear.values()}

    def keep(module: nn.Module, given: tuple[Any, ...], z: Tensor) -> None:
        calls[module].append((given[0], z))

    handles = [module.register_forward_hook(keep) for module in calls]
    try:
        own = {name: weights[name].detach().requires_grad_(True) for name in linear}
        with torch.enable_grad():
            outputs = few.call({**weights, **own}, batch.inputs)
    finally:
        for handle in handles:
            handle.remove()
    once = {
        module: seen[0]
        for module, seen in calls.items()
        if len(seen) == 1 and seen[0][0].ndim == 2 and len(seen[0][0]) == len(batch)
    }
    names = [name for name, module in linear.items() if module in once]
    if not names or not outputs.requires_grad:
        return {}
    wanted = [own[name] for name in names], [z for _, z in once.values()]
    found = torch.autograd.grad(
        outputs, [*wanted[0], *wanted[1]], residual, allow_unused=True, materialize_grads=True
    )
    whole = dict(zip(names, found, strict=False))
    pulled = dict(zip(once, found[len(names) :], strict=True))
    pairs: _Pairs = {}
    for name in names:
        module = linear[name]
        δ, h = pulled[module].double(), once[module][0].detach().double()
        if name.endswith("bias"):
            h = torch.ones(len(h), 1, dtype=h.dtype, device=h.device)
        total, expected = (δ.T @ h).reshape(whole[name].shape), whole[name].double()
        if bool((total - expected).norm() <= _SAME * expected.norm()):
            pairs[name] = δ, h
    return pairs


def _of_others(few: Evaluator, moved: Parameters, names: list[str]) -> Tensor:
    """Norms (examples, names, 2) from the gradients themselves."""
    together = max(1, _AT_ONCE // sum(few.frozen[name].numel() for name in names))
    parts = [batch.to(few.device, few.dtype) for _, batch in few.data.chunks(together)]
    try:
        return torch.cat([_vectorised(few, moved, names, part) for part in parts])
    except (RuntimeError, ValueError, NotImplementedError, TypeError):  # what vmap cannot go through
        return torch.cat([_one_by_one(few, moved, names, part) for part in parts])


def _vectorised(few: Evaluator, moved: Parameters, names: list[str], batch: Batch) -> Tensor:
    given = [tensor for _, tensor in leaves(batch.inputs, "x")]

    def example(parameters: Parameters, residual: Tensor, *rows: Tensor) -> dict[str, Tensor]:
        row = iter(rows)
        inputs = transformed(batch.inputs, lambda _: next(row).unsqueeze(0))
        own = {name: parameters[name].detach() for name in names}
        pull = torch.func.vjp(lambda tensors: few.call({**parameters, **tensors}, inputs), own)[1]
        return cast("dict[str, Tensor]", pull(residual.unsqueeze(0))[0])

    residual = few.residuals(few.call(few.frozen, batch.inputs), batch)
    with torch.enable_grad():
        first, second = (
            torch.func.vmap(partial(example, parameters))(residual, *given)
            for parameters in (few.frozen, moved)
        )
    pairs = [(first[name].flatten(1).double(), second[name].flatten(1).double()) for name in names]
    norms = [torch.stack([a.norm(dim=1), (b - a).norm(dim=1)], dim=-1) for a, b in pairs]
    return torch.stack(norms, dim=1).detach()


def _one_by_one(few: Evaluator, moved: Parameters, names: list[str], batch: Batch) -> Tensor:
    rows: list[Tensor] = []
    for place in range(len(batch)):
        one = batch[place : place + 1]
        outputs, before = _differentiable(few, few.frozen, names, one)
        residual = few.residuals(outputs, one)
        first = _pulled_back(outputs, before, residual)
        second = _pulled_back(*_differentiable(few, moved, names, one), residual)
        pairs = [compare(a, b) for a, b in zip(first, second, strict=True)]
        rows.append(torch.stack([torch.stack([pair.norm, pair.difference]) for pair in pairs]))
    return torch.stack(rows)


def _differentiable(
    few: Evaluator, parameters: Parameters, names: list[str], batch: Batch
) -> tuple[Tensor, list[Tensor]]:
    """A batch's outputs, and the tensors that they can be differentiated by."""
    own = {name: parameters[name].detach().requires_grad_(True) for name in names}
    with torch.enable_grad():
        outputs = few.call({**parameters, **own}, batch.inputs)
    return outputs, list(own.values())


def _pulled_back(outputs: Tensor, tensors: list[Tensor], residual: Tensor) -> tuple[Tensor, ...]:
    """RᵀJ for each tensor; zero for one that the outputs do not depend on."""
    if not outputs.requires_grad:  # of a part of the tensors, which these examples do not use
        return tuple(torch.zeros_like(tensor) for tensor in tensors)
    return torch.autograd.grad(outputs, tensors, residual, allow_unused=True, materialize_grads=True)
