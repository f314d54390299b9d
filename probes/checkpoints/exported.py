"""Archives of ``torch.export.save``: the weights beside the program, which is neither run nor looked at."""

from __future__ import annotations

import io
from typing import Any

import torch

from probes.checkpoints.budget import Budget, UnreadableError
from probes.checkpoints.tensor_tree import TensorTree, Unsuitable
from probes.checkpoints.tensors import StorageRef, TensorReader, TensorRef
from probes.checkpoints.torch_file import TorchFile
from probes.checkpoints.zip_archive import Archive
from probes.system.json_files import parse_json

__all__ = ["is_exported", "open_exported"]

_OLD = "serialized_state_dict.pt"  # up to torch 2.7
_CONFIG = "_weights_config.json"
_STRIDED = 7
_DTYPES = {
    1: torch.uint8, 2: torch.int8, 3: torch.int16, 4: torch.int32, 5: torch.int64, 6: torch.float16,
    7: torch.float32, 8: torch.float64, 10: torch.complex64, 11: torch.complex128, 12: torch.bool,
    13: torch.bfloat16,
}  # fmt: skip


def is_exported(archive: Archive) -> bool:
    """Whether a zip archive is an exported program."""
    return _OLD in archive or any(name.endswith("/archive_format") for name in archive.names())


def open_exported(archive: Archive) -> TensorTree:
    """Describe the weights of an exported program.

    Raises:
        UnreadableError: they are kept in a way that is not read here.
    """
    if _OLD in archive:
        inner = TorchFile(io.BytesIO(archive.read(_OLD, limit=archive.size)))
        return TensorTree(inner.tree, inner.tensor, ordered=True)
    configs = [name for name in archive.names() if name.endswith(_CONFIG) and "/data/weights/" in name]
    if not configs:
        raise UnreadableError("an exported program without weights")
    models = {name.rsplit("/", 1)[-1].removesuffix(_CONFIG): _model(archive, name) for name in configs}
    tree = next(iter(models.values())) if len(models) == 1 else models
    return TensorTree(tree, TensorReader(_Weights(archive), Budget(archive.size)).tensor, ordered=True)


def _model(archive: Archive, config: str) -> dict[str, Any]:
    folder = config.rsplit("/", 1)[0]
    try:
        entries = parse_json(archive.read(config, limit=1 << 26))["config"]
        return {name: _leaf(archive, folder, entry) for name, entry in entries.items()}
    except UnreadableError:
        raise
    except (ValueError, TypeError, KeyError, AttributeError) as error:
        raise UnreadableError(f"the list of its weights is damaged ({type(error).__name__})") from error


def _leaf(archive: Archive, folder: str, entry: dict[str, Any]) -> TensorRef | Unsuitable:
    """One tensor as the list of weights describes it."""
    meta = entry["tensor_meta"]
    if entry["use_pickle"]:
        raise UnreadableError("an exported program with pickled weights")
    shape, stride = (tuple(_whole(part["as_int"]) for part in meta[what]) for what in ("sizes", "strides"))
    if meta["layout"] != _STRIDED or meta["dtype"] not in _DTYPES or len(shape) > 64:
        return Unsuitable(shape, "of an unusual kind")
    if len(shape) != len(stride):
        raise UnreadableError("a tensor of the exported program is damaged")
    name, dtype = f"{folder}/{entry['path_name']}", _DTYPES[meta["dtype"]]
    storage = StorageRef(name, dtype, archive.entry_size(name) // dtype.itemsize)
    return TensorRef(shape, storage, _whole(meta["storage_offset"]["as_int"]), stride, dtype)


def _whole(value: Any) -> int:
    if type(value) is not int or not 0 <= value < 1 << 62:
        raise UnreadableError("a tensor of the exported program has an impossible shape")
    return value


class _Weights:
    """The entries with the weights."""

    def __init__(self, archive: Archive) -> None:
        self.archive = archive

    def storage(self, key: str, length: int) -> bytearray:
        """The entry's bytes."""
        buffer = bytearray(self.archive.entry_size(key))
        self.archive.read_into(key, memoryview(buffer))
        return buffer
