"""How a slice's time grows with width, depth, examples and η, beside its count of operations.

``python -m benchmarks.scaling --out scaling.json --plot scaling.png``
"""

from __future__ import annotations

import argparse
import json
import statistics
import time
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from matplotlib.figure import Figure

from benchmarks.cases import grid, perceptron
from benchmarks.machine import machine
from benchmarks.roofline import counted
from figures import style
from probes.measures.settings import SliceSettings
from probes.runs.run import versions
from probes.slices.slice import measure_slice

__all__ = ["SWEEPS", "Size", "draw", "exponent", "sweep"]

_FITTED = 4
"""The largest sizes: below them what does not grow takes much of the time."""
_INPUTS = 784


@dataclass(frozen=True)
class Size:
    """A slice: a perceptron's, of so many layers of one width, for so many examples and η."""

    width: int = 256
    depth: int = 4
    examples: int = 1000
    etas: int = 11


@dataclass(frozen=True)
class Sweep:
    """One of a size's numbers takes several values, and the rest stays as it is."""

    size: Size
    values: tuple[int, ...]
    most_whole: int
    """The largest at which all that a run measures by default is timed too."""


SWEEPS = {
    "width": Sweep(Size(depth=3, etas=5), (64, 128, 256, 512, 1024, 2048, 4096), 2048),
    "depth": Sweep(Size(), (2, 4, 8, 16, 32, 64), 64),
    "examples": Sweep(Size(), (500, 1000, 2000, 4000, 8000, 16000, 32000), 32000),
    "etas": Sweep(Size(), (6, 11, 21, 41, 81, 161, 321), 321),
}


def sweep(axis: str, repeats: int, values: Sequence[int] | None = None) -> dict[str, Any]:
    """Time the slice alone and everything at each value, and count the slice's operations."""
    plan = SWEEPS[axis]
    found: dict[str, Any] = {"axis": axis, **vars(plan.size)}
    found |= {"values": [], "operations": [], "seconds": {"slice": [], "all by default": []}}
    for value in values or plan.values:
        network, x, y, alone, whole = _made(replace(plan.size, **{axis: value}))
        _, operations = counted(lambda: measure_slice(network, x, y, settings=alone))  # noqa: B023
        found["values"].append(value)
        found["operations"].append(operations)
        for name, settings in (("slice", alone), ("all by default", whole)):
            if name == "slice" or value <= plan.most_whole:
                times = []
                for _ in range(repeats):
                    begin = time.perf_counter()
                    measure_slice(network, x, y, settings=settings)
                    times.append(time.perf_counter() - begin)
                found["seconds"][name].append(times)
    counts = dict(zip(found["values"], found["operations"], strict=True))
    found["exponents"] = {"operations": exponent(list(counts), list(counts.values()))}
    for name, times in found["seconds"].items():
        medians = [statistics.median(one) for one in times]
        found["exponents"][name] = exponent(found["values"][: len(medians)], medians)
    return found


def _made(size: Size) -> tuple[torch.nn.Module, torch.Tensor, torch.Tensor, SliceSettings, SliceSettings]:
    generator = torch.Generator().manual_seed(0)
    x = torch.rand(size.examples, _INPUTS, generator=generator)
    y = torch.arange(size.examples) % 10
    case = perceptron(size.depth, x, y, width=size.width)
    case = replace(case, etas=grid(size.etas))
    return case.network, x, y, case.core(), SliceSettings(etas=case.etas, chunk=case.chunk)


def exponent(values: Sequence[float], numbers: Sequence[float]) -> float:
    """The slope of log numbers in log values, by least squares over the largest of them."""
    pair = np.log(values[-_FITTED:]), np.log(numbers[-_FITTED:])
    return float(np.polynomial.Polynomial.fit(*pair, 1).convert().coef[1])


def draw(found: dict[str, Any]) -> Figure:
    """One panel an axis, on log axes; grey: the operations, scaled to end where the slice does."""
    labels = {"width": "width", "depth": "layers", "examples": "examples", "etas": "η"}
    with style.context():
        figure = Figure(figsize=(2 * style.COLUMN_WIDTH, style.COLUMN_WIDTH), layout="constrained")
        axes = figure.subplots(1, len(found["cases"]), sharey=True, squeeze=False)[0]
        for case, ax in zip(found["cases"], axes, strict=True):
            colors = style.category_colors(list(case["seconds"]))
            last = statistics.median(case["seconds"]["slice"][-1])
            counts = np.array(case["operations"]) * (last / case["operations"][-1])
            slope = case["exponents"]["operations"]
            ax.plot(case["values"], counts, color="0.6", linestyle="--", label=f"operations: {slope:.2f}")
            for name, times in case["seconds"].items():
                medians = [statistics.median(one) for one in times]
                span = [[min(one) for one in times], [max(one) for one in times]]
                values = case["values"][: len(medians)]
                label = f"{name}: {case['exponents'][name]:.2f}"
                ax.plot(values, medians, color=colors[name], marker="o", markersize=3, label=label)
                ax.fill_between(values, *span, color=colors[name], alpha=0.2, linewidth=0)
            ax.set_xscale("log", base=2)
            ax.set_yscale("log")
            ax.set_xlabel(labels[case["axis"]])
            look = {"fontsize": 6, "title_fontsize": 6, "alignment": "left"}
            ax.legend(title="exponents", loc="lower left", bbox_to_anchor=(0.0, 1.0), **look)
        axes[0].set_ylabel("seconds")
    return figure


def main(arguments: Sequence[str] | None = None) -> None:
    """Measure, write the JSON, and draw it."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--repeats", type=int, default=3, help="times each is measured (default 3)")
    parser.add_argument("--out", type=Path, required=True, help="the JSON file")
    parser.add_argument("--plot", type=Path, help="a .png of it")
    options = parser.parse_args(arguments)
    found = {
        "benchmark": "scaling",
        "what": " ".join((__doc__ or "").split("``")[0].split()),
        "machine": machine(),
        "versions": versions(),
        "cases": [sweep(axis, options.repeats) for axis in SWEEPS],
    }
    options.out.write_text(json.dumps(found, indent=1, ensure_ascii=False) + "\n", "utf-8")
    for case in found["cases"]:
        print(case["axis"], {name: round(value, 2) for name, value in case["exponents"].items()})
    if options.plot is not None:
        draw(found).savefig(options.plot, dpi=200)


if __name__ == "__main__":
    main()
