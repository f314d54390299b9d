"""Torch's own losses, which give the batch's mean unless told otherwise, as one number an example.

Only a loss whose mean over a batch *is* the mean of its examples' numbers has such a form.
"""

from __future__ import annotations

import copy
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from torch import Tensor, nn
from torch.nn import functional

from probes.data.batches import Batches
from probes.data.loss_functions import bce_with_logits, cross_entropy, mse, shaped
from probes.errors import InputError

__all__ = ["is_torch_loss", "torch_loss"]

_OF_VALUES = (
    nn.BCELoss,
    nn.BCEWithLogitsLoss,
    nn.HuberLoss,
    nn.KLDivLoss,
    nn.L1Loss,
    nn.MSELoss,
    nn.PoissonNLLLoss,
    nn.SmoothL1Loss,
    nn.SoftMarginLoss,
)
"""The mean over all values: an example's is the mean over its own."""
_OF_EXAMPLES = (nn.MultiLabelMarginLoss, nn.MultiLabelSoftMarginLoss, nn.MultiMarginLoss)
"""The mean over the examples."""
_OF_LABELS = (nn.CrossEntropyLoss, nn.NLLLoss)
"""The mean over the labels that count: that over the examples where each has as many, and no class has a weight."""
_OURS: dict[type[nn.Module], Callable[[Tensor, Tensor], Tensor]] = {
    nn.BCEWithLogitsLoss: bce_with_logits,
    nn.CrossEntropyLoss: cross_entropy,
    nn.MSELoss: mse,
}
"""What a loss with torch's defaults is here, under the name by which claims know it."""
_FUNCTIONS: dict[Callable[..., Tensor], type[nn.Module]] = {
    functional.binary_cross_entropy: nn.BCELoss,
    functional.binary_cross_entropy_with_logits: nn.BCEWithLogitsLoss,
    functional.cross_entropy: nn.CrossEntropyLoss,
    functional.huber_loss: nn.HuberLoss,
    functional.l1_loss: nn.L1Loss,
    functional.mse_loss: nn.MSELoss,
    functional.nll_loss: nn.NLLLoss,
    functional.smooth_l1_loss: nn.SmoothL1Loss,
    functional.soft_margin_loss: nn.SoftMarginLoss,
}


@dataclass(frozen=True)
class _ByExample:
    """A torch loss, one number an example: of outputs (n, …) and targets (n, …) to losses (n,)."""

    module: nn.Module

    def __call__(self, outputs: Tensor, targets: Tensor) -> Tensor:
        module = self.module
        if next(module.buffers(), None) is not None:  # weights of classes or values
            module = copy.deepcopy(module).to(device=outputs.device, dtype=outputs.dtype)
        if isinstance(module, _OF_VALUES):
            targets = shaped(outputs, targets, type(module).__name__)
        elif targets.is_floating_point():
            targets = targets.to(outputs.dtype)
        losses: Tensor = module(outputs, targets)
        return losses if losses.ndim < 2 else losses.flatten(1).mean(1)


def is_torch_loss(function: Any) -> bool:
    """Whether it is one of torch's losses, as a module or a function."""
    ours = isinstance(function, nn.Module) and type(function).__module__ == nn.MSELoss.__module__
    return ours or (callable(function) and _named(function))


def torch_loss(
    function: Callable[..., Tensor], batches: Batches
) -> tuple[str, Callable[[Tensor, Tensor], Tensor]]:
    """One of torch's losses, as its name and a function of one number an example.

    Args:
        function: for which :func:`is_torch_loss` is true.
        batches: the data.

    Raises:
        InputError: its mean over the data is not the mean of numbers that examples have; it says what to give.
    """
    loss = function if isinstance(function, nn.Module) else _FUNCTIONS[function]()
    name = type(loss).__name__
    reduction = getattr(loss, "reduction", None)
    if not isinstance(loss, (*_OF_VALUES, *_OF_EXAMPLES, *_OF_LABELS)):
        raise InputError(
            f"`loss`: {name} is no loss of (outputs, targets); give a function of both, one number an example"
        )
    if reduction == "none":
        return _name(loss), _ByExample(loss)
    if reduction != "mean":
        raise InputError(f'`loss`: {name} with reduction="{reduction}" is no mean; give reduction="none"')
    if isinstance(loss, _OF_LABELS):
        _check_labels(loss, batches)
    plain = type(loss) in _OURS and _settings(loss) == _settings(type(loss)())
    if plain and not (isinstance(loss, nn.CrossEntropyLoss) and _is_real(batches)):  # probabilities
        own = _OURS[type(loss)]
        return own.__name__.replace("_", "-"), own
    by_example = copy.deepcopy(loss)
    by_example.reduction = "none"
    return _name(loss), _ByExample(by_example)


def _named(function: Callable[..., Any]) -> bool:
    try:
        return function in _FUNCTIONS
    except TypeError:  # what cannot be hashed
        return False


def _is_real(batches: Batches) -> bool:
    return batches.targets is not None and batches.targets.is_floating_point()


def _check_labels(loss: nn.CrossEntropyLoss | nn.NLLLoss, batches: Batches) -> None:
    """Refuse what makes the mean over labels another than that over examples.

    Raises:
        InputError: it says which mean would do.
    """
    name, remedy = type(loss).__name__, 'give it with reduction="none" for the plain mean over examples'
    if loss.weight is not None:
        raise InputError(f"`loss`: {name} with weights divides by their sum over the batch; {remedy}")
    if batches.targets is None or _is_real(batches):
        return
    several = batches.targets.ndim > 1
    remedy = (
        "say `loss='cross-entropy'` for the mean over examples, each the mean over its own"
        if several
        else remedy
    )
    if several and len(batches.pieces) > 1:
        raise InputError(f"`loss`: {name} weighs longer examples more; {remedy}")
    if any(bool((labels == loss.ignore_index).any()) for labels in batches.target_blocks()):
        raise InputError(
            f"`loss`: {name} leaves out labels {loss.ignore_index} and divides by the rest; {remedy}"
        )


def _settings(loss: nn.Module) -> dict[str, Any]:
    """What decides its numbers."""
    chosen = {name: getattr(loss, name) for name in getattr(loss, "__constants__", ()) if name != "reduction"}
    return chosen | {name: buffer.tolist() for name, buffer in loss.named_buffers()}


def _name(loss: nn.Module) -> str:
    return f"{type(loss).__name__}({', '.join(f'{name}={value}' for name, value in _settings(loss).items())})"
