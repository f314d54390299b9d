"""Files made to run code, to claim memory or to confuse: each gets one line, and nothing else happens."""

from __future__ import annotations

import io
import json
import os
import pickle
import random
import struct
import subprocess
import sys
import warnings
import zipfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from safetensors.torch import save_file

from probes import InputError
from probes.checkpoints.checkpoint import read_checkpoint
from probes.checkpoints.order import training_order
from probes.data.dataset import load_data
from tests.probes.checkpoints.test_formats import distributed, exported, scripted, state


def one_line(call: Callable[[], Any], *parts: str) -> str:
    with pytest.raises(InputError) as caught:
        call()
    message = str(caught.value)
    assert "\n" not in message
    assert len(message) < 900, message
    assert message.isprintable(), ascii(message)
    for part in parts:
        assert part in message, message
    return message


def refused(path: Path, *parts: str) -> str:
    return one_line(lambda: read_checkpoint(path), str(path), *parts)


def message_of(call: Callable[[], Any]) -> str | None:
    """The one line of a refusal, if there is one."""
    try:
        call()
    except InputError as error:
        return str(error)
    return None


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


def rezip(path: Path, change: Callable[[str, bytes], bytes]) -> None:
    """The same archive with other contents."""
    with zipfile.ZipFile(path) as archive:
        entries = [(entry.filename, archive.read(entry)) for entry in archive.infolist()]
    with zipfile.ZipFile(path, "w") as archive:
        for name, content in entries:
            archive.writestr(name, change(name, content))


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


# archives that deceive


def write_zip(path: Path, entries: list[tuple[Any, bytes]], compression: int = zipfile.ZIP_STORED) -> None:
    with zipfile.ZipFile(path, "w", compression) as archive, warnings.catch_warnings(action="ignore"):
        for name, content in entries:
            archive.writestr(name, content)


def entries_of(path: Path) -> list[tuple[Any, bytes]]:
    torch.save(state(), path)
    with zipfile.ZipFile(path) as archive:
        return [(name, archive.read(name)) for name in archive.namelist()]


def test_archives_that_climb_link_or_repeat(tmp_path: Path) -> None:
    path = tmp_path / "net.pt"
    good = entries_of(path)
    before = sorted(tmp_path.iterdir())
    for name in ("/etc/x", "../x", "net/../../x", "C:\\x", "..\\x", "net/data/../../../x"):
        write_zip(path, [*good, (name, b"x")])
        refused(path, "climbs out")
    write_zip(path, [*good, good[1]])
    refused(path, "two entries named")
    link = zipfile.ZipInfo("net/link")
    link.external_attr = 0o120777 << 16
    write_zip(path, [*good, (link, b"/etc/passwd")])
    refused(path, "is a link")
    write_zip(path, good)
    assert read_checkpoint(path).tensors
    assert sorted(tmp_path.iterdir()) == before


def test_archives_that_unpack_to_more(tmp_path: Path) -> None:
    path = tmp_path / "net.pt"
    good = entries_of(path)
    write_zip(path, good, zipfile.ZIP_DEFLATED)
    refused(path, "is compressed")
    write_zip(path, [*good, ("net/bomb", bytes(1 << 26))], zipfile.ZIP_DEFLATED)
    refused(path, "claims to unpack")
    np.savez_compressed(
        tmp_path / "d.npz", x=np.zeros((1 << 12, 1 << 12), np.float32), y=np.zeros(1 << 12, np.int64)
    )
    one_line(lambda: load_data(str(tmp_path / "d.npz")), "claims to unpack")
    np.savez_compressed(tmp_path / "d.npz", x=np.eye(9), y=np.arange(9))
    assert len(load_data(str(tmp_path / "d.npz"))) == 9


