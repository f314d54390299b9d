"""How much memory an evaluation takes and how much there is, in bytes."""

from __future__ import annotations

import weakref
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_iter

__all__ = ["free_bytes", "peak_bytes"]


def peak_bytes(function: Callable[[], object], device: torch.device | str) -> int:
    """The most bytes of tensors that a call has at once, beyond those that were there before.

    On a GPU its allocator tells; elsewhere every tensor that an operation makes is counted until it is gone
    (not what a library takes inside one operation).
    """
    device = torch.device(device)
    if device.type == "cuda":
        torch.cuda.synchronize(device)
        before = torch.cuda.memory_allocated(device)
        torch.cuda.reset_peak_memory_stats(device)
        function()
        torch.cuda.synchronize(device)
        most: int = torch.cuda.max_memory_allocated(device)
        return most - before
    tally = _Tally()
    with tally:
        function()
    return tally.most


class _Tally(TorchDispatchMode):  # type: ignore[no-untyped-call]
    """Counts storages from the operation that makes them until nothing refers to them any more."""

    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.now = self.most = 0
        self.known: set[int] = set()

    def __torch_dispatch__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        given = {storage._cdata for storage in map(_storage, tree_iter((args, kwargs or {}))) if storage}
        result = func(*args, **(kwargs or {}))
        for storage in map(_storage, tree_iter(result)):
            # a view, or an operation in place, makes nothing new
            if storage is not None and storage._cdata not in given | self.known:
                self._add(storage)
        return result

    def _add(self, storage: torch.UntypedStorage) -> None:
        key, size = storage._cdata, storage.nbytes()
        self.known.add(key)
        self.now += size
        self.most = max(self.most, self.now)
        weakref.finalize(storage, self._remove, key, size).atexit = False

    def _remove(self, key: int, size: int) -> None:
        self.known.discard(key)
        self.now -= size


def _storage(value: Any) -> torch.UntypedStorage | None:
    if not isinstance(value, Tensor) or value.layout != torch.strided:
        return None
    return value.untyped_storage()


def free_bytes(device: torch.device | str) -> float:
    """How many bytes can still be had on a device; infinite where the system does not tell."""
    device = torch.device(device)
    if device.type == "cuda":
        return float(torch.cuda.mem_get_info(device)[0])
    limits = [float("inf")]
    try:
        lines = Path("/proc/meminfo").read_text("ascii").splitlines()
        limits += [1024.0 * int(line.split()[1]) for line in lines if line.startswith("MemAvailable:")]
        group = Path("/sys/fs/cgroup")  # a container's own limit
        most, used = ((group / f"memory.{name}").read_text("ascii").strip() for name in ("max", "current"))
        if most != "max":
            limits.append(float(max(int(most) - int(used), 0)))
    except (OSError, ValueError, IndexError):
        pass  # another system: what is known must do
    return min(limits)
