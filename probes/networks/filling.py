"""A checkpoint's tensors put into a module, or in words the first that does not fit and what comes nearest."""

from __future__ import annotations

import difflib
from collections.abc import Mapping

import torch
from torch import Tensor, nn

from probes.checkpoints.checkpoint import Checkpoint
from probes.checkpoints.state_dict import renamed_to_fit
from probes.errors import InputError, mention
from probes.networks.hugging_face import renamed_by_library

__all__ = ["HALF", "fill"]

HALF = (torch.float16, torch.bfloat16)
"""What is converted to float32, in which every number of theirs is exact."""


def fill(module: nn.Module, tensors: Mapping[str, Tensor], checkpoint: Checkpoint) -> None:
    """Load the tensors, naming the first that does not fit and what comes nearest; what is tied or frozen stays so.

    Raises:
        InputError: a missing or unexpected name, another shape, or two values for a tensor of two names.
    """
    own = module.state_dict()
    tensors = renamed_to_fit(tensors, own)
    parameters = dict(module.named_parameters(remove_duplicate=False))
    trainable = {name: parameter.requires_grad for name, parameter in parameters.items()}
    tied = _tied(parameters)
    tensors = _completed(tensors, tied, checkpoint)
    if set(tensors) != set(own):
        renamed = renamed_by_library(module, tensors)
        tensors = tensors if renamed is None else _completed(renamed, tied, checkpoint)
    made = (
        dict(module.named_buffers()).keys() - own.keys()
    )  # which the network makes itself, and no file need hold
    tensors = {name: tensor for name, tensor in tensors.items() if name not in made}
    missing = [name for name in own if name not in tensors]
    unexpected = [name for name in tensors if name not in own]
    if missing:
        raise InputError(
            f"{checkpoint.path}: no tensor {missing[0]}, which the network needs{_and_more(missing)};"
            f" {_nearest(missing[0], unexpected, 'the file')}"
        )
    for name, tensor in own.items():
        if tensors[name].shape != tensor.shape:
            fitting = [other for other in tensors if tensors[other].shape == tensor.shape]
            raise InputError(
                f"{checkpoint.path}: tensor {name} has shape {tuple(tensors[name].shape)},"
                f" the network needs {tuple(tensor.shape)}; {_nearest(name, fitting, 'that shape')}"
            )
        if tensors[name].is_floating_point() != tensor.is_floating_point():
            raise InputError(
                f"{checkpoint.path}: tensor {name} is {tensors[name].dtype}; give numbers of its kind"
            )
    if unexpected:
        raise InputError(
            f"{checkpoint.path}: tensor {unexpected[0]} has no place in the network{_and_more(unexpected)};"
            f" {_nearest(unexpected[0], list(own), 'the network')}; if it is needed by nothing, leave it out with"
            f" {mention('ignore_tensors', unexpected[0])}"
        )
    converted = {
        name: tensor.to(torch.float32) if tensor.dtype in HALF else tensor for name, tensor in tensors.items()
    }
    module.load_state_dict(converted, assign=True)  # which unties
    for first, *others in tied:
        parameter = module.get_parameter(first)
        for name in others:
            path, _, leaf = name.rpartition(".")
            setattr(module.get_submodule(path), leaf, parameter)
    for name, parameter in module.named_parameters():
        parameter.requires_grad_(trainable[name])


def _tied(parameters: Mapping[str, Tensor]) -> list[list[str]]:
    """The names of each tensor that has more than one."""
    names: dict[int, list[str]] = {}
    for name, parameter in parameters.items():
        names.setdefault(id(parameter), []).append(name)
    return [group for group in names.values() if len(group) > 1]


def _completed(
    tensors: Mapping[str, Tensor], tied: list[list[str]], checkpoint: Checkpoint
) -> dict[str, Tensor]:
    """Tied tensors under all their names: some formats keep only one.

    Raises:
        InputError: the file has different values for one tensor.
    """
    completed = dict(tensors)
    for group in tied:
        given = [name for name in group if name in tensors]
        for name in given[1:]:
            if not torch.equal(tensors[name], tensors[given[0]]):
                raise InputError(
                    f"{checkpoint.path}: tensors {given[0]} and {name} differ, but are one in the network"
                )
        if given:
            completed |= dict.fromkeys(group, tensors[given[0]])
    return completed


def _and_more(names: list[str]) -> str:
    return f" (nor {len(names) - 1} more)" if len(names) > 1 else ""


def _nearest(name: str, others: list[str], where: str) -> str:
    """The name most like ``name``, in words."""
    found = difflib.get_close_matches(name, others[:10_000], n=1, cutoff=0.0)
    return f"nearest in {where}: {found[0]}" if found else f"nothing in {where} is left that could be it"
