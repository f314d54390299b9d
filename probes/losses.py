"""Losses as functions of outputs and targets that give one number an example.

Sums over chunks of examples are then exact means over the data, whatever the chunk size.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor
from torch.nn import functional

from probes.errors import InputError
from probes.specs import is_callable_spec, load_callable

__all__ = ["LOSSES", "ExampleLoss", "accuracy_of", "resolve_loss"]

ExampleLoss = Callable[[Tensor, Tensor], Tensor]
"""Outputs (n, ...) and targets (n, ...) to losses (n,)."""


def _cross_entropy(outputs: Tensor, targets: Tensor) -> Tensor:
    if targets.ndim == 2:  # sequences: outputs (n, t, classes) and the mean over t
        if outputs.ndim != 3:
            raise InputError(
                f"cross-entropy: labels of shape {tuple(targets.shape)} need outputs (n, t, classes),"
                f" got {tuple(outputs.shape)}; for other targets say --loss mse or --loss bce-with-logits"
            )
        return functional.cross_entropy(outputs.transpose(1, 2), targets, reduction="none").mean(1)
    return functional.cross_entropy(outputs, targets, reduction="none")


def _mse(outputs: Tensor, targets: Tensor) -> Tensor:
    targets = targets.to(outputs.dtype).reshape(outputs.shape)
    return functional.mse_loss(outputs, targets, reduction="none").flatten(1).mean(1)


def _bce_with_logits(outputs: Tensor, targets: Tensor) -> Tensor:
    targets = targets.to(outputs.dtype).reshape(outputs.shape)
    return functional.binary_cross_entropy_with_logits(outputs, targets, reduction="none").flatten(1).mean(1)


LOSSES: dict[str, ExampleLoss] = {
    "cross-entropy": _cross_entropy,
    "mse": _mse,
    "bce-with-logits": _bce_with_logits,
}


def resolve_loss(spec: str | None, targets: Tensor) -> tuple[str, ExampleLoss]:
    """The loss that ``spec`` names, or cross-entropy for integer labels.

    Returns:
        Its name and the function.

    Raises:
        InputError: an unknown name, or no name where the targets are not integer labels.
    """
    integer = not (targets.is_floating_point() or targets.is_complex())
    if spec is None:
        if integer and targets.ndim in (1, 2):
            return "cross-entropy", _cross_entropy
        raise InputError("the targets are not integer labels: say --loss mse or --loss bce-with-logits")
    if spec in LOSSES:
        if spec == "cross-entropy" and not (integer and targets.ndim in (1, 2)):
            raise InputError("--loss cross-entropy needs integer labels, one an example or a character, as y")
        return spec, LOSSES[spec]
    if is_callable_spec(spec):
        return spec, load_callable(spec, option="--loss")
    raise InputError(f"--loss {spec}: unknown; known are {', '.join(LOSSES)} and file.py:callable")


def accuracy_of(outputs: Tensor, targets: Tensor) -> Tensor | None:
    """How many examples are classified rightly (a 0-d tensor), or None where the targets are not labels.

    An example that is a sequence counts as the share of its characters that are right.
    """
    if not targets.is_floating_point() and targets.ndim == 2 and outputs.ndim == 3:
        return (outputs.argmax(2) == targets).double().mean(1).sum()
    if targets.is_floating_point() or targets.ndim != 1 or outputs.ndim != 2 or outputs.shape[1] < 2:
        return None
    return (outputs.argmax(1) == targets).sum(dtype=torch.int64)
