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
from probes.system.seals import ATTRIBUTE, digest_of

__all__ = ["ADAM", "FORMAT", "UNSEALED", "WEIGHTS", "open_safetensors"]

FORMAT = "deep-relative-trust/2"
UNSEALED = "deep-relative-trust/1"
"""What earlier versions wrote, without a seal."""
ADAM = "deep-relative-trust/adam-1"
"""What says that tensors are Adam's second moments, which lie beside checkpoints and are none."""
WEIGHTS = "weights"
"""Under what name the description has the digest of the tensors."""
_NUMBERS = ("step", "epoch", "train_accuracy")


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
        raise UnreadableError(
            f"not a whole safetensors file ({error}); copy, download or save it again"
        ) from error

    def mapped(leaf: _Named) -> Tensor:
        try:
            tensor: Tensor = stream.get_tensor(leaf.name)  # the library maps the file, privately
            return tensor.clone() if tensor.data_ptr() % tensor.itemsize else tensor
        except Exception as error:
            raise UnreadableError(
                f"tensor {leaf.name[:80]} cannot be read ({error}); copy, download or save it again"
            ) from error

    def read(leaf: _Named) -> Tensor:
        return mapped(leaf).clone()  # the file may be written again while its network is probed

    details = _details(metadata)
    digest = details.pop(WEIGHTS, None)
    return TensorTree(tree, read, ordered=False, details=details, mapped=mapped, digest=digest)


def _details(metadata: Mapping[str, str]) -> dict[str, Any]:
    """What ``probe train`` wrote."""
    if ADAM in metadata:
        raise UnreadableError(
            "holds Adam's second moments and no network; give the checkpoint beside its folder"
        )
    written = next((name for name in (FORMAT, UNSEALED) if name in metadata), None)
    if written is None:
        return {}
    try:
        details: Any = parse_json(metadata[written])
        if not isinstance(details, dict):
            raise ValueError("not a mapping")
        if written == FORMAT and not details.get(ATTRIBUTE) == digest_of(details):
            raise ValueError("its checksum does not fit")
        details.pop(ATTRIBUTE, None)
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
