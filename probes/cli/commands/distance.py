"""``probe distance``: deep relative trust between two checkpoints."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import click

from probes.cli.documents import JSON, print_json
from probes.cli.options import IGNORE, KEY
from probes.errors import InputError
from probes.system.terminal import say


@click.command()
@click.argument("before", type=click.Path(path_type=Path))
@click.argument("after", type=click.Path(path_type=Path))
@KEY
@IGNORE
@JSON
def distance(
    before: Path, after: Path, key: str | None, ignore_tensors: tuple[str, ...], as_json: bool
) -> None:
    """Deep relative trust between two checkpoints: in all, and each weight matrix's relative change."""
    from analysis.wording import number
    from probes.cli.tables import plain

    found = distance_between_files(before, after, key=key, ignore=ignore_tensors)
    if as_json:
        print_json(found)
        return
    rows = [["weight matrix", "‖ΔW‖/‖W‖"]]
    rows += [[layer["name"], number(layer["relative"])] for layer in found["layers"]]
    say(plain(rows))
    say(f"deep relative trust ∏(1 + r) − 1 = {number(found['distance'], 6)}")


def distance_between_files(
    before: Path, after: Path, *, key: str | None = None, ignore: Sequence[str] = ()
) -> dict[str, Any]:
    """D(r) between two checkpoints of one architecture, in all and for each weight matrix.

    Returns:
        ``{"distance": D, "layers": [{"name", "relative"}]}`` in the order of the first file.

    Raises:
        InputError: a file that cannot be read, or tensors that differ in name or shape.
    """
    from probes.checkpoints.checkpoint import read_checkpoint, refuse_unmatched
    from probes.checkpoints.state_dict import renamed_to_fit
    from trust.distance import deep_relative_trust, relative_perturbations

    checkpoints = [read_checkpoint(path, key=key, ignore=ignore) for path in (before, after)]
    refuse_unmatched(ignore, [name for checkpoint in checkpoints for name in checkpoint.ignored])
    first, second = (
        {name: tensor for name, tensor in checkpoint.tensors.items() if tensor.is_floating_point()}
        for checkpoint in checkpoints
    )
    try:
        relative = relative_perturbations(first, renamed_to_fit(second, first))
    except ValueError as error:
        raise InputError(
            f"{before} and {after}: {error}; --ignore-tensors GLOB leaves out what only one of them has"
        ) from error
    if not relative:
        raise InputError(f"{before}: there is no weight matrix in it")
    return {
        "distance": float(deep_relative_trust(list(relative.values()))),
        "layers": [{"name": name, "relative": float(value)} for name, value in relative.items()],
    }
