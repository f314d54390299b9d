"""How near the predicted step limit comes to the measured one, and what each costs, over trained networks.

``python -m benchmarks.step_limits --out step-limits.json`` trains perceptrons of 2, 6 and 16 layers of several kinds
and the reference networks, with several seeds, and takes both limits at checkpoints from initialisation on. Beside
them the search of critical sharpness (arXiv 2601.16979), losses alone: doubling or halving from a first guess, then
bisection. A checkpoint counts as trained after as many steps as :data:`TRAINED` says.
"""

from __future__ import annotations

import argparse
import itertools
import json
import math
import statistics
import sys
import tempfile
import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from benchmarks.measure import machine
from probes.data.dataset import load_data
from probes.measures.etas import parse_etas
from probes.measures.measure import Found, Measure
from probes.measures.settings import SliceSettings
from probes.networks.named import NAMED
from probes.networks.perceptron import PerceptronSpec
from probes.networks.specs import NetworkSpec
from probes.runs.run import measure, versions
from probes.runs.source import Source
from probes.runs.training import TrainingSettings, train
from trust import measurements as variables
from trust.measurements import Variable

__all__ = ["Case", "CriticalSharpness", "bisected", "cases", "summary"]

TRAINED = 80
"""Steps of a batch of 250 (or of all examples, if fewer) after which a checkpoint counts as trained."""
_FACTOR = 1.25
_OVER = 1.01
_FIRST_GUESS = 1e-3
_GRADIENT = 3.0  # a gradient is worth that many losses: forwards, and backwards twice that
_CRITICAL = Variable(
    "critical_limit", ("checkpoint",), "the step limit by bisection", measure="critical-sharpness"
)
_CRITICAL_LOSSES = Variable(
    "critical_losses", ("checkpoint",), "losses that it took", measure="critical-sharpness"
)


def bisected(
    loss: Callable[[float], float], start: float, guess: float, *, within: float = 1.1
) -> tuple[float, int]:
    """The η of critical sharpness: doubled or halved from a guess to a bracket, bisected until it is narrow.

    Returns:
        The lower end of the bracket, and how many losses were evaluated; NaN where none was found in 40.
    """
    count = 0

    def rises(eta: float) -> bool:
        nonlocal count
        count += 1
        return not loss(eta) < start

    low = high = guess
    if rises(guess):
        while rises(low := low / 2):
            if count >= 40:
                return math.nan, count
            high = low
    else:
        while not rises(high := high * 2):
            if count >= 40:
                return math.nan, count
            low = high
    while high > within * low:
        middle = math.sqrt(low * high)
        low, high = (low, middle) if rises(middle) else (middle, high)
    return low, count


class CriticalSharpness(Measure):
    """What losses alone tell: the reciprocal of critical sharpness but for a factor of 2, in relative units."""

    name = "critical-sharpness"
    finds = (_CRITICAL, _CRITICAL_LOSSES)

    def found(self, others: Found) -> Found:
        """Search from one guess for all networks."""
        limit, count = bisected(self.frozen.path.loss, self.frozen.base.loss, _FIRST_GUESS)
        return {_CRITICAL: limit, _CRITICAL_LOSSES: float(count)}


@dataclass(frozen=True)
class Case:
    """A network that is trained.

    Attributes:
        kind: for the report.
        network: its description.
        seed: of weights and data order.
        data: a data spec.
        examples: how many of it.
        optimizer: a name of :data:`probes.runs.optimizers.OPTIMIZERS`.
        lr: its first step size.
    """

    kind: str
    network: NetworkSpec
    seed: int
    data: str = "mnist"
    examples: int = 2000
    optimizer: str = "fromage"
    lr: float = 0.01


_KINDS: dict[str, dict[str, Any]] = {
    "relu": {"activation": "relu"},
    "tanh": {"activation": "tanh"},
    "residual": {"activation": "relu", "residual": True},
    "batch norm": {"activation": "relu", "norm": "batch"},
    "layer norm": {"activation": "relu", "norm": "layer"},
}


def cases(seeds: int) -> Iterable[Case]:
    """Perceptrons of every kind and depth, each seed of another width; SGD and Adam; the reference networks."""
    for seed, (kind, options), depth in itertools.product(range(seeds), _KINDS.items(), (2, 6, 16)):
        if (kind, depth) != ("residual", 2):  # which has no hidden layer to add
            yield Case(f"{kind}, {depth} layers", _perceptron(depth, (64, 128, 256)[seed % 3], options), seed)
    for seed, (optimizer, lr), depth in itertools.product(
        range(seeds), (("sgd", 0.05), ("adam", 1e-3)), (2, 6)
    ):
        network = _perceptron(depth, 128, _KINDS["relu"])
        yield Case(f"relu, {depth} layers, {optimizer}", network, seed, optimizer=optimizer, lr=lr)
    for seed, name in itertools.product(range(seeds), ("conv", "conv-bn", "residual16")):
        yield Case(name, NAMED[name](784, 10, "none"), seed, examples=200)
    for seed in range(seeds):
        yield Case("char-transformer", NAMED["char-transformer"](64, 0, "none"), seed, "text", 40)


