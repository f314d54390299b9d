"""A checkpoint's tensors in the network that they belong to."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

from probes import InputError
from probes.checkpoints.checkpoint import read_checkpoint
from probes.networks.frozen_network import load_network


def test_tensors_that_do_not_fit_the_users_network(tmp_path: Path) -> None:
    path = tmp_path / "net.pt"

    def load(state: Any) -> Any:
        torch.save(state, path)
        return load_network(read_checkpoint(path), network=lambda: nn.Linear(6, 3))

    good = nn.Linear(6, 3).state_dict()
    assert torch.equal(load(good).network.weight, good["weight"])
    for state, part in (
        ({"weight": torch.ones(3, 6)}, "no tensor bias"),
        ({**good, "weight": torch.ones(6, 3)}, r"weight has shape \(6, 3\)"),
        ({**good, "other": torch.ones(1)}, "other has no place"),
        ({**good, "weight": torch.ones(3, 6, dtype=torch.int64)}, "int64"),
    ):
        with pytest.raises(InputError, match=part) as caught:
            load(state)
        assert str(path) in str(caught.value)
    with pytest.raises(InputError, match="not a torch module"):
        load_network(read_checkpoint(path), network=lambda: 3)


def test_what_a_network_makes_itself_may_be_in_the_file(tmp_path: Path) -> None:
    class Placed(nn.Linear):
        def __init__(self) -> None:
            super().__init__(6, 3)
            self.register_buffer("place", torch.arange(6.0), persistent=False)

    torch.save({**nn.Linear(6, 3).state_dict(), "place": torch.ones(6)}, tmp_path / "net.pt")
    found: Any = load_network(read_checkpoint(tmp_path / "net.pt"), network=Placed).network
    assert found.place.tolist() == [0, 1, 2, 3, 4, 5]


def test_integer_tensors_are_no_weights(tmp_path: Path) -> None:
    torch.save({"w": torch.ones(3, 6, dtype=torch.int64)}, tmp_path / "int.pt")
    with pytest.raises(InputError, match="int64"):
        load_network(read_checkpoint(tmp_path / "int.pt"))


def test_building_a_network_draws_nothing_from_the_callers_stream(tmp_path: Path) -> None:
    torch.save(nn.Linear(6, 3).state_dict(), tmp_path / "net.pt")
    before = torch.get_rng_state()
    load_network(read_checkpoint(tmp_path / "net.pt"), network=lambda: nn.Linear(6, 3))
    load_network(read_checkpoint(tmp_path / "net.pt"))
    assert torch.equal(before, torch.get_rng_state())
