"""The outputs in what a network returns."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import pytest
import torch

from probes import InputError
from probes.data.inputs import outputs_of
from tests.probes.data.examples import X, Y


@dataclass
class Result:
    """What some networks return."""

    logits: Any


@pytest.mark.parametrize(
    "result",
    [
        X,
        (X, Y),
        [torch.tensor(1.0), X],
        {"loss": torch.tensor(1.0), "out": X},
        {"out": Y, "logits": X},
        Result(X),
        ("text", X),
    ],
)
def test_outputs_in_what_a_network_returns(result: Any) -> None:
    assert outputs_of(result) is X


@pytest.mark.parametrize("result", [None, "text", (), {"loss": torch.tensor(1.0)}, Result(None), 3.0])
def test_networks_without_outputs(result: Any) -> None:
    with pytest.raises(InputError, match="without a tensor of outputs"):
        outputs_of(result)
