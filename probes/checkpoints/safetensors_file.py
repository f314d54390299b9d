"""Safetensors files, ours among them."""

from __future__ import annotations

import math
import reprlib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from torch import Tensor

from probes.checkpoints.pickles import UnreadableError
from probes.checkpoints.tensor_tree import Leaf, TensorTree
from probes.system.json_files import parse_json

__all__ = ["FORMAT", "open_safetensors"]

_NUMBERS = ("step", "epoch", "train_accuracy")

FORMAT = "deep-relative-trust/1"


@dataclass(frozen=True)
class _Named(Leaf):
    """A tensor by its name."""

    name: str


def open_safetensors(path: Path) -> TensorTree:
    """Describe a safetensors file; the library compares its header with its size.

    Raises:
        UnreadableError: it is not whole, or what ``probe train`` wrote in it is damaged.
    """
    from safetensors import safe_open

    if not _is_utf8(path):
        raise UnreadableError(
            "its path is no UTF-8, which the safetensors library needs; rename file or folder"
        )
    try:
        stream: Any = safe_open(path, framework="pt", device="cpu")
        metadata = stream.metadata() or {}
        tree = {name: _Named(tuple(stream.get_slice(name).get_shape()), name) for name in stream.keys()}  # noqa: SIM118
    except Exception as error:  # the library's own error types are not importable by name in every version
        raise UnreadableError(f"not a whole safetensors file ({error}); save or copy it again") from error

    def mapped(leaf: _Named) -> Tensor:
        try:
            tensor: Tensor = stream.get_tensor(leaf.name)  # the library maps the file, privately
            return tensor.clone() if tensor.data_ptr() % tensor.itemsize else tensor
        except Exception as error:
            raise UnreadableError(
                f"tensor {leaf.name[:80]} cannot be read ({error}); save it again"
            ) from error

    def read(leaf: _Named) -> Tensor:
        return mapped(leaf).clone()  # the file may be written again while its network is probed

    return TensorTree(tree, read, ordered=False, details=_details(metadata), mapped=mapped)


def _details(metadata: Mapping[str, str]) -> Mapping[str, Any]:
    """What ``probe train`` wrote."""
    if FORMAT not in metadata:
        return {}
    try:
        details = parse_json(metadata[FORMAT])
        if not isinstance(details, dict):
            raise ValueError("not a mapping")
        for name in _NUMBERS:
            if not _is_number(details.get(name)):
                raise ValueError(f"{name} {reprlib.repr(details[name])}")
    except ValueError as error:
        raise UnreadableError(f"its description is damaged ({error}); train again") from error
    return details


def _is_utf8(path: Path) -> bool:
    try:
        str(path).encode()
    except UnicodeEncodeError:
        return False
    return True


def _is_number(value: Any) -> bool:
    """Whether it is one that training counts or measures, or that it does not know."""
    return value is None or (type(value) in (int, float) and math.isfinite(value) and abs(value) < 1 << 53)
