"""Losses by their names, callables, and everything that they refuse."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

from probes import InputError
from probes.data.batch import Batch
from probes.data.batches import Batches
from probes.data.losses import (
    ModelLoss,
    as_loss,
    resolve_loss,
)


@pytest.mark.parametrize(
    ("batch", "part"),
    [
        (Batch(torch.ones(2, 3)), "integer token ids"),
        (Batch({"pixels": torch.ones(2, 3, dtype=torch.int64)}), "integer token ids"),
        (Batch(torch.ones(2, 1, dtype=torch.int64)), "none to predict"),
        (Batch(torch.ones(2, 3, dtype=torch.int64), torch.full((2, 3), 2)), "shifted already"),
        (Batch(torch.ones(2, 3, dtype=torch.int64), torch.full((2, 3), -100)), "no target that counts"),
        (
            Batch({"input_ids": torch.ones(2, 3, dtype=torch.int64), "attention_mask": torch.eye(2, 3)}),
            "1 examples have no target",
        ),
    ],
)
def test_next_tokens_that_there_are_none_of(batch: Batch, part: str) -> None:
    with pytest.raises(InputError, match=part) as caught:
        resolve_loss("next-token", Batches([batch]))
    assert "\n" not in str(caught.value)


def test_names_need_targets_of_their_kind() -> None:
    labels, tokens = torch.tensor([0, 1]), torch.tensor([[0, -100], [1, 1]])
    assert resolve_loss(None, labels)[0] == "cross-entropy"
    assert resolve_loss("cross-entropy", tokens)[0] == "cross-entropy"
    assert resolve_loss(None, tokens)[0] == "cross-entropy"
    with pytest.raises(InputError, match="`loss='cross-entropy'` for labels of every token"):
        resolve_loss(None, tokens[None])
    with pytest.raises(InputError, match="1 examples have no target"):
        resolve_loss(None, Batches([Batch(tokens, torch.tensor([[1, 1], [-100, -100]]))]))
    for floats in (torch.eye(3), torch.tensor([0.0, 2.0])):  # one-hot, and labels that were saved as floats
        with pytest.raises(
            InputError, match=r"mse'.*or for cross-entropy make y integers \(one-hot: y\.argmax"
        ):
            resolve_loss(None, floats)
        with pytest.raises(InputError, match=r"needs integer labels.*one-hot: y\.argmax\(1\)"):
            resolve_loss("cross-entropy", floats)
    with pytest.raises(InputError, match="1 examples have no target"):
        resolve_loss("cross-entropy", Batches([Batch(tokens, torch.tensor([[1, 1], [-100, -100]]))]))
    bare = Batches([Batch(tokens)])
    for spec in (None, "mse", "cross-entropy"):
        with pytest.raises(InputError, match="no targets"):
            resolve_loss(spec, bare)
    with pytest.raises(InputError, match="unknown; known are"):
        resolve_loss("huber", labels)


def test_the_first_parameters_name_tells_what_a_callable_is(tmp_path: Path) -> None:
    path = tmp_path / "mine.py"
    path.write_text(
        "def of_model(model, batch): return 0\n"
        "def of_network(network, batch): return 0\n"
        "class Of:\n"
        "    def __call__(self, module, batch): return 0\n"
        "of_module = Of()\n"
        "def of_outputs(outputs, targets): return 0\n"
        "def odd(modelled, batch): return 0\n"
    )
    for name, expected in (
        ("of_model", True),
        ("of_network", True),
        ("of_module", True),
        ("of_outputs", False),
        ("odd", False),
    ):
        loss = resolve_loss(f"{path}:{name}", torch.tensor([0]))[1]
        assert isinstance(loss, ModelLoss) is expected, name
    bare = Batches([Batch(torch.ones(2, 2))])
    assert isinstance(resolve_loss(f"{path}:of_model", bare)[1], ModelLoss)
    with pytest.raises(InputError, match="has no targets"):
        resolve_loss(f"{path}:of_outputs", bare)
    for function in (nn.MSELoss(reduction="none"), min, ModelLoss(lambda *_: torch.zeros(()))):
        given: Any = function
        assert as_loss(given) is given
