"""Learning rates: scores against closed forms, and what is concluded from scores that are known."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
from torch.nn import functional

from probes import InputError
from probes.data.dataset import DataSet, load_data
from probes.networks.images import ConvNet, ConvSpec
from probes.networks.transformer import CharTransformer
from studies.frame import run_study
from studies.learning_rates import PRESETS, LearningRates
from studies.parts import tasks
from studies.parts.rate_scan import RateScan
from studies.parts.tasks import SCORES, TASKS, TaskSizes, real_images_distance

SIZES = PRESETS["toy"].sizes


def images() -> DataSet:
    return load_data("mnist", examples=500)


def held_out(x: torch.Tensor, y: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    rows = torch.randperm(len(x), generator=torch.Generator().manual_seed(0))[: len(x) // 5]
    return x[rows], y[rows]


def test_where_steps_are_zero_scores_are_those_of_first_weights() -> None:
    torch.manual_seed(3)
    network = ConvNet(ConvSpec(channels=SIZES.channels))
    x, y = held_out(images().x, images().y)
    with torch.no_grad():
        wrong = float((network(x).argmax(1) != y).float().mean())
    assert TASKS["classify"](SIZES, "sgd", 0.0, 3, images()) == wrong

    torch.manual_seed(3)
    transformer = CharTransformer(SIZES.transformer)
    text = load_data("text")
    x, y = (part[:, : SIZES.transformer.context] for part in held_out(text.x, text.y))
    with torch.no_grad():
        loss = functional.cross_entropy(transformer(x).flatten(0, 1), y.flatten())
    found = TASKS["continue"](SIZES, "sgd", 0.0, 3, images())
    assert found == pytest.approx(math.exp(loss), rel=1e-4)  # float32 sums in another order


def test_what_is_held_out_is_not_trained_on() -> None:
    x, y = torch.arange(11.0), torch.arange(11)
    train, labels, seen, right = tasks._split(x, y)
    assert (len(train), len(seen)) == (9, 2)
    assert sorted([*train.tolist(), *seen.tolist()]) == x.tolist()
    assert train.tolist() == labels.tolist()
    assert seen.tolist() == right.tolist()


@pytest.mark.parametrize("task", TASKS)
def test_training_that_diverges_has_an_infinite_score(task: str) -> None:
    assert TASKS[task](SIZES, "sgd", 1e30, 0, images()) == math.inf
    assert math.isfinite(TASKS[task](SIZES, "fromage", 0.01, 0, images()))


def test_real_images_are_nearer_than_made_ones_and_the_ruler_is_the_same(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(tasks, "_rulers", {})
    made = TASKS["generate"](SIZES, "fromage", 0.01, 0, images())
    floor = real_images_distance(SIZES, images())
    assert 0 < floor < made
    [(_, features)] = tasks._rulers.values()
    assert features.shape == (400, 32 * 2 * 2)  # what the last convolution leaves of 14 × 14
    tasks._rulers.clear()
    assert real_images_distance(SIZES, images()) == floor
    assert TASKS["generate"](SIZES, "fromage", 0.01, 0, images()) == made


@pytest.mark.parametrize("task", ["classify", "generate"])
@pytest.mark.parametrize("data", [load_data("text"), DataSet("odd", torch.rand(5, 9), torch.arange(5))])
def test_other_data_are_refused(task: str, data: DataSet) -> None:
    with pytest.raises(InputError, match="needs labelled square images of an even side"):
        TASKS[task](SIZES, "sgd", 0.1, 0, data)


def test_shares_of_the_best() -> None:
    line = RateScan(
        np.array([0.1, 1.0, 10.0]), np.array([[4.0, 8.0, 5.0], [2.0, 1.0, 3.0], [1.0, np.inf, np.inf]])
    )
    assert line.best == 1
    assert [(one.low, one.middle, one.high) for one in line.shares] == [
        (2 / 8, 2 / 5, 2 / 4),
        (2 / 3, 2 / 2, 2 / 1),
        (0.0, 0.0, 2 / 1),
    ]
    rates = line.best_rates
    assert (rates.low, rates.middle, rates.high) == (1.0, 1.0, 10.0)
    perfect = RateScan(np.array([1.0, 2.0]), np.array([[0.0], [0.5]]))
    assert [one.middle for one in perfect.shares] == [1.0, 0.0]
    lost = RateScan(np.array([1.0, 2.0]), np.full((2, 1), np.inf))
    assert [one.middle for one in lost.shares] == [0.0, 0.0]


BEST = {"classify": 1.0, "generate": 0.1, "continue": 1.0}
"""By how much each task's best rates are off the usual ones."""
USUAL = {"sgd": 0.1, "adam": 0.001, "fromage": 0.01, "lars": 0.01, "lamb": 0.01}


