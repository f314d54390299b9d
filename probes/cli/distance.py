"""``probe distance``: deep relative trust between two checkpoints."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from probes.checkpoints.checkpoint import read_checkpoint
from probes.errors import InputError
from trust.distance import deep_relative_trust, relative_perturbations

__all__ = ["distance_between_files"]


def distance_between_files(before: Path, after: Path, *, key: str | None = None) -> dict[str, Any]:
    """D(r) between two checkpoints of one architecture, in all and for each weight matrix.

    Returns:
        ``{"distance": D, "layers": [{"name", "relative"}]}`` in the order of the first file.

    Raises:
        InputError: a file that cannot be read, or tensors that differ in name or shape.
    """
    first, second = (
        {
            name: tensor
            for name, tensor in read_checkpoint(path, key=key).tensors.items()
            if tensor.is_floating_point()
        }
        for path in (before, after)
    )
    try:
        relative = relative_perturbations(first, second)
    except ValueError as error:
        raise InputError(f"{before} and {after}: {error}") from error
    if not relative:
        raise InputError(f"{before}: there is no weight matrix in it")
    return {
        "distance": float(deep_relative_trust(list(relative.values()))),
        "layers": [{"name": name, "relative": float(value)} for name, value in relative.items()],
    }
