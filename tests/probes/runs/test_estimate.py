"""Estimates: counts against what a slice really evaluates, rates times counts by hand, bytes against a closed form."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

import probes.slices.slice
from probes import SliceSettings, measure_slice
from probes.data.batch import Batch
from probes.data.batches import Batches
from probes.data.losses import LOSSES
from probes.evaluation.evaluator import Evaluator
from probes.runs.chunk import GradientTimer
from probes.runs.estimate import (
    Estimate,
    Rates,
    Work,
    activation_bytes,
    count_work,
    duration,
    measure_rates,
    memory_of,
    size,
)
from tests.support.reference import make, make_data

SETTINGS = SliceSettings(etas=np.array([0.0, 0.001, 0.01, 0.1]), samples=5, jacobian=3)
SHAPES = [(8, 6), (8, 8), (3, 8)]
UNITS = 8 * 6 * 6 + 8 * 8 * 8 + 3 * 8 * 3


def count(settings: SliceSettings, examples: int = 37, **options: Any) -> Work:
    return count_work(settings, SHAPES, examples, **{"outputs": True, "mixed": False, **options})


def test_seconds_are_rates_times_counts() -> None:
    work = Work(gradients=1000, losses=300, exact=50, jacobians=4, spectra=1e6, norms=2e6, convolutions=3)
    rates = Rates(1e-3, 2e-4, 2e-3, 0.25, 1e-6, 2e-7, 0.5)
    assert rates.seconds(work) == pytest.approx(1 + 0.06 + 0.1 + 1 + 1 + 0.4 + 1.5)
    assert Rates(1e-3).seconds(Work(gradients=7)) == pytest.approx(7e-3)


def test_the_counts_by_hand() -> None:
    plain = replace(SETTINGS, limit=False, curvature=False, ladder=False, jacobian=0, spectra="none")
    # the base, the noise floor's repetition, three etas; the sample of 37 once more, and in float64
    assert count(plain) == Work(gradients=5 * 37 + 37, exact=37)
    assert count(plain, 1000) == Work(gradients=5 * 1000 + 200, exact=200)
    assert count(replace(plain, curvature=True)).gradients == 8 * 37 + 37
    assert count(replace(plain, limit=True)).losses == 370
    spectra = count(replace(plain, spectra="weights"))
    assert (spectra.spectra, spectra.norms) == (2 * UNITS, UNITS)
    assert count(replace(plain, spectra="slice")).spectra == 6 * UNITS
    ladder = replace(plain, spectra="weights", ladder=True)
    assert count(ladder).exact == 37 + 3 * 4 * 5
    assert count(ladder).convolutions == 5
    assert count(ladder, mixed=True) == count(ladder, outputs=False) == spectra
    assert count(replace(plain, jacobian=100)).jacobians == 5 * 37
    assert count(replace(plain, jacobian=3), outputs=False).jacobians == 0
    worst = replace(plain, direction="adversarial", restarts=1, ascent_steps=10, limit=True, curvature=True)
    # three etas, four ascents, eleven values each of five examples; half as many gradients
    assert count(worst) == Work(gradients=5 * 37 + 37 + 12 * 6 * 5, losses=12 * 11 * 5, exact=37)
    assert count(replace(worst, objective="breakdown")).gradients == 222 + (12 * 11 + 3 * 12 * 6) * 37


@pytest.mark.parametrize(
    "changes",
    [
        {},
        {"spectra": "slice"},
        {"ladder": False},
        {"direction": "noise", "jacobian": 0},
        {"curvature": False},
    ],
)
def test_the_counts_are_those_of_a_slice(monkeypatch: pytest.MonkeyPatch, changes: dict[str, Any]) -> None:
    """Full-batch gradients, losses, Jacobians, singular values and norms, counted while they are computed."""
    settings = replace(SETTINGS, **changes)
    found = dict.fromkeys(("gradients", "losses", "spectra", "jacobians"), 0.0)
    evaluate = Evaluator.evaluate

    def evaluated(evaluator: Evaluator, *arguments: Any, **options: Any) -> Any:
        if evaluator.dtype == torch.float32:
            found["gradients" if options.get("wanted") else "losses"] += len(evaluator)
        return evaluate(evaluator, *arguments, **options)

    spectrum = probes.slices.slice.spectrum

    def decomposed(matrix: Any) -> Any:
        found["spectra"] += matrix.numel() * min(matrix.flatten(1).shape)
        return spectrum(matrix)

    from probes.measures.jacobians import Jacobians

    measure = Jacobians.measure

    def derived(self: Jacobians, parameters: Any) -> Any:
        found["jacobians"] += sum(map(len, self.pieces))
        return measure(self, parameters)

    monkeypatch.setattr(Evaluator, "evaluate", evaluated)
    monkeypatch.setattr(probes.slices.slice, "spectrum", decomposed)
    monkeypatch.setattr(Jacobians, "measure", derived)
    x, y = make_data(37)
    slice_ = measure_slice(make(), x, y, settings=settings)
    work = count(settings)
    assert found["gradients"] == work.gradients - 3 * 37 * settings.curvature
    assert found["losses"] == 37 * float(slice_["step_limit_evaluations"][0])
    assert found["spectra"] == work.spectra
    assert found["jacobians"] == work.jacobians


def test_rates_are_timed_on_what_they_are_for(monkeypatch: pytest.MonkeyPatch) -> None:
    """A clock that only the evaluations move: a second for a gradient's example, a third for a loss's."""
    now = [0.0]
    evaluate = Evaluator.evaluate

    def evaluated(evaluator: Evaluator, *arguments: Any, **options: Any) -> Any:
        double = 2 if evaluator.dtype == torch.float64 else 1
        now[0] += len(evaluator) * double * (1.0 if options.get("wanted") else 1 / 3)
        return evaluate(evaluator, *arguments, **options)

    monkeypatch.setattr(Evaluator, "evaluate", evaluated)
    x, y = make_data(37)
    network = nn.Sequential(nn.Unflatten(1, (1, 6)), nn.Conv1d(1, 4, 3), nn.Flatten(), nn.Linear(16, 3))
    timer = GradientTimer(
        network,
        Batches([Batch(x, y)]),
        LOSSES["cross-entropy"],
        dtype=torch.float32,
        device="cpu",
        clock=lambda: now[0],
    )
    weights = ["1.weight", "3.weight"]
    options: dict[str, Any] = {"gradient": 1.0, "chunk": 10}
    everything = Work(1, 1, 1, 1, 1, 1, 1)
    found = measure_rates(timer, weights, everything, budget=60.0, **options)
    assert (found.gradients, found.losses, found.exact) == pytest.approx((1, 1 / 3, 2))
    assert found.jacobians == 0  # timed: nothing here moves this clock
    tight = measure_rates(timer, weights, everything, budget=6.0, **options)
    assert tight.jacobians == 3  # too slow to be timed: one gradient for each of three outputs
    assert measure_rates(timer, weights, Work(gradients=1), budget=6.0, **options) == Rates(1.0)
    now[0] = 0.0
    measure_rates(timer, weights, everything, budget=60.0, **options)
    assert now[0] <= 60


def test_rates_of_matrices_are_of_their_size() -> None:
    """Real clocks differ; a clock that ticks at each look shows what is divided by what."""
    ticks = iter(range(1000))
    network = make((6, 40, 50, 3))
    x, y = make_data(9)
    timer = GradientTimer(
        network,
        Batches([Batch(x, y)]),
        LOSSES["cross-entropy"],
        dtype=torch.float32,
        device="cpu",
        clock=lambda: float(next(ticks)),
    )
    work = Work(spectra=1, norms=1)
    found = measure_rates(
        timer, ["layers.0.weight", "layers.1.weight"], work, gradient=1.0, chunk=9, budget=1e6
    )
    assert found.spectra == found.norms == pytest.approx(1 / (50 * 40 * 40))


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_a_perceptrons_activations(dtype: torch.dtype) -> None:
    """Each hidden unit after its ReLU is kept once, and so are the outputs' log-probabilities."""
    widths = (20, 64, 48, 32, 10)
    x, y = make_data(50, 20, 10)
    timer = GradientTimer(
        make(widths), Batches([Batch(x, y)]), LOSSES["cross-entropy"], dtype=dtype, device="cpu"
    )
    closed = sum(widths[1:]) * (4 if dtype == torch.float32 else 8)
    assert activation_bytes(timer) == pytest.approx(closed, rel=0.1)


