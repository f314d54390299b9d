"""Checkpoints: read without running anything in them, recognised by content, and written."""

from __future__ import annotations

import fnmatch
import hashlib
import json
import math
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from probes.checkpoints.formats import open_tree
from probes.checkpoints.safetensors_file import FORMAT, WEIGHTS
from probes.checkpoints.state_dict import clean_names, find_state, training_position
from probes.checkpoints.tensor_tree import Leaf, Unsuitable
from probes.errors import InputError, mention, shown
from probes.system.files import write_atomically
from probes.system.seals import ATTRIBUTE, digest_of

__all__ = [
    "Checkpoint",
    "read_checkpoint",
    "refuse_unmatched",
    "tensors_digest",
    "write_checkpoint",
]


_BLOCK = 1 << 22  # numbers that are checked at once


@dataclass(frozen=True)
class Checkpoint:
    """One saved network.

    Attributes:
        path: the file.
        tensors: names to tensors, as the file has them (prefixes such as ``module.`` taken off).
        ordered: whether the order of ``tensors`` is the one in which the network's layers were made.
        details: what ``probe train`` wrote beside them (network, step, epoch, data, …); of other files the step
            and epoch, where they say them.
        ignored: the names of tensors that were to be left out, before and after prefixes were taken off.
    """

    path: Path
    tensors: Mapping[str, Tensor]
    ordered: bool
    details: Mapping[str, Any] = field(default_factory=dict)
    ignored: Collection[str] = ()

    @property
    def label(self) -> str:
        """The file's name without its last suffix, as it can be shown and kept."""
        return shown(self.path.stem)

    def digest(self) -> str:
        """SHA-256 of the tensors' names, shapes and values, in short."""
        return self._digest[:16]

    @cached_property
    def _digest(self) -> str:
        return tensors_digest(self.tensors)


def tensors_digest(tensors: Mapping[str, Tensor]) -> str:
    """SHA-256 of names, shapes and values, on the CPU."""
    state = hashlib.sha256()
    for name in sorted(tensors):
        tensor = tensors[name].contiguous()
        state.update(f"{name}{tensor.dtype}{tuple(tensor.shape)}".encode())
        state.update(tensor.reshape(-1).view(torch.uint8).numpy().data)
    return state.hexdigest()


def read_checkpoint(path: Path, *, key: str | None = None, ignore: Sequence[str] = ()) -> Checkpoint:
    """Read a checkpoint: the content decides what it is, not its name, and nothing in it runs.

    Args:
        path: a file of safetensors, ``torch.save``, ``torch.jit.save`` or ``torch.export.save``, or a folder of
            a Hugging Face library or of ``torch.distributed.checkpoint``.
        key: where several state_dicts are in one file, the name of the one to take.
        ignore: globs over names: tensors that are left out, whatever they are.

    Raises:
        InputError: it is missing, empty, truncated, holds code, holds no tensors, or has NaN or infinity; or
            ``probe train`` wrote it, and it is no longer as it was then.
    """
    with open_tree(path) as found:
        state = find_state(found.tree, key)
        names = clean_names(_without_average(state))
        ignored = [
            pair for pair in names.items() if any(fnmatch.fnmatchcase(n, g) for n in pair for g in ignore)
        ]
        sealed = found.digest is not None  # by all of its tensors
        left_out = {name: _checked(state[name], found.read, name, path) for name, _ in ignored if sealed}
        for name, _ in ignored:
            del names[name]
        tensors = {now: _checked(state[name], found.read, name, path) for name, now in names.items()}
        position = training_position(found.tree, found.details)
    if not tensors:
        raise InputError(f"{path}: there are no tensors in it")
    details = {**position, **found.details}
    read = Checkpoint(path, tensors, found.ordered, details, ignored=[n for pair in ignored for n in pair])
    if found.digest is not None:
        same = not left_out and all(name == now for name, now in names.items())
        whole = {name: tensors[now] for name, now in names.items()} | left_out
        if (read._digest if same else tensors_digest(whole)) != found.digest:
            raise InputError(f"{path}: is damaged (the checksum of its tensors does not fit); train again")
    return read


def refuse_unmatched(ignore: Iterable[str], ignored: Collection[str]) -> None:
    """Refuse a glob that left out no tensor of any checkpoint (``ignored`` has those of all).

    Raises:
        InputError: it names the glob.
    """
    for glob in ignore:
        if not any(fnmatch.fnmatchcase(name, glob) for name in ignored):
            raise InputError(f"{mention('ignore_tensors', glob)}: matches no tensor in the checkpoints")


def _without_average(state: Mapping[str, Leaf | Tensor]) -> list[str]:
    """The names, less the count that averaging keeps beside the network."""
    counted = [name for name, leaf in state.items() if name.endswith("n_averaged") and leaf.shape == ()]
    return [name for name in state if len(counted) != 1 or name != counted[0]]


def _checked(leaf: Leaf, read: Callable[[Any], Tensor], name: str, path: Path) -> Tensor:
    """Read a tensor that a network can be probed with.

    Raises:
        InputError: it is of another kind, or has NaN or infinity.
    """
    shown = name if len(name) <= 80 else f"{name[:80]}…"
    otherwise = f"leave it out with {mention('ignore_tensors', name)} if the network does not need it"
    if isinstance(leaf, Unsuitable):
        raise InputError(f"{path}: tensor {shown} is {leaf.kind}, which cannot be probed; {otherwise}")
    if leaf.count == 0:
        raise InputError(f"{path}: tensor {shown} has no entries (shape {leaf.shape}); {otherwise}")
    tensor = read(leaf)
    if tensor.is_complex() or (tensor.is_floating_point() and tensor.itemsize < 2):
        kind = "complex" if tensor.is_complex() else tensor.dtype
        raise InputError(f"{path}: tensor {shown} is {kind}, which cannot be probed; {otherwise}")
    if tensor.is_floating_point():
        flat = tensor.reshape(-1)  # looked at in parts: no copy of all of it is made for this
        parts = (flat[start : start + _BLOCK] for start in range(0, len(flat), _BLOCK))
        # a sum that is finite is of finite numbers; it may overflow, so what is not finite is counted
        doubtful = (part for part in parts if not math.isfinite(float(part.sum(dtype=torch.float64))))
        bad = sum(int((~torch.isfinite(part)).sum()) for part in doubtful)
        if bad:
            raise InputError(
                f"{path}: tensor {shown} has {bad} NaN or infinite entries; take an earlier checkpoint, or"
                f" {otherwise}"
            )
    return tensor


def write_checkpoint(path: Path, tensors: Mapping[str, Tensor], details: Mapping[str, Any]) -> None:
    """Write a safetensors file that carries, in ``details``, all that a probe needs to know; both are sealed.

    Raises:
        InputError: it cannot be written; then there is no file.
    """
    from safetensors.torch import save

    content = {name: tensor.detach().cpu().contiguous() for name, tensor in tensors.items()}
    known = {name: content[name] for name in _without_average(content)}
    described: dict[str, Any] = {**details, WEIGHTS: tensors_digest(known)}
    described[ATTRIBUTE] = digest_of(described)
    metadata = {FORMAT: json.dumps(described, sort_keys=True)}  # one key: several come in a random order
    write_atomically(path, save(content, metadata))
