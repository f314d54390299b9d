"""Losses of outputs and targets, once more by hand."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import Tensor

from probes import InputError
from probes.data.batch import Batch
from probes.data.batches import Batches
from probes.data.labels import accuracy_of
from probes.data.losses import (
    LOSSES,
    BatchLoss,
    resolve_loss,
)

DRAW = torch.Generator().manual_seed(0)


def normal(*shape: int) -> Tensor:
    return torch.randn(*shape, dtype=torch.float64, generator=DRAW)


def minus_log_p(logits: Tensor, label: int) -> float:
    """−log softmax by hand."""
    return float(torch.log(torch.exp(logits).sum()) - logits[label])


def loss_of(spec: str, batch: Batch, outputs: Tensor) -> Tensor:
    loss = resolve_loss(spec, Batches([batch]))[1]
    assert isinstance(loss, BatchLoss)
    return loss.function(outputs, batch)


def test_cross_entropy_of_tokens_is_the_mean_over_those_that_count() -> None:
    outputs, targets = normal(3, 4, 5), torch.tensor([[0, 1, -100, 4], [2, -100, -100, -100], [3, 3, 0, 1]])
    expected = []
    for row, labels in zip(outputs, targets.tolist(), strict=True):
        losses = [minus_log_p(row[t], label) for t, label in enumerate(labels) if label != -100]
        expected.append(sum(losses) / len(losses))
    wanted = torch.tensor(expected, dtype=torch.float64)
    for form in (outputs, outputs.movedim(-1, 1)):
        torch.testing.assert_close(LOSSES["cross-entropy"](form, targets), wanted, rtol=1e-12, atol=1e-12)
    # where both orders fit, classes are last
    square, labels = normal(2, 4, 4), torch.tensor([[0, 1, 2, 3], [3, 3, 1, 0]])
    first = sum(minus_log_p(square[0, t], int(labels[0, t])) for t in range(4)) / 4
    assert float(LOSSES["cross-entropy"](square, labels)[0]) == pytest.approx(first, rel=1e-12)
    images, maps = normal(2, 3, 4, 5), torch.randint(0, 3, (2, 4, 5), generator=DRAW)
    pixel = sum(minus_log_p(images[1, :, i, j], int(maps[1, i, j])) for i in range(4) for j in range(5)) / 20
    assert float(LOSSES["cross-entropy"](images, maps)[1]) == pytest.approx(pixel, rel=1e-12)
    with pytest.raises(InputError, match="one axis more"):
        LOSSES["cross-entropy"](normal(2, 3), maps)


@pytest.mark.parametrize("classes", [2, 10, 15, 16, 40])
def test_few_classes_and_many_have_the_same_cross_entropy(classes: int) -> None:
    outputs, targets = normal(7, classes), torch.randint(0, classes, (7,), generator=DRAW)
    outputs.requires_grad_(True)
    losses = LOSSES["cross-entropy"](outputs, targets)
    expected = [minus_log_p(row, int(label)) for row, label in zip(outputs.detach(), targets, strict=True)]
    np.testing.assert_allclose(losses.detach(), expected, rtol=1e-12)
    (gradient,) = torch.autograd.grad(losses.sum(), outputs)
    wanted = torch.softmax(outputs.detach(), 1)
    wanted[torch.arange(7), targets] -= 1
    torch.testing.assert_close(gradient, wanted, rtol=1e-12, atol=1e-14)


@pytest.mark.parametrize("name", ["mse", "bce-with-logits"])
def test_targets_of_another_size_are_refused(name: str) -> None:
    assert LOSSES[name](normal(4, 2), torch.ones(4, 2)).shape == (4,)
    for outputs, targets in ((normal(4, 2), torch.ones(4, 3)), (normal(4, 2), torch.ones(2, 4))):
        with pytest.raises(InputError, match="do not fit"):
            LOSSES[name](outputs, targets)
    with pytest.raises(InputError, match="examples, values"):
        LOSSES[name](normal(4), torch.ones(4))


def test_the_next_token_is_one_further_on() -> None:
    ids, outputs = torch.tensor([[1, 4, 0, 2], [3, 3, 1, 4]]), normal(2, 4, 5)

    def expected(row: int, places: tuple[int, ...]) -> float:
        losses = [minus_log_p(outputs[row, place - 1], int(ids[row, place])) for place in places]
        return sum(losses) / len(losses)

    everything = [expected(0, (1, 2, 3)), expected(1, (1, 2, 3))]
    mask = torch.tensor([[1, 1, 1, 1], [1, 1, 1, 0]])
    labels = ids.masked_fill(torch.tensor([[0, 1, 0, 0], [1, 0, 0, 0]]).bool(), -100)
    for batch, wanted in (
        (Batch(ids), everything),
        (Batch(ids.to(torch.int32)), everything),
        (Batch(ids, torch.tensor([0, 1])), everything),
        (Batch((ids, normal(2, 3)), ids), everything),
        (Batch({"input_ids": ids, "attention_mask": mask}), [everything[0], expected(1, (1, 2))]),
        (Batch({"input_ids": ids}, labels, "labels"), [expected(0, (2, 3)), everything[1]]),
    ):
        assert loss_of("next-token", batch, outputs).tolist() == pytest.approx(wanted, rel=1e-12)
    with pytest.raises(InputError, match="do not fit token ids"):
        loss_of("next-token", Batch(ids), normal(2, 5, 4))


def test_the_loss_of_a_sequence_is_the_mean_over_its_characters() -> None:
    generator = torch.Generator().manual_seed(0)
    outputs = torch.randn(4, 5, 7, generator=generator, dtype=torch.float64)
    targets = torch.randint(0, 7, (4, 5), generator=generator)
    name, loss = resolve_loss(None, targets)
    assert name == "cross-entropy"
    chosen = torch.log_softmax(outputs, 2).numpy()
    expected = [-np.mean([chosen[n, t, targets[n, t]] for t in range(5)]) for n in range(4)]
    np.testing.assert_allclose(loss(outputs, targets).numpy(), expected, rtol=1e-12)
    outputs[0, 0, targets[0, 0]] = 99.0
    hits = accuracy_of(outputs, targets)
    right = (outputs.argmax(2) == targets).sum()
    assert hits is not None
    assert float(hits) == pytest.approx(int(right) / 5)
    assert 0 < float(hits) < 4
    with pytest.raises(InputError, match="do not fit targets"):
        loss(outputs[:, 0], targets)


def test_half_square_sums_over_values_and_takes_labels() -> None:
    outputs, labels = normal(4, 3), torch.tensor([0, 2, 2, 1])
    by_hand = [
        sum((float(f[c]) - (c == int(y))) ** 2 for c in range(3)) / 2
        for f, y in zip(outputs, labels, strict=True)
    ]
    loss = resolve_loss("half-square", labels).function
    assert loss is LOSSES["half-square"]
    np.testing.assert_allclose(LOSSES["half-square"](outputs, labels), by_hand, rtol=1e-13)
    targets = normal(4, 3)
    torch.testing.assert_close(LOSSES["half-square"](outputs, targets), 1.5 * LOSSES["mse"](outputs, targets))
    with pytest.raises(InputError, match="half-square"):
        LOSSES["half-square"](outputs, normal(4, 2))
