"""Losses that give one number an example: of outputs and targets, of outputs and the batch, or of network and batch.

Sums over chunks of examples are then exact means over the data, whatever the chunk size.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, NamedTuple

from torch import Tensor

from probes.data.batch import Batch
from probes.data.batches import Batches
from probes.data.loss_functions import (
    bce_with_logits,
    cross_entropy,
    half_square,
    mse,
    next_ids,
    next_token,
)
from probes.data.targets import IGNORED, find_labels
from probes.data.torch_losses import is_torch_loss, torch_loss
from probes.errors import InputError, mention
from probes.system.callables import is_callable_spec, load_callable, user_code, where

__all__ = [
    "LOSSES",
    "NEXT_TOKEN",
    "BatchLoss",
    "Loss",
    "ModelLoss",
    "ResolvedLoss",
    "as_loss",
    "checked_next_ids",
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


LOSSES: dict[str, ExampleLoss] = {
    "cross-entropy": cross_entropy,
    "mse": mse,
    "half-square": half_square,
    "bce-with-logits": bce_with_logits,
}
NEXT_TOKEN = "next-token"
_TO_INTEGERS = "one-hot: y.argmax(1), whole numbers as floats: y.astype(int)"


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


def resolve_loss(
    spec: str | Loss | Callable[..., Tensor] | None, targets: Tensor | Batches | None
) -> ResolvedLoss:
    """The loss that ``spec`` names or is, or cross-entropy for integer labels.

    Args:
        spec: a name of :data:`LOSSES`, ``next-token``, or a Python callable or where it is, see :func:`as_loss`;
            torch's own losses need no ``reduction="none"``.
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
    if spec is not None and not isinstance(spec, str):
        return _callable_loss(spec, where(spec), batches, y)
    if spec is None:
        if y is not None and integer and y.ndim in (1, 2):
            _check_counted(batches)
            return ResolvedLoss("cross-entropy", cross_entropy)
        if y is None:
            raise InputError("the data has no targets: say `loss='next-token'` or `loss='file.py:callable'`")
        raise InputError(
            "the targets are not integer labels: say `loss='mse'` or `loss='bce-with-logits'`, or"
            " `loss='cross-entropy'` for labels of every token"
            if integer
            else "the targets are not integer labels: say `loss='mse'` or `loss='bce-with-logits'`, or for"
            f" cross-entropy make y integers ({_TO_INTEGERS})"
        )
    if spec == NEXT_TOKEN:
        if batches is not None:
            batches.labels(checked_next_ids)
        return ResolvedLoss(spec, BatchLoss(next_token))
    if spec in LOSSES:
        if y is None:
            raise InputError(
                f"{mention('loss', spec)}: the data has no targets; give (inputs, target) or a dict with labels"
            )
        if spec == "cross-entropy":
            if not integer:
                raise InputError(
                    "`loss='cross-entropy'` needs integer labels as y, one an example or one a token"
                    f" ({_TO_INTEGERS})"
                )
            _check_counted(batches)
        return ResolvedLoss(spec, LOSSES[spec])
    if is_callable_spec(spec):
        loss = load_callable(spec, option="loss")
        loss = loss if is_torch_loss(loss) else user_code("loss", spec)(loss)
        return _callable_loss(loss, spec, batches, y)
    raise InputError(
        f"{mention('loss', spec)}: unknown; known are {', '.join(LOSSES)}, {NEXT_TOKEN} and file.py:callable"
    )


def _callable_loss(
    function: Loss | Callable[..., Tensor], name: str, batches: Batches | None, y: Tensor | None
) -> ResolvedLoss:
    """A callable, where it is one of torch's own losses one number an example.

    Raises:
        InputError: it needs targets, and there are none; or it is no mean over examples.
    """
    loss = as_loss(function)
    if isinstance(loss, BatchLoss | ModelLoss):
        return ResolvedLoss(name, loss)
    if y is None:
        raise InputError(
            f"`loss`: the data has no targets, and {name} takes (outputs, targets); let it take (model, batch), or give"
            " targets"
        )
    if is_torch_loss(loss) and batches is not None:
        return ResolvedLoss(*torch_loss(loss, batches))
    return ResolvedLoss(name, loss)


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


def checked_next_ids(batch: Batch, place: int) -> Tensor:
    """The next tokens, unless they are unknown, none, or something else than the targets say.

    Raises:
        InputError: it says which.
    """
    ids, labels = batch.token_ids(), batch.targets
    following = next_ids(batch)
    if following.shape[1] == 0:
        raise InputError(
            f"`loss='next-token'`: batch {place} has sequences of one token, with none to predict"
        )
    _refuse_empty(find_labels([following]).empty)
    if labels is None or ids is None or labels.shape != ids.shape:
        return following
    if bool(((labels != ids) & (labels != IGNORED)).any()):
        raise InputError(
            "`loss='next-token'` predicts the input's own tokens, and the targets are others; for targets that"
            " are shifted already say `loss='cross-entropy'`"
        )
    return following
