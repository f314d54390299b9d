"""Whether a network can take the data, and has an output for every label: seen before anything runs."""

from __future__ import annotations

from collections.abc import Iterable

import torch
from torch import Tensor, nn

from probes.data.dataset import DataSet
from probes.data.inputs import arguments_of, outputs_of
from probes.data.labels import label_range
from probes.data.loss_functions import is_label
from probes.data.losses import LOSSES, ResolvedLoss
from probes.data.targets import IGNORED
from probes.errors import InputError
from probes.evaluation.frozen_state import probing
from probes.networks.frozen_network import FrozenNetwork
from probes.networks.specs import NetworkSpec

__all__ = ["check_call", "check_data_fits", "check_spec_fits"]


def check_data_fits(frozen: FrozenNetwork, data: DataSet, loss: ResolvedLoss) -> None:
    """Refuse data that the network cannot take, before anything runs.

    Raises:
        InputError: other input width, labels out of range, or a loss that cannot be computed.
    """
    if frozen.spec is None or not data.batches.is_plain:
        check_call(frozen.network, data, loss)
    else:
        check_spec_fits(frozen.spec, data, loss.name, called=frozen.label)


def check_spec_fits(spec: NetworkSpec, data: DataSet, loss: str, *, called: str = "the network") -> None:
    """Refuse data that a network of this description cannot take.

    Args:
        spec: the description.
        data: inputs and targets.
        loss: the name of the loss.
        called: the network's name in the message.

    Raises:
        InputError: other inputs, or labels out of range.
    """
    option = data.called
    x, y = data.first
    width = x.numel()
    if spec.vocabulary is not None:
        _check_characters(spec, data, called)
    elif not x.is_floating_point():
        raise InputError(f"{option}: x has characters, {called} takes real numbers")
    elif width != spec.inputs:
        raise InputError(f"{option}: x has {width} features, {called} takes {spec.inputs}")
    if loss == "cross-entropy" or (loss == "half-square" and is_label(y)):
        ndim = 1 if spec.vocabulary is None else 2
        if y.ndim != ndim:
            each = "an example" if ndim == 1 else "a character"
            raise InputError(
                f"{option}: y has shape {(len(data), *y.shape[1:])}, but {called} needs one label {each}; for other"
                " targets say `loss='mse'` or `loss='bce-with-logits'`"
            )
        labels = data.batches.labels()
        low, high = min(labels.low, IGNORED) if labels.ignored else labels.low, labels.high
        if low < 0 or high >= spec.outputs:
            raise InputError(
                f"{option}: labels run from {low} to {high}, but {called} has {spec.outputs}"
                f" outputs (labels 0 to {spec.outputs - 1})"
            )
    elif loss in ("mse", "half-square", "bce-with-logits"):
        count, outputs = y.numel(), spec.outputs * (1 if spec.vocabulary is None else width)
        if count != outputs:
            raise InputError(f"{option}: y has {count} values an example, {called} has {outputs} outputs")


def _range(blocks: Iterable[Tensor]) -> tuple[int, int]:
    """The smallest and largest of integers."""
    ends = [(int(block.min()), int(block.max())) for block in blocks]
    return min(low for low, _ in ends), max(high for _, high in ends)


def _check_characters(spec: NetworkSpec, data: DataSet, called: str) -> None:
    """Refuse inputs that are no sequences of known characters.

    Raises:
        InputError: they are not.
    """
    x, known = data.first[0], spec.vocabulary or 0
    if x.is_floating_point() or x.ndim != 2:
        raise InputError(f"{data.called}: {called} takes characters; give text or text:FILE")
    if x.shape[1] > spec.inputs:
        raise InputError(f"{data.called}: {x.shape[1]} characters an example, {called} takes {spec.inputs}")
    low, high = _range(
        part for _, batch in data.batches.blocks() for part in (batch.inputs,) if isinstance(part, Tensor)
    )
    if low < 0 or high >= known:
        raise InputError(f"{data.called}: a character is not among the {known} that {called} knows")


def check_call(network: nn.Module, data: DataSet, loss: ResolvedLoss) -> None:
    """See that a module of the user's takes the data, and that the loss takes its outputs and the targets.

    Args:
        network: on whatever device.
        data: of which the first example is passed through it.
        loss: one that is a function of outputs.

    Raises:
        InputError: it does not.
    """
    parameters = list(network.parameters())
    like = parameters[0] if parameters else torch.zeros(())
    with probing(network), torch.no_grad():
        first = data.batches.first.to(like.device, like.dtype)
        arguments, named = arguments_of(first.inputs)
        try:
            outputs = outputs_of(network(*arguments, **named))
        except InputError:
            raise
        except Exception as error:  # whatever the user's own module raises
            raise InputError(
                f"{data.called}: the network cannot take it ({type(error).__name__}: {error})"
            ) from error
        low, high, classes = label_range(outputs, data.batches, loss.name)
        if low < 0 or high >= classes:
            raise InputError(
                f"{data.called}: labels run from {low} to {high}, but the network has {classes} outputs"
            )
        if loss.name in LOSSES and first.targets is not None:
            LOSSES[loss.name](outputs, first.targets)
