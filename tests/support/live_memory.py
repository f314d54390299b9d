"""How many bytes of tensors are alive: counted operation by operation, so that no machine and no clock matters."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from torch import Tensor
from torch.multiprocessing.reductions import StorageWeakRef
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_iter

__all__ = ["LiveBytes"]


class LiveBytes(TorchDispatchMode):
    """Inside, the largest sum of the storages that operations made and that are still there.

    Attributes:
        now: bytes alive after the last operation.
        peak: the largest of them.
    """

    def __init__(self, given: Iterable[Tensor]) -> None:
        """Leave out the storages of tensors that were there before."""
        super().__init__()
        self.given = {tensor.untyped_storage()._cdata for tensor in given}
        self.alive: dict[int, tuple[StorageWeakRef, int]] = {}
        self.now = self.peak = 0

    def restart(self) -> None:
        """Forget the peak so far."""
        self._sweep()
        self.peak = self.now

    def _sweep(self) -> None:
        self.alive = {place: pair for place, pair in self.alive.items() if not pair[0].expired()}
        self.now = sum(size for _, size in self.alive.values())

    def __torch_dispatch__(
        self, function: Any, types: Any, args: tuple[Any, ...] = (), kwargs: Any = None
    ) -> Any:
        found = function(*args, **(kwargs or {}))
        for tensor in tree_iter(found):
            if isinstance(tensor, Tensor):
                storage = tensor.untyped_storage()
                if storage._cdata not in self.given:
                    self.alive[storage._cdata] = (StorageWeakRef(storage), storage.nbytes())
        self._sweep()
        self.peak = max(self.peak, self.now)
        return found
