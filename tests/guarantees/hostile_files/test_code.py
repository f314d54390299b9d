"""Files made to run code: it does not run, and one line says so."""

from __future__ import annotations

import io
import os
import pickle
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from probes.checkpoints.checkpoint import read_checkpoint
from probes.checkpoints.order import training_order
from probes.data.dataset import load_data
from tests.guarantees.hostile_files.refusals import one_line, refused
from tests.probes.checkpoints.examples import distributed, exported, scripted, state
from tests.support.archives import rezip


class Evil:
    """Its pickle calls something when it is loaded."""

    def __init__(self, function: Any, *arguments: Any) -> None:
        self.call = (function, arguments)

    def __reduce__(self) -> Any:
        return self.call


@pytest.fixture
def canary(tmp_path: Path) -> Iterator[Path]:
    """A folder that must not come to be."""
    path = tmp_path / "canary"
    yield path
    assert not path.exists()


def evils(canary: Path) -> list[Evil]:
    code = f"__import__('os').mkdir({str(canary)!r})"
    return [
        Evil(os.mkdir, str(canary)),
        Evil(os.system, f"mkdir {canary}"),
        Evil(eval, code),
        Evil(exec, code),
        Evil(getattr(__import__("subprocess"), "Popen"), ["mkdir", str(canary)]),  # noqa: B009
        Evil(torch.hub._load_local, str(canary.parent), "x"),
        Evil(torch.load, str(canary.parent / "inner.pt")),
        Evil(np.load, str(canary.parent / "inner.npy"), None, True),
        Evil(__import__, "antigravity"),
        Evil(torch.storage._load_from_bytes, pickle.dumps(Evil(os.mkdir, str(canary)))),
    ]


@pytest.mark.parametrize("which", range(10))
@pytest.mark.parametrize("zipped", [True, False])
def test_calls_in_torch_files(tmp_path: Path, canary: Path, which: int, zipped: bool) -> None:
    evil, path = evils(canary)[which], tmp_path / "net.pt"
    for protocol in (2, 4):
        for content in (
            evil,
            {"model": state(), "x": evil},
            {"a.weight": torch.ones(2, 2), "b.weight": evil},
            [evil],
        ):
            torch.save(content, path, _use_new_zipfile_serialization=zipped, pickle_protocol=protocol)
            refused(path, "would run code")
            training_order([path])
            one_line(lambda: load_data(str(path)), "would run code")
    path.write_bytes(pickle.dumps(evil))
    refused(path)


def test_the_traps_are_live(tmp_path: Path) -> None:
    made = tmp_path / "canary"
    for evil in evils(made)[:4]:
        torch.save({"model": evil}, tmp_path / "net.pt")
        torch.load(tmp_path / "net.pt", weights_only=False)
        made.rmdir()


def test_code_in_programs_is_not_even_looked_at(tmp_path: Path, canary: Path) -> None:
    evil = pickle.dumps(evils(canary)[0], 2)
    exported(tmp_path / "a.pt2")
    rezip(
        tmp_path / "a.pt2", lambda name, content: evil if name.endswith("sample_inputs/model.pt") else content
    )
    assert set(read_checkpoint(tmp_path / "a.pt2").tensors) == set(state())
    rezip(
        tmp_path / "a.pt2",
        lambda name, content: content.replace(b'"use_pickle": false', b'"use_pickle": true'),
    )
    refused(tmp_path / "a.pt2", "pickled weights", "torch.export.load")
    scripted(tmp_path / "b.ts")
    rezip(
        tmp_path / "b.ts", lambda name, content: evil if "/code/" in name or "constants" in name else content
    )
    assert set(read_checkpoint(tmp_path / "b.ts").tensors) == set(state())
    rezip(tmp_path / "b.ts", lambda name, content: evil if name.endswith("/data.pkl") else content)
    refused(tmp_path / "b.ts", "would run code", "torch.jit.load")
    with zipfile.ZipFile(tmp_path / "c.pt2", "w") as archive:  # as torch 2.7 and before wrote
        inner = io.BytesIO()
        torch.save({"a.weight": torch.ones(2, 2), "x": evils(canary)[0]}, inner)
        archive.writestr("serialized_state_dict.pt", inner.getvalue())
    refused(tmp_path / "c.pt2", "would run code")


def test_code_in_distributed_checkpoints(tmp_path: Path, canary: Path) -> None:
    path = tmp_path / "saved"
    distributed({"model": state(), "step": 3}, path)
    good = (path / ".metadata").read_bytes()
    for evil in evils(canary):
        (path / ".metadata").write_bytes(pickle.dumps(evil))
        refused(path, "would run code", "dcp_to_torch")
    (path / ".metadata").write_bytes(good)
    place = next(path.glob("*.distcp"))
    whole = bytearray(place.read_bytes())
    content = io.BytesIO()
    torch.save(evils(canary)[0], content)
    whole[: len(content.getvalue())] = content.getvalue()
    place.write_bytes(whole)  # the step's place and the start of the first tensor's
    refused(path)
    place.unlink()
    refused(path, "missing in the folder")
    (path / ".metadata").write_bytes(good.replace(b"__0_0.distcp", b"../../../etc"))
    refused(path, "outside of the folder")


def test_objects_in_arrays(tmp_path: Path, canary: Path) -> None:
    path, y = tmp_path / "d.npz", np.arange(3)
    np.savez(path, x=np.array([[evils(canary)[0]]] * 3, dtype=object), y=y)
    one_line(lambda: load_data(str(path)), "d.npz", "plain numbers")
    np.savez(path, x=np.zeros(3, [("a", "O"), ("b", "f4")]), y=y)
    one_line(lambda: load_data(str(path)), "d.npz", "plain numbers")
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("x.npy", pickle.dumps(evils(canary)[0]))
        archive.writestr("y.npy", b"")
    one_line(lambda: load_data(str(path)), "d.npz", "header of x")
    np.savez(path, x=np.ones((3, 2)), y=y, other=np.array([evils(canary)[0]], dtype=object))
    assert len(load_data(str(path))) == 3  # what is not asked for is not read
