"""Measure what memory a run takes: ``python -m benchmarks.memory --out memory.json``.

Every case is a process of its own, in which /proc/self/status is read all the time. RssAnon is memory that the process
made, RssFile the pages of mapped files, the data among them; so "the data itself aside" is RssAnon. What counts is the
peak less what was there before the run began (Python, torch, their first small run).
"""

from __future__ import annotations

import argparse
import json
import platform
import subprocess
import sys
import tempfile
import threading
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors.torch import save_file

from probes.checkpoints.checkpoint import write_checkpoint
from probes.data.dataset import load_data
from probes.measures.settings import SliceSettings
from probes.networks.perceptron import Perceptron, PerceptronSpec
from probes.runs.run import measure, versions
from probes.runs.source import Source

_EVERY = 0.002  # seconds between two looks
_ETAS = (0.0, 1e-3, 1e-2)


class Watch:
    """The largest of RssAnon and RssFile while it is open, in bytes."""

    def __init__(self) -> None:
        """Nothing is watched yet."""
        self.peak: dict[str, int] = {}
        self._end = threading.Event()
        self._thread = threading.Thread(target=self._look, daemon=True)

    def _look(self) -> None:
        while not self._end.wait(_EVERY):
            self._note()

    def _note(self) -> None:
        for name, value in resident().items():
            self.peak[name] = max(value, self.peak.get(name, 0))

    def __enter__(self) -> Watch:
        """Begin."""
        self._note()
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        """End."""
        self._end.set()
        self._thread.join()
        self._note()


def resident() -> dict[str, int]:
    """What the process has in memory now: ``RssAnon`` and ``RssFile``; ``VmHWM`` is the largest sum so far."""
    lines = Path("/proc/self/status").read_text("ascii").splitlines()
    pairs = (line.split(":") for line in lines)
    kept = ("RssAnon", "RssFile", "VmHWM")
    return {name: int(value.split()[0]) * 1024 for name, value in pairs if name in kept}


