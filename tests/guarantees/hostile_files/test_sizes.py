"""Files that claim more memory than there is."""

from __future__ import annotations

import json
import pickle
import struct
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch

from probes.checkpoints.checkpoint import read_checkpoint
from probes.data.dataset import load_data
from tests.guarantees.hostile_files.refusals import one_line, refused
from tests.probes.checkpoints.examples import distributed, exported
from tests.support.archives import legacy_head, rezip, write_zip


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
    from probes.checkpoints.budget import Budget

    file = tmp_path / "piece"
    torch.save(torch.ones(1), file)
    pieces = [module._Piece((place,), (1,), file, 0, file.stat().st_size) for place in (0, 1)]
    assert module._read(module._Pieces((2,), tuple(pieces)), Budget(0)).tolist() == [1, 1]
    with pytest.raises(ValueError, match="not whole"):
        module._read(module._Pieces((2,), (pieces[0], pieces[0])), Budget(0))


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
        cwd=Path(__file__).parents[3],
    )
    assert run.returncode == 0, run.stderr[-2000:]
    assert run.stdout.startswith("peak"), run.stdout
