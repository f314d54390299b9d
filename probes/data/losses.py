"""Losses that give one number an example: of outputs and targets, of outputs and the batch, or of network and batch.

Sums over chunks of examples are then exact means over the data, whatever the chunk size. Where an example has many
tokens, its loss is the mean over its own tokens that count, so every example weighs the same however long it is.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, NamedTuple

import torch
from torch import Tensor
from torch.nn import functional

from probes.data.batches import Batch, Batches
from probes.data.targets import IGNORED, find_labels
from probes.errors import InputError
from probes.system.callables import is_callable_spec, load_callable

__all__ = [
    "IGNORED",
    "LOSSES",
    "BatchLoss",
    "ExampleLoss",
    "Loss",
    "ModelLoss",
    "ResolvedLoss",
    "accuracy_of",
    "as_loss",
    "classes_last",
    "label_range",
    "resolve_loss",
]

ExampleLoss = Callable[[Tensor, Tensor], Tensor]
"""Outputs (n, ...) and targets (n, ...) to losses (n,)."""


@dataclass(frozen=True)
class BatchLoss:
    """A loss of the outputs and the whole batch, whose targets are in its inputs.

    Attributes:
        function: outputs (n, ...) and the batch to losses (n,).
    """

    function: Callable[[Tensor, Batch], Tensor]


@dataclass(frozen=True)
class ModelLoss:
    """A loss that calls the network itself.

    Attributes:
        function: the network and a batch in the form that the user's data has, to losses (n,) or to the batch's
            mean, which then counts by the batch's number of examples.
    """

    function: Callable[[Any, Any], Tensor]


Loss = ExampleLoss | BatchLoss | ModelLoss


class ResolvedLoss(NamedTuple):
    """A loss with what it is called in results.

    Attributes:
        name: of ours, or where the user's callable is.
        function: what is computed.
    """

    name: str
    function: Loss


_NETWORK_NAMES = ("model", "network", "module")


def classes_last(outputs: Tensor, targets: Tensor) -> Tensor:
    """Outputs (n, ..., classes) for targets (n, ...), from that order or torch's (n, classes, ...).

    Where both orders fit, classes are last.

    Raises:
        InputError: neither fits.
    """
    if outputs.shape[:-1] == targets.shape:
        return outputs
    if outputs.ndim > 2 and (outputs.shape[0], *outputs.shape[2:]) == tuple(targets.shape):
        return outputs.movedim(1, -1)
    raise InputError(
        f"cross-entropy: outputs of shape {tuple(outputs.shape)} do not fit targets of shape"
        f" {tuple(targets.shape)}; outputs need one axis more, for the classes"
    )


def _cross_entropy(outputs: Tensor, targets: Tensor) -> Tensor:
    """Of labels (n,), or for targets (n, t, ...) the mean over an example's targets that are not −100."""
    if targets.ndim == 1 and outputs.ndim == 2:
        return functional.cross_entropy(outputs, targets, reduction="none")
    logits = classes_last(outputs, targets)
    losses = functional.cross_entropy(
        logits.reshape(-1, logits.shape[-1]), targets.reshape(-1), reduction="none", ignore_index=IGNORED
    )
    counted = (targets != IGNORED).flatten(1).sum(1)
    return losses.view(len(targets), -1).sum(1) / counted


def _next_token(outputs: Tensor, batch: Batch) -> Tensor:
    """−log p of each token given those before it: outputs (n, t, classes) at t predict the token ids at t + 1."""
    targets = _next_ids(batch)
    if outputs.ndim != 3 or outputs.shape[:2] != (len(targets), targets.shape[1] + 1):
        raise InputError(
            f"next-token: outputs of shape {tuple(outputs.shape)} do not fit token ids of shape"
            f" ({len(targets)}, {targets.shape[1] + 1}); they must be (examples, tokens, classes)"
        )
    return _cross_entropy(outputs[:, :-1], targets)


def _next_ids(batch: Batch) -> Tensor:
    """The ids from the second on (n, t − 1), −100 where labels or a zero in attention_mask say so."""
    ids = batch.token_ids()
    if ids is None:
        raise InputError("--loss next-token needs integer token ids (examples, tokens) as input")
    targets = ids.to(torch.int64)
    if batch.targets is not None and batch.targets.shape == ids.shape:
        targets = torch.where(batch.targets == IGNORED, IGNORED, targets)
    mask = batch.inputs.get("attention_mask") if isinstance(batch.inputs, dict) else None
    if isinstance(mask, Tensor) and mask.shape == ids.shape:
        targets = torch.where(mask == 0, IGNORED, targets)
    return targets[:, 1:]


def _mse(outputs: Tensor, targets: Tensor) -> Tensor:
    targets = _shaped(outputs, targets, "mse")
    return functional.mse_loss(outputs, targets, reduction="none").flatten(1).mean(1)


def _bce_with_logits(outputs: Tensor, targets: Tensor) -> Tensor:
    targets = _shaped(outputs, targets, "bce-with-logits")
    return functional.binary_cross_entropy_with_logits(outputs, targets, reduction="none").flatten(1).mean(1)


def _shaped(outputs: Tensor, targets: Tensor, name: str) -> Tensor:
    if outputs.numel() != targets.numel() or outputs.ndim == 0 or len(outputs) != len(targets):
        raise InputError(
            f"{name}: outputs of shape {tuple(outputs.shape)} do not fit targets of shape"
            f" {tuple(targets.shape)}"
        )
    if outputs.ndim == 1:
        raise InputError(f"{name}: outputs must have shape (examples, values), got {tuple(outputs.shape)}")
    return targets.to(outputs.dtype).reshape(outputs.shape)


