"""Time a run by two processes of one thread beside the same by one: ``python -m benchmarks.processes --out FILE``."""

from __future__ import annotations

import argparse
import json
import os
import platform
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch

from benchmarks.timing import alternate
from probes.checkpoints import write_checkpoint
from probes.networks import Perceptron, PerceptronSpec
from probes.runs import versions

_CORE = ["--spectra", "none", "--no-ladder", "--no-curvature", "--no-limit", "--device", "cpu"]


def processes(folder: Path, *, width: int, points: int, repeats: int) -> dict[str, Any]:
    """The core measurement of a 16-layer perceptron on 5,000 images by the command, start-up and reading included."""
    torch.manual_seed(0)
    spec = PerceptronSpec(widths=(784, *[width] * 15, 10), activation="relu", biases=(True,) * 16)
    network = folder / "network.safetensors"
    write_checkpoint(network, Perceptron(spec).state_dict(), {"network": spec.to_json()})
    etas = ",".join(f"{0.5 * (k + 1) / points:.6f}" for k in range(points))
    arguments = ["probes", "run", str(network), "--data", "mnist", "--etas", etas, *_CORE]

    def run(start: list[str]) -> Callable[[], object]:
        def once() -> None:
            out = folder / "results"
            shutil.rmtree(out, ignore_errors=True)
            command = [sys.executable, *start, *arguments, "--out", str(out)]
            environment = {**os.environ, "OMP_NUM_THREADS": "1"}
            subprocess.run(command, env=environment, check=True, capture_output=True)

        return once

    alternatives = {
        "one process": run(["-m"]),
        "two processes": run(["-m", "torch.distributed.run", "--nproc-per-node=2", "-m"]),
    }
    return alternate(alternatives, baseline="one process", repeats=repeats)


def main() -> None:
    """Measure and write the JSON that ``benchmarks.report`` reads."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--width", type=int, default=784, help="units in each hidden layer (default 784)")
    parser.add_argument("--points", type=int, default=20, help="perturbation strengths (default 20)")
    parser.add_argument("--repeats", type=int, default=5, help="turns that are timed (default 5)")
    parser.add_argument("--out", type=Path, required=True, help="the JSON file")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        found = processes(Path(folder), width=options.width, points=options.points, repeats=options.repeats)
    found |= {
        "benchmark": "processes",
        "what": processes.__doc__,
        "width": options.width,
        "points": options.points,
        "threads": 1,
        "machine": platform.machine(),
        "versions": versions(),
    }
    options.out.write_text(json.dumps(found, indent=1) + "\n", "utf-8")


if __name__ == "__main__":
    main()
