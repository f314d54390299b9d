"""Folders as Hugging Face libraries save models and adapters: weights in one file or in shards with an index."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

from torch import Tensor

from probes.checkpoints.pickles import UnreadableError
from probes.checkpoints.tensor_tree import Leaf, TensorTree
from probes.system.json_files import read_json

__all__ = ["ADAPTER", "is_hugging_face", "open_hugging_face"]

ADAPTER = "adapter_config.json"
_ADAPTERS = ("adapter_model.safetensors", "adapter_model.bin")
_WHOLE = ("model.safetensors", "pytorch_model.bin")


def is_hugging_face(folder: Path) -> bool:
    """Whether a folder is one model or adapter: shards with an index, or a configuration beside the weights."""
    if any((folder / f"{name}.index.json").is_file() for name in _WHOLE):
        return True
    kinds = (("config.json", _WHOLE), (ADAPTER, _ADAPTERS))
    return any(
        (folder / about).is_file() and any((folder / name).is_file() for name in names)
        for about, names in kinds
    )


def open_hugging_face(folder: Path, open_file: Callable[[Path], TensorTree]) -> TensorTree:
    """Describe the model in a folder; safetensors are preferred to pickles, as the library does.

    Args:
        folder: where it is.
        open_file: describes a single file.

    Raises:
        UnreadableError: the index is damaged or names what is not there.
    """
    details = _trainer_state(folder)
    for name in _ADAPTERS if (folder / ADAPTER).is_file() else _WHOLE:
        if (folder / name).is_file():
            found = open_file(folder / name)
            return TensorTree(found.tree, found.read, found.ordered, {**found.details, **details})
        index = folder / f"{name}.index.json"
        if index.is_file():
            return _sharded(folder, index, open_file, details)
    raise UnreadableError("no weights in this folder")


def _json(path: Path) -> dict[str, Any]:
    try:
        found = read_json(path)
    except ValueError as error:
        raise UnreadableError(f"its {path.name} is damaged ({str(error)[:80]})") from error
    if not isinstance(found, dict):
        raise UnreadableError(f"its {path.name} is damaged (no mapping)")
    return found


def _trainer_state(folder: Path) -> dict[str, Any]:
    """How far training was, where the library's Trainer wrote it down."""
    if not (folder / "trainer_state.json").is_file():
        return {}
    state = _json(folder / "trainer_state.json")
    return {
        ours: state[theirs]
        for ours, theirs in (("step", "global_step"), ("epoch", "epoch"))
        if isinstance(state.get(theirs), int | float)
    }


def _sharded(
    folder: Path, index: Path, open_file: Callable[[Path], TensorTree], details: dict[str, Any]
) -> TensorTree:
    places = _json(index).get("weight_map")
    if not isinstance(places, dict) or not places:
        raise UnreadableError(f"its {index.name} has no weight_map")
    shards: dict[str, TensorTree] = {}
    tree: dict[str, Any] = {}
    homes: dict[int, TensorTree] = {}
    for name, file in places.items():
        if not isinstance(file, str) or file != Path(file).name or file in ("", ".", ".."):
            raise UnreadableError(f"its {index.name} names a file outside of the folder ({str(file)[:60]})")
        if file not in shards:
            if not (folder / file).is_file():
                raise UnreadableError(f"{file[:80]}, which {index.name} names, is not in the folder")
            shards[file] = open_file(folder / file)
        shard = shards[file]
        if not isinstance(shard.tree, dict) or not isinstance(shard.tree.get(name), Leaf):
            raise UnreadableError(f"tensor {name[:80]} is not in {file[:80]}, though {index.name} says so")
        tree[name] = shard.tree[name]
        homes[id(tree[name])] = shard

    def read(leaf: Leaf) -> Tensor:
        return homes[id(leaf)].read(leaf)

    return TensorTree(tree, read, ordered=False, details=details)
