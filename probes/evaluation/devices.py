"""Devices: whether this machine has them."""

from __future__ import annotations

import torch

from probes.errors import InputError, mention

__all__ = ["resolved_device"]


def resolved_device(name: str) -> str:
    """``auto`` is the GPU where there is one.

    Raises:
        InputError: a device that this machine lacks.
    """
    if name == "auto":
        return "cuda" if torch.cuda.is_available() else "cpu"
    try:
        torch.zeros(1, device=name)
    except (RuntimeError, AssertionError) as error:
        raise InputError(f"{mention('device', name)}: not available here; use cpu or auto") from error
    return name
