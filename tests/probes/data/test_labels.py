"""Whether there are outputs for all labels."""

from __future__ import annotations

import torch

from probes.data.batch import Batch
from probes.data.batches import Batches
from probes.data.labels import label_range


def test_the_range_of_labels() -> None:
    tokens = torch.tensor([[0, -100, 6], [2, 1, 1]])
    other = Batches([Batch(tokens, tokens), Batch(tokens[:, :2], torch.tensor([[9, 0], [0, 0]]))])
    assert label_range(torch.zeros(1, 3, 7), other, "cross-entropy") == (0, 9, 7)
    assert label_range(torch.zeros(1, 2), other, "mse") == (0, 0, 1)
    ids = torch.tensor([[8, 0, 6], [2, 1, 1]])  # the first token is predicted by none
    assert label_range(torch.zeros(1, 3, 7), Batches([Batch(ids)]), "next-token") == (0, 6, 7)
    labels = Batches([Batch(torch.zeros(2, 3), torch.tensor([-100, 1]))])
    assert label_range(torch.zeros(1, 4), labels, "cross-entropy") == (-100, 1, 4)
