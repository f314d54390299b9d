"""Time a benchmark and write its JSON: ``python -m benchmarks.measure ladder --out ladder.json``."""

from __future__ import annotations

import argparse
import json
import platform
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch

from benchmarks.timing import alternate
from probes.data import load_data
from probes.networks import Perceptron, PerceptronSpec
from probes.runs import versions
from probes.slices import SliceSettings, measure_slice


def ladder(repeats: int) -> dict[str, Any]:
    """The slice of the quick 16-layer network with everything that the ladder needs, against the slice without."""
    data = load_data("mnist")
    torch.manual_seed(0)
    spec = PerceptronSpec(widths=(784, *[256] * 15, 10), activation="relu", biases=(True,) * 16)
    network = Perceptron(spec)
    etas = np.concatenate([[0.0], np.geomspace(1e-4, 0.5, 16)])
    without = SliceSettings(etas=etas, jacobian=8, curvature=False, chunk=5000, ladder=False)

    def run(settings: SliceSettings) -> Callable[[], object]:
        return lambda: measure_slice(network, data.x, data.y, settings=settings)

    alternatives = {"slice": run(without), "slice and ladder": run(replace(without, ladder=True))}
    return alternate(alternatives, baseline="slice", repeats=repeats)


BENCHMARKS: dict[str, Callable[[int], dict[str, Any]]] = {"ladder": ladder}


def main() -> None:
    """Measure what was asked for."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("benchmark", choices=BENCHMARKS)
    parser.add_argument("--repeats", type=int, default=5, help="turns that are timed (default 5)")
    parser.add_argument("--out", type=Path, required=True, help="the JSON file")
    options = parser.parse_args()
    found = BENCHMARKS[options.benchmark](options.repeats)
    found |= {
        "benchmark": options.benchmark,
        "what": BENCHMARKS[options.benchmark].__doc__,
        "threads": torch.get_num_threads(),
        "machine": platform.machine(),
        "versions": versions(),
    }
    options.out.write_text(json.dumps(found, indent=1) + "\n", "utf-8")


if __name__ == "__main__":
    main()
