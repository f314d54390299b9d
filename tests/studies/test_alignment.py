"""The study of alignment at toy size, and the statistics that it draws its conclusions from."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
from torch import Tensor, nn

from probes.checkpoints.checkpoint import read_checkpoint
from probes.data.dataset import load_data
from studies.alignment import PRESETS, rise
from studies.frame import run_study
from studies.parts.statistics import power_law, rank_correlation

TOY = PRESETS["toy"]


def test_its_numbers_are_those_of_its_checkpoints(tmp_path: Path) -> None:
    result = run_study("alignment", "toy", tmp_path, seeds=1, jobs=1, formats=("png",))
    drawn = pd.read_csv(tmp_path / "alignment.csv")
    folder = tmp_path / "runs" / "activation-tanh_examples-40_seed-0" / "checkpoints"
    checkpoint = read_checkpoint(sorted(folder.glob("*.safetensors"))[-1])
    tensors = {name: tensor.double() for name, tensor in checkpoint.tensors.items()}
    data = load_data("mnist")
    x = nn.functional.avg_pool2d(data.x[:40].view(-1, 1, 28, 28), TOY.pool).flatten(1).double()
    y = nn.functional.one_hot(data.y[:40], 10).double()

    def outputs(weights: dict[str, Tensor], h: Tensor) -> Tensor:
        for k in range(3):
            h = h @ weights[f"layers.{k}.weight"].T + weights[f"layers.{k}.bias"]
            h = torch.tanh(h) if k < 2 else h
        return h

    def loss(*values: Tensor) -> Tensor:
        return ((outputs(dict(zip(tensors, values, strict=True)), x) - y) ** 2).mean()

    hessian = torch.autograd.functional.hessian(loss, tuple(tensors.values()))  # type: ignore[no-untyped-call]
    rows = [
        torch.cat([part.reshape(one.numel(), -1) for part in row], 1)
        for one, row in zip(tensors.values(), hessian, strict=True)
    ]
    sharpest = float(torch.linalg.eigvalsh(torch.cat(rows))[-1])
    edge = 2 / (TOY.rate * 5)  # the rate is of half the squared distance, five times this loss
    panel = drawn[(drawn["panel"] == "sharpness over 2/η") & (drawn["series"] == "tanh")]
    assert panel["y"].iloc[-1] == pytest.approx(sharpest / edge, rel=1e-4)
    assert panel["x"].iloc[-1] == TOY.steps + 1
    aligned, slacks = [], []
    norms = [float(torch.linalg.matrix_norm(tensors[f"layers.{k}.weight"], 2)) for k in range(3)]
    for row in x[: TOY.sample]:
        h, whole, product = row, torch.eye(len(row), dtype=torch.float64), 0.0
        for k in range(3):
            W = tensors[f"layers.{k}.weight"]
            h = W @ h + tensors[f"layers.{k}.bias"]
            h, A = (torch.tanh(h), (1 - torch.tanh(h) ** 2)[:, None] * W) if k < 2 else (h, W)
            whole, product = A @ whole, product + math.log10(torch.linalg.matrix_norm(A, 2))
        size = math.log10(torch.linalg.matrix_norm(whole, 2))
        aligned.append(size - product)
        slacks.append(np.log10(norms).sum() - size)
    assert result.numbers["tanh/end/middle"] == pytest.approx(np.mean(aligned), abs=1e-9)
    scatter = drawn[(drawn["panel"] == "all checkpoints") & (drawn["series"] == "tanh")]
    assert scatter["y"].iloc[-1] == pytest.approx(np.mean(slacks), abs=1e-9)
    law = drawn[(drawn["panel"] == "tanh, at the end") & (drawn["series"] == "tanh")]
    np.testing.assert_allclose(law["x"], np.log10(TOY.sizes))
    assert "the claim" in result.answer


def test_a_rank_correlation_is_of_ranks_with_an_interval_that_holds_it() -> None:
    x = np.linspace(1, 2, 30)
    found = rank_correlation(x, np.exp(5 * x))
    assert (found.low, found.middle, found.high) == pytest.approx((1, 1, 1))
    noisy = rank_correlation(x, x + np.random.default_rng(0).normal(size=30))
    assert noisy.low < noisy.middle < noisy.high < 1
    holes = np.where(np.arange(30) < 28, np.nan, x)
    assert math.isnan(rank_correlation(x, holes).middle)
    assert math.isnan(rank_correlation(x, np.ones(30)).middle)


def test_a_power_law_is_found_with_its_exponent() -> None:
    sizes = np.repeat([100, 200, 400, 800], 3)
    exact = power_law(sizes, 0.5 - 0.3 * np.log10(sizes))
    assert exact["exponent"] == pytest.approx(-0.3)
    assert exact["intercept"] == pytest.approx(0.5)
    assert exact["r2"] == pytest.approx(1)
    noise = np.random.default_rng(0).normal(size=12) / 10
    found = power_law(sizes, 0.5 - 0.3 * np.log10(sizes) + noise)
    assert found["exponent/low"] < found["exponent"] < found["exponent/high"] < 0
    assert found["r2/low"] < found["r2"] < 1
    assert math.isnan(power_law([100, 100], [1.0, 2.0])["r2"])


@pytest.mark.parametrize(
    ("sharpness", "edge", "places"),
    [
        ([2.0, 1.0, 3.0, 5.0, 2.0], 4.0, [1, 2, 3]),
        ([9.0, 5.0, 2.0, 3.0, 6.0], 4.0, [2, 3, 4]),
        ([2.0, 1.0, 3.0, 2.0], 4.0, [1, 2]),
        ([3.0, 2.0, 1.0], 4.0, [2]),
        ([5.0, 6.0], 4.0, []),
        ([np.nan, 1.0, 2.0], 4.0, [1, 2]),
    ],
)
def test_a_rise_is_from_the_least_below_the_edge_to_the_first_across_it(
    sharpness: list[float], edge: float, places: list[int]
) -> None:
    assert list(range(len(sharpness))[rise(np.array(sharpness), edge)]) == places
