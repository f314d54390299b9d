"""Time a benchmark, or all, and write JSON.

``python -m benchmarks.measure slices --out slices.json`` or ``python -m benchmarks.measure all --out FOLDER``.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from benchmarks.curvature import curvature
from benchmarks.gradients import gradients
from benchmarks.jacobians import jacobians
from benchmarks.ladder import ladder
from benchmarks.limits import limits
from benchmarks.loss_curves import loss_curves
from benchmarks.machine import machine
from benchmarks.monitor import monitor
from benchmarks.pages import pages
from benchmarks.peers import peers_versions
from benchmarks.playground import playground
from benchmarks.slices import slices
from probes.runs.run import versions

__all__ = ["BENCHMARKS", "described"]

BENCHMARKS: dict[str, Callable[[int], list[dict[str, Any]]]] = {
    "slices": slices,
    "gradients": gradients,
    "loss-curves": loss_curves,
    "limits": limits,
    "jacobians": jacobians,
    "ladder": ladder,
    "curvature": curvature,
    "pages": pages,
    "playground": playground,
    "monitor": monitor,
}


def described(name: str, cases: list[dict[str, Any]]) -> dict[str, Any]:
    """A benchmark's JSON."""
    return {
        "benchmark": name,
        "what": " ".join((BENCHMARKS[name].__doc__ or "").split()),
        "machine": machine(),
        "versions": versions(),
        "peers": peers_versions(),
        "cases": cases,
    }


def main(arguments: Sequence[str] | None = None) -> None:
    """Measure what was asked for."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("benchmark", choices=[*BENCHMARKS, "all"])
    parser.add_argument("--repeats", type=int, default=3, help="turns that are timed (default 3)")
    parser.add_argument("--out", type=Path, required=True, help="the JSON file; for all, a folder of them")
    options = parser.parse_args(arguments)
    if options.repeats < 1:
        parser.error("--repeats: must be at least 1")
    every = options.benchmark == "all"
    folder = options.out if every else options.out.parent
    folder.mkdir(parents=True, exist_ok=True)
    for name in BENCHMARKS if every else [options.benchmark]:
        begin = time.perf_counter()
        found = described(name, BENCHMARKS[name](options.repeats))
        path = folder / f"{name}.json" if every else options.out
        path.write_text(json.dumps(found, indent=1, ensure_ascii=False) + "\n", "utf-8")
        print(f"{path}: {time.perf_counter() - begin:.0f} s", file=sys.stderr)


if __name__ == "__main__":
    main()
