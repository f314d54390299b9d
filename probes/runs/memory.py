"""How much memory a forward pass keeps, how much a call takes on a GPU, and how much there is, in bytes."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from pathlib import Path

import torch
from torch import Tensor
from torch.autograd.graph import saved_tensors_hooks

__all__ = ["free_bytes", "peak_bytes", "saved_bytes"]


def saved_bytes(function: Callable[[], object], besides: Iterable[Tensor] = ()) -> int:
    """Bytes of the tensors that a forward pass keeps for its backward pass, each storage once.

    Args:
        function: the forward pass.
        besides: tensors that are there anyway (parameters, inputs) and do not count.
    """
    there = {_place(tensor) for tensor in besides}
    kept: dict[int, Tensor] = {}  # holds them, so that no address is used twice

    def keep(tensor: Tensor) -> Tensor:
        if tensor.layout == torch.strided and _place(tensor) not in there:
            kept.setdefault(_place(tensor), tensor)
        return tensor

    with saved_tensors_hooks(keep, lambda tensor: tensor):
        function()
    return sum(tensor.untyped_storage().nbytes() for tensor in kept.values())


def _place(tensor: Tensor) -> int:
    return tensor.untyped_storage().data_ptr()


def peak_bytes(function: Callable[[], object], device: torch.device) -> int:
    """The most bytes that PyTorch's allocator has at once on a GPU during a call, beyond those from before."""
    torch.cuda.synchronize(device)
    before = torch.cuda.memory_allocated(device)
    torch.cuda.reset_peak_memory_stats(device)
    function()
    torch.cuda.synchronize(device)
    most: int = torch.cuda.max_memory_allocated(device)
    return most - before


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
