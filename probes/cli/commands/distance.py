"""``probe distance``: deep relative trust between two checkpoints."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from probes.cli.documents import JSON, print_json
from probes.cli.tables import WIDE, room
from probes.errors import InputError


@click.command()
@click.argument("before", type=click.Path(path_type=Path))
@click.argument("after", type=click.Path(path_type=Path))
@click.option("--key", help="Which state_dict to take where a file holds several.")
@WIDE
@JSON
def distance(before: Path, after: Path, key: str | None, wide: bool, as_json: bool) -> None:
    """Deep relative trust between two checkpoints: in all, and each weight matrix's relative change."""
    from analysis.wording import number
    from probes.cli.tables import plain

    found = distance_between_files(before, after, key=key)
    if as_json:
        print_json(found)
        return
    rows = [["weight matrix", "‖ΔW‖/‖W‖"]]
    rows += [[layer["name"], number(layer["relative"])] for layer in found["layers"]]
    click.echo(plain(rows, room(wide=wide)))
    click.echo(f"deep relative trust ∏(1 + r) − 1 = {number(found['distance'], 6)}")


def distance_between_files(before: Path, after: Path, *, key: str | None = None) -> dict[str, Any]:
    """D(r) between two checkpoints of one architecture, in all and for each weight matrix.

    Returns:
        ``{"distance": D, "layers": [{"name", "relative"}]}`` in the order of the first file.

    Raises:
        InputError: a file that cannot be read, or tensors that differ in name or shape.
    """
    from probes.checkpoints.checkpoint import read_checkpoint
    from trust.distance import deep_relative_trust, relative_perturbations

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