def lies(whole: bytes) -> Iterator[bytes]:
    """The archive with every size and offset of its directory enlarged in turn."""
    signature = b"PK\x01\x02"
    place = whole.find(signature)
    while place >= 0:
        for offset in (20, 24, 42):
            for value in (0xFFFFFFFF, 0xFFFFFFFE, 0x7FFFFFFF, 1 << 20):
                changed = bytearray(whole)
                struct.pack_into("<I", changed, place + offset, value)
                yield bytes(changed)
        place = whole.find(signature, place + 4)
    end = whole.rfind(b"PK\x05\x06")
    for offset, size in ((8, 2), (10, 2), (12, 4), (16, 4)):
        changed = bytearray(whole)
        changed[end + offset : end + offset + size] = b"\xff" * size
        yield bytes(changed)


def test_directories_that_lie(tmp_path: Path) -> None:
    path = tmp_path / "net.pt"
    torch.save({"a.weight": torch.ones(3, 2)}, path)
    for changed in lies(path.read_bytes()):
        path.write_bytes(changed)
        message = message_of(lambda: read_checkpoint(path))
        if message is None:
            assert torch.equal(read_checkpoint(path).tensors["a.weight"], torch.ones(3, 2))


def test_directories_that_lie_are_told(tmp_path: Path) -> None:
    path = tmp_path / "net.pt"
    torch.save({"a.weight": torch.ones(3, 2)}, path)
    whole = path.read_bytes()
    place = whole.find(b"PK\x01\x02")
    (size,) = struct.unpack_from("<I", whole, place + 24)

    def told(packed: int, unpacked: int, part: str) -> None:
        changed = bytearray(whole)
        struct.pack_into("<II", changed, place + 20, packed, unpacked)
        path.write_bytes(changed)
        refused(path, part)

    told(size, size + 1, "two sizes")
    told(size + 400, size + 400, "overlap")
    told(1 << 30, 1 << 30, "longer than the file")


# claims of memory


def claim(
    path: Path, storage: int, size: tuple[int, ...], stride: tuple[int, ...], *, zipped: bool, offset: int = 0
) -> None:
    """A file of torch that says whatever is wanted of its only tensor, over 16 numbers."""
    torch.save({"a.weight": torch.arange(16.0)}, path, _use_new_zipfile_serialization=zipped)

    def number(value: int) -> bytes:
        raw = pickle.encode_long(value)
        return b"\x8a" + bytes([len(raw)]) + raw

    def numbers(values: tuple[int, ...]) -> bytes:
        return b"(" + b"".join(map(number, values)) + b"t"

    def change(name: str, content: bytes) -> bytes:
        end = (
            content.find(b"QK\x00K\x10\x85")
            if b"QK\x00K\x10\x85" in content
            else content.find(b"K\x00K\x10\x85")
        )
        if end < 0 or (zipped and not name.endswith("data.pkl")):
            return content
        start = content.find(b"K\x00K\x10\x85")
        stop = content.find(b"\x89", start)
        content = content[:start] + number(offset) + numbers(size) + numbers(stride) + content[stop:]
        return (
            content.replace(b"cpuq\x05K\x10", b"cpuq\x05" + number(storage))
            if b"cpuq\x05K\x10" in content
            else content.replace(b"K\x10", number(storage), 1)
        )

    if zipped:
        rezip(path, change)
    else:
        path.write_bytes(change("", path.read_bytes()))


HUGE = 1 << 40
CLAIMS = [
    (HUGE, (HUGE,), (1,)),
    (HUGE, (16,), (1,)),
    (16, (HUGE,), (1,)),
    (16, (HUGE,), (0,)),
    (16, (1 << 20, 1 << 20), (0, 0)),
    (16, (1 << 61, 1 << 61), (0, 0)),
    (16, (1 << 70,), (0,)),
    (16, (1 << 15,) * 40, (0,) * 40),
    (16, (1,) * 100, (1,) * 100),
    (16, (-16,), (1,)),
    (16, (16,), (-1,)),
    (16, (4, 4), (4,)),
    (-1, (16,), (1,)),
    (17, (17,), (1,)),
    (16, (0, 1 << 61), (1, 1)),
]


