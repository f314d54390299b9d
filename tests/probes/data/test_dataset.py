"""Data: arrays on disk, callables, and everything that can be wrong with them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import save_file

from probes import InputError
from probes.data.batch import Batch
from probes.data.batches import Batches
from probes.data.dataset import DataSet, load_data
from tests.probes.data.refusals import refused


def save(path: Path, **arrays: Any) -> Path:
    """The arrays in the format of the path's suffix."""
    if path.suffix == ".npz":
        np.savez(path, **arrays)
    elif path.suffix == ".safetensors":
        save_file({name: torch.as_tensor(array).contiguous() for name, array in arrays.items()}, path)
    else:
        torch.save({name: torch.as_tensor(array) for name, array in arrays.items()}, path)
    return path


X, Y = np.random.default_rng(1).normal(size=(7, 3)).astype(np.float32), np.arange(7) % 3


@pytest.mark.parametrize("suffix", ["npz", "pt", "pth", "safetensors"])
def test_arrays_on_disk(tmp_path: Path, suffix: str) -> None:
    data = load_data(str(save(tmp_path / f"d.{suffix}", x=X, y=Y)))
    np.testing.assert_array_equal(data.x, X)
    assert data.y.tolist() == Y.tolist()
    assert data.y.dtype == torch.int64
    head = load_data(str(tmp_path / f"d.{suffix}"), examples=4)
    assert len(head) == 4
    assert torch.equal(head.x, data.x[:4])
    refused(tmp_path / f"d.{suffix}", "examples=8", examples=8)
    refused(tmp_path / f"d.{suffix}", "examples=0", examples=0)


def test_a_pair_and_other_kinds_of_numbers(tmp_path: Path) -> None:
    torch.save((torch.from_numpy(X), torch.from_numpy(Y)), tmp_path / "pair.pt")
    assert len(load_data(str(tmp_path / "pair.pt"))) == 7
    for x, dtype in (
        (X.astype(">f8"), torch.float64),
        ((X * 9).astype(np.uint16), torch.float32),
        (X > 0, torch.float32),
        (X.astype(np.float16), torch.float32),
    ):
        data = load_data(str(save(tmp_path / "d.npz", x=x, y=Y.astype(np.uint8))))
        assert data.x.dtype == dtype
        np.testing.assert_array_equal(data.x.numpy(), x.astype(np.float64))
        assert data.digest()
    data = load_data(str(save(tmp_path / "d.pt", x=torch.from_numpy(X).bfloat16(), y=Y)))
    assert data.x.dtype == torch.float32
    assert data.digest()
    targets = load_data(str(save(tmp_path / "d.npz", x=X, y=X[:, :2])))
    assert targets.y.dtype == torch.float32


@pytest.mark.parametrize("suffix", ["npz", "pt", "safetensors"])
@pytest.mark.parametrize(
    ("arrays", "part"),
    [
        ({"x": X[:0], "y": Y[:0]}, "no examples"),
        ({"x": X[:, :0], "y": Y}, "no examples"),
        ({"x": X, "y": Y[:5]}, "as long as each other"),
        ({"x": X[:, 0], "y": Y}, "(examples, features)"),
        ({"x": X}, "x and y"),
        ({"inputs": X, "labels": Y}, "x and y"),
        ({"x": np.where(X[2, 1] == X, np.nan, X), "y": Y}, "NaN"),
        ({"x": np.where(X[2, 1] == X, -np.inf, X), "y": Y}, "infinity"),
        ({"x": X, "y": np.where(Y == 2, np.nan, Y)}, "NaN"),
    ],
)
def test_arrays_that_cannot_be_used(tmp_path: Path, suffix: str, arrays: dict[str, Any], part: str) -> None:
    refused(save(tmp_path / f"d.{suffix}", **arrays), part, f"d.{suffix}")


def test_objects_text_and_complex_numbers(tmp_path: Path) -> None:
    path = tmp_path / "d.npz"
    for x in (np.array([[object()]] * 7), np.array([["a"]] * 7), X * 1j):
        np.savez(path, x=x, y=Y)
        refused(path, "d.npz")
    torch.save({"x": torch.from_numpy(X).to_sparse(), "y": torch.from_numpy(Y)}, tmp_path / "d.pt")
    refused(tmp_path / "d.pt", "sparse")
    torch.save({"x": "text", "y": torch.from_numpy(Y)}, tmp_path / "d.pt")
    refused(tmp_path / "d.pt", "numbers")


