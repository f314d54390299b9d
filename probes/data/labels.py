"""Labels: whether there are outputs for all of them, and how many examples are classified rightly."""

from __future__ import annotations

import torch
from torch import Tensor

from probes.data.batches import Batches
from probes.data.loss_functions import classes_last, is_label, next_token
from probes.data.losses import NEXT_TOKEN, checked_next_ids

__all__ = ["accuracy_of", "label_range"]


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
    if loss == NEXT_TOKEN:
        next_token(outputs, first.map(torch.zeros_like))
        classes, labels = outputs.shape[-1], batches.labels(checked_next_ids)
    elif loss == "half-square" and first.targets is not None and is_label(first.targets):
        classes, labels = outputs.shape[-1], batches.labels()
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
