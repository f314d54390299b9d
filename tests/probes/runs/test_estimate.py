"""Estimates: counts by hand and against what a slice really evaluates, and a clock that only evaluations move."""

from __future__ import annotations

import math
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

import probes.runs.estimate
from probes import SliceSettings, measure_slice
from probes.data.batch import Batch
from probes.data.batches import Batches
from probes.data.losses import LOSSES
from probes.evaluation.evaluator import Evaluator
from probes.runs.estimate import about, gradients_per_slice, seconds_per_slice
from tests.support.reference import make, make_data

PLAIN = SliceSettings(
    etas=np.array([0.0, 0.001, 0.01, 0.1]),
    samples=5,
    limit=False,
    curvature=None,
    spot_check=False,
    ladder=False,
    split="none",
)


def test_the_counts_by_hand() -> None:
    # at 0 twice, and three etas
    assert gradients_per_slice(PLAIN, 37) == 5 * 37
    assert gradients_per_slice(replace(PLAIN, curvature=0), 37) == 8 * 37
    assert gradients_per_slice(replace(PLAIN, curvature=0, limit=True), 37) == 14 * 37
    assert gradients_per_slice(replace(PLAIN, ladder=True), 37) == 5 * 37 + 6 * 3 * 5
    # the residuals held, which is a gradient and a pass forward, and two gradients of every sampled example
    assert gradients_per_slice(replace(PLAIN, split="small"), 37) == 5 * 37 + (4 / 3 + 2) * 37
    assert gradients_per_slice(replace(PLAIN, split="slice"), 37) == 5 * 37 + 3 * (4 / 3 + 2) * 37
    # at 0 and at three etas, once in float32 and, at the cost of two, in float64
    assert gradients_per_slice(replace(PLAIN, spot_check=True), 37) == 5 * 37 + 4 * 3 * 37
    worst = replace(PLAIN, direction="adversarial", restarts=1, ascent_steps=10, limit=True, curvature=0)
    # three etas, four ascents, eleven values each
    assert gradients_per_slice(worst, 37) == 5 * 37 + 132 * 5
    assert gradients_per_slice(replace(worst, objective="breakdown"), 37) == (5 + 3 * 132) * 37


def test_the_counts_are_those_of_a_slice(monkeypatch: pytest.MonkeyPatch) -> None:
    """Gradients of all the data, counted while they are computed; the noise floor's small sample aside."""
    found = 0
    evaluate = Evaluator.evaluate

    def evaluated(evaluator: Evaluator, *arguments: Any, **options: Any) -> Any:
        nonlocal found
        found += len(evaluator) * bool(options.get("wanted")) * (len(evaluator) > 200)
        return evaluate(evaluator, *arguments, **options)

    monkeypatch.setattr(Evaluator, "evaluate", evaluated)
    x, y = make_data(300)
    measure_slice(make(), x, y, settings=PLAIN)
    assert found == gradients_per_slice(PLAIN, 300)


