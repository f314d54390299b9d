"""Several checkpoints in training order, by what the files say or else by their names, and the reason."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import save_file

from probes.checkpoints.checkpoint import read_checkpoint, write_checkpoint
from probes.checkpoints.order import training_order


def state() -> dict[str, Any]:
    return {"a.weight": torch.ones(4, 6), "a.bias": torch.ones(4), "b.weight": torch.ones(3, 4)}


def names(order: Any) -> list[str]:
    return [path.name for path in order.paths]


@pytest.mark.parametrize("word", ["step", "global_step", "iteration"])
@pytest.mark.parametrize("inside", [False, True])
def test_the_step_in_the_file_goes_before_its_name(tmp_path: Path, word: str, inside: bool) -> None:
    for name, step in (("a.pt", 30), ("b.pt", 4), ("c.pt", 200)):
        said = {"model": state(), word: step, "epoch": 9}
        torch.save({"checkpoint": said} if inside else said, tmp_path / name)
    order = training_order([tmp_path])
    assert names(order) == ["b.pt", "a.pt", "c.pt"]
    assert order.places == [4, 30, 200]
    assert order.reason == "by step in the files"
    assert order.lines() == [
        "order by step in the files:", "  1. b.pt  step 4", "  2. a.pt  step 30", "  3. c.pt  step 200"
    ]  # fmt: skip
    assert training_order([tmp_path / "c.pt", tmp_path / "a.pt", tmp_path / "b.pt"]) == order
    assert read_checkpoint(tmp_path / "a.pt").details == {"step": 30, "epoch": 9}


def test_the_epoch_where_no_step_is(tmp_path: Path) -> None:
    for name, epoch in (("a.ckpt", 3), ("b.ckpt", 1), ("c.ckpt", 2)):
        torch.save({"state_dict": state(), "epoch": epoch}, tmp_path / name)
    order = training_order([tmp_path])
    assert names(order) == ["b.ckpt", "c.ckpt", "a.ckpt"]
    assert order.reason == "by epoch in the files"


def test_the_order_of_formats_together(tmp_path: Path) -> None:
    write_checkpoint(tmp_path / "z.safetensors", state(), {"step": 1})
    torch.save(
        {"state_dict": state(), "global_step": 2, "epoch": 0, "hyper_parameters": {"step": 9}},
        tmp_path / "y.ckpt",
    )
    folder = tmp_path / "x"
    folder.mkdir()
    (folder / "config.json").write_text("{}")
    (folder / "trainer_state.json").write_text('{"global_step": 3, "epoch": 0.5}')
    save_file(state(), folder / "model.safetensors")
    assert names(training_order([tmp_path])) == ["z.safetensors", "y.ckpt", "x"]


def test_names_decide_where_a_file_says_nothing(tmp_path: Path) -> None:
    for name in ("step-10.pt", "step-9.pt", "step-100.pt"):
        said = {"step-9.pt": 5, "step-10.pt": 4}.get(name)
        torch.save({"model": state(), "step": said} if said else state(), tmp_path / name)
    order = training_order([tmp_path])
    assert names(order) == ["step-9.pt", "step-10.pt", "step-100.pt"]
    assert "names" in order.reason
    shuffled = [tmp_path / name for name in ("step-100.pt", "step-10.pt", "step-9.pt")]
    assert names(training_order(shuffled)) == names(order)  # as a shell's * would not have it
    assert order.lines()[1] == "  1. step-9.pt"


def test_the_same_step_everywhere_tells_nothing(tmp_path: Path) -> None:
    for name in ("e2.pt", "e10.pt"):
        torch.save({"model": state(), "step": 5, "epoch": True}, tmp_path / name)
    assert names(training_order([tmp_path])) == ["e2.pt", "e10.pt"]


def test_names_that_tell_nothing_stay_as_given(tmp_path: Path) -> None:
    for name in ("before.pt", "after.pt"):
        torch.save(state(), tmp_path / name)
    order = training_order([tmp_path / "before.pt", tmp_path / "after.pt"])
    assert names(order) == ["before.pt", "after.pt"]
    assert order.reason.startswith("as given")
    assert names(training_order([tmp_path])) == ["after.pt", "before.pt"]


def test_a_damaged_file_is_kept_for_its_own_line(tmp_path: Path) -> None:
    torch.save({"model": state(), "step": 5}, tmp_path / "a2.pt")
    (tmp_path / "a1.pt").write_bytes(b"PK\x03\x04 and no more")
    assert names(training_order([tmp_path])) == ["a1.pt", "a2.pt"]


def test_one_checkpoint_needs_no_order(tmp_path: Path) -> None:
    torch.save(state(), tmp_path / "a.pt")
    assert training_order([tmp_path]).lines() == ["order of one:", "  1. a.pt"]
