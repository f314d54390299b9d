"""What a data callable returned, read into batches: arrays, a Dataset, a DataLoader, or any iterable of batches."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import replace
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import DataLoader, Dataset, IterableDataset, RandomSampler, TensorDataset

from probes.data.batches import TARGET_KEYS, Batch, Batches, Inputs, StoredBatch
from probes.data.rows import Rows, Values, row_blocks, tensor_of
from probes.errors import InputError
from probes.system.mapping import FileState

__all__ = ["as_batch", "as_tensor", "read_batches", "stored_batch"]

MOST_BATCHES = 100_000
MOST_BYTES = 4 << 30
"""An iterable that does not know its length is taken for endless beyond either."""

_SEED = 0  # a loader that shuffles gives the same batches in every run, so that a run can be continued
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


def stored_batch(x: Values, y: Values, option: str, *, file: FileState | None = None) -> StoredBatch:
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
    return StoredBatch(*rows)


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


def _numbers(value: Any) -> bool:
    """Whether it is one array rather than a batch of several."""
    if isinstance(value, Tensor | np.ndarray | np.generic | int | float):
        return True
    return isinstance(value, list) and all(map(_numbers, value[:2]))


def _batch(value: Any, option: str) -> Batch:
    """One batch as the user's loader gives it.

    Raises:
        InputError: of no form that is known, or unusable.
    """
    if isinstance(value, Batch):
        return as_batch(value.inputs, value.targets, option, key=value.key)
    if isinstance(value, Mapping):
        key = next((name for name in TARGET_KEYS if name in value), None)
        return as_batch(
            {name: part for name, part in value.items() if name != key},
            None if key is None else value[key],
            option,
            key=key,
        )
    if isinstance(value, tuple | list) and value:
        if len(value) == 1:
            return _batch(value[0], option)
        return as_batch(tuple(value[:-1]), value[-1], option)
    if isinstance(value, Tensor | np.ndarray):
        return as_batch(value, None, option)
    raise InputError(
        f"{option}: a batch is {type(value).__name__}; give tensors, (inputs…, target) or a dict of tensors"
    )


def _example(value: Any, option: str) -> Batch:
    """One example of a Dataset, as a batch of one."""

    def lifted(part: Any, name: str) -> Any:
        if isinstance(part, Mapping):
            return {key: lifted(inner, str(key)) for key, inner in part.items()}
        if isinstance(part, tuple):
            return tuple(lifted(inner, name) for inner in part)
        return as_tensor(part, option, name)[None]

    if isinstance(value, list) and not all(isinstance(part, int | float) for part in value):
        value = tuple(value)
    return _batch(lifted(value, "each example"), option)


def read_batches(made: Any, option: str, *, examples: int | None = None) -> tuple[Batches, str]:
    """Read what a data callable returned.

    * A tuple whose last part is an array, or a list of two arrays: all data in one batch, (inputs…, target).
    * A dict: all data in one batch.
    * A ``DataLoader`` or any other iterable: batches. One that shuffles is read once, with a fixed seed.
    * A ``Dataset``: examples. Examples of different shapes become batches of their own.

    Args:
        made: what it returned.
        option: what errors begin with, such as ``--data file.py:data``.
        examples: stop reading once so many are there.

    Returns:
        The batches, and a note on how they were read, or "".

    Raises:
        InputError: no such form, nothing in it, batches that cannot be used, or seemingly no end.
    """
    try:
        if isinstance(made, Batches):
            return made, ""
        if isinstance(made, Batch | Mapping) or _is_whole(made):
            return Batches([_batch(made, option)]), ""
        if isinstance(made, TensorDataset):
            return Batches([_batch(made.tensors, option)]), ""
        if isinstance(made, Tensor | np.ndarray | str | bytes) or not _can_be_read(made):
            raise InputError(
                f"{option}: the callable must return x and y, a dict of arrays, a Dataset, a DataLoader or an"
                f" iterable of batches, got {type(made).__name__}"
            )
        whole = not isinstance(made, Dataset)
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(_SEED)
            return Batches(list(_read(made, option, examples)), cut=whole), _note(made)
    except InputError as error:
        message = str(error)
        raise error if message.startswith(option) else InputError(f"{option}: {message}") from error


def _is_whole(made: Any) -> bool:
    if isinstance(made, tuple):
        return len(made) > 1 and _numbers(made[-1])
    return isinstance(made, list) and len(made) == 2 and all(map(_numbers, made))


def _can_be_read(made: Any) -> bool:
    return isinstance(made, Iterable) or (isinstance(made, Dataset) and hasattr(made, "__getitem__"))


def _items(made: Any) -> Iterator[Any]:
    if isinstance(made, Dataset) and not isinstance(made, IterableDataset) and hasattr(made, "__len__"):
        return (made[place] for place in range(len(made)))
    return iter(made)


def _read(made: Any, option: str, examples: int | None) -> Iterator[Batch]:
    one = _example if isinstance(made, Dataset) else _batch
    try:
        known = len(made) >= 0
    except (TypeError, NotImplementedError):
        known = False
    count, size = 0, 0
    items = enumerate(_items(made))
    while examples is None or count < examples:
        try:
            place, item = next(items)
        except StopIteration:
            return
        except Exception as error:  # whatever the user's own iterable raises
            raise InputError(f"{option}: reading it failed with {type(error).__name__}: {error}") from error
        batch = one(item, option)
        count += len(batch)
        size += sum(tensor.nbytes for _, tensor in batch.leaves())
        if examples is None and not known and (place >= MOST_BATCHES or size > MOST_BYTES):
            raise InputError(f"{option}: no end after {count} examples; say how many to take with --examples")
        yield batch


def _note(made: Any) -> str:
    if isinstance(made, DataLoader) and isinstance(made.sampler, RandomSampler):
        return "the loader shuffles: it was read once, and every evaluation has the same batches"
    return ""