def _perceptron(depth: int, width: int, options: dict[str, Any]) -> PerceptronSpec:
    return PerceptronSpec(widths=(784, *[width] * (depth - 1), 10), biases=(True,) * depth, **options)


def measured(case: Case) -> list[dict[str, Any]]:
    """Train a network, and take its limits at every checkpoint."""
    settings = TrainingSettings(
        network=case.network,
        data=case.data,
        examples=case.examples,
        optimizer=case.optimizer,
        lr=case.lr,
        seed=case.seed,
        epochs=10,
        epoch_steps=20,
        batch_size=min(250, case.examples),
        checkpoints="0:0,0:8,1:10,4:0,10:0",
    )
    chosen = SliceSettings(
        etas=parse_etas("log"),
        samples=1,
        spectra="none",
        curvature=None,
        spot_check=False,
        ladder=False,
        measure=("default", f"{__file__}:CriticalSharpness"),
    )
    with tempfile.TemporaryDirectory() as folder:
        train(settings, Path(folder) / "network", data=load_data(case.data, examples=case.examples))
        found = measure(Source((str(Path(folder) / "network"),)), chosen)
    columns = {
        name: found[name].values.tolist()
        for name in (
            variables.STEP_LIMIT,
            variables.STEP_LIMIT_EVALUATIONS,
            variables.STEP_LIMIT_RESOLUTION,
            variables.PREDICTED_LIMIT,
            variables.PREDICTED_LIMIT_GRADIENTS,
            variables.PREDICTED_LIMIT_LOSSES,
            _CRITICAL,
            _CRITICAL_LOSSES,
            variables.STEP,
        )
    }
    columns["accuracy"] = found[variables.ACCURACY].isel(eta=0).values.tolist()
    facts = {"network": case.kind, "seed": case.seed}
    return [
        facts | {str(name): values[k] for name, values in columns.items()}
        for k in range(found.sizes["checkpoint"])
    ]


def summary(rows: Sequence[dict[str, Any]]) -> dict[str, Any]:
    """Coverage and overshoot of both, and costs in losses, over those checkpoints whose loss returned."""
    back = [row for row in rows if row["step_limit"] > 0]  # NaN is not
    found: dict[str, Any] = {"checkpoints": len(rows), "with a limit": len(back)}
    for name, limit, losses, gradients in (
        ("predicted", "predicted_limit", "predicted_limit_losses", 2.0),
        ("critical sharpness", "critical_limit", "critical_losses", 0.0),
    ):
        ratios = [row[limit] / row["step_limit"] for row in back]
        costs = [gradients * _GRADIENT + row[losses] for row in back]
        if ratios:
            found[name] = {
                "within 1.25": sum(1 / _FACTOR <= ratio <= _FACTOR for ratio in ratios) / len(ratios),
                "above by over 1 %": sum(ratio > _OVER for ratio in ratios) / len(ratios),
                "smallest ratio": min(ratios),
                "median ratio": statistics.median(ratios),
                "largest ratio": max(ratios),
                "mean cost in losses": statistics.fmean(costs),
                "largest cost in losses": max(costs),
            }
    return found


def main(arguments: Sequence[str] | None = None) -> None:
    """Measure and write."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seeds", type=int, default=2, help="how many of each network (default 2)")
    parser.add_argument("--out", type=Path, required=True, help="the JSON file")
    options = parser.parse_args(arguments)
    begin = time.perf_counter()
    rows: list[dict[str, Any]] = []
    for case in cases(options.seeds):
        rows += measured(case)
        print(f"{time.perf_counter() - begin:.0f} s: {case.kind}, seed {case.seed}", file=sys.stderr)
    stages = {
        "trained": [row for row in rows if row["step"] >= TRAINED],
        "untrained": [row for row in rows if row["step"] < TRAINED],
    }
    document = {
        "benchmark": "step-limits",
        "what": __doc__,
        "machine": machine(),
        "versions": versions(),
        "seconds": time.perf_counter() - begin,
        "trained after steps": TRAINED,
        "summary": {stage: summary(chosen) for stage, chosen in stages.items()},
        "by network": {
            stage: {
                kind: summary([row for row in chosen if row["network"] == kind])
                for kind in dict.fromkeys(row["network"] for row in chosen)
            }
            for stage, chosen in stages.items()
        },
    }
    text = json.dumps(_finite(document), indent=1, ensure_ascii=False, allow_nan=False)
    options.out.write_text(text + "\n", "utf-8")
    json.dump(_finite(document["summary"]), sys.stdout, indent=1)
    print()


def _finite(value: Any) -> Any:
    """Null for what JSON has no number for."""
    if isinstance(value, dict):
        return {key: _finite(one) for key, one in value.items()}
    if isinstance(value, list):
        return [_finite(one) for one in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value


if __name__ == "__main__":
    torch.set_num_threads(1)
    main()
