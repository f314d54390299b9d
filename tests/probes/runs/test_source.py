"""Checkpoints, data and a loss that fit together, or a line that says what does not."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from probes import InputError
from probes.checkpoints.checkpoint import write_checkpoint
from probes.runs.source import Source, prepare
from tests.support.reference import make, make_data


def test_what_does_not_fit_together(tmp_path: Path, source: Source) -> None:
    other = make((6, 5, 3))
    write_checkpoint(tmp_path / "o.safetensors", other.state_dict(), {"network": other.spec.to_json()})
    with pytest.raises(InputError, match=r"o\.safetensors: is of another network"):
        prepare(replace(source, checkpoints=(*source.checkpoints, str(tmp_path / "o.safetensors"))))
    x, y = make_data(20)
    np.savez(tmp_path / "wide.npz", x=np.ones((20, 7), np.float32), y=y.numpy())
    np.savez(tmp_path / "labels.npz", x=x.numpy(), y=y.numpy() + 1)
    with pytest.raises(InputError, match=r"wide\.npz.*7 features"):
        prepare(replace(source, data=str(tmp_path / "wide.npz")))
    with pytest.raises(InputError, match=r"labels\.npz.*labels run from 1 to 3"):
        prepare(replace(source, data=str(tmp_path / "labels.npz")))


def test_the_examples_of_training_are_not_asked_of_other_data(tmp_path: Path, source: Source) -> None:
    network = make()
    details = {"network": network.spec.to_json(), "data": str(tmp_path / "data.npz"), "examples": 15}
    write_checkpoint(tmp_path / "own.safetensors", network.state_dict(), details)
    own = Source((str(tmp_path / "own.safetensors"),))
    assert len(prepare(own).data) == 15
    x, y = make_data(10)
    np.savez(tmp_path / "small.npz", x=x.numpy(), y=y.numpy())
    assert len(prepare(replace(own, data=str(tmp_path / "small.npz"))).data) == 10
    assert len(prepare(replace(own, examples=3)).data) == 3


def test_a_checkpoint_that_changes_during_a_run_is_refused(source: Source) -> None:
    networks = prepare(source).networks
    path = networks[2].path
    network = make(seed=77)
    write_checkpoint(path, network.state_dict(), dict(networks[2].details))
    assert networks.load(1).digest == networks[1].digest
    with pytest.raises(InputError, match=r"step-10.*other weights"):
        networks.load(2)


def test_what_is_no_checkpoint_in_a_folder_may_be_left_out(source: Source) -> None:
    folder = Path(source.checkpoints[0])
    optimizer = torch.optim.Adam(make().parameters())
    torch.save(optimizer.state_dict(), folder / "optimizer.pt")
    with pytest.raises(
        InputError, match=r"optimizer\.pt: .*no state_dict in it.*; or name the checkpoints one by"
    ):
        prepare(source)
    one_by_one = tuple(str(path) for path in sorted(folder.glob("*.safetensors")))
    assert len(prepare(replace(source, checkpoints=one_by_one)).networks) == 3
    with pytest.raises(InputError, match="no state_dict") as caught:
        prepare(replace(source, checkpoints=(*one_by_one, str(folder / "optimizer.pt"))))
    assert "one by one" not in str(caught.value)
