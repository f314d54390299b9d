"""What a data callable returned, read into batches: arrays, a Dataset, a DataLoader, or any iterable of batches."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import DataLoader, Dataset, IterableDataset, RandomSampler, TensorDataset

from probes.data.arrays import as_batch, as_tensor
from probes.data.batch import TARGET_KEYS, Batch
from probes.data.batches import Batches
from probes.errors import InputError

__all__ = ["read_batches"]


MOST_BATCHES = 100_000
MOST_BYTES = 4 << 30
"""An iterable that does not know its length is taken for endless beyond either."""

_SEED = 0  # a loader that shuffles gives the same batches in every run, so that a run can be continued


def _is_one_array(value: Any) -> bool:
    """Whether it is one array rather than a batch of several."""
    if isinstance(value, Tensor | np.ndarray | np.generic | int | float):
        return True
    return isinstance(value, list) and all(map(_is_one_array, value[:2]))


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


def read_batches(made: Any, option: str = "the data", *, examples: int | None = None) -> tuple[Batches, str]:
    """Read data in any form that a callable may return, or Python code hold.

    * A tuple whose last part is an array, or a list of two arrays: all data in one batch, (inputs…, target).
    * A dict: all data in one batch.
    * A ``DataLoader`` or any other iterable: batches. One that shuffles is read once, with a fixed seed.
    * A ``Dataset``: examples. Examples of different shapes become batches of their own.

    Args:
        made: the data.
        option: what errors begin with.
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
                f"{option}: give x and y, a dict of arrays, a Dataset, a DataLoader or an iterable of batches, not"
                f" {type(made).__name__}"
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
        return len(made) > 1 and _is_one_array(made[-1])
    return isinstance(made, list) and len(made) == 2 and all(map(_is_one_array, made))


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
            raise InputError(
                f"{option}: no end after {count} examples; say how many to take with `examples=N`"
            )
        yield batch


def _note(made: Any) -> str:
    if isinstance(made, DataLoader) and isinstance(made.sampler, RandomSampler):
        return "the loader shuffles: it was read once, and every evaluation has the same batches"
    return ""