LOSSES: dict[str, ExampleLoss] = {
    "cross-entropy": _cross_entropy,
    "mse": _mse,
    "bce-with-logits": _bce_with_logits,
}
_NEXT_TOKEN = "next-token"


def as_loss(function: Loss | Callable[..., Tensor]) -> Loss:
    """What a user's callable is: of (model, batch) where its first parameter has the name of a network.

    Such names are ``model``, ``network`` and ``module``; anything else is of outputs and targets.
    """
    if isinstance(function, BatchLoss | ModelLoss):
        return function
    try:
        names = list(inspect.signature(function).parameters)
    except (TypeError, ValueError):  # a builtin
        return function
    return ModelLoss(function) if names and names[0] in _NETWORK_NAMES else function


def resolve_loss(spec: str | None, targets: Tensor | Batches | None) -> ResolvedLoss:
    """The loss that ``spec`` names, or cross-entropy for integer labels.

    Args:
        spec: ``cross-entropy``, ``mse``, ``bce-with-logits``, ``next-token``, or a Python callable, see
            :func:`as_loss`.
        targets: the data's targets, or all its batches.

    Returns:
        Its name and the function.

    Raises:
        InputError: an unknown name, targets that it cannot be computed for, or no name where the targets are
            not integer labels.
    """
    batches = targets if isinstance(targets, Batches) else None
    y = targets.targets if isinstance(targets, Batches) else targets
    integer = y is not None and not (y.is_floating_point() or y.is_complex())
    if spec is None:
        if y is not None and integer and y.ndim in (1, 2):
            _check_counted(batches)
            return ResolvedLoss("cross-entropy", _cross_entropy)
        if y is None:
            raise InputError("the data has no targets: say --loss next-token or --loss file.py:callable")
        raise InputError(
            "the targets are not integer labels: say --loss mse or --loss bce-with-logits, or --loss cross-entropy"
            " for labels of every token"
            if integer
            else "the targets are not integer labels: say --loss mse or --loss bce-with-logits"
        )
    if spec == _NEXT_TOKEN:
        if batches is not None:
            batches.labels(_checked_next_ids)
        return ResolvedLoss(spec, BatchLoss(_next_token))
    if spec in LOSSES:
        if y is None:
            raise InputError(
                f"--loss {spec}: the data has no targets; give (inputs, target) or a dict with labels"
            )
        if spec == "cross-entropy":
            if not integer:
                raise InputError(
                    "--loss cross-entropy needs integer labels as y, one an example or one a token"
                )
            _check_counted(batches)
        return ResolvedLoss(spec, LOSSES[spec])
    if is_callable_spec(spec):
        loss = as_loss(load_callable(spec, option="--loss"))
        if y is None and not isinstance(loss, ModelLoss):
            raise InputError(
                f"--loss {spec}: the data has no targets; let the loss take (model, batch), or give targets"
            )
        return ResolvedLoss(spec, loss)
    raise InputError(
        f"--loss {spec}: unknown; known are {', '.join(LOSSES)}, {_NEXT_TOKEN} and file.py:callable"
    )


def _check_counted(batches: Batches | None) -> None:
    """Refuse examples without any target, whose loss is no number.

    Raises:
        InputError: all of an example's targets are −100.
    """
    _refuse_empty(0 if batches is None else batches.labels().empty)


def _refuse_empty(examples: int) -> None:
    if examples:
        raise InputError(
            f"{examples} examples have no target that counts (all are {IGNORED}); leave them out"
        )


def _checked_next_ids(batch: Batch, place: int) -> Tensor:
    """The next tokens, unless they are unknown, none, or something else than the targets say.

    Raises:
        InputError: it says which.
    """
    ids, labels = batch.token_ids(), batch.targets
    following = _next_ids(batch)
    if following.shape[1] == 0:
        raise InputError(f"--loss next-token: batch {place} has sequences of one token, with none to predict")
    _refuse_empty(find_labels([following]).empty)
    if labels is None or ids is None or labels.shape != ids.shape:
        return following
    if bool(((labels != ids) & (labels != IGNORED)).any()):
        raise InputError(
            "--loss next-token predicts the input's own tokens, and the targets are others; for targets that"
            " are shifted already say --loss cross-entropy"
        )
    return following


def label_range(outputs: Tensor, batches: Batches, loss: str) -> tuple[int, int, int]:
    """The smallest and largest label that counts, and how many classes there are outputs for.

    Args:
        outputs: of the first example.
        batches: the data.
        loss: its name; (0, 0, 1), which fits, for one that knows no classes.

    Raises:
        InputError: outputs whose shape does not fit the targets.
    """
    first = batches.first
    if loss == _NEXT_TOKEN:
        _next_token(outputs, first.map(torch.zeros_like))
        classes, labels = outputs.shape[-1], batches.labels(_checked_next_ids)
    elif loss == "cross-entropy" and first.targets is not None:
        classes, labels = classes_last(outputs, first.targets).shape[-1], batches.labels()
    else:
        return 0, 0, 1
    return labels.low, labels.high, classes


def accuracy_of(outputs: Tensor, targets: Tensor) -> Tensor | None:
    """How many examples are classified rightly (a 0-d tensor), or None where the targets are not labels.

    An example that is a sequence counts as the share of its characters that are right.
    """
    if not targets.is_floating_point() and targets.ndim == 2 and outputs.ndim == 3:
        return (outputs.argmax(2) == targets).double().mean(1).sum()
    if targets.is_floating_point() or targets.ndim != 1 or outputs.ndim != 2 or outputs.shape[1] < 2:
        return None
    return (outputs.argmax(1) == targets).sum(dtype=torch.int64)
