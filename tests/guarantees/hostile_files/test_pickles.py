"""Pickles of no writer: too long, too deep, mixed up."""

from __future__ import annotations

import pickle
import warnings
from pathlib import Path
from typing import Any

import pytest
import torch

from tests.guarantees.hostile_files.refusals import refused
from tests.support.archives import legacy_head, rezip, write_zip


def test_pickles_of_too_many_steps(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from probes.checkpoints import pickles

    monkeypatch.setattr(pickles, "MOST_OPCODES", 1000)
    (tmp_path / "net.pt").write_bytes(legacy_head() + b"]" * 1010 + b".")
    refused(tmp_path / "net.pt", "more than 1000 steps")


@pytest.mark.parametrize(
    "body",
    [
        b"cos\nsystem\n(S'true'\ntR.",
        b"(S'true'\nios\nsystem\n.",
        b"(cos\nsystem\nS'true'\no.",
        b"\x8c\x02os\x8c\x06system\x93)R.",
        b"ctorch.hub\nload\n.",
        b"ctorch.nn.modules.linear\nLinear\n)\x81.",
        b"cprobes.data\nload_data\n.",
    ],
)
def test_every_way_to_name_code(tmp_path: Path, body: bytes) -> None:
    (tmp_path / "net.pt").write_bytes(legacy_head() + body + pickle.dumps([], 2))
    refused(tmp_path / "net.pt", "would run code")


def test_things_held_twice_at_every_level(tmp_path: Path) -> None:
    """A trillion paths lead to the innermost mapping of forty."""

    def pair(k: int) -> bytes:
        inner = b"h" + bytes([k - 1]) if k else b"N"
        return b"}(X\1\0\0\0a" + inner + b"X\1\0\0\0b" + inner + b"u"

    mappings = b"".join(pair(k) + b"q" + bytes([k]) + b"0" for k in range(40)) + b"h\x27."
    (tmp_path / "net.pt").write_bytes(legacy_head() + mappings + pickle.dumps([], 2))
    refused(tmp_path / "net.pt", "no state_dict")
    modules = b"".join(b"c__torch__\nM\n)\x81" + pair(k) + b"bq" + bytes([k]) + b"0" for k in range(40))
    entries = [("m/data.pkl", b"\x80\2" + modules + b"h\x27."), ("m/constants.pkl", b"")]
    write_zip(tmp_path / "net.ts", [*entries])
    refused(tmp_path / "net.ts", "nested too deeply")


@pytest.mark.parametrize(
    "body",
    [
        b"]" * 100_000 + b"a" * 99_999 + b".",
        b")" + b"\x85" * 100_000 + b".",
        b"}(X\1\0\0\0a" * 30_000 + b"N" + b"u" * 30_000 + b".",
        b"}(" + b")" + b"\x85" * 100_000 + b"Nu.",  # a key that takes the stack to hash
        b"}(](Nu.",
        b"}" + b"q\0X\x05\0\0\0modelh\0s.",  # a mapping in itself
        b"}q\0X\5\0\0\0model"
        + b"".join(
            b"}q" + bytes([k]) + b"(X\1\0\0\0ah" + bytes([k]) + b"X\1\0\0\0bh" + bytes([k]) + b"u"
            for k in range(1, 200)
        )
        + b"s.",
        b"cos\nsystem\n(S'true'\ntR.",
        b"(S'true'\nios\nsystem\n.",
        b"(cos\nsystem\nS'true'\no.",
        b"\x8c\x02os\x8c\x06system\x93)R.",
        b"\x82\x01.",
        b"cbuiltins\neval\n.",
        b"c__builtin__\neval\n.",
        b"ctorch.hub\nload\n.",
        b"ctorch.nn.modules.linear\nLinear\n)\x81.",
        b"0",
        b"1",
        b".",
        b"a",
        b"u",
        b"R",
        b"h\0",
        b"(",
        b"Q.",
        b"Pstorage\n.",
        b"b",
        b"I1e\n",
        b"L" + b"9" * 9999 + b"L\n.",
        b"X\xff\xff\xff\xff",
        b"\x95" + b"\xff" * 8,
        b"\x8b\xff\xff\xff\x7f",
    ],
)
def test_strange_pickles(tmp_path: Path, body: bytes) -> None:
    path = tmp_path / "net.pt"
    path.write_bytes(legacy_head() + body + pickle.dumps([], 2))
    refused(path)
    torch.save({}, path)
    rezip(path, lambda name, content: b"\x80\x02" + body if name.endswith("data.pkl") else content)
    refused(path)
    write_zip(tmp_path / "a.zip", [("m/data.pkl", b"\x80\x02" + body), ("m/constants.pkl", b"")])
    refused(tmp_path / "a.zip")
    (tmp_path / "dcp").mkdir()
    (tmp_path / "dcp" / ".metadata").write_bytes(b"\x80\x02" + body)
    refused(tmp_path / "dcp")


@pytest.mark.parametrize(
    "content",
    [
        {"a.weight": 3},
        {"a.weight": [1.0, 2.0]},
        {"model": None},
        {"model": [1, 2]},
        {"model": "text"},
        [],
        (),
        3,
        None,
        {3: torch.ones(2, 2)},
        {None: {"a": torch.ones(1)}, "b": 2},
        {"a\x1b[31m.weight": torch.ones(2, 2)},
        {"": torch.ones(2, 2)},
        {"a.weight": torch.ones(2, 2), "b.weight": None},
        {("a", "b"): torch.ones(2)},
        {"a.weight": torch.ones(2, 2, device="meta")},
        {"a.weight": torch.ones(3).to_sparse()},
        {"a.weight": torch.ones(3, 3).to_sparse_csr()},
        [[[[]]]],
        {"a": {"b": {}}},
        {"a.weight": torch.quantize_per_tensor(torch.ones(3), 0.1, 0, torch.qint8)},
        torch.ones(2),
        {"a.weight": torch.nested.nested_tensor([torch.ones(2), torch.ones(3)])},
        {"x" * 9999: 1, "a." + "y" * 9999: None},
        {"a.weight": torch.ones(2).conj() * 1j},
        {"a.weight": torch.tensor([1j, 2]).conj().imag},
        {"a\ud800.weight": torch.ones(2, 2)},
    ],
)
def test_mixed_up_types(tmp_path: Path, content: Any) -> None:
    for zipped in (True, False):
        with warnings.catch_warnings(action="ignore"):
            torch.save(content, tmp_path / "net.pt", _use_new_zipfile_serialization=zipped)
        refused(tmp_path / "net.pt")