def test_the_largest_example_decides() -> None:
    short, long = (
        Batch(torch.randn(count, length, 3), torch.zeros(count, length, dtype=torch.int64))
        for count, length in ((30, 2), (1, 40))
    )
    found = [
        activation_bytes(
            GradientTimer(
                nn.Sequential(nn.Linear(3, 50), nn.Tanh(), nn.Linear(50, 2)),
                Batches(pieces),
                LOSSES["cross-entropy"],
                dtype=torch.float32,
                device="cpu",
            )
        )
        for pieces in ([short], [short, long])
    ]
    assert found[1] == pytest.approx(20 * found[0], rel=0.1)


def test_bytes_by_hand() -> None:
    settings = replace(SETTINGS, chunk=100, ladder=False, curvature=False, spectra="none")
    few: dict[str, Any] = {"parameters": 1000, "largest": 500, "example": 40.0, "sample": 0}
    assert memory_of(settings, **few) == 4 * 4000 + 2 * 100 * 40 + 4000
    assert memory_of(settings, **few, resident=1e6) == memory_of(settings, **few) + 1e6
    double = replace(settings, dtype="float64")
    assert memory_of(double, **few) == 4 * 8000 + 2 * 100 * 40 + 8000
    twice = replace(settings, curvature=True)
    assert memory_of(twice, **few) == 4 * 4000 + 4 * 100 * 40
    assert memory_of(settings, **few, jacobian=1000) == 4 * 4000 + 2 * 1000 * 40
    assert memory_of(settings, **few, evaluation=1e9) == 4 * 4000 + 1e9
    laddered = replace(settings, ladder=True)
    assert memory_of(laddered, **{**few, "sample": 200}) == 4 * 4000 + 2 * 8000 + 4 * 200 * 40 * 2
    assert memory_of(replace(settings, spectra="weights"), **few) == 4 * 4000 + 4 * 8 * 500


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
    assert duration(seconds) == words


def test_the_line() -> None:
    estimate = Estimate(840, 1.32e9, 7, 3, 500)
    assert estimate.line() == (
        "about 14 min for 7 checkpoints (3 more are measured already), 1.3 GB of tensors at most;"
        " chunks of 500 examples"
    )
    one = Estimate(59, 2.6e7, 1, 0, 60, "cuda")
    assert one.line() == "about 59 s for 1 checkpoint, 26 MB of cuda's memory at most; chunks of 60 examples"
    assert [size(number) for number in (10, 9.96e8, 2.5e12)] == ["1 MB", "1000 MB", "2.5 TB"]
