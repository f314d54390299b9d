"""Folders of ``torch.distributed.checkpoint``: the pieces that its ``.metadata`` lists, put together."""

from __future__ import annotations

import io
import re
from dataclasses import dataclass
from itertools import pairwise
from math import prod
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from probes.checkpoints.budget import Budget, UnreadableError
from probes.checkpoints.pickles import Called, read_pickle
from probes.checkpoints.tensor_tree import Leaf, TensorTree
from probes.checkpoints.tensors import TensorRef
from probes.checkpoints.torch_file import TorchFile, is_harmless, make_plain

__all__ = ["METADATA", "open_distributed"]

METADATA = ".metadata"
_OURS = re.compile(r"torch\.distributed\.(checkpoint|_shard|tensor)\.[\w.]+")
_MOST_DIMENSIONS = 64
_PIECE = 500  # bytes that the description of a piece takes at most

_Places = dict[tuple[str, str], "_Piece"]
"""By the tensor's name and the piece's corner, as text; values other than tensors have the corner ()."""


@dataclass(frozen=True)
class _Piece:
    """A box of a tensor, and the bytes that a file of ``torch.save`` takes in another."""

    corner: tuple[int, ...]
    shape: tuple[int, ...]
    file: Path
    start: int
    length: int


@dataclass(frozen=True)
class _Pieces(Leaf):
    """A tensor in pieces."""

    pieces: tuple[_Piece, ...]


def open_distributed(folder: Path) -> TensorTree:
    """Describe a distributed checkpoint.

    Raises:
        probes.checkpoints.pickles.HoldsCodeError: loading it would run code.
        UnreadableError: it is damaged, or kept in a way that is not read here.
        OSError: a file cannot be read.
    """
    budget = Budget(sum(file.stat().st_size for file in folder.iterdir() if file.is_file()))
    with (folder / METADATA).open("rb") as stream:
        metadata = read_pickle(stream, budget, allowed=_is_known, make=make_plain, persistent=_no_reference)
    try:
        state = _attributes(metadata)
        places = _places(state["storage_data"], folder, budget)
        names = state.get("planner_data") or {}
        tree: dict[Any, Any] = {}
        for name, about in state["state_dict_metadata"].items():
            if not isinstance(name, str):
                raise UnreadableError(f"its {METADATA} is damaged")
            kind = about.name.rsplit(".", 1)[-1]
            if kind == "TensorStorageMetadata":
                _put(tree, names.get(name, (name,)), _leaf(name, _attributes(about), places, budget))
            elif (name, "()") in places:
                value = _value(places[name, "()"], budget)
                _put(tree, names.get(name, (name,)), value)
    except UnreadableError:
        raise
    except (AttributeError, TypeError, KeyError, ValueError, IndexError) as error:
        raise UnreadableError(f"its {METADATA} is damaged ({type(error).__name__})") from error
    return TensorTree(tree, lambda leaf: _read(leaf, budget), ordered=False)


def _is_known(path: str) -> bool:
    return is_harmless(path) or _OURS.fullmatch(path) is not None


def _no_reference(reference: Any) -> Any:
    raise UnreadableError(f"its {METADATA} refers to something outside")


def _attributes(value: Any) -> dict[str, Any]:
    """The attributes that an object would get."""
    state = value.state if isinstance(value, Called) else None
    if isinstance(state, tuple) and len(state) == 2:
        state = state[1] or state[0]
    if not isinstance(state, dict):
        raise UnreadableError(f"its {METADATA} is damaged")
    return state


def _places(storage_data: dict[Any, Any], folder: Path, budget: Budget) -> _Places:
    """Where each piece is; no byte is of two of them."""
    found: _Places = {}
    sizes: dict[str, int] = {}
    for index, info in storage_data.items():
        budget.spend(_PIECE)
        where, what = _attributes(index), _attributes(info)
        if what.get("transform_descriptors"):
            raise UnreadableError("its pieces are compressed")
        name, start, length = what["relative_path"], what["offset"], what["length"]
        if not isinstance(name, str) or name != Path(name).name or name in ("", ".", ".."):
            raise UnreadableError(f"a piece lies outside of the folder ({str(name)[:60]})")
        file = folder / name
        if name not in sizes:
            if not file.is_file():
                raise UnreadableError(f"{name[:60]} is missing in the folder")
            sizes[name] = file.stat().st_size
        if not (_is_whole(start) and _is_whole(length) and start + length <= sizes[name]):
            raise UnreadableError(f"{name[:60]} is shorter than {METADATA} says")
        if not isinstance(where["fqn"], str):
            raise UnreadableError(f"its {METADATA} is damaged")
        corner = _numbers(where.get("offset") or ())
        found[where["fqn"], str(corner)] = _Piece(corner, (), file, start, length)
    ends = sorted((str(piece.file), piece.start, piece.length) for piece in found.values())
    for (file_name, start, length), (following_name, following, _) in pairwise(ends):
        if file_name == following_name and start + length > following:
            raise UnreadableError("its pieces share bytes with each other")
    return found


