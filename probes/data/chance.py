"""What the losses of ours come to for an output that knows nothing: a network that learnt is better than that."""

from __future__ import annotations

import math
from collections.abc import Callable
from math import prod

import torch
from torch import Tensor

from probes.data.batch import Batch
from probes.data.batches import Batches
from probes.data.loss_functions import bce_with_logits, cross_entropy, half_square, is_label, mse, next_token
from probes.data.losses import BatchLoss, Loss

__all__ = ["chance_loss"]


def chance_loss(loss: Loss, data: Batches, *, samples: int, width: int) -> float:
    """The mean loss of the best output that is the same for every example, all labels being alike.

    Args:
        loss: what is computed.
        data: all examples.
        samples: of how many of the first examples the outputs are known.
        width: how many numbers the longest of these outputs has.

    Returns:
        log(classes) for labels and tokens, ½(1 − 1/classes) for half the square on labels, log 2 for binary targets,
        the targets' variance for squared errors; NaN for a loss of the user's own, and where targets differ in shape.
    """
    if loss is cross_entropy:
        return _log_classes(data, samples, width, lambda batch: batch.targets)
    if isinstance(loss, BatchLoss) and loss.function is next_token:
        return _log_classes(data, samples, width, lambda batch: batch.token_ids())
    if loss is bce_with_logits:
        return math.log(2)
    if loss is half_square:
        return _half_square(data, samples, width)
    return _variance(data) if loss is mse else math.nan


def _half_square(data: Batches, samples: int, width: int) -> float:
    first = data.first.targets
    if first is not None and is_label(first):
        return (1 - math.exp(-_log_classes(data, samples, width, lambda batch: batch.targets))) / 2
    return _variance(data) * (1 if first is None else first[0].numel()) / 2


def _log_classes(data: Batches, samples: int, width: int, labels: Callable[[Batch], Tensor | None]) -> float:
    """The outputs of the longest of the first examples are its labels' number times the classes'."""
    if samples == 0:
        return math.nan
    found = [labels(batch) for _, batch in data[:samples].chunks(samples)]
    longest = max((prod(one.shape[1:]) for one in found if one is not None), default=0)
    return math.log(width // longest) if 0 < longest <= width else math.nan


def _variance(data: Batches) -> float:
    """Of each of an example's values over all examples, in the mean over the values."""
    blocks = [block.shape[1:] for block in data.target_blocks()]
    if len(set(blocks)) != 1:
        return math.nan
    total = sum(block.double().sum(0) for block in data.target_blocks())
    assert isinstance(total, Tensor)
    mean = total / len(data)
    squares = sum(float((block.double() - mean).square().sum()) for block in data.target_blocks())
    return squares / len(data) / max(1, torch.numel(mean))
