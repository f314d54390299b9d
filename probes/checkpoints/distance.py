"""Deep relative trust between checkpoints, as ``probe distance`` tells it."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise
from os import PathLike
from pathlib import Path
from typing import Any

from probes.checkpoints.checkpoint import Checkpoint, read_checkpoint, refuse_unmatched
from probes.checkpoints.order import training_order
from probes.checkpoints.state_dict import renamed_to_fit
from probes.errors import InputError
from trust.distance import deep_relative_trust, relative_perturbations

__all__ = ["distance"]


def distance(
    before: str | PathLike[str],
    after: str | PathLike[str] | None = None,
    *,
    key: str | None = None,
    ignore_tensors: Sequence[str] = (),
) -> dict[str, Any]:
    """D(r) between two checkpoints of one architecture, in all and for each weight matrix; or along a folder of them.

    Args:
        before: a checkpoint; alone, a folder of several.
        after: the other one.
        key: the state_dict to take where a file holds several.
        ignore_tensors: globs over names: tensors that are left out.

    Returns:
        ``{"distance": D, "layers": [{"name", "relative"}]}`` in the order of the first file; of a folder
        ``{"steps": [{"before", "after", "distance", "layers"}]}``, from each checkpoint to the next in training order,
        two in memory at a time.

    Raises:
        InputError: a file that cannot be read, tensors that differ in name or shape, a folder of several beside
            another checkpoint, or alone fewer than two.
    """
    if after is None:
        paths = training_order([Path(before)]).paths
        if len(paths) < 2:
            raise InputError(f"{before}: is one checkpoint; give a second one, or a folder of several")
        return {"steps": _steps(paths, key, ignore_tensors)}
    paths = []
    for path in (Path(before), Path(after)):
        found = training_order([path]).paths
        if len(found) > 1:
            raise InputError(
                f"{path}: holds {len(found)} checkpoints; name one, such as {found[-1]}, or give the folder alone"
            )
        paths += found
    (step,) = _steps(paths, key, ignore_tensors)
    return {name: step[name] for name in ("distance", "layers")}


def _steps(paths: Sequence[Path], key: str | None, ignore: Sequence[str]) -> list[dict[str, Any]]:
    """What lies between neighbours; each file is read once."""
    ignored: set[str] = set()

    def read(path: Path) -> Checkpoint:
        checkpoint = read_checkpoint(path, key=key, ignore=ignore)
        ignored.update(checkpoint.ignored)
        return checkpoint

    steps, first = [], read(paths[0])
    for before, after in pairwise(paths):
        second = read(after)
        steps.append({"before": str(before), "after": str(after), **_between(first, second)})
        first = second
    refuse_unmatched(ignore, ignored)
    return steps


def _between(before: Checkpoint, after: Checkpoint) -> dict[str, Any]:
    first, second = (
        {name: tensor for name, tensor in checkpoint.tensors.items() if tensor.is_floating_point()}
        for checkpoint in (before, after)
    )
    try:
        relative = relative_perturbations(first, renamed_to_fit(second, first))
    except ValueError as error:
        raise InputError(
            f"{before.path} and {after.path}: {error}; `ignore_tensors='GLOB'` leaves out what only one of them has"
        ) from error
    if not relative:
        raise InputError(f"{before.path}: there is no weight matrix in it")
    return {
        "distance": float(deep_relative_trust(list(relative.values()))),
        "layers": [{"name": name, "relative": float(value)} for name, value in relative.items()],
    }
