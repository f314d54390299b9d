"""Tensors made from bytes in a file, which are counted before room is made for them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol, TypeAlias

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from probes.checkpoints.budget import Budget, UnreadableError
from probes.checkpoints.tensor_tree import Leaf

__all__ = ["Buffer", "StorageRef", "StorageSource", "TensorReader", "TensorRef"]

Buffer: TypeAlias = "bytearray | npt.NDArray[np.uint8]"
"""Bytes that may be written to: in memory, or privately mapped."""

_TENSOR = 1000  # bytes that a tensor takes beside its numbers
_COPY = 4  # how many shared numbers one that is copied counts for


@dataclass(frozen=True)
class StorageRef:
    """Numbers in a row somewhere in the file: ``count`` of ``dtype``, ``start`` into the storage ``key``."""

    key: str
    dtype: torch.dtype
    count: int
    start: int = 0


@dataclass(frozen=True)
class TensorRef(Leaf):
    """A tensor in a storage."""

    storage: StorageRef
    offset: int
    stride: tuple[int, ...]
    dtype: torch.dtype


class StorageSource(Protocol):
    """Where the bytes of torch's storages come from."""

    def storage(self, key: str, length: int) -> Buffer:
        """All bytes of a storage, of which the first ``length`` are needed."""


class TensorReader:
    """Reads tensors of one file, those that share a storage into shared memory."""

    def __init__(self, source: StorageSource, budget: Budget) -> None:
        """Nothing is read yet.

        Args:
            source: of the bytes.
            budget: of the file, from which every tensor is paid for.
        """
        self._source, self._budget = source, budget
        self._storages: dict[str, Tensor] = {}

    def tensor(self, ref: TensorRef) -> Tensor:
        """Read a tensor; one whose numbers do not lie together (an expanded one, say) is copied out.

        Raises:
            UnreadableError: its storage is damaged, or shorter than the tensor, or it claims too much memory.
        """
        try:
            return self._tensor(ref)
        except RuntimeError as error:  # torch's own words for an impossible shape
            raise UnreadableError(f"a tensor of shape {ref.shape} cannot be made") from error

    def _tensor(self, ref: TensorRef) -> Tensor:
        width = ref.dtype.itemsize
        storage = ref.storage
        numbers = storage.count * storage.dtype.itemsize // width
        self._budget.spend(_TENSOR)
        if ref.count == 0:
            return torch.empty(ref.shape, dtype=ref.dtype)
        extent = 1 + sum((n - 1) * step for n, step in zip(ref.shape, ref.stride, strict=True))
        if ref.offset + extent > numbers:
            raise UnreadableError(f"a tensor of shape {ref.shape} lies outside of its storage")
        dense = _is_dense(ref.shape, ref.stride)
        self._budget.spend((1 if dense else 1 + _COPY) * ref.count * width)
        if storage.key not in self._storages:
            buffer = self._source.storage(
                storage.key, (storage.start + storage.count) * storage.dtype.itemsize
            )
            self._storages[storage.key] = torch.frombuffer(buffer, dtype=torch.uint8)
        begin = storage.start * storage.dtype.itemsize + ref.offset * width
        part = self._storages[storage.key][begin : begin + extent * width]
        if len(part) != extent * width:
            raise UnreadableError(f"storage {storage.key[:40]} is shorter than a tensor in it")
        if part.data_ptr() % width or begin % width:
            self._budget.spend(_COPY * len(part))
            part = part.clone()
        view = part.view(ref.dtype).as_strided(ref.shape, ref.stride)
        return view if dense else view.contiguous()


def _is_dense(shape: tuple[int, ...], stride: tuple[int, ...]) -> bool:
    """Whether every number from the first to the last belongs to the tensor, once."""
    expected = 1
    for step, size in sorted((step, size) for size, step in zip(shape, stride, strict=True) if size != 1):
        if step != expected:
            return False
        expected *= size
    return True
