"""Time a slice that processes measure together beside the same by one of them, in turn.

``OMP_NUM_THREADS=1 torchrun --nproc-per-node=2 -m benchmarks.processes --out processes.json``
"""

from __future__ import annotations

import argparse
import json
import platform
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch

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
        etas=etas, spectra="none", ladder=False, curvature=False, limit=False, split="none", spot_check=False
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
    return {**found, "processor_seconds_of_the_first": busy}


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
        "threads": torch.get_num_threads(),
        "machine": platform.machine(),
        "versions": versions(),
    }
    if share.rank == 0:
        options.out.write_text(json.dumps(found, indent=1) + "\n", "utf-8")


if __name__ == "__main__":
    main()
