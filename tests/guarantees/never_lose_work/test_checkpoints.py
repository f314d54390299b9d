"""Checkpoints of ``probe train`` that were damaged since: noticed, and not taken for what was trained."""

from __future__ import annotations

import random
import shutil
from pathlib import Path

import pytest
import torch

from probes.checkpoints.checkpoint import Checkpoint, read_checkpoint, write_checkpoint
from tests.conftest import Probe
from tests.guarantees.hostile_files.refusals import message_of
from tests.guarantees.never_lose_work.runs import everything, refused
from tests.guarantees.never_lose_work.test_damage import flipped
from tests.support.reference import make


def train(data: Path, out: Path) -> list[object]:
    """The command whose outcome is the fixture ``trained``."""
    shape = ["--depth", 3, "--width", 8, "--epochs", 6, "--batch-size", 20, "--checkpoints", 3]
    return ["train", *shape, "--data", data, "--out", out]


@pytest.fixture
def copied(trained: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(trained, tmp_path / "net"))


def test_a_flipped_bit_anywhere_is_found_or_means_nothing(tmp_path: Path) -> None:
    path = tmp_path / "net.safetensors"
    network = make(norm="batch")
    write_checkpoint(path, network.state_dict(), {"network": network.spec.to_json(), "step": 3, "epoch": 0.5})
    whole, content = path.read_bytes(), read_checkpoint(path)
    assert set(content.details) == {"network", "step", "epoch"}
    head = 8 + int.from_bytes(whole[:8], "little")
    bits = random.Random(0)
    accepted: list[Checkpoint] = []
    for place in (*range(head), *range(head, len(whole), 5)):
        path.write_bytes(flipped(whole, place, bits.randrange(8)))
        message = message_of(lambda: accepted.append(read_checkpoint(path)))
        assert message is None or str(path) in message
    for one in accepted:  # a letter of the description's name, without which the file is somebody else's
        assert one.digest() == content.digest()
        assert one.details in ({}, content.details)
    assert len(accepted) < 30
    for place in range(head, len(whole)):
        path.write_bytes(flipped(whole, place))
        refused(lambda: read_checkpoint(path), "damaged (the checksum of its tensors does not fit)")
        break
    path.write_bytes(whole.replace(b'\\"step\\": 3', b'\\"step\\": 4'))
    refused(lambda: read_checkpoint(path), "its checksum does not fit")
    path.write_bytes(whole[:-1])
    refused(lambda: read_checkpoint(path), "not a whole safetensors file")


def test_names_that_wrappers_changed_are_sealed_as_they_were_written(tmp_path: Path) -> None:
    tensors = {
        "module.a.weight": torch.ones(2, 2),
        "n_averaged": torch.tensor(3),
        "module.a.bias": torch.ones(2),
    }
    write_checkpoint(tmp_path / "net.safetensors", tensors, {"step": 1})
    found = read_checkpoint(tmp_path / "net.safetensors")
    assert set(found.tensors) == {"a.weight", "a.bias"}
    assert found.details == {"step": 1}


@pytest.mark.parametrize("damage", ["flip", "cut", "remove", "exchange"])
def test_a_damaged_checkpoint_is_not_counted_as_trained(
    probe: Probe, data: Path, copied: Path, tmp_path: Path, damage: str
) -> None:
    before = everything(copied)
    victim, other = sorted(copied.glob("*.safetensors"))[1:]
    whole = victim.read_bytes()
    if damage == "remove":
        victim.unlink()
    else:
        changed = {"flip": flipped(whole, len(whole) - 9), "cut": whole[:-9], "exchange": other.read_bytes()}
        victim.write_bytes(changed[damage])
    if damage in ("flip", "cut"):
        result = probe("run", copied, "--out", tmp_path / "out")
        assert (result.exit_code, len(result.stderr.splitlines())) == (2, 1)
        assert str(victim) in result.stderr
    again = probe(*train(data, copied))
    assert again.exit_code == 0
    assert again.stderr == f"probe: {victim}: is missing or damaged; training from the start\n"
    assert everything(copied) == before
    done = probe(*train(data, copied))
    assert (done.exit_code, done.stderr) == (0, "")


def test_a_damaged_state_of_training_is_named(probe: Probe, data: Path, copied: Path) -> None:
    path = copied / ".training-state"
    whole = path.read_bytes()
    for content in (flipped(whole, 3), flipped(whole, len(whole) // 2), whole[:-1], whole[64:], b""):
        path.write_bytes(content)
        result = probe(*train(data, copied))
        assert result.exit_code == 2
        assert f"{path}: is damaged (its checksum does not fit); delete it" in result.stderr
    path.unlink()
    before = everything(copied)
    assert probe(*train(data, copied)).exit_code == 0
    assert {**before, path.name: whole} == everything(copied)
