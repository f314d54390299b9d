"""The same run gives the same bytes; other threads or chunks give the same numbers to the noise floor."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
import pytest
import torch
import xarray as xr
from torch.utils._python_dispatch import TorchDispatchMode

from probes import SliceSettings, measure_slice
from probes.data.losses import LOSSES
from probes.evaluation.evaluator import Evaluator
from probes.evaluation.frozen_state import probing
from probes.measures.breakdown import Breakdown
from probes.measures.measure import Point
from probes.networks.perceptron import Perceptron, PerceptronSpec
from probes.slices.freezing import freeze
from trust import measurements as variables

ETAS = np.array([0.0, 1e-3, 1e-2, 0.1])


@contextmanager
def threads(count: int) -> Iterator[None]:
    before = torch.get_num_threads()
    torch.set_num_threads(count)
    try:
        yield
    finally:
        torch.set_num_threads(before)


def problem() -> tuple[Perceptron, torch.Tensor, torch.Tensor]:
    torch.manual_seed(0)
    network = Perceptron(PerceptronSpec(widths=(40, 64, 64, 64, 5), activation="tanh", biases=(True,) * 4))
    return network, torch.randn(300, 40), torch.randint(0, 5, (300,))


def measured(*, count: int = 1, **options: Any) -> xr.Dataset:
    network, x, y = problem()
    settings = {"etas": ETAS, "samples": 20, "jacobian": 2, "chunk": 100, **options}
    with threads(count):
        return measure_slice(network, x, y, settings=SliceSettings(**settings))


@pytest.mark.parametrize("direction", ["gradient", "noise", "adversarial"])
@pytest.mark.parametrize("count", [1, 2])
def test_the_same_run_gives_the_same_bytes(direction: str, count: int) -> None:
    options: dict[str, Any] = {"direction": direction, "ascent_steps": 2, "restarts": 1, "count": count}
    first, second = measured(**options), measured(**options)
    assert bytes(first.to_netcdf(engine="scipy")) == bytes(second.to_netcdf(engine="scipy"))


@pytest.mark.parametrize("options", [{"count": 2}, {"chunk": 7}, {"chunk": 300}, {"chunk": 64, "count": 2}])
def test_other_threads_and_chunks_give_the_same_numbers_to_the_noise_floor(options: dict[str, int]) -> None:
    base, other = (found.isel(checkpoint=0) for found in (measured(), measured(**options)))  # type: ignore[arg-type]
    floor = base["noise_floor"]
    # both sides round, at η and at 0, each by about a floor; ten times the floor is what counts as evidence
    for name in ("gradient_change", "gradient_cosine"):
        gap = abs(base[name] - other[name])
        assert bool((gap <= 10 * floor).all()), (name, float((gap / floor).max()))
    gap = abs(base["loss"] / other["loss"] - 1)
    assert float(gap.max()) <= 10 * max(float(base["loss_noise_floor"]), 2**-24)
    gap = abs(base["output_change"] - other["output_change"])
    assert float(gap.max()) <= 10 * float(base["output_noise_floor"])


class _Waits(TorchDispatchMode):
    """Counts what would wait for a GPU: numbers read, and tensors fetched."""

    def __init__(self) -> None:
        super().__init__()
        self.seen: list[str] = []

    def __torch_dispatch__(self, function: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        if function.overloadpacket in (torch.ops.aten._local_scalar_dense, torch.ops.aten.nonzero):
            self.seen.append(str(function))
        return function(*args, **(kwargs or {}))


def test_nothing_waits_inside_the_loop_over_etas() -> None:
    network, x, y = problem()
    evaluator = Evaluator(network, x, y, LOSSES["cross-entropy"], chunk=100)
    settings = SliceSettings(etas=ETAS, samples=20)
    with probing(network):
        frozen, _, _ = freeze(evaluator, settings, {name: name for name in evaluator.frozen})
    table = Breakdown(frozen)
    with _Waits() as waits:
        for row, eta in enumerate(ETAS):
            found = frozen.path.evaluate(float(eta), wanted=frozen.measured, samples=20)
            table.record(Point(row, float(eta), frozen.path.at(float(eta)), found))
        assert waits.seen == []
        float(found.mean_loss)  # the check of the check
        assert waits.seen == ["aten._local_scalar_dense.default"]
    assert np.isfinite(table.found({})[variables.LOSS]).all()
