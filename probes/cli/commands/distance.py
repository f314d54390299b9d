"""``probe distance``: deep relative trust between two checkpoints, or from each of a folder to the next."""

from __future__ import annotations

from collections.abc import Mapping
from itertools import pairwise
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from probes.cli.documents import JSON, print_json
from probes.errors import InputError

if TYPE_CHECKING:
    from torch import Tensor


@click.command()
@click.argument("before", type=click.Path(path_type=Path))
@click.argument("after", type=click.Path(path_type=Path), required=False)
@click.option("--key", help="Which state_dict to take where a file holds several.")
@JSON
def distance(before: Path, after: Path | None, key: str | None, as_json: bool) -> None:
    """Deep relative trust between two checkpoints: in all, and each weight matrix's relative change.

    With a folder of checkpoints alone: from each to the next, in training order.
    """
    from analysis.wording import number
    from probes.cli.tables import plain

    if after is None:
        steps = distances_along(before, key=key)
        if as_json:
            print_json({"steps": steps})
            return
        rows = [["from", "to", "∏(1 + r) − 1", "largest ‖ΔW‖/‖W‖", "of"]]
        for step in steps:
            most = max(step["layers"], key=lambda layer: layer["relative"])
            cells = (number(step["distance"], 6), number(most["relative"]), most["name"])
            rows.append([Path(step["before"]).name, Path(step["after"]).name, *cells])
        click.echo(plain(rows))
        return
    found = distance_between_files(before, after, key=key)
    if as_json:
        print_json(found)
        return
    rows = [["weight matrix", "‖ΔW‖/‖W‖"]]
    rows += [[layer["name"], number(layer["relative"])] for layer in found["layers"]]
    click.echo(plain(rows))
    click.echo(f"deep relative trust ∏(1 + r) − 1 = {number(found['distance'], 6)}")


def distance_between_files(before: Path, after: Path, *, key: str | None = None) -> dict[str, Any]:
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
    return _between(paths[0], _tensors(paths[0], key), paths[1], _tensors(paths[1], key))


def distances_along(folder: Path, *, key: str | None = None) -> list[dict[str, Any]]:
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
    steps, first = [], _tensors(paths[0], key)
    for before, after in pairwise(paths):
        second = _tensors(after, key)
        steps.append({"before": str(before), "after": str(after), **_between(before, first, after, second)})
        first = second
    return steps


def _tensors(path: Path, key: str | None) -> dict[str, Tensor]:
    from probes.checkpoints.checkpoint import read_checkpoint

    tensors = read_checkpoint(path, key=key).tensors
    return {name: tensor for name, tensor in tensors.items() if tensor.is_floating_point()}


def _between(
    before: Path, first: Mapping[str, Tensor], after: Path, second: Mapping[str, Tensor]
) -> dict[str, Any]:
    from trust.distance import deep_relative_trust, relative_perturbations

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