@pytest.mark.parametrize("suffix", ["npz", "pt", "safetensors"])
def test_files_that_are_not_what_they_say(tmp_path: Path, suffix: str) -> None:
    path = save(tmp_path / f"d.{suffix}", x=X, y=Y)
    whole = path.read_bytes()
    for content in (b"", b"hello", whole[: len(whole) // 2], whole[:-1], whole[:4]):
        path.write_bytes(content)
        refused(path, f"d.{suffix}")
    refused(tmp_path / "none.npz", "no such file")
    (tmp_path / "d.csv").write_text("1,2\n")
    refused(tmp_path / "d.csv", ".npz")
    refused("mnits", "no such file", "mnist")


def test_a_pickle_in_a_data_file_does_not_run(tmp_path: Path) -> None:
    from tests.probes.checkpoints.test_checkpoint import Evil

    marker = tmp_path / "ran"
    torch.save({"x": Evil(marker), "y": torch.ones(1)}, tmp_path / "d.pt")
    refused(tmp_path / "d.pt", "d.pt")
    np.savez(tmp_path / "d.npz", x=np.array([Evil(marker)], dtype=object), y=Y)
    refused(tmp_path / "d.npz", "d.npz")
    assert not marker.exists()


def test_callables(tmp_path: Path) -> None:
    path = tmp_path / "mine.py"
    path.write_text(
        "import numpy as np\n"
        "def data():\n    return np.ones((4, 2)), [0, 1, 0, 1]\n"
        "def one():\n    return np.ones((4, 2))\n"
        "def broken():\n    raise KeyError('secret')\n"
        "number = 3\n"
    )
    data = load_data(f"{path}:data")
    assert data.x.dtype == torch.float64
    assert data.y.tolist() == [0, 1, 0, 1]
    refused(f"{path}:one", "x and y")
    refused(f"{path}:broken", "KeyError")
    refused(f"{path}:number", "no callable named number")
    refused(f"{path}:none", "no callable named none")
    refused(f"{tmp_path / 'none.py'}:data", "no such file")
    refused("no_such_package.module:data", "ModuleNotFoundError")
    (tmp_path / "syntax.py").write_text("def (\n")
    refused(f"{tmp_path / 'syntax.py'}:data", "SyntaxError")


def test_the_digest_sees_every_value() -> None:
    x, y = torch.from_numpy(X), torch.from_numpy(Y)
    nudged = x.clone()
    nudged[6, 2] = torch.nextafter(nudged[6, 2], torch.tensor(9.0))
    digests = {DataSet("", a, b).digest() for a, b in ((x, y), (nudged, y), (x, y.flip(0)), (x.double(), y))}
    assert len(digests) == 4


def test_token_ids_stay_integers_except_for_perceptrons(tmp_path: Path) -> None:
    ids = np.arange(12).reshape(4, 3)
    for dtype, kept in ((np.int64, torch.int64), (np.int32, torch.int32), (np.uint8, torch.float32)):
        data = load_data(str(save(tmp_path / "d.npz", x=ids.astype(dtype), y=Y[:4])))
        assert data.x.dtype == kept
        assert data.in_floats().x.dtype == torch.float32
        np.testing.assert_array_equal(data.in_floats().x, ids)
        assert torch.equal(data.in_floats().y, data.y)
    exact = load_data(str(save(tmp_path / "d.npz", x=X.astype(np.float64), y=Y)))
    assert exact.in_floats() is exact
    noted = DataSet("d", Batches([Batch(torch.from_numpy(ids), torch.from_numpy(Y[:4]))]), note="shuffled")
    assert noted.in_floats().note == "shuffled"


def test_callables_that_return_batches(tmp_path: Path) -> None:
    path = tmp_path / "mine.py"
    path.write_text(
        "import torch\n"
        "from torch.utils.data import DataLoader, TensorDataset\n"
        "x, y = torch.arange(21.0).reshape(7, 3), torch.arange(7) % 3\n"
        "def loader():\n    return DataLoader(TensorDataset(x, y), batch_size=3, shuffle=True)\n"
        "def words():\n    return [{'input_ids': torch.ones(2, n, dtype=torch.int64)} for n in (3, 4)]\n"
        "def endless():\n    while True:\n        yield x, y\n"
        "def flat():\n    return x[:, 0], y\n"
        "def broken():\n    yield x, y\n    raise KeyError('secret')\n"
    )
    data = load_data(f"{path}:loader")
    assert sorted(data.y.tolist()) == [0, 0, 0, 1, 1, 2, 2]
    assert torch.equal(data.x[:, 0] / 3 % 3, data.y.float())  # still together
    assert "shuffles" in data.note
    assert data.head(2).note == data.note
    assert data.digest() == load_data(f"{path}:loader").digest()
    words = load_data(f"{path}:words", examples=3)
    assert [len(piece) for piece in words.batches.pieces] == [2, 1]
    assert words.in_floats() is words
    with pytest.raises(InputError, match="not plain arrays x and y"):
        assert words.x
    endless = load_data(f"{path}:endless", examples=16)
    assert torch.equal(endless.x[:, 0], torch.arange(16.0) % 7 * 3)
    refused(f"{path}:words", "has 4 examples", examples=5)
    refused(f"{path}:endless", "examples=0", examples=0)
    refused(f"{path}:flat", "(examples, features)")
    refused(f"{path}:broken", "reading it failed with KeyError")
