"""``probe distance``: deep relative trust between two checkpoints, or from each of a folder to the next."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from probes.cli.documents import JSON, print_json
from probes.cli.options import IGNORE, KEY
from probes.cli.tables import WIDE, room
from probes.errors import InputError
from probes.system.terminal import say

if TYPE_CHECKING:
    from probes.checkpoints.checkpoint import Checkpoint


@click.command()
@click.argument("before", type=click.Path(path_type=Path))
@click.argument("after", type=click.Path(path_type=Path), required=False)
@KEY
@IGNORE
@WIDE
@JSON
def distance(
    before: Path,
    after: Path | None,
    key: str | None,
    ignore_tensors: tuple[str, ...],
    wide: bool,
    as_json: bool,
) -> None:
    """Deep relative trust between two checkpoints: in all, and each weight matrix's relative change.

    With a folder of checkpoints alone: from each to the next, in training order.
    """
    from analysis.wording import number
    from probes.cli.tables import plain

    if after is None:
        steps = distances_along(before, key=key, ignore=ignore_tensors)
        if as_json:
            print_json({"steps": steps})
            return
        rows = [["from", "to", "∏(1 + r) − 1", "largest ‖ΔW‖/‖W‖", "of"]]
        for step in steps:
            most = max(step["layers"], key=lambda layer: layer["relative"])
            cells = (number(step["distance"], 6), number(most["relative"]), most["name"])
            rows.append([Path(step["before"]).name, Path(step["after"]).name, *cells])
        say(plain(rows))
        return
    found = distance_between_files(before, after, key=key, ignore=ignore_tensors)
    if as_json:
        print_json(found)
        return
    rows = [["weight matrix", "‖ΔW‖/‖W‖"]]
    rows += [[layer["name"], number(layer["relative"])] for layer in found["layers"]]
    say(plain(rows, room(wide=wide)))
    say(f"deep relative trust ∏(1 + r) − 1 = {number(found['distance'], 6)}")


def distance_between_files(
    before: Path, after: Path, *, key: str | None = None, ignore: Sequence[str] = ()
) -> dict[str, Any]:
    """D(r) between two checkpoints of one architecture, in all and for each weight matrix.

    Returns:
        ``{"distance": D, "layers": [{"name", "relative"}]}`` in the order of the first file.

    Raises:
        InputError: a file that cannot be read, tensors that differ in name or shape, or a folder of several.
    """
    from probes.checkpoints.order import training_order

    paths = []
    for path in (before, after):
        found = training_order([path]).paths
        if len(found) > 1:
            raise InputError(
                f"{path}: holds {len(found)} checkpoints; name one, such as {found[-1]}, or give the folder alone"
            )
        paths += found
    (step,) = _steps(paths, key, ignore)
    return {name: step[name] for name in ("distance", "layers")}


def distances_along(
    folder: Path, *, key: str | None = None, ignore: Sequence[str] = ()
) -> list[dict[str, Any]]:
    """D(r) from each checkpoint of a folder to the next, in training order, two in memory at a time.

    Returns:
        ``{"before", "after", "distance", "layers"}`` for each step.

    Raises:
        InputError: fewer than two checkpoints, or what :func:`distance_between_files` refuses.
    """
    from probes.checkpoints.order import training_order

    paths = training_order([folder]).paths
    if len(paths) < 2:
        raise InputError(f"{folder}: is one checkpoint; give a second one, or a folder of several")
    return _steps(paths, key, ignore)


def _steps(paths: Sequence[Path], key: str | None, ignore: Sequence[str]) -> list[dict[str, Any]]:
    """What lies between neighbours; each file is read once."""
    from probes.checkpoints.checkpoint import read_checkpoint, refuse_unmatched

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
    from probes.checkpoints.state_dict import renamed_to_fit
    from trust.distance import deep_relative_trust, relative_perturbations

    first, second = (
        {name: tensor for name, tensor in checkpoint.tensors.items() if tensor.is_floating_point()}
        for checkpoint in (before, after)
    )
    try:
        relative = relative_perturbations(first, renamed_to_fit(second, first))
    except ValueError as error:
        raise InputError(
            f"{before.path} and {after.path}: {error}; --ignore-tensors GLOB leaves out what only one of them has"
        ) from error
    if not relative:
        raise InputError(f"{before.path}: there is no weight matrix in it")
    return {
        "distance": float(deep_relative_trust(list(relative.values()))),
        "layers": [{"name": name, "relative": float(value)} for name, value in relative.items()],
    }
