"""Cross-entropy, next-token, squared-error and binary losses of outputs and targets, one number an example.

Where an example has many tokens, its loss is the mean over its own tokens that count, so every example weighs the
same however long it is.
"""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional

from probes.data.batch import Batch
from probes.data.targets import IGNORED
from probes.errors import InputError, mention

__all__ = [
    "bce_with_logits",
    "classes_last",
    "cross_entropy",
    "half_square",
    "is_label",
    "mse",
    "next_ids",
    "next_token",
    "shaped",
]

_FULL_REGISTER = 16
"""Numbers of float32 that the widest registers of CPUs hold."""


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
        f"`loss='cross-entropy'`: outputs of shape {tuple(outputs.shape)} do not fit targets of shape"
        f" {tuple(targets.shape)}; outputs need one axis more, for the classes"
    )


def cross_entropy(outputs: Tensor, targets: Tensor) -> Tensor:
    """Of labels (n,), or for targets (n, t, ...) the mean over an example's targets that are not −100."""
    if targets.ndim == 1 and outputs.ndim == 2:
        return _of_labels(outputs, targets)
    logits = classes_last(outputs, targets)
    losses = _of_labels(logits.reshape(-1, logits.shape[-1]), targets.reshape(-1))
    counted = (targets != IGNORED).flatten(1).sum(1)
    return losses.view(len(targets), -1).sum(1) / counted


def _of_labels(logits: Tensor, labels: Tensor) -> Tensor:
    """Losses (n,) of logits (n, classes); 0 where a label is −100.

    A softmax over fewer neighbours than a CPU's register holds goes number by number, at a tenth of the speed of one
    over columns.
    """
    if logits.device.type != "cpu" or logits.shape[1] >= _FULL_REGISTER:
        return functional.cross_entropy(logits, labels, reduction="none", ignore_index=IGNORED)
    columns = logits.t()[None]
    return functional.cross_entropy(columns, labels[None], reduction="none", ignore_index=IGNORED)[0]


def next_token(outputs: Tensor, batch: Batch) -> Tensor:
    """−log p of each token given those before it: outputs (n, t, classes) at t predict the token ids at t + 1."""
    targets = next_ids(batch)
    if outputs.ndim != 3 or outputs.shape[:2] != (len(targets), targets.shape[1] + 1):
        raise InputError(
            f"`loss='next-token'`: outputs of shape {tuple(outputs.shape)} do not fit token ids of shape"
            f" ({len(targets)}, {targets.shape[1] + 1}); they must be (examples, tokens, classes)"
        )
    return cross_entropy(outputs[:, :-1], targets)


def next_ids(batch: Batch) -> Tensor:
    """The ids from the second on (n, t − 1), −100 where labels or a zero in attention_mask say so."""
    ids = batch.token_ids()
    if ids is None:
        raise InputError("`loss='next-token'` needs integer token ids (examples, tokens) as input")
    targets = ids.to(torch.int64)
    if batch.targets is not None and batch.targets.shape == ids.shape:
        targets = torch.where(batch.targets == IGNORED, IGNORED, targets)
    mask = batch.inputs.get("attention_mask") if isinstance(batch.inputs, dict) else None
    if isinstance(mask, Tensor) and mask.shape == ids.shape:
        targets = torch.where(mask == 0, IGNORED, targets)
    return targets[:, 1:]


def mse(outputs: Tensor, targets: Tensor) -> Tensor:
    """The mean over an example's values of squared errors."""
    targets = shaped(outputs, targets, "mse")
    return functional.mse_loss(outputs, targets, reduction="none").flatten(1).mean(1)


def is_label(targets: Tensor) -> bool:
    """Whether targets are one class an example."""
    return not targets.is_floating_point() and targets.ndim == 1


def half_square(outputs: Tensor, targets: Tensor) -> Tensor:
    """½ Σ_c (f_c − y_c)² over an example's values, y one-hot for labels (n,) of outputs (n, classes).

    Summed, not averaged, over the values, as in papers on the edge of stability: with ``mse`` every curvature, and so
    the step at which training reaches its edge, differs by the factor 2/classes.
    """
    if is_label(targets) and outputs.ndim == 2:
        classes = torch.arange(outputs.shape[1], device=outputs.device)
        targets = (targets[:, None] == classes).to(outputs.dtype)
    targets = shaped(outputs, targets, "half-square")
    return functional.mse_loss(outputs, targets, reduction="none").flatten(1).sum(1) / 2


def bce_with_logits(outputs: Tensor, targets: Tensor) -> Tensor:
    """The mean over an example's values of binary cross-entropies."""
    targets = shaped(outputs, targets, "bce-with-logits")
    return functional.binary_cross_entropy_with_logits(outputs, targets, reduction="none").flatten(1).mean(1)


def shaped(outputs: Tensor, targets: Tensor, name: str) -> Tensor:
    """Targets in the shape and dtype of outputs (n, …), of which they must have as many.

    Raises:
        InputError: they have not; it names the loss ``name``.
    """
    if outputs.numel() != targets.numel() or outputs.ndim == 0 or len(outputs) != len(targets):
        raise InputError(
            f"{mention('loss', name)}: outputs of shape {tuple(outputs.shape)} do not fit targets of shape"
            f" {tuple(targets.shape)}; give targets of the outputs' shape, or another `loss`"
        )
    if outputs.ndim == 1:
        raise InputError(
            f"{mention('loss', name)}: outputs must have shape (examples, values), got {tuple(outputs.shape)}"
        )
    return targets.to(outputs.dtype).reshape(outputs.shape)