def known(task: str, size: TaskSizes, optimizer: str, rate: float, seed: int, data: DataSet) -> float:
    """1 at the best rate and 2 at each decade from it, 4 at two; SGD diverges at its largest."""
    off = abs(math.log10(rate / (USUAL[optimizer] * BEST[task])))
    return math.inf if optimizer == "sgd" and rate == 1 else 2.0**off


def test_what_is_concluded_from_known_scores(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for task in TASKS:
        monkeypatch.setitem(TASKS, task, lambda *given, task=task: known(task, *given))
    monkeypatch.setattr("studies.learning_rates.real_images_distance", lambda size, data: 0.5)
    found = run_study("learning-rates", "toy", tmp_path, seeds=2, jobs=1, formats=("png",))
    numbers = found.numbers
    assert numbers["floor"] == 0.5
    for task, factor in BEST.items():
        for name, usual in USUAL.items():
            assert numbers[f"{task}/{name}/rate/middle"] == pytest.approx(usual * factor)
            assert numbers[f"{task}/{name}/usual/low"] == pytest.approx(1.0 if factor == 1 else 0.5)
    assert numbers["generate/fromage/0.1"] == pytest.approx(0.25)
    assert numbers["generate/sgd/1"] == 0
    assert numbers["generate/sgd/diverged"] == 1 / 3
    assert numbers["generate/lars/diverged"] == 0
    said = found.answer
    assert "image classification 1, best at 0.01; image generation 0.5, best at 0.001; text 1" in said
    assert "That is 0.9 or more on 2 of 3 tasks." in said
    assert "the others, at their usual rates, reach SGD at 0.1: 1, 0.5, 1; Adam at 0.001: 1, 0.5, 1;" in said
    assert "by a factor of up to SGD 10, Adam 10" in said
    assert "Fromage 0.001 (0.5), LARS 0.001 (0.5)" in said  # as well as the usual
    assert "That is 0.9 or more by 0 of 5 optimisers." in said
    assert "SGD in image generation" in said  # the smallest that was tried
    assert "at any rate: SGD 6 of 18, Adam 0 of 18" in said
    assert "on every task: contradicted in 2 of 6 tasks and seeds." in said
    drawn = pd.read_csv(tmp_path / "learning-rates.csv")
    lost = drawn[drawn["series"] == "diverged in a seed"]
    assert lost["x"].tolist() == [1.0] * 3
    assert lost["y"].tolist() == [0.0] * 3
    own = drawn[(drawn["panel"] == f"text: {SCORES['continue']}") & (drawn["series"] == "SGD")]
    np.testing.assert_allclose(own["y"], [0.5, 1.0, 0.0])


def test_the_toy_preset_to_the_end(tmp_path: Path) -> None:
    found = run_study("learning-rates", "toy", tmp_path, seeds=1, jobs=1, formats=("png",))
    assert 0 < found.numbers["classify/adam/score/middle"] < 1
    assert found.numbers["continue/sgd/score/middle"] > 1
    assert found.numbers["floor"] < found.numbers["generate/fromage/score/middle"]
    page = (tmp_path / "learning-rates.md").read_text()
    assert "| held-out perplexity | LAMB |" in page
    assert "gan (latent 2; width 4; depth 2); gan steps 6;" in page.replace("\n", " ")


def test_without_lambs_library_nothing_runs(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("probes.runs.optimizers.find_spec", lambda name: None)
    with pytest.raises(InputError, match="optim"):
        LearningRates().runs(PRESETS["toy"])
