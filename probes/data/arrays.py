"""A user's arrays checked, and given the dtypes that are computed with: as a batch in memory, or left in their file."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import numpy as np
import torch
from torch import Tensor

from probes.data.batch import Batch, MappedBatch
from probes.data.inputs import Inputs
from probes.data.rows import Rows, Values, row_blocks, tensor_of
from probes.errors import InputError
from probes.system.mapping import FileState

__all__ = ["as_batch", "as_tensor", "mapped_batch"]


_KEPT_INTEGERS = (torch.int32, torch.int64)
_KEPT_BESIDE_OTHERS = (torch.bool, torch.uint8, torch.int32, torch.int64)


def as_tensor(value: Any, option: str, name: str = "x and y") -> Tensor:
    """An array, tensor or list of numbers on the CPU.

    Raises:
        InputError: it is none.
    """
    if isinstance(value, Tensor):
        return value.detach().cpu()
    try:
        array = np.asarray(value)
        if array.dtype.kind not in "fiub":
            raise TypeError(f"dtype {array.dtype}")
        return tensor_of(np.array(array))  # a copy: an iterable may fill the same array again and again
    except (TypeError, ValueError) as error:
        raise InputError(f"{option}: {name} must be arrays of numbers ({error})") from error


def as_batch(inputs: Any, targets: Any, option: str, *, key: str | None = None) -> Batch:
    """Check one batch and give its tensors the dtypes that are computed with.

    Floating tensors become float32 unless they are float64. A single input tensor of int32 or int64 stays as
    it is (token ids); any other integer or bool input becomes float32 (images). Beside other inputs bool,
    uint8, int32 and int64 stay (masks, ids) and other integers become int64. Integer targets become int64.

    Args:
        inputs: a tensor or array (n, …), or tuples and dicts of them.
        targets: (n, …) or None.
        option: what errors begin with.
        key: the targets' name in their dict.

    Raises:
        InputError: lengths differ, NaN or infinity, or nothing to compute with.
    """
    tree = _tree(inputs, option, "x")
    while isinstance(tree, tuple) and len(tree) == 1:
        tree = tree[0]
    alone = isinstance(tree, Tensor)
    batch = Batch(tree, None if targets is None else as_tensor(targets, option, "targets"), key)
    found = list(batch.leaves())
    if not found or found[0][0] == "y":
        raise InputError(f"{option}: a batch has no inputs in it")
    for name, tensor in found:
        if _is_unusual(tensor):
            raise InputError(f"{option}: {name} is complex, sparse or quantised; give plain real numbers")
        if tensor.ndim == 0:
            raise InputError(f"{option}: {name} is a single number; its first axis must count the examples")
        _check_finite(tensor, option, name)
    if len({len(tensor) for _, tensor in found}) > 1:
        names = "x and y" if alone else "all tensors of a batch"
        shapes = " and ".join(str(tuple(tensor.shape)) for _, tensor in found)
        raise InputError(f"{option}: {names} must be as long as each other, got shapes {shapes}")
    return Batch(
        _converted(tree, alone),
        None if batch.targets is None else _target(batch.targets),
        key,
    )


def mapped_batch(x: Values, y: Values, option: str, *, file: FileState | None = None) -> MappedBatch:
    """Check arrays and leave them where they are, to be read as :func:`as_batch` would.

    Args:
        x: inputs (n, …), of any strides, byte order and alignment.
        y: targets (n, …), as many.
        option: what errors begin with.
        file: what they are mapped from.

    Raises:
        InputError: NaN or infinity, or no plain real numbers.
    """
    rows = []
    for name, values, kind in (("x", x, _input_dtype), ("y", y, _target_dtype)):
        try:
            dtype = tensor_of(values[:0]).dtype
        except TypeError as error:
            raise InputError(f"{option}: x and y must be arrays of numbers ({error})") from error
        if dtype.is_complex or (isinstance(values, Tensor) and _is_unusual(values)):
            raise InputError(f"{option}: {name} is complex, sparse or quantised; give plain real numbers")
        part = Rows(values, kind(dtype), file=file)
        _check_finite(replace(part, dtype=dtype), option, name)
        rows.append(part)
    return MappedBatch(*rows)


def _is_unusual(tensor: Tensor) -> bool:
    return tensor.is_complex() or tensor.layout != torch.strided or tensor.is_quantized


def _check_finite(values: Tensor | Rows, option: str, name: str) -> None:
    """Refuse NaN and infinity, a block after the other.

    Raises:
        InputError: there are some.
    """
    if values.dtype.is_floating_point and not all(
        bool(torch.isfinite(block).all()) for block in row_blocks(values)
    ):
        raise InputError(f"{option}: {name} has NaN or infinity in it; clean the data first")


def _input_dtype(dtype: torch.dtype) -> torch.dtype:
    """What a network's only input is computed with."""
    return dtype if dtype == torch.float64 or dtype in _KEPT_INTEGERS else torch.float32


def _target_dtype(dtype: torch.dtype) -> torch.dtype:
    if dtype == torch.float64:
        return dtype
    return torch.float32 if dtype.is_floating_point else torch.int64


def _tree(value: Any, option: str, name: str) -> Inputs:
    if isinstance(value, Mapping):
        return {str(key): _tree(part, option, str(key)) for key, part in value.items()}
    if isinstance(value, tuple):
        return tuple(_tree(part, option, f"{name}[{place}]") for place, part in enumerate(value))
    return as_tensor(value, option, name)


def _converted(tree: Inputs, alone: bool) -> Inputs:
    if isinstance(tree, dict):
        return {name: _converted(part, alone) for name, part in tree.items()}
    if isinstance(tree, tuple):
        return tuple(_converted(part, alone) for part in tree)
    tensor = tree.contiguous()
    if alone or tensor.is_floating_point():
        return tensor.to(_input_dtype(tensor.dtype))
    return tensor if tensor.dtype in _KEPT_BESIDE_OTHERS else tensor.to(torch.int64)


def _target(targets: Tensor) -> Tensor:
    return targets.to(_target_dtype(targets.dtype)).contiguous()
