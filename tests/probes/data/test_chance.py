"""The loss of chance, against constant outputs put through the losses themselves."""

from __future__ import annotations

import math

import pytest
import torch

from probes.data.batch import Batch
from probes.data.batches import Batches
from probes.data.chance import chance_loss
from probes.data.losses import LOSSES, BatchLoss, ModelLoss, resolve_loss

RANDOM = torch.Generator().manual_seed(0)


@pytest.mark.parametrize("shape", [(9,), (9, 4), (9, 4, 2)])
def test_labels(shape: tuple[int, ...]) -> None:
    y = torch.randint(0, 5, shape, generator=RANDOM)
    data, outputs = Batches([Batch(torch.randn(9, 3), y)]), torch.zeros(*shape, 5)
    expected = float(LOSSES["cross-entropy"](outputs, y).mean())
    width = outputs[0].numel()
    assert chance_loss(LOSSES["cross-entropy"], data, samples=2, width=width) == pytest.approx(expected)


def test_tokens_of_sequences_of_several_lengths() -> None:
    data = Batches([Batch(torch.ones(2, t, dtype=torch.int64), None) for t in (3, 7, 4)])
    loss = resolve_loss("next-token", data).function
    assert isinstance(loss, BatchLoss)
    for samples, longest in ((2, 3), (5, 7)):  # outputs are padded to the longest of the sample
        assert chance_loss(loss, data, samples=samples, width=11 * longest) == pytest.approx(math.log(11))


def test_real_and_binary_targets() -> None:
    y = torch.randn(9, 4, generator=RANDOM) * torch.tensor([1.0, 2, 3, 4]) + 100
    data = Batches([Batch(torch.randn(9, 3), y)])
    best = float(LOSSES["mse"](y.mean(0).expand(9, 4), y).mean())
    assert chance_loss(LOSSES["mse"], data, samples=2, width=4) == pytest.approx(best, rel=1e-4)
    binary = (y > 100).float()
    expected = float(LOSSES["bce-with-logits"](torch.zeros(9, 4), binary).mean())
    assert chance_loss(LOSSES["bce-with-logits"], data, samples=2, width=4) == pytest.approx(expected)


def test_half_square_of_labels_and_of_real_targets() -> None:
    half = LOSSES["half-square"]
    labels = torch.arange(10) % 5
    data = Batches([Batch(torch.randn(10, 3), labels)])
    best = float(half(torch.full((10, 5), 1 / 5), labels).mean())
    assert chance_loss(half, data, samples=2, width=5) == pytest.approx(best, rel=1e-6)
    y = torch.randn(9, 4, generator=RANDOM)
    data = Batches([Batch(torch.randn(9, 3), y)])
    best = float(half(y.mean(0).expand(9, 4), y).mean())
    assert chance_loss(half, data, samples=2, width=4) == pytest.approx(best, rel=1e-5)


def test_what_is_not_known() -> None:
    y = torch.randn(9, 4)
    data = Batches([Batch(torch.randn(9, 3), y)])
    labels = Batches([Batch(torch.randn(9, 3), torch.arange(9))])
    unknown = [
        chance_loss(LOSSES["cross-entropy"], labels, samples=0, width=0),
        chance_loss(lambda outputs, targets: outputs[:, 0], data, samples=2, width=4),
        chance_loss(ModelLoss(lambda model, batch: torch.zeros(9)), data, samples=2, width=1),
        chance_loss(LOSSES["mse"], Batches([Batch(y, y), Batch(y, y[:, :2])]), samples=2, width=4),
    ]
    assert all(math.isnan(value) for value in unknown)
