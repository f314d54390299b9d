"""``probe layers``: what a network's parameters are and what a run will do with each, before anything runs."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from probes.cli.documents import JSON, print_json
from probes.cli.options import DATA, NETWORK, PERTURB, source_of
from probes.cli.tables import WIDE, room
from probes.system.terminal import say

if TYPE_CHECKING:
    from probes.measures.layers import Layer


@click.command()
@click.argument("checkpoint", type=click.Path())
@NETWORK
@DATA
@PERTURB
@WIDE
@JSON
def layers(
    checkpoint: str, perturb: tuple[str, ...], biases: str, wide: bool, as_json: bool, **options: Any
) -> None:
    """List the parameters of CHECKPOINT in the order of the forward pass, and how probe run will treat each.

    Of a folder of checkpoints it is the last one, in training order.

    With data (--data, or what the checkpoint says) one forward pass of two examples tells the order and what is
    used; without any the order is that of registration.
    """
    from probes.checkpoints.order import training_order
    from probes.runs.layers import layers as found_in

    paths = training_order([Path(checkpoint)]).paths
    source = source_of((str(paths[-1]),), options)
    found = found_in(source, perturb=perturb, biases=biases)
    if as_json:
        print_json([layer.to_json() for layer in found])
        return
    if len(paths) > 1:
        say(f"{paths[-1]}, the last of {len(paths)} checkpoints")
    say(_lines(found, room(wide=wide)))


def _lines(layers: Sequence[Layer], width: int | None) -> str:
    """A table, and what it comes to."""
    from probes.cli.tables import plain
    from probes.measures.layers import PERTURBED

    rows = [["parameter", "shape", "kind", "module", "counts in L", "treatment", "remarks"]]
    for layer in layers:
        shape = " × ".join(map(str, layer.shape)) or "scalar"
        aliases = [f"also {', '.join(layer.aliases)}"] if layer.aliases else []
        remarks = "; ".join([*aliases, *([layer.note] if layer.note else [])])
        counts = "–" if not layer.is_weight else "yes" if layer.uses == 1 else f"{layer.uses} times"
        rows.append([layer.reported, shape, layer.kind, layer.owner_type, counts, layer.treatment, remarks])
    moving = [layer for layer in layers if layer.treatment == PERTURBED]
    weights = [layer for layer in layers if layer.is_weight]
    uses = sum(layer.uses for layer in weights)
    depth = (
        f"{len(weights)} weight matrices"
        if uses == len(weights)
        else f"{uses} uses of {len(weights)} weight matrices"
    )
    lines = [
        plain(rows, width, spare=("module", "remarks", "kind")),
        f"{len(moving)} of {len(layers)} parameters are perturbed; L = {depth},"
        f" {sum(layer.is_weight for layer in moving)} of them perturbed",
    ]
    if any(layer.used is None for layer in layers):
        lines.append(
            "order of registration, and unused parameters are not known: add --data for the forward pass's"
        )
    return "\n".join(lines)
