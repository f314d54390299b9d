"""Products of a batch's Hessian or Gauss-Newton matrix with a vector, which is held as tensors by name.

Sums over the examples of a batch, over a number that the caller chooses: of a whole data set that is its size.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping

import torch
from torch import Tensor
from torch.autograd import forward_ad

from probes.data.batch import Batch
from probes.errors import lacks_derivative
from probes.evaluation.evaluator import Evaluator, Parameters

__all__ = [
    "gauss_newton_product",
    "has_forward_mode",
    "hessian_product",
    "jacobian_vector_product",
    "pulled_back",
]

Tensors = Mapping[str, Tensor]


def hessian_product(
    evaluator: Evaluator, parameters: Parameters, batch: Batch, vector: Tensors, count: int
) -> tuple[Tensors, Tensors] | None:
    """∇(Σℓ/count) and ∇²(Σℓ/count) v of the tensors in ``vector``, by differentiating twice.

    Returns:
        Gradient and product; None where the loss depends on none of them.
    """
    leaves = {name: parameters[name].detach().requires_grad_(True) for name in vector}
    inputs = list(leaves.values())
    with torch.enable_grad():
        loss = evaluator.example_losses({**parameters, **leaves}, batch).sum() / count
        if not loss.requires_grad:
            return None
        first = torch.autograd.grad(loss, inputs, create_graph=True, materialize_grads=True)
    curved = [(g, v) for g, v in zip(first, vector.values(), strict=True) if g.requires_grad]
    second = [torch.zeros_like(one) for one in inputs]
    if curved:
        gradients, along = zip(*curved, strict=True)
        second = list(torch.autograd.grad(gradients, inputs, along, materialize_grads=True))
    gradient = {name: g.detach() for name, g in zip(leaves, first, strict=True)}
    return gradient, dict(zip(leaves, second, strict=True))


def gauss_newton_product(
    evaluator: Evaluator, parameters: Parameters, batch: Batch, vector: Tensors, count: int, *, forward: bool
) -> Tensors | None:
    """Σ Jᵀ (∂²ℓ/∂f²) J v / count of the tensors in ``vector``.

    Args:
        evaluator: network and loss; the loss is a function of outputs.
        parameters: the network's tensors.
        batch: examples on the device.
        vector: v by the tensors' names.
        count: what the sum is divided by.
        forward: whether J v is taken by forward mode; else by differentiating Jᵀu.

    Returns:
        The product; None where it is zero: the outputs depend on none of the tensors, or the loss is linear in them.
    """
    tangent = jacobian_vector_product(evaluator, parameters, batch, vector, forward=forward)
    leaves = {name: parameters[name].detach().requires_grad_(True) for name in vector}
    with torch.enable_grad():
        outputs = evaluator.call({**parameters, **leaves}, batch.inputs)
        if tangent is None or not outputs.requires_grad:
            return None
        known = outputs.detach().requires_grad_(True)
        (slope,) = torch.autograd.grad(
            evaluator.losses_of(known, batch).sum() / count, known, create_graph=True
        )
    if not slope.requires_grad:
        return None
    (curved,) = torch.autograd.grad(slope, known, tangent)
    found = torch.autograd.grad(outputs, list(leaves.values()), curved, materialize_grads=True)
    return dict(zip(leaves, found, strict=True))


def jacobian_vector_product(
    evaluator: Evaluator, parameters: Parameters, batch: Batch, vector: Tensors, *, forward: bool
) -> Tensor | None:
    """J v in the shape of the outputs; None where they do not depend on the tensors in ``vector``."""
    if forward:
        with torch.no_grad(), forward_ad.dual_level():
            duals = {n: forward_ad.make_dual(parameters[n], v) for n, v in vector.items()}  # type: ignore[no-untyped-call]
            outputs = evaluator.call({**parameters, **duals}, batch.inputs)
            tangent: Tensor | None = forward_ad.unpack_dual(outputs).tangent  # type: ignore[no-untyped-call]
            return tangent
    leaves = {name: parameters[name].detach().requires_grad_(True) for name in vector}
    with torch.enable_grad():
        outputs = evaluator.call({**parameters, **leaves}, batch.inputs)
        if not outputs.requires_grad:
            return None
        back = torch.zeros_like(outputs).requires_grad_(True)
        pulled = torch.autograd.grad(
            outputs, list(leaves.values()), back, create_graph=True, materialize_grads=True
        )
    used = [(p, v) for p, v in zip(pulled, vector.values(), strict=True) if p.requires_grad]
    tensors, along = zip(*used, strict=True)
    (pushed,) = torch.autograd.grad(tensors, back, along)
    return pushed


def pulled_back(
    evaluator: Evaluator,
    parameters: Parameters,
    batch: Batch,
    names: list[str],
    cotangent: Callable[[Tensor], Tensor],
) -> Tensors | None:
    """Jᵀu of the tensors ``names``, for a u that is made of the outputs; None where these depend on none of them."""
    leaves = {name: parameters[name].detach().requires_grad_(True) for name in names}
    with torch.enable_grad():
        outputs = evaluator.call({**parameters, **leaves}, batch.inputs)
    if not outputs.requires_grad:
        return None
    u = cotangent(outputs.detach()).to(outputs)
    found = torch.autograd.grad(outputs, list(leaves.values()), u, materialize_grads=True)
    return dict(zip(leaves, found, strict=True))


def has_forward_mode(evaluator: Evaluator, parameters: Parameters, names: list[str]) -> bool:
    """Whether every layer can be differentiated forwards; tried on one or two examples."""
    _, few = next(evaluator.chunks(2))
    try:
        ones = {name: torch.ones_like(parameters[name]) for name in names}
        jacobian_vector_product(evaluator, parameters, few, ones, forward=True)
    except RuntimeError as error:
        if not lacks_derivative(error):
            raise
        return False
    return True
