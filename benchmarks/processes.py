"""Time a slice that processes measure together beside the same by one of them, in turn, and what more would take.

``OMP_NUM_THREADS=1 torchrun --nproc-per-node=2 -m benchmarks.processes --out processes.json``
"""

from __future__ import annotations

import argparse
import json
import statistics
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch

from benchmarks.machine import machine
from benchmarks.timing import alternate
from probes.data.dataset import load_data
from probes.measures.settings import SliceSettings
from probes.networks.perceptron import Perceptron, PerceptronSpec
from probes.runs.run import versions
from probes.slices.slice import measure_slice
from probes.system.processes import ALONE, Share, from_environment


def processes(share: Share, *, width: int, points: int, repeats: int) -> dict[str, Any]:
    """Losses and gradients of a 16-layer perceptron on 5,000 images, by one process and by several of one thread."""
    data = load_data("mnist")
    torch.manual_seed(0)
    spec = PerceptronSpec(widths=(784, *[width] * 15, 10), activation="relu", biases=(True,) * 16)
    network = Perceptron(spec)
    etas = np.concatenate([[0.0], np.geomspace(1e-4, 0.5, points)])
    settings = SliceSettings(
        etas=etas, spectra="none", ladder=False, curvature=None, limit=False, split="none", spot_check=False
    )
    busy: dict[str, list[float]] = {}

    def run(name: str, used: Share) -> Callable[[], object]:
        def once() -> None:
            begin = time.process_time()
            if used.rank == share.rank:  # with one at work the others wait, which costs no processor
                measure_slice(network, data.x, data.y, settings=settings, share=used)
            busy.setdefault(name, []).append(time.process_time() - begin)
            share.wait()

        return once

    several = f"{share.size} processes"
    alternatives = {"one process": run("one process", ALONE), several: run(several, share)}
    found = alternate(alternatives, baseline="one process", repeats=repeats)
    parameters = [tensor.detach().clone() for tensor in network.parameters()]
    sums = {
        "nothing": _summing(share, [torch.zeros(1)], repeats),
        "gradients": _summing(share, parameters, repeats),
    }
    found |= {"processor_seconds_of_the_first": busy, "seconds_of_a_sum": sums}
    if share.size > 1:
        own = {name: statistics.median(times[1:]) for name, times in busy.items()}  # the first warms up
        found["model"] = modelled(
            own["one process"], own[several], share.size, sums, sums_needed=len(etas) + 1
        )
    return found


def _summing(share: Share, tensors: list[torch.Tensor], repeats: int) -> float:
    """Median seconds of a sum over all processes."""
    times = []
    for _ in range(3 * repeats):
        share.wait()
        begin = time.perf_counter()
        share.sum_(tensors)
        times.append(time.perf_counter() - begin)
    return statistics.median(times)


def modelled(
    alone: float, shared: float, size: int, sums: dict[str, float], *, sums_needed: int
) -> dict[str, Any]:
    """The time of more processes over that of one, were each on a core of its own.

    What all repeat, R, is what is left of ``shared`` = R + (``alone`` − R) / size. A sum round a ring of p processes
    takes 2 (p − 1) messages of a p-th of the gradients each, one after the other.

    Args:
        alone: seconds of work of one process.
        shared: of the first of ``size`` processes.
        size: their number.
        sums: seconds of a sum of ``nothing`` and of the ``gradients`` among them.
        sums_needed: how many sums of gradients a slice takes.
    """
    repeated = max((size * shared - alone) / (size - 1), 0.0)
    messages = 2 * (size - 1)
    latency = sums["nothing"] / messages
    transfer = max(sums["gradients"] - sums["nothing"], 0.0) * size / messages  # of all gradients once

    def seconds(p: int) -> float:
        ring = 2 * (p - 1) * (latency + transfer / p)
        return repeated + (alone - repeated) / p + sums_needed * ring

    shares = {str(p): seconds(p) / alone for p in (1, 2, 4, 8, 16, 32, 64)}
    return {"repeated": repeated / alone, "latency": latency, "transfer": transfer, "ratio": shares}


def main() -> None:
    """Measure, and write the JSON that ``benchmarks.report`` reads."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--width", type=int, default=784, help="units in each hidden layer (default 784)")
    parser.add_argument("--points", type=int, default=20, help="perturbation strengths (default 20)")
    parser.add_argument("--repeats", type=int, default=5, help="turns that are timed (default 5)")
    parser.add_argument("--out", type=Path, required=True, help="the JSON file")
    options = parser.parse_args()
    with from_environment(say=print) as share:
        shape = {"width": options.width, "points": options.points}
        found = processes(share, repeats=options.repeats, **shape)
    found |= {
        "benchmark": "processes",
        "what": processes.__doc__,
        **shape,
        "processes": share.size,
        "machine": machine(),
        "versions": versions(),
    }
    if share.rank == 0:
        options.out.write_text(json.dumps(found, indent=1) + "\n", "utf-8")


if __name__ == "__main__":
    main()
