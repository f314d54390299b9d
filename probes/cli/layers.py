"""``probe layers``: what a network's parameters are and what a run will do with each, before anything runs."""

from __future__ import annotations

from collections.abc import Sequence

import torch

from probes.cli import tables
from probes.errors import InputError
from probes.evaluation.evaluator import Evaluator
from probes.evaluation.frozen_state import probing
from probes.measures.layers import PERTURBED, Layer, find_layers, treated
from probes.runs.source import Source, data_spec, read_data, read_networks

__all__ = ["list_layers", "listing_lines"]


def list_layers(source: Source, *, perturb: tuple[str, ...] = ("*",), biases: str = "move") -> list[Layer]:
    """The parameters of a checkpoint's network, in forward order where there is data to pass through it.

    Args:
        source: one checkpoint and, where that does not say it, its network and data.
        perturb: as for a run.
        biases: as for a run.

    Raises:
        InputError: anything given that cannot be used.
    """
    networks, order = read_networks(source)
    path = order.paths[0]
    if len(networks) > 1:
        raise InputError(
            f"{source.checkpoints[0]}: holds {len(networks)} checkpoints; name one, such as {path}"
        )
    frozen = networks.load(0)
    network, names = frozen.network, frozen.names
    if data_spec(source, frozen, path) is None:
        return treated(find_layers(network, reported=names), perturb=perturb, biases=biases)
    data, loss = read_data(source, frozen, path)
    with probing(network):
        evaluator = Evaluator(network, data.batches[:2], None, loss.function, dtype=torch.float64, chunk=2)
        found = find_layers(network, evaluator, names)
    return treated(found, perturb=perturb, biases=biases)


def listing_lines(layers: Sequence[Layer]) -> str:
    """A table, and what it comes to."""
    heading = ["parameter", "shape", "kind", "module", "counts in L", "treatment", "remarks"]
    rows = [heading]
    for layer in layers:
        shape = " × ".join(map(str, layer.shape)) or "scalar"
        aliases = [f"also {', '.join(layer.aliases)}"] if layer.aliases else []
        remarks = "; ".join([*aliases, *([layer.note] if layer.note else [])])
        counts = "yes" if layer.is_weight else "–"
        rows.append([layer.reported, shape, layer.kind, layer.owner_type, counts, layer.treatment, remarks])
    moving = [layer for layer in layers if layer.treatment == PERTURBED]
    weights = sum(layer.is_weight for layer in layers)
    lines = [
        tables.plain(rows),
        f"{len(moving)} of {len(layers)} parameters are perturbed; L = {weights} weight matrices,"
        f" {sum(layer.is_weight for layer in moving)} of them perturbed",
    ]
    if any(layer.used is None for layer in layers):
        lines.append(
            "order of registration, and unused parameters are not known: add --data for the forward pass's"
        )
    return "\n".join(lines)
