"""Half of Lemma 2's limit along a cosine, against the formula."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch

from trust.optim import Fromage, half_lemma2_cosine, half_lemma2_schedule, weight_count


@pytest.mark.parametrize("depth", [1, 2, 16, 1000])
def test_the_formula(depth: int) -> None:
    total = 40
    found = [half_lemma2_cosine(step, total=total, depth=depth) for step in (*range(total + 1), 99)]
    steps = np.minimum([*range(total + 1), 99], total)
    expected = 0.5 * (2 ** (1 / depth) - 1) * 0.5 * (1 + np.cos(np.pi * steps / total))
    # 2^(1/L) − 1 cancels a factor of L/log 2 of the roundings
    np.testing.assert_allclose(found, expected, rtol=2e-12, atol=1e-18)


def test_the_schedule_sets_every_group_and_counts_weights_alone() -> None:
    network = torch.nn.Sequential(torch.nn.Conv2d(1, 2, 3), torch.nn.BatchNorm2d(2), torch.nn.Linear(3, 3))
    groups = [{"params": network[0].parameters(), "lr": 0.0}, {"params": network[1:].parameters()}]
    optimizer = Fromage(groups, lr=7.0)
    assert weight_count(optimizer) == 2
    schedule = half_lemma2_schedule(optimizer, total=10)
    for step in range(12):
        expected = 0.25 * (math.sqrt(2) - 1) * (1 + math.cos(math.pi * min(step / 10, 1)))
        assert [group["lr"] for group in optimizer.param_groups] == pytest.approx([expected] * 2, abs=1e-15)
        optimizer.step()
        schedule.step()
    half_lemma2_schedule(optimizer, total=10, depth=1)
    assert optimizer.param_groups[0]["lr"] == 0.5


@pytest.mark.parametrize("given", [{"step": -1}, {"total": 0}, {"depth": 0}])
def test_what_is_out_of_range(given: dict[str, int]) -> None:
    with pytest.raises(ValueError, match="at least 1"):
        half_lemma2_cosine(**{"step": 0, "total": 1, "depth": 1, **given})
