"""Whether a network and its loss can be differentiated twice, and if not, which module is to blame.

Autograd raises where a second derivative is missing, but takes a gradient that a function marked
``once_differentiable`` gave for a constant, silently: the graph is searched for those.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from probes.data.batch import Batch
from probes.errors import InputError, lacks_derivative
from probes.evaluation.evaluator import Evaluator, Parameters

__all__ = ["check_twice_differentiable", "ends_early"]

_EXAMPLES = 2
"""How many examples the graph is made for; batch statistics need more than one."""
_ERROR = "torch::autograd::Error"
"""The node that stands where a function marked ``once_differentiable`` ends the graph of its gradient."""


def ends_early(evaluator: Evaluator, parameters: Parameters, names: Iterable[str]) -> bool:
    """Whether the graph of the loss's gradient ends at a function marked ``once_differentiable``."""
    leaves = _leaves(parameters, names)
    with torch.enable_grad():
        loss = evaluator.example_losses({**parameters, **leaves}, _few(evaluator)).sum()
        return _gradient_ends(loss, list(leaves.values()))


def check_twice_differentiable(evaluator: Evaluator, parameters: Parameters, names: Sequence[str]) -> None:
    """Differentiate a few examples' losses twice, in vain if need be.

    Raises:
        InputError: it cannot be done, or would silently be wrong; it names the module.
    """
    leaves = _leaves(parameters, names)
    used = {**parameters, **leaves}
    with torch.enable_grad():
        loss = evaluator.example_losses(used, _few(evaluator)).sum()
        if _is_smooth(loss, list(leaves.values())):
            return
        where = _culprit(evaluator, used)
    raise InputError(
        f"{where} has no second derivative in PyTorch: write it in plain operations (attention without a fused kernel),"
        " or leave the curvature out with `curvature=None`"
    )


def _few(evaluator: Evaluator) -> Batch:
    return next(evaluator.chunks(_EXAMPLES))[1]


def _leaves(parameters: Parameters, names: Iterable[str]) -> dict[str, Tensor]:
    return {name: parameters[name].detach().requires_grad_(True) for name in names}


def _is_smooth(value: Tensor, inputs: list[Tensor]) -> bool:
    """Whether a number () can be differentiated twice."""
    try:
        if not value.requires_grad:
            return True
        if _gradient_ends(value, inputs):
            return False
        first = torch.autograd.grad(value, inputs, create_graph=True, allow_unused=True)
        moving = [gradient for gradient in first if gradient is not None and gradient.requires_grad]
        if moving:
            torch.autograd.grad([one.sum() for one in moving], inputs, allow_unused=True)
    except RuntimeError as error:
        if not lacks_derivative(error):
            raise
        return False
    return True


def _gradient_ends(value: Tensor, inputs: list[Tensor]) -> bool:
    if not value.requires_grad:
        return False
    # a gradient that arrives as a constant would leave no node behind
    arriving = torch.ones_like(value).requires_grad_(True)
    first = torch.autograd.grad(value, inputs, arriving, create_graph=True, allow_unused=True)
    found = _nodes(gradient for gradient in first if gradient is not None)
    return any(node.name() == _ERROR for node in found)


def _nodes(tensors: Iterable[Tensor]) -> set[Any]:
    """Every node of the graph that the tensors come from."""
    seen: set[Any] = set()
    waiting = [tensor.grad_fn for tensor in tensors]
    while waiting:
        node = waiting.pop()
        if node is not None and node not in seen:
            seen.add(node)
            waiting += [following for following, _ in node.next_functions]
    return seen


def _culprit(evaluator: Evaluator, used: Parameters) -> str:
    """The innermost module that cannot be differentiated twice, in words; the loss where none is found."""
    names = {module: name for name, module in evaluator.network.named_modules()}
    calls: list[tuple[nn.Module, list[Tensor], Tensor]] = []

    def watch(module: nn.Module, arguments: Any, output: Any) -> None:
        tensors = [one for one in arguments if isinstance(one, Tensor) and one.requires_grad]
        own = [one for one in module.parameters() if one.requires_grad]
        made = output if isinstance(output, tuple | list) else (output,)
        found = [one for one in made if isinstance(one, Tensor) and one.requires_grad]
        calls.extend((module, [*tensors, *own], one) for one in found)

    hooks = [module.register_forward_hook(watch) for module in evaluator.network.modules()]
    try:
        evaluator.example_losses(used, _few(evaluator))
    finally:
        for hook in hooks:
            hook.remove()
    for module, inputs, output in calls:  # the inner ones are done first
        if inputs and not _is_smooth((output * output.detach()).sum(), inputs):
            name = f"the module {names[module]}" if names[module] else "the network"
            return f"{name} ({type(module).__name__})"
    return "the loss"
