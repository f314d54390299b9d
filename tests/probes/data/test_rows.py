"""Data stays in its file, and memory does not grow with it."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import save_file
from torch import Tensor, nn
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from probes import InputError
from probes.data.batch import MappedBatch
from probes.data.batches import Batches
from probes.data.dataset import DataSet, load_data
from probes.data.labels import label_range
from probes.data.losses import resolve_loss
from probes.evaluation.evaluator import Evaluator
from tests.support.idx import idx

DRAW = np.random.default_rng(5)
X = DRAW.normal(size=(400, 6)).astype(np.float32)
Y = DRAW.integers(0, 3, 400)


def written(path: Path, x: Any = X, y: Any = Y) -> Path:
    """The arrays in the format of the path's suffix; ``raw`` for a folder of IDX files."""
    if path.suffix == ".npz":
        np.savez(path, x=x, y=y)
    elif path.suffix == ".safetensors":
        save_file({"x": torch.as_tensor(x), "y": torch.as_tensor(y)}, path)
    else:
        torch.save({"x": torch.as_tensor(x), "y": torch.as_tensor(y)}, path)
    return path


def is_mapped(path: Path) -> bool:
    maps = Path("/proc/self/maps")
    if not maps.is_file():
        pytest.skip("needs /proc")
    return str(path) in maps.read_text()


def rows_of(data: DataSet, chunk: int = 150) -> Tensor:
    return torch.cat(
        [batch.inputs for _, batch in data.batches.chunks(chunk) if isinstance(batch.inputs, Tensor)]
    )


@pytest.mark.parametrize("suffix", ["npz", "pt", "safetensors"])
def test_files_are_mapped_and_never_written_to(tmp_path: Path, suffix: str) -> None:
    path = written(tmp_path / f"d.{suffix}")
    content = path.read_bytes()
    data = load_data(str(path))
    assert isinstance(data.batches.pieces[0], MappedBatch)
    assert is_mapped(path)
    assert torch.equal(rows_of(data), torch.from_numpy(X))
    for _, batch in data.batches.chunks(100):
        assert isinstance(batch.inputs, Tensor)
        assert batch.inputs.data_ptr() % 4 == 0  # numpy's .npz files do not align their arrays
        batch.inputs.zero_()
    assert path.read_bytes() == content
    assert load_data(str(path)).digest() == DataSet("", torch.from_numpy(X), torch.from_numpy(Y)).digest()


@pytest.mark.parametrize("suffix", ["npz", "pt", "safetensors"])
@pytest.mark.parametrize("kind", [np.float64, np.float16, np.uint8, np.int64, np.bool_])
def test_numbers_of_every_kind_are_converted_in_chunks(tmp_path: Path, suffix: str, kind: Any) -> None:
    x = (X * 9).astype(kind)
    data = load_data(str(written(tmp_path / f"d.{suffix}", x, Y.astype(np.int32))))
    stored = data.batches.pieces[0]
    assert isinstance(stored, MappedBatch)
    assert stored.x.values.dtype in (kind, torch.from_numpy(x[:0]).dtype)  # as it is in the file
    whole = torch.from_numpy(x)
    expected = whole if kind in (np.float64, np.int64) else whole.float()
    assert rows_of(data).dtype == expected.dtype
    assert torch.equal(rows_of(data, 7), expected)
    assert data.batches.first.targets is not None
    assert data.batches.first.targets.dtype == torch.int64
    assert data.digest() == DataSet("", expected, torch.from_numpy(Y)).digest()
    real = torch.float64 if kind == np.float64 else torch.float32
    assert torch.equal(rows_of(data.in_floats()), expected.to(real))


def test_any_layout_in_an_npz_file(tmp_path: Path) -> None:
    for x in (np.asfortranarray(X), X.astype(">f4"), X[:, None, :].transpose(0, 2, 1)):
        data = load_data(str(written(tmp_path / "d.npz", x)))
        assert torch.equal(rows_of(data).reshape(X.shape), torch.from_numpy(X))
    np.savez_compressed(tmp_path / "small.npz", x=X, y=Y)
    data = load_data(str(tmp_path / "small.npz"))
    assert not is_mapped(tmp_path / "small.npz")
    assert torch.equal(rows_of(data), torch.from_numpy(X))