@pytest.mark.parametrize("zipped", [True, False])
def test_tensors_that_claim_more_than_there_is(tmp_path: Path, zipped: bool) -> None:
    path = tmp_path / "net.pt"
    claim(path, 16, (2, 3), (8, 2), zipped=zipped, offset=1)
    assert read_checkpoint(path).tensors["a.weight"].tolist() == [[1, 3, 5], [9, 11, 13]]
    for storage, size, stride in CLAIMS:
        claim(path, storage, size, stride, zipped=zipped)
        boasts = "claims" if storage > 16 else "damaged" if storage < 0 else ""
        refused(path, boasts)
    claim(path, 16, (16,), (1,), zipped=zipped, offset=1)
    refused(path, "outside of its storage")
    claim(path, 16, (3, 5), (0, 1), zipped=zipped)
    assert read_checkpoint(path).tensors["a.weight"].tolist() == [[0, 1, 2, 3, 4]] * 3


def test_other_formats_that_claim_more_than_there_is(tmp_path: Path) -> None:
    header = json.dumps({"a": {"dtype": "F32", "shape": [HUGE], "data_offsets": [0, 4 * HUGE]}}).encode()
    path = tmp_path / "net"
    for length in (len(header), HUGE, (1 << 64) - 1):
        path.write_bytes(struct.pack("<Q", length) + header + bytes(64))
        refused(path)
    exported(path)
    rezip(path, lambda _, content: content.replace(b'{"as_int": 6}', b'{"as_int": 6000000000000}'))
    refused(path)
    exported(path)
    rezip(
        path,
        lambda _, content: content.replace(b'"as_int": 6', b'"as_int": 0').replace(
            b'"as_int": 4', b'"as_int": 4000000000000'
        ),
    )
    refused(path)
    for shape in ("(1099511627776, 3)", "(-1, 2)", "(3,", "(1e9, 2)", "(True, 6)", "(" * 2000):
        text = f"{{'descr': '<f4', 'fortran_order': False, 'shape': {shape}, }}\n".encode()
        entry = b"\x93NUMPY\x01\x00" + struct.pack("<H", min(len(text), 65535)) + text + bytes(24)
        write_zip(tmp_path / "d.npz", [("x.npy", entry), ("y.npy", entry)])
        one_line(lambda: load_data(str(tmp_path / "d.npz")), "d.npz")


def test_distributed_tensors_that_claim_more_than_there_is(tmp_path: Path) -> None:
    path = tmp_path / "saved"
    distributed({"model": {"a.weight": torch.ones(5, 7)}}, path)
    good = (path / ".metadata").read_bytes()
    for old, new, part in (
        (b"K\x05K\x07", b"M\xff\xffM\xff\xff", "not in its pieces"),
        (b"K\x05K\x07", b"K\x05K\x06", "not the tensor"),
        (b"K\x00K\x00", b"K\x01K\x00", "not whole"),
    ):
        changed = good.replace(old, new)
        assert changed != good
        (path / ".metadata").write_bytes(
            b"\x80\x04" + changed[11:]
        )  # without the frame, whose length is another
        refused(path, part)


def test_pieces_that_overlap_make_no_tensor(tmp_path: Path) -> None:
    from probes.checkpoints import distributed as module

    file = tmp_path / "piece"
    torch.save(torch.ones(1), file)
    pieces = [module._Piece((place,), (1,), file, 0, file.stat().st_size) for place in (0, 1)]
    assert module._read(module._Pieces((2,), tuple(pieces))).tolist() == [1, 1]
    with pytest.raises(ValueError, match="not whole"):
        module._read(module._Pieces((2,), (pieces[0], pieces[0])))


