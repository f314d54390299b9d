"""Batches joined, cut, flipped and hashed."""

from __future__ import annotations

import itertools
from typing import Any

import pytest
import torch

from probes import InputError
from probes.data.batch import Batch
from probes.data.batches import Batches
from tests.probes.data.examples import Y


def test_digests_see_form_values_and_borders() -> None:
    ids = torch.arange(12).reshape(4, 3)
    forms = [
        Batches([Batch(ids, Y[:4])]),
        Batches([Batch(ids)]),
        Batches([Batch({"input_ids": ids}, Y[:4], "labels")]),
        Batches([Batch({"input_ids": ids}, Y[:4], "y")]),
        Batches([Batch({"input_id": ids}, Y[:4], "labels")]),
        Batches([Batch({"input_ids": ids.to(torch.int32)}, Y[:4], "labels")]),
        Batches([Batch((ids, ids), Y[:4])]),
        Batches([Batch((ids, ids + 1), Y[:4])]),
        Batches([Batch(ids[:2], Y[:2]), Batch(ids[2:], Y[2:4])], cut=True),
        Batches([Batch(ids[:1], Y[:1]), Batch(ids[1:], Y[1:4])], cut=True),
        Batches([Batch(ids[:2], Y[:2]), Batch(ids[2:, :2], Y[2:4])]),
    ]
    assert len({form.digest() for form in forms}) == len(forms)
    assert Batches([Batch(ids[:2], Y[:2]), Batch(ids[2:], Y[2:4])]).digest() == forms[0].digest()
    assert all(form.digest() == form[:4].flip().flip().digest() for form in forms)


@pytest.mark.parametrize("ragged", [False, True])
def test_cutting_flipping_and_borders(ragged: bool) -> None:
    sizes, widths = (3, 1, 4, 2), (2, 3, 3, 2) if ragged else (2, 2, 2, 2)
    numbers = torch.arange(10).split(list(sizes))
    pieces = [Batch(n[:, None].expand(-1, w), n) for n, w in zip(numbers, widths, strict=True)]
    batches = Batches(pieces, cut=True)

    def labels(data: Batches, **how: Any) -> list[list[int]]:
        found = list(data.chunks(2, **how))
        assert [start for start, _ in found] == [0, *itertools.accumulate(len(b) for _, b in found)][:-1]
        return [batch.targets.tolist() for _, batch in found if batch.targets is not None]

    assert labels(batches, as_given=True) == [n.tolist() for n in numbers]
    assert labels(batches.flip(), as_given=True) == [n.flip(0).tolist() for n in reversed(numbers)]
    assert labels(batches[2:7], as_given=True) == [[2], [3], [4, 5, 6]]
    assert labels(batches[2:7].flip(), as_given=True) == [[6, 5, 4], [3], [2]]
    assert list(itertools.chain(*labels(batches))) == list(range(10))
    assert max(map(len, labels(batches))) == 2
    assert len(batches.pieces) == (3 if ragged else 1)
    assert len(batches[2:7]) == 5
    moved = batches.pieces[0].to("cpu", torch.float32)
    assert moved.targets is not None
    assert moved.targets.dtype == torch.int64
    with pytest.raises(InputError, match="no examples"):
        batches[4:4]