def test_digits_stay_bytes(tmp_path: Path) -> None:
    pixels = DRAW.integers(0, 256, (50, 4, 3), dtype=np.uint8)
    (tmp_path / "train-images-idx3-ubyte").write_bytes(idx(pixels))
    (tmp_path / "train-labels-idx1-ubyte").write_bytes(idx(np.arange(50) % 10))
    data = load_data(f"mnist:{tmp_path}")
    stored = data.batches.pieces[0]
    assert isinstance(stored, MappedBatch)
    assert stored.x.values.dtype == np.uint8
    assert is_mapped(tmp_path / "train-images-idx3-ubyte")
    expected = (
        pixels.reshape(50, 12).astype(np.float32) / np.float32(255) - np.float32(0.1307)
    ) / np.float32(0.3081)
    assert np.array_equal(rows_of(data, 7), expected)
    assert data.y.tolist() == (np.arange(50) % 10).tolist()


def test_a_damaged_entry_is_noticed(tmp_path: Path) -> None:
    for suffix in ("npz", "pt"):
        path = written(tmp_path / f"d.{suffix}")
        content = bytearray(path.read_bytes())
        place = content.find(X.tobytes()[:64]) + 100
        content[place] ^= 1
        path.write_bytes(bytes(content))
        with pytest.raises(InputError, match="damaged"):
            load_data(str(path))


@pytest.mark.parametrize("suffix", ["npz", "pt", "safetensors"])
def test_a_file_that_is_written_to_is_noticed(tmp_path: Path, suffix: str) -> None:
    path = written(tmp_path / f"d.{suffix}")
    data = load_data(str(path))
    with path.open("r+b") as stream:
        stream.seek(-8, os.SEEK_END)
        stream.write(b"\1" * 8)
    os.utime(path, ns=(1, 1))  # however coarse the file system's clock is
    with pytest.raises(InputError, match=rf"d\.{suffix}.*written to"):
        next(data.batches.chunks(10))


def test_a_file_that_is_replaced_lives_on(tmp_path: Path) -> None:
    path = written(tmp_path / "d.npz")
    data = load_data(str(path))
    os.replace(written(tmp_path / "other.npz", X + 1), path)
    assert torch.equal(rows_of(data), torch.from_numpy(X))
    path.unlink()
    assert torch.equal(rows_of(data), torch.from_numpy(X))


class Largest(TorchDispatchMode):
    """The most numbers that any operation made, views left out."""

    def __init__(self) -> None:
        super().__init__()
        self.count = 0

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        result = func(*args, **(kwargs or {}))
        given = {
            leaf.untyped_storage().data_ptr()
            for leaf in tree_leaves((args, kwargs))
            if isinstance(leaf, Tensor)
        }
        for leaf in tree_leaves(result):
            if isinstance(leaf, Tensor) and leaf.untyped_storage().data_ptr() not in given:
                self.count = max(self.count, leaf.numel())
        return result


@pytest.mark.parametrize("kind", [np.float32, np.float16, np.uint8])
def test_no_tensor_grows_with_the_data(tmp_path: Path, kind: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("probes.data.rows.BLOCK_BYTES", 1 << 12)
    monkeypatch.setattr("probes.data.batches.BLOCK_BYTES", 1 << 12)
    largest = []
    for count in (4000, 12000):
        path = written(
            tmp_path / f"{count}.npz", np.tile(X, (count // 400, 1)).astype(kind), np.tile(Y, count // 400)
        )
        network = nn.Sequential(nn.Linear(6, 5), nn.ReLU(), nn.Linear(5, 3))
        with Largest() as seen:
            data = load_data(str(path)).in_floats()
            loss = resolve_loss(None, data.batches)[1]
            label_range(torch.zeros(1, 3), data.batches, "cross-entropy")
            data.digest()
            evaluator = Evaluator(network, data.batches, None, loss, chunk=100)
            evaluator.evaluate(evaluator.frozen, wanted=list(evaluator.frozen), samples=20)
            assert len(Batches([data.batches.pieces[0]])[:30]) == 30
        largest.append(seen.count)
    assert largest[0] == largest[1] <= 1 << 12