def repeated_digits(path: Path, examples: int) -> None:
    """MNIST's 5,000 pictures again and again, moved by a pixel or two, as a file with x and y."""
    data = load_data("mnist")
    pictures, parts = data.x.view(-1, 28, 28), []
    for turn in range(-(-examples // len(data))):
        moved = torch.roll(
            pictures, shifts=(turn % 5 - 2, turn // 5 % 5 - 2) if turn else (0, 0), dims=(1, 2)
        )
        parts.append(moved.reshape(-1, 784))
    x = torch.cat(parts)[:examples].contiguous()
    y = data.y.repeat(len(parts))[:examples].contiguous()
    save_file({"x": x, "y": y}, path)


def checkpoints(folder: Path, widths: tuple[int, ...]) -> list[str]:
    """Two random networks, the second near the first, of which none moves the other."""
    spec = PerceptronSpec(widths=widths, activation="relu", biases=(True,) * (len(widths) - 1))
    torch.manual_seed(0)
    network = Perceptron(spec)
    files = []
    for step in range(2):
        path = folder / f"step-{step}.safetensors"
        tensors = {name: tensor * (1 + 0.01 * step) for name, tensor in network.state_dict().items()}
        write_checkpoint(path, tensors, {"network": spec.to_json(), "step": step})
        files.append(str(path))
    return files


def measured(case: dict[str, Any]) -> dict[str, Any]:
    """One case, in this process."""
    settings = SliceSettings(
        etas=np.array(_ETAS),
        direction=case["direction"],
        ladder=case["ladder"],
        spectra="weights" if case["ladder"] else "none",
        limit=False,
        split="none",
        spot_check=False,
        samples=case["samples"],
        ascent_steps=2,
        restarts=1,
    )
    source = Source(tuple(case["checkpoints"]), data=case["data"])
    measure(Source(tuple(case["warm_up"]), data=case["data"], examples=50), settings)
    before = resident()
    with Watch() as watch:
        measure(source, settings)
    anonymous = watch.peak["RssAnon"] - before["RssAnon"]
    found = {"peak": watch.peak, "before": before, "anonymous": anonymous}
    return {**found, "copies": anonymous / case["bytes"]}


def fresh(case: dict[str, Any]) -> dict[str, Any]:
    """One case, in a process of its own."""
    command = [sys.executable, "-m", "benchmarks.memory", "--case", json.dumps(case)]
    done = subprocess.run(command, check=True, capture_output=True, text=True)
    found: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return {**{k: v for k, v in case.items() if k not in ("checkpoints", "warm_up", "data")}, **found}


def bytes_of(widths: tuple[int, ...]) -> int:
    """Of the network's parameters in float32."""
    return 4 * sum(rows * (columns + 1) for columns, rows in pairwise(widths))


def growth(folder: Path, sizes: list[int]) -> list[dict[str, Any]]:
    """A shallow and a deep network at several numbers of examples."""
    found = []
    for name, widths in (("2 layers", (784, 784, 10)), ("16 layers", (784, *[256] * 15, 10))):
        place = folder / name.replace(" ", "-")
        place.mkdir()
        files = checkpoints(place, widths)
        for examples in sizes:
            data = folder / f"digits-{examples}.safetensors"
            if not data.is_file():
                repeated_digits(data, examples)
            case = {
                "what": name,
                "examples": examples,
                "direction": "gradient",
                "ladder": True,
                "samples": 200,
            }
            paths = {"checkpoints": files[:1], "warm_up": files[:1], "data": str(data)}
            found.append(fresh({**case, **paths, "bytes": bytes_of(widths)}))
            print(found[-1]["what"], examples, found[-1]["anonymous"] >> 20, "MiB", flush=True)
    return found


def copies(folder: Path, width: int) -> list[dict[str, Any]]:
    """A wide network on few examples: how many times its parameters are in memory."""
    widths = (width,) * 4 + (10,)
    files = checkpoints(folder, widths)
    small = folder / "small"
    small.mkdir()
    warm_up = checkpoints(small, (width, 8, 10))
    data = folder / "few.safetensors"
    torch.manual_seed(0)
    save_file({"x": torch.randn(100, width), "y": torch.arange(100) % 10}, data)
    found = []
    for ladder in (False, True):
        for direction in ("gradient", "noise", "update", "adversarial"):
            count = 2 if direction == "update" else 1
            case = {"what": f"4 layers of {width}", "direction": direction, "ladder": ladder, "samples": 20}
            paths = {"checkpoints": files[:count], "warm_up": warm_up[:count], "data": str(data)}
            found.append(fresh({**case, **paths, "examples": 100, "bytes": bytes_of(widths)}))
            print(
                direction,
                "with" if ladder else "without",
                "ladder",
                f"{found[-1]['copies']:.2f} copies",
                flush=True,
            )
    return found


def main() -> None:
    """Measure all cases, or the one that a fresh process was started for."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--case", help=argparse.SUPPRESS)
    parser.add_argument("--examples", type=int, nargs="+", default=[5000, 60000], help="sizes of the data")
    parser.add_argument("--width", type=int, default=2048, help="of the network whose copies are counted")
    parser.add_argument("--only", choices=("growth", "copies"), help="one of the two parts")
    parser.add_argument("--out", type=Path, help="the JSON file")
    options = parser.parse_args()
    if options.case is not None:
        print(json.dumps(measured(json.loads(options.case))))
        return
    found: dict[str, Any] = {"benchmark": "memory", "what": __doc__, "machine": platform.machine()}
    found |= {"versions": versions(), "threads": torch.get_num_threads()}
    with tempfile.TemporaryDirectory() as folder:
        if options.only != "copies":
            found["growth"] = growth(Path(folder), options.examples)
        if options.only != "growth":
            place = Path(folder) / "wide"
            place.mkdir()
            found["copies"] = copies(place, options.width)
    text = json.dumps(found, indent=1) + "\n"
    if options.out is None:
        print(text)
    else:
        options.out.write_text(text, "utf-8")


if __name__ == "__main__":
    main()
