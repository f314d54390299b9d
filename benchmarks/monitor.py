"""What the monitor costs a training."""

from __future__ import annotations

import tempfile
import time
from collections.abc import Sequence
from itertools import pairwise
from pathlib import Path
from typing import Any

import torch
from torch import nn

from benchmarks.timing import Pair
from probes import Monitor, read_log
from probes.data.mnist import embedded_mnist

__all__ = ["compare", "monitor"]

_PLAIN, _WATCHED = "training alone", "with the monitor"
_HELD, _BATCH = 500, 250


def monitor(repeats: int) -> list[dict[str, Any]]:
    """A training with the monitor as it is by default, and 500 examples held, beside the same training alone.

    Seconds of the processor, of all threads, so that other processes on the machine change little; meant to be within
    5 %. The monitor's own word on its cost, and how many records it made, stand beside them.
    """
    return [
        compare(repeats, widths=(784, 256, 256, 10), steps=6000),
        compare(repeats, widths=(784, 1024, 1024, 1024, 10), steps=700),
    ]


def compare(repeats: int, *, widths: Sequence[int], steps: int) -> dict[str, Any]:
    """Train a perceptron by SGD in turn with and without.

    Args:
        repeats: turns.
        widths: of its layers, inputs and outputs among them.
        steps: of 250 examples each.
    """
    images, labels = embedded_mnist()
    x, y = torch.as_tensor(images).flatten(1).float(), torch.as_tensor(labels)
    seconds: dict[str, list[float]] = {_PLAIN: [], _WATCHED: []}
    told: dict[str, list[float]] = {
        "cost by its own clock": [],
        "records of updates": [],
        "of step limits": [],
    }
    with tempfile.TemporaryDirectory() as folder:
        _trained(widths, x, y, min(steps, 20), None)  # what is loaded and settled once
        for turn in range(repeats):
            log = Path(folder) / f"{turn}.jsonl"
            seconds[_PLAIN].append(_trained(widths, x, y, steps, None))
            seconds[_WATCHED].append(_trained(widths, x, y, steps, log))
            found = read_log(log)
            told["cost by its own clock"].append(float(found.attrs["cost"]))
            told["records of updates"].append(float(found.sizes["step"]))
            told["of step limits"].append(float(found.sizes["limit_step"]))
    shape = "–".join(map(str, widths))
    return {
        "case": f"{shape}, {steps} steps of {_BATCH}",
        "seconds": seconds,
        "compared": [Pair(_WATCHED, _PLAIN, 1.05).compared(seconds)],
        "told": told,
    }


def _trained(widths: Sequence[int], x: torch.Tensor, y: torch.Tensor, steps: int, log: Path | None) -> float:
    """Seconds of the loop alone."""
    torch.manual_seed(0)
    layers: list[nn.Module] = []
    for inputs, outputs in pairwise(widths):
        layers += [nn.Linear(inputs, outputs), nn.ReLU()]
    network = nn.Sequential(*layers[:-1])
    optimizer = torch.optim.SGD(network.parameters(), lr=0.05)
    watching = None if log is None else Monitor(network, log=log, held=(x[:_HELD], y[:_HELD]))
    begin = time.process_time()
    for _ in range(steps):
        rows = torch.randint(_HELD, len(x), (_BATCH,))
        optimizer.zero_grad()
        nn.functional.cross_entropy(network(x[rows]), y[rows]).backward()
        optimizer.step()
        if watching is not None:
            watching.step()
    spent = time.process_time() - begin
    if watching is not None:
        watching.close()
    return spent
