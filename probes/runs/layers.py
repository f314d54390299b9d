"""What a checkpoint's parameters are, and what a run does with each."""

from __future__ import annotations

from collections.abc import Sequence

import torch

from probes.evaluation.evaluator import Evaluator
from probes.evaluation.frozen_state import probing
from probes.measures.layers import Layer, find_layers, treated
from probes.runs.source import Paths, Source, data_spec, read_data, read_networks
from probes.system.terminal import say

__all__ = ["layers"]


def layers(
    source: Source | Paths, *, perturb: str | Sequence[str] = ("*",), biases: str = "move"
) -> list[Layer]:
    """The parameters of the last checkpoint's network, in forward order where there is data to pass through it.

    Args:
        source: checkpoints, or with their network and data.
        perturb: as :class:`probes.SliceSettings` takes it.
        biases: likewise.

    Raises:
        InputError: anything given that cannot be used.
    """
    globs = (perturb,) if isinstance(perturb, str) else tuple(perturb)
    return treated(_found(Source.of(source)), perturb=globs, biases=biases)


def _found(source: Source) -> list[Layer]:
    networks, order = read_networks(source)
    if (said := networks.conversion()) is not None:
        say(f"probe: {said}", err=True)
    path, frozen = order.paths[-1], networks.load(len(networks) - 1)
    network, names = frozen.network, frozen.names
    if data_spec(source, frozen, path) is None:
        return find_layers(network, reported=names)
    data, loss = read_data(source, frozen, path)
    with probing(network):
        evaluator = Evaluator(network, data.batches[:2], None, loss.function, dtype=torch.float64, chunk=2)
        return find_layers(network, evaluator, names)