def _leaf(name: str, about: dict[str, Any], places: _Places, budget: Budget) -> _Pieces:
    shape = _numbers(about["size"])
    pieces = []
    for chunk in map(_attributes, about["chunks"]):
        budget.spend(_PIECE)
        corner, size = _numbers(chunk["offsets"]), _numbers(chunk["sizes"])
        inside = len(corner) == len(size) == len(shape) and all(
            a + n <= whole for a, n, whole in zip(corner, size, shape, strict=True)
        )
        if not inside or (name, str(corner)) not in places:
            raise UnreadableError(f"tensor {name[:60]} is not whole in it")
        at = places[name, str(corner)]
        pieces.append(_Piece(corner, size, at.file, at.start, at.length))
    volume, claimed = sum(prod(piece.shape) for piece in pieces), prod(shape)
    if volume != claimed or claimed > sum(piece.length for piece in pieces):
        raise UnreadableError(f"tensor {name[:60]} claims {claimed} numbers, which are not in its pieces")
    return _Pieces(shape, tuple(pieces))


def _numbers(value: Any) -> tuple[int, ...]:
    """A shape or a corner.

    Raises:
        UnreadableError: it is none.
    """
    if not isinstance(value, tuple | list) or len(value) > _MOST_DIMENSIONS or not all(map(_is_whole, value)):
        raise UnreadableError(f"its {METADATA} is damaged")
    return tuple(value)


def _is_whole(value: Any) -> bool:
    return type(value) is int and 0 <= value < 1 << 62


def _put(tree: dict[Any, Any], path: Any, value: Any) -> None:
    """Set a value in nested dictionaries; lists become dictionaries of their places."""
    parts = path if isinstance(path, tuple) and 0 < len(path) < 64 else (None,)
    if not all(isinstance(part, str) or _is_whole(part) for part in parts):
        raise UnreadableError(f"its {METADATA} is damaged")
    for part in path[:-1]:
        tree = tree.setdefault(part, {})
    tree[path[-1]] = value


def _open(piece: _Piece, budget: Budget) -> TorchFile:
    budget.spend(piece.length)
    with piece.file.open("rb") as stream:
        stream.seek(piece.start)
        return TorchFile(io.BytesIO(stream.read(piece.length)), budget)


def _value(piece: _Piece, budget: Budget) -> Any:
    """A number or text; anything else, whatever it needs, is left out."""
    if piece.length > 1 << 20:
        return None
    try:
        found = _open(piece, budget).tree
    except UnreadableError:
        return None
    return found if isinstance(found, int | float | str) else None


def _read(leaf: _Pieces, budget: Budget) -> Tensor:
    """Put a tensor together."""
    whole: Tensor | None = None
    budget.spend(leaf.count)
    covered = torch.zeros(leaf.shape, dtype=torch.bool)
    for piece in leaf.pieces:
        file = _open(piece, budget)
        if not isinstance(file.tree, TensorRef) or file.tree.shape != piece.shape:
            raise UnreadableError(f"a piece in {piece.file.name} is not the tensor that {METADATA} says")
        part = file.tensor(file.tree)
        if whole is None:
            budget.spend(leaf.count * part.itemsize)
            whole = torch.zeros(leaf.shape, dtype=part.dtype)
        box = tuple(slice(a, a + n) for a, n in zip(piece.corner, piece.shape, strict=True))
        whole[box] = part.to(whole.dtype)
        covered[box] = True
    if whole is None or not covered.all():
        raise UnreadableError(f"a tensor of shape {leaf.shape} is not whole in it")
    return whole
