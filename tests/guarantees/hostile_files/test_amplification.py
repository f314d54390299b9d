"""Small files that describe more than a machine holds, or take longer than anyone waits: refused as soon as they do.

What a file may always cost is set lower here, so that small files exceed it; nothing else is.
"""

from __future__ import annotations

import gzip
import io
import pickle
import struct
import tracemalloc
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from probes import InputError
from probes.checkpoints import budget
from probes.checkpoints.checkpoint import read_checkpoint
from probes.checkpoints.state_dict import LONGEST_NAME
from probes.data.dataset import load_data
from probes.networks.recovery import recover_perceptron
from tests.guarantees.hostile_files.refusals import one_line, refused
from tests.probes.checkpoints.examples import distributed
from tests.support.archives import legacy_head, write_zip
from tests.support.idx import idx

MEBIBYTE = 1 << 20


@pytest.fixture(autouse=True)
def _little(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(budget, "ALWAYS", MEBIBYTE)


def peak(call: Callable[[], object]) -> int:
    """The most bytes that Python held at once on the way."""
    tracemalloc.start()
    try:
        call()
        return tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()


def legacy(body: bytes, keys: Any = (), storages: bytes = b"") -> bytes:
    return legacy_head() + b"\x80\x02" + body + pickle.dumps(list(keys), 2) + storages


def text(value: str) -> bytes:
    content = value.encode()
    return b"X" + struct.pack("<I", len(content)) + content


LIST = b"](" + b"N" * 5000 + b"eq\0"  # memo 0
TUPLE = b"(" + b"N" * 5000 + b"tq\0"
PAIRS = b"](" + b"".join(b"(" + text(f"{k}") + b"Nl" for k in range(500)) + b"eq\0"
ORDERED = b"ccollections\nOrderedDict\nq\1"
SHARED = b"]q\0" + b"".join(b"](" + b"h%c" % k * 2 + b"eq%c" % (k + 1) for k in range(60))
"""Lists that hold the one before twice: memo 60 has 2^60 leaves."""
WIDE = b")q\0" + b"".join(b"(" + b"h%c" % k * 60 + b"tq%c" % (k + 1) for k in range(8))
"""Tuples that hold the one before sixty times: memo 8 has 60^8 leaves."""


@pytest.mark.parametrize(
    ("body", "part"),
    [
        (TUPLE + ORDERED + b"](" + b"h\1h\0N\x92" * 2000 + b"e.", "more memory than"),  # NEWOBJ_EX
        (PAIRS + ORDERED + b"](" + b"h\1h\0\x85R" * 2000 + b"e.", "more memory than"),  # REDUCE copying a mapping
        (b"]" * 40_000 + b".", "more memory than"),
        (LIST + b"](" + b"h\0" * 5000 + b"e.", ""),  # what is held twice takes no more memory
        (text("a" * 30_000) + b"q\0](" + b"h\0h\0\x93" * 1000 + b"e.", "a name of 60001 letters"),
        (WIDE + b"}h\x08Ns.", "no state_dict"),  # as a key it takes as long as there are leaves to hash
        (b"}" + b"\x8b" + struct.pack("<i", 30_000) + b"\x7f" * 30_000 + b"q\0Ns}h\0Ns.", ""),  # so does this number
        (b"}(" + text("a") + b"I" + b"9" * 5000 + b"\nu.", "damaged"),
        (
            b"(c" + b"torch._tensor\n_rebuild_from_type_v2\nq\1ctorch\nTensor\nq\2)q\0"
            + b"".join(b"(h\1h\2h\0Ntq\0" for _ in range(500)) + b"](" + b"h\1h\0R" * 1000 + b"el.",
            "",
        ),
    ],
)  # fmt: skip
def test_pickles_that_multiply(tmp_path: Path, body: bytes, part: str) -> None:
    path = tmp_path / "net.pt"
    path.write_bytes(legacy(body))
    allowed = MEBIBYTE + budget.TIMES * path.stat().st_size
    assert peak(lambda: refused(path, part)) < 2 * allowed
    write_zip(tmp_path / "net.zip", [("net/data.pkl", b"\x80\x02" + body)])
    refused(tmp_path / "net.zip", part)


def test_names_of_storages_that_take_long_to_write_out(tmp_path: Path) -> None:
    for keys in (
        SHARED + b"](h<e.",
        WIDE + b"](h\x08e.",
        b"](\x8b" + struct.pack("<i", 3000) + b"\1" * 3000 + b"e.",
    ):
        (tmp_path / "net.pt").write_bytes(legacy_head() + b"\x80\x02}.\x80\x02" + keys)
        refused(tmp_path / "net.pt", "the name of a storage is damaged")


def test_data_that_are_lists_are_not_looked_through(tmp_path: Path) -> None:
    for inner, last in ((SHARED, b"h<"), (WIDE, b"h\x08")):
        (tmp_path / "d.pt").write_bytes(legacy(inner + b"}(" + text("x") + last + text("y") + last + b"u."))
        one_line(lambda: load_data(str(tmp_path / "d.pt")), "must be tensors or arrays of numbers, not a")


class View:
    """One number of a storage of bytes, away from where numbers of its type stand."""

    def __init__(self, key: str, size: int, start: int, form: tuple[Any, ...] = (0, (1,), (1,))) -> None:
        self.storage = Storage(
            ("storage", torch.ByteStorage, key, "cpu", size, (f"{start}", start, size - start))
        )
        self.form = form

    def __reduce__(self) -> Any:
        form: Any = (self.storage, *self.form, False, {}, torch.float32)
        return torch._utils._rebuild_tensor_v3, form


class Storage:
    def __init__(self, reference: Any) -> None:
        self.reference = reference


class Pickler(pickle.Pickler):
    def persistent_id(self, value: Any) -> Any:
        return value.reference if isinstance(value, Storage) else None


def views(path: Path, made: dict[str, View], size: int) -> None:
    """Write a file of one storage."""
    stream = io.BytesIO()
    Pickler(stream, 2).dump(made)
    path.write_bytes(legacy(stream.getvalue()[2:], ["0"], struct.pack("<q", size) + bytes(size)))


@pytest.mark.parametrize(
    "form",
    [
        (False, (1,), (1,)),
        (0, (True,), (1,)),
        (0, (1,), (True,)),
        (0, (1.0,), (1,)),
        (0, "1", "1"),
        (0, 1, 1),
    ],
)
def test_shapes_that_are_no_numbers(tmp_path: Path, form: tuple[Any, ...]) -> None:
    views(tmp_path / "net.pt", {"a.weight": View("0", 40, 0)}, 40)
    assert read_checkpoint(tmp_path / "net.pt").tensors["a.weight"].tolist() == [0]
    views(tmp_path / "net.pt", {"a.weight": View("0", 40, 0, form)}, 40)
    refused(tmp_path / "net.pt")


def test_views_that_would_each_keep_a_copy_of_their_storage(tmp_path: Path) -> None:
    size, count = 40_000, 300
    views(tmp_path / "net.pt", {f"a.{k}": View("0", size, 4 * k + 1) for k in range(count)}, size)
    found = read_checkpoint(tmp_path / "net.pt").tensors
    assert len(found) == count
    kept = {
        tensor.untyped_storage().data_ptr(): tensor.untyped_storage().nbytes() for tensor in found.values()
    }
    assert sum(kept.values()) <= size + 4 * count


def test_distributed_pieces_that_share_their_bytes(tmp_path: Path) -> None:
    path = tmp_path / "saved"
    distributed({f"a{k}": torch.ones(500) for k in range(8)}, path)
    metadata = pickle.loads((path / ".metadata").read_bytes())
    whole = pickle.dumps(metadata)
    first = next(iter(metadata.storage_data.values()))
    for info in metadata.storage_data.values():
        info.offset, info.length, info.relative_path = first.offset, first.length, first.relative_path
    (path / ".metadata").write_bytes(pickle.dumps(metadata))
    refused(path, "share bytes")
    (path / ".metadata").write_bytes(whole)
    assert len(read_checkpoint(path).tensors) == 8


def test_all_pieces_are_paid_for_from_one_budget(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "saved"
    distributed({f"a{k}": torch.ones(1200) for k in range(40)}, path)
    made: list[budget.Budget] = []
    init = budget.Budget.__init__

    def counted(self: budget.Budget, size: int) -> None:
        made.append(self)
        init(self, size)

    monkeypatch.setattr(budget.Budget, "__init__", counted)
    assert len(read_checkpoint(path).tensors) == 40
    (one,) = made
    assert one._left < budget.ALWAYS + budget.TIMES * one.size - 40 * 1200 * (
        4 + 4 + 4
    )  # file, piece and whole
    monkeypatch.setattr(budget, "TIMES", 0)
    monkeypatch.setattr(budget, "ALWAYS", 40 * 1200 * 4)
    refused(path, "more memory than")


@pytest.mark.parametrize("place", ["fqn", "path"])
def test_distributed_names_that_take_long_to_hash(tmp_path: Path, place: str) -> None:
    path = tmp_path / "saved"
    distributed({"a": torch.ones(500)}, path)
    metadata = pickle.loads((path / ".metadata").read_bytes())
    forever: Any = ()
    for _ in range(8):
        forever = (forever,) * 60
    metadata.planner_data = {"a": ("b", "HERE", "c") if place == "path" else ("a",)}
    index = next(iter(metadata.storage_data))
    if place == "fqn":
        object.__setattr__(index, "fqn", "HERE")
    body = pickle.dumps(metadata, 2)
    assert body.count(text("HERE")) == 1
    (path / ".metadata").write_bytes(body.replace(text("HERE"), pickle.dumps(forever, 2)[2:-1]))
    refused(path, ".metadata is damaged")


@pytest.mark.parametrize("kind", [zipfile.ZIP_BZIP2, zipfile.ZIP_LZMA])
def test_archives_that_are_compressed_in_unusual_ways(tmp_path: Path, kind: int) -> None:
    np.savez(tmp_path / "plain.npz", x=np.zeros((9, 9)), y=np.arange(9))
    with zipfile.ZipFile(tmp_path / "plain.npz") as archive:
        entries = [(name, archive.read(name)) for name in archive.namelist()]
    write_zip(tmp_path / "d.npz", entries, zipfile.ZIP_DEFLATED)
    assert len(load_data(str(tmp_path / "d.npz"))) == 9
    write_zip(tmp_path / "d.npz", entries, kind)
    one_line(lambda: load_data(str(tmp_path / "d.npz")), "d.npz", "compressed in an unusual way")


def test_zipped_arrays_that_are_longer_than_they_say(tmp_path: Path) -> None:
    (tmp_path / "train-labels-idx1-ubyte").write_bytes(idx(np.zeros(5)))
    path = tmp_path / "train-images-idx3-ubyte.gz"
    images = idx(np.zeros((5, 4, 3)))

    def load() -> None:
        one_line(lambda: load_data(f"mnist:{tmp_path}"), str(path), "its size does not match")

    path.write_bytes(gzip.compress(images + bytes(32 * MEBIBYTE)))
    assert peak(load) < MEBIBYTE
    path.write_bytes(gzip.compress(bytes([0, 0, 8, 3]) + struct.pack(">III", 30, MEBIBYTE, 1) + bytes(99)))
    assert peak(load) < MEBIBYTE  # a hundred times its own size and more


def test_names_that_take_long_to_look_at(tmp_path: Path) -> None:
    path, long = tmp_path / "net.pt", "model." * 2000
    torch.save({f"{long}weight": torch.ones(2, 2)}, path)
    refused(path, f"name has {len(long) + 6} letters")
    torch.save({"a" * LONGEST_NAME: torch.ones(2, 2)}, path)
    assert len(read_checkpoint(path).tensors) == 1
    module = b"c__torch__\nM\n)\x81}%bNsbq\0" % text("m" * 900)
    outer = b"c__torch__\nM\n)\x81}%bh\0sbq\0" % text("m" * 900)
    modules = module + outer + outer
    write_zip(tmp_path / "net.ts", [("m/data.pkl", b"\x80\2" + modules + b"."), ("m/constants.pkl", b"")])
    refused(tmp_path / "net.ts", "name of more than")


def test_modules_that_hold_one_another_often(tmp_path: Path) -> None:
    """A thousand modules hold one and the same, which has thousands of attributes."""
    many = b"c__torch__\nM\n)\x81}(" + b"".join(text(f"{k}") + b"N" for k in range(3000)) + b"ubq\0"
    outer = b"c__torch__\nM\n)\x81}(" + b"".join(text(f"{k}") + b"h\0" for k in range(1000)) + b"ub."
    write_zip(tmp_path / "net.ts", [("m/data.pkl", b"\x80\2" + many + outer), ("m/constants.pkl", b"")])
    refused(tmp_path / "net.ts", "nested too deeply")


@pytest.mark.parametrize("sign", [1, -1])
def test_numbers_that_cannot_be_written_out(tmp_path: Path, sign: int) -> None:
    number = sign * 10**5000
    for content in (
        {number: 1},
        {"a.weight": number},
        {number: torch.ones(2, 2)},
        [{number: 1}, {}],
        {"step": number},
    ):
        torch.save(content, tmp_path / "net.pt")
        refused(tmp_path / "net.pt")
    torch.save({"step": number, "model": {"a.weight": torch.ones(2, 2)}}, tmp_path / "net.pt")
    assert read_checkpoint(tmp_path / "net.pt").details == {}


def test_an_order_of_many_matrices_is_not_searched_for_long() -> None:
    one = torch.ones(1, 1)
    with pytest.raises(InputError, match="more than 1024 matrices"):
        recover_perceptron({f"{k}": one for k in range(1025)}, activation="relu", ordered=False)
    with pytest.raises(InputError, match="in more than one order"):
        recover_perceptron({f"{'x' * k}": one for k in range(1, 400)}, activation="relu", ordered=False)
    dead_end = {f"{'x' * k}": one for k in range(1, 200)} | {"y": torch.ones(1, 2)}
    with pytest.raises(InputError, match="in no order"):
        recover_perceptron(dead_end, activation="relu", ordered=False)
    with pytest.raises(InputError, match="more vectors than biases"):
        recover_perceptron({"w": one, **{f"{k}": one[0] for k in range(1000)}}, activation="relu")
    named = {f"layer.{k}": one for k in range(300)}
    assert recover_perceptron(named, activation="relu", ordered=False)[0].depth == 300