@pytest.mark.parametrize(
    ("each", "call", "chunk", "sizes"),
    [
        (
            1.0,
            0.0,
            None,
            [8, 4],
        ),  # one is slow enough to be told from noise, and half of it tells what a call costs
        (1e-2, 0.0, None, [8, 32, 16]),
        (1e-3, 0.0, 100, [8, 32, 128]),
        (1e-9, 0.0, None, [8, 32, 128, 300]),  # no more than there are
        (1e-3, 0.5, None, [8, 4]),
        (1e-3, 0.5, 100, [8, 4]),
        (1e-3, 0.5, 10, [8, 4]),
        (1e-3, 0.5, 2, [8]),
        (1e-3, 0.5, 1, [8]),
        (1e-4, 1e-4, 1, [8, 32, 128, 300]),
    ],
)
@pytest.mark.parametrize("interrupted", [1.0, 1000.0])
def test_a_gradient_is_timed_and_multiplied(
    monkeypatch: pytest.MonkeyPatch,
    each: float,
    call: float,
    chunk: int | None,
    sizes: list[int],
    interrupted: float,
) -> None:
    """On a clock that calls and examples move, and sometimes another process, the estimate is what the slice takes."""
    seen: list[int] = []
    begun: list[int] = []
    clock = [0.0]
    init = Evaluator.__init__

    def made(evaluator: Evaluator, *arguments: Any, **options: Any) -> None:
        init(evaluator, *arguments, **options)
        clock[0] += 7.0  # which a slice pays once, not for every gradient
        begun.append(0)
        seen.append(len(evaluator))

    def loss(outputs: Tensor, targets: Tensor) -> Tensor:
        if outputs.requires_grad:  # it is evaluated once more in float64
            begun[-1] += len(outputs)
            second = begun[-1] <= 2 * seen[-1] and begun[-1] > seen[-1]
            clock[0] += (each * len(outputs) + call) * (interrupted if second else 1.0)
        return LOSSES["cross-entropy"](outputs, targets)

    monkeypatch.setattr(Evaluator, "__init__", made)
    monkeypatch.setattr(probes.runs.estimate.time, "perf_counter", lambda: clock[0])
    data = Batches([Batch(*make_data(300))])
    found = seconds_per_slice(make(), data, loss, replace(PLAIN, chunk=chunk))
    assert seen == sizes
    assert found == pytest.approx(5 * (300 * each + 300 / (chunk or 300) * call))


def test_what_cannot_be_timed_is_not_known() -> None:
    """Batch norm on a part of the data, and a network that takes no part: the run says itself what there is to say."""
    data, loss = Batches([Batch(*make_data(40))]), LOSSES["cross-entropy"]
    mixed = replace(PLAIN, batchnorm="batch")
    for chunk in (1, 2, 8, 39):
        assert math.isnan(seconds_per_slice(make(norm="batch"), data, loss, replace(mixed, chunk=chunk)))
    assert seconds_per_slice(make(norm="batch"), data, loss, replace(mixed, chunk=40)) > 0
    assert math.isnan(seconds_per_slice(make(norm="batch"), data[:1], loss, mixed))
    assert seconds_per_slice(make(), data[:1], loss, mixed) > 0

    class Whole(nn.Sequential):
        def forward(self, x: Tensor) -> Tensor:
            assert len(x) == 40
            return super().forward(x)

    assert math.isnan(seconds_per_slice(Whole(make()), data, loss, PLAIN))


def test_the_network_is_left_as_it_was() -> None:
    network = nn.Sequential(nn.Linear(6, 6), nn.BatchNorm1d(6), nn.Dropout(), nn.Linear(6, 3))
    before = {name: tensor.clone() for name, tensor in network.state_dict().items()}
    state = torch.random.get_rng_state()
    data = Batches([Batch(*make_data(50))])
    for batchnorm in ("running", "batch"):
        settings = replace(PLAIN, batchnorm=batchnorm)
        assert seconds_per_slice(network, data, LOSSES["cross-entropy"], settings) > 0
    assert network.training
    assert all(torch.equal(tensor, before[name]) for name, tensor in network.state_dict().items())
    assert all(parameter.grad is None for parameter in network.parameters())
    assert torch.equal(torch.random.get_rng_state(), state)


@pytest.mark.parametrize(
    ("seconds", "words"),
    [
        (0.0, "1 s"),
        (0.4, "1 s"),
        (4.44, "4.4 s"),
        (47.3, "47 s"),
        (119, "120 s"),
        (125, "2.1 min"),
        (840, "14 min"),
        (7000, "120 min"),
        (9000, "2.5 h"),
        (40 * 3600, "40 h"),
        (1e6, "12 days"),
    ],
)
def test_durations_in_words(seconds: float, words: str) -> None:
    assert about(seconds, 7) == f"about {words} for 7 checkpoints"
    assert about(seconds, 1) == f"about {words} for 1 checkpoint"