LIMITED = """
import resource, sys, pathlib
import torch, numpy
from probes import InputError
from probes.checkpoints.checkpoint import read_checkpoint
from probes.data.dataset import load_data
import probes.checkpoints.exported, probes.data.npz, safetensors.torch
used = int(open("/proc/self/statm").read().split()[0]) * resource.getpagesize()
resource.setrlimit(resource.RLIMIT_AS, (used + (700 << 20),) * 2)
for path in sorted(pathlib.Path(sys.argv[1]).iterdir()):
    try:
        load_data(str(path)) if path.suffix == ".npz" else read_checkpoint(path)
        print("read", path)
    except InputError as error:
        assert str(path) in str(error) and "too large" not in str(error) and "cannot be made" not in str(error), error
print("peak", resource.getrusage(resource.RUSAGE_SELF).ru_maxrss >> 10)
"""


def test_memory_stays_under_a_limit(tmp_path: Path) -> None:
    corpus = tmp_path / "corpus"
    corpus.mkdir()
    for number, (storage, size, stride) in enumerate(CLAIMS):
        for zipped in (True, False):
            claim(corpus / f"claim-{number}-{zipped}", storage, size, stride, zipped=zipped)
    (corpus / "deep.pkl").write_bytes(legacy_head() + b"(" * 300_000)
    for opcode, size in (
        (b"X", "<I"),
        (b"\x8d", "<Q"),
        (b"\x8e", "<Q"),
        (b"\x96", "<Q"),
        (b"\x8b", "<i"),
        (b"B", "<I"),
    ):
        claimed = struct.pack(size, (1 << 31) - 1 if size != "<Q" else 1 << 40)
        (corpus / f"text-{opcode.hex()}.pkl").write_bytes(legacy_head() + opcode + claimed + b"x")
    np.savez_compressed(
        corpus / "bomb.npz", x=np.zeros((1 << 13, 1 << 14), np.float32), y=np.zeros(1 << 13, np.int64)
    )
    many = {f"a{k}.weight": torch.ones(1).expand(1 << 22) for k in range(64)}
    torch.save(many, corpus / "many-expanded.pt")
    run = subprocess.run(
        [sys.executable, "-c", LIMITED, str(corpus)],
        capture_output=True,
        text=True,
        cwd=Path(__file__).parents[2],
    )
    assert run.returncode == 0, run.stderr[-2000:]
    assert run.stdout.startswith("peak"), run.stdout


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


def legacy_head() -> bytes:
    """What a legacy file begins with."""
    return b"".join(pickle.dumps(part, 2) for part in (0x1950A86A20F9469CFC6C, 1001, {"little_endian": True}))


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


# damage


def large() -> dict[str, torch.Tensor]:
    return {"a.weight": torch.randn(60, 40), "a.bias": torch.randn(60), "b.weight": torch.randn(30, 60)}


def save_exported(content: dict[str, torch.Tensor], path: Path) -> None:
    module = torch.nn.Sequential(torch.nn.Linear(40, 60), torch.nn.Linear(60, 30, bias=False))
    with warnings.catch_warnings(action="ignore"):
        torch.export.save(torch.export.export(module, (torch.ones(2, 40),)), path)


SAVERS: dict[str, Callable[[dict[str, torch.Tensor], Path], Any]] = {
    "zip": torch.save,
    "legacy": lambda content, path: torch.save(content, path, _use_new_zipfile_serialization=False),
    "safetensors": save_file,
    "exported": save_exported,
    "distributed": distributed,
}


def damaged_file(path: Path) -> Path:
    return next(path.glob("*.distcp")) if path.is_dir() else path


@pytest.mark.parametrize("kind", SAVERS)
def test_truncation_at_every_kilobyte(tmp_path: Path, kind: str) -> None:
    path = tmp_path / "net"
    SAVERS[kind](large(), path)
    file = damaged_file(path)
    whole = file.read_bytes()
    assert len(whole) > 16_000
    for length in [*range(0, len(whole), 1024), len(whole) - 1]:
        file.write_bytes(whole[:length])
        refused(path, "shorter than .metadata says" if kind == "distributed" else "")
    file.write_bytes(whole)
    assert len(read_checkpoint(path).tensors) >= 3


def test_truncated_metadata_and_indices(tmp_path: Path) -> None:
    path = tmp_path / "net"
    distributed(large(), path)
    whole = (path / ".metadata").read_bytes()
    for length in range(0, len(whole), 40):
        (path / ".metadata").write_bytes(whole[:length])
        refused(path)


@pytest.mark.parametrize(
    "start", [b"", b"PK\x03\x04", b"\x80\x02", b"\x93NUMPY", struct.pack("<Q", 100) + b"{"]
)
def test_random_bytes(tmp_path: Path, start: bytes) -> None:
    source = random.Random(0)
    for length in (1, 10, 300, 5000):
        for _ in range(5):
            (tmp_path / "net.pt").write_bytes(start + source.randbytes(length))
            refused(tmp_path / "net.pt")
            one_line(lambda: load_data(str(tmp_path / "net.pt")))


_SMALL = {"a.weight": torch.arange(6.0).reshape(2, 3), "a.bias": torch.ones(2)}


@pytest.fixture(scope="module")
def valid(tmp_path_factory: pytest.TempPathFactory) -> dict[str, bytes]:
    """A valid file of each kind."""
    place = tmp_path_factory.mktemp("valid")
    found = {}
    for kind in ("zip", "legacy", "safetensors"):
        SAVERS[kind]({**_SMALL}, place / kind)
    scripted(place / "scripted")
    exported(place / "exported")
    np.savez(place / "npz", x=np.ones((3, 2), np.float32), y=np.arange(3))
    os.rename(place / "npz.npz", place / "npz")
    distributed({**_SMALL}, place / "dcp")
    for path in place.iterdir():
        if path.is_file():
            found[path.name] = path.read_bytes()
    found["metadata"] = (place / "dcp" / ".metadata").read_bytes()
    return found


edits = st.lists(
    st.tuples(
        st.floats(0, 1, exclude_max=True),
        st.sampled_from(["flip", "insert", "delete", "copy"]),
        st.binary(min_size=1, max_size=6),
    ),
    min_size=1,
    max_size=6,
)


@pytest.mark.parametrize(
    "kind", ["zip", "legacy", "safetensors", "scripted", "exported", "npz", "metadata", "pickle"]
)
def test_damage_anywhere(
    valid: dict[str, bytes], tmp_path_factory: pytest.TempPathFactory, kind: str
) -> None:
    place = tmp_path_factory.mktemp(kind)
    whole = valid["zip" if kind == "pickle" else kind]
    if kind == "pickle":  # inside of a good archive, where no checksum stands before it
        with zipfile.ZipFile(io.BytesIO(whole)) as archive:
            entries = [(name, archive.read(name)) for name in archive.namelist()]
        whole = next(content for name, content in entries if name.endswith("data.pkl"))

    @settings(
        max_examples=150,
        deadline=None,
        derandomize=True,
        database=None,
        suppress_health_check=list(HealthCheck),
    )
    @given(edits)
    def attempt(changes: list[tuple[float, str, bytes]]) -> None:
        content = bytearray(whole)
        for share, how, what in changes:
            at = int(share * len(content))
            if how == "flip":
                content[at : at + len(what)] = what
            elif how == "insert":
                content[at:at] = what
            elif how == "delete":
                del content[at : at + len(what)]
            else:
                content[at:at] = content[: at // 2]
        path = place / "net"
        if kind == "metadata":
            path.mkdir(exist_ok=True)
            (path / "__0_0.distcp").write_bytes(bytes(4000))
            (path / ".metadata").write_bytes(content)
        elif kind == "pickle":
            write_zip(
                path,
                [(name, bytes(content) if name.endswith("data.pkl") else part) for name, part in entries],
            )
        else:
            path.write_bytes(content)
        for read in (
            lambda: read_checkpoint(path),
            lambda: load_data(str(path)),
            lambda: training_order([path]),
        ):
            message = message_of(read)
            assert message is None or (str(path) in message and message.isprintable()), ascii(message)

    attempt()
