"""Checkpoints: read without running anything in them, recognised by content, put in training order."""

from __future__ import annotations

import hashlib
import json
import warnings
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from probes.errors import InputError
from probes.files import natural_key, write_atomically

__all__ = ["FORMAT", "Checkpoint", "find_checkpoints", "read_checkpoint", "write_checkpoint"]

FORMAT = "deep-relative-trust/1"
_WRAPPERS = ("model_state_dict", "state_dict", "model", "net", "network", "module", "params", "weights")
_PREFIXES = ("module.", "_orig_mod.", "model.", "net.", "network.")
_SUFFIXES = (".safetensors", ".pt", ".pth", ".bin", ".ckpt", ".tar")


@dataclass(frozen=True)
class Checkpoint:
    """One saved network.

    Attributes:
        path: the file.
        tensors: names to tensors, as the file has them (prefixes such as ``module.`` taken off).
        ordered: whether the order of ``tensors`` is the one in which the network's layers were made.
        details: what ``probe train`` wrote beside them (network, step, epoch, data, …); else empty.
    """

    path: Path
    tensors: Mapping[str, Tensor]
    ordered: bool
    details: Mapping[str, Any] = field(default_factory=dict)

    @property
    def label(self) -> str:
        """The file's name without its last suffix."""
        return self.path.stem

    def digest(self) -> str:
        """SHA-256 of the tensors' names, shapes and values, in short."""
        state = hashlib.sha256()
        for name in sorted(self.tensors):
            tensor = self.tensors[name].contiguous()
            state.update(f"{name}{tensor.dtype}{tuple(tensor.shape)}".encode())
            state.update(tensor.reshape(-1).view(torch.uint8).numpy().data)
        return state.hexdigest()[:16]


def find_checkpoints(paths: list[Path]) -> list[Path]:
    """The checkpoint files that ``paths`` name: files as given, folders in the natural order of their files.

    Raises:
        InputError: a path that is not there, or a folder without checkpoints.
    """
    found: list[Path] = []
    for path in paths:
        if path.is_dir():
            files = [entry for entry in path.iterdir() if entry.is_file() and not entry.name.startswith(".")]
            chosen = [entry for entry in files if entry.suffix in _SUFFIXES or _kind(entry) == "safetensors"]
            if not chosen:
                raise InputError(f"{path}: no checkpoints in this folder ({', '.join(_SUFFIXES)})")
            found += sorted(chosen, key=lambda entry: natural_key(entry.name))
        elif path.is_file():
            found.append(path)
        else:
            raise InputError(f"{path}: no such file or folder")
    if not found:
        raise InputError("no checkpoint was given: name a file or a folder of them")
    twice = {path for path in found if found.count(path) > 1}
    if twice:
        raise InputError(f"{sorted(twice)[0]}: given more than once")
    return found


def _kind(path: Path) -> str:
    """What the first bytes say the file is: safetensors, zip, pickle, empty or unknown."""
    try:
        with path.open("rb") as stream:
            head = stream.read(16)
    except OSError as error:
        raise InputError(f"{path}: cannot be read ({error.strerror})") from error
    if not head:
        return "empty"
    if head[:4] == b"PK\x03\x04":
        return "zip"
    header = int.from_bytes(head[:8], "little")
    if head[8:9] == b"{" and 2 <= header <= path.stat().st_size - 8:
        return "safetensors"
    if head[:1] == b"\x80":
        return "pickle"
    return "unknown"


def read_checkpoint(path: Path, *, key: str | None = None) -> Checkpoint:
    """Read a checkpoint file: ours, safetensors, or what ``torch.save`` made of a (wrapped) state_dict.

    Nothing in the file runs: torch files are read with ``weights_only``.

    Args:
        path: the file; its content decides, not its name.
        key: where several state_dicts are in one file, the name of the one to take.

    Raises:
        InputError: it is missing, empty, truncated, holds code, holds no tensors, or has NaN or infinity.
    """
    if not path.is_file():
        raise InputError(f"{path}: no such file")
    kind = _kind(path)
    details: Mapping[str, Any] = {}
    if kind == "empty":
        raise InputError(f"{path}: the file is empty; save the checkpoint again")
    if kind == "safetensors":
        tensors, details = _read_safetensors(path)
    elif kind in ("zip", "pickle"):
        try:
            tensors = _unwrap(_read_torch(path), path, key)
        except RecursionError as error:
            raise InputError(f"{path}: a mapping in it holds itself; save model.state_dict()") from error
    else:
        raise InputError(
            f"{path}: neither a safetensors file nor one that torch.save made"
            " (or cut off at its start); give a checkpoint"
        )
    tensors = _strip_prefixes(tensors)
    floating: dict[str, Tensor] = {}
    for name, tensor in tensors.items():
        if tensor.layout != torch.strided or tensor.is_quantized or tensor.is_complex():
            raise InputError(f"{path}: tensor {name} is sparse, quantised or complex, which cannot be probed")
        if tensor.is_floating_point() and tensor.itemsize < 2:
            raise InputError(
                f"{path}: tensor {name} is {tensor.dtype}, which cannot be probed; save it as float32"
            )
        if tensor.is_floating_point():
            bad = int((~torch.isfinite(tensor)).sum())
            if bad:
                raise InputError(
                    f"{path}: tensor {name} has {bad} NaN or infinite entries; take an earlier checkpoint"
                )
        if tensor.numel() == 0:
            raise InputError(f"{path}: tensor {name} has no entries (shape {tuple(tensor.shape)})")
        floating[name] = tensor.detach()
    if not floating:
        raise InputError(f"{path}: there are no tensors in it")
    return Checkpoint(path, floating, ordered=kind != "safetensors", details=details)


def _read_safetensors(path: Path) -> tuple[dict[str, Tensor], Mapping[str, Any]]:
    from safetensors import safe_open

    try:
        with safe_open(path, framework="pt", device="cpu") as stream:
            metadata = stream.metadata() or {}
            tensors = {name: stream.get_tensor(name) for name in stream.keys()}  # noqa: SIM118
    except Exception as error:  # the library's own error types are not importable by name in every version
        raise InputError(f"{path}: not a whole safetensors file ({error}); save or copy it again") from error
    if FORMAT not in metadata:
        return tensors, {}
    try:
        details = json.loads(metadata[FORMAT])
        if not isinstance(details, dict):
            raise TypeError("not a mapping")
    except (ValueError, TypeError) as error:
        raise InputError(f"{path}: its description is damaged ({error}); train again") from error
    return tensors, details


def _read_torch(path: Path) -> Any:
    try:
        # a stream, because torch.load goes by a path's suffix; and one clear line says more than its warnings
        with path.open("rb") as stream, warnings.catch_warnings(action="ignore"):
            return torch.load(stream, map_location="cpu", weights_only=True)
    except Exception as error:  # unpickling raises anything
        text = str(error)
        if "weights_only" in text or "Unsupported" in text or "GLOBAL" in text:
            refused = next((part for part in text.split() if "." in part and part.isprintable()), "code")
            refused = text.partition("GLOBAL ")[2].split(" was")[0].strip() or refused
            raise InputError(
                f"{path}: it holds more than tensors ({refused[:80]}) and was not loaded, because loading"
                " would run code from the file; save model.state_dict() alone"
            ) from error
        reason = text.partition("\n")[0][:120]
        raise InputError(f"{path}: not a whole torch file ({reason}); save or copy it again") from error


def _is_state(value: Any) -> bool:
    return (
        isinstance(value, Mapping)
        and len(value) > 0
        and all(isinstance(name, str) for name in value)
        and any(isinstance(item, Tensor) for item in value.values())
        and all(isinstance(item, Tensor) or not isinstance(item, Mapping) for item in value.values())
    )


def _unwrap(content: Any, path: Path, key: str | None) -> dict[str, Tensor]:
    """The one mapping of names to tensors in what torch.load returned.

    Raises:
        InputError: there is none, or several and ``key`` does not choose.
    """
    if key is not None:
        for part in key.split("/"):
            if not isinstance(content, Mapping) or part not in content:
                known = (
                    ", ".join(str(name) for name in list(content)[:8])
                    if isinstance(content, Mapping)
                    else "none"
                )
                raise InputError(f"{path}: --key {key}: nothing named {part} in it (there are: {known})")
            content = content[part]
    if not isinstance(content, Mapping):
        raise InputError(
            f"{path}: holds a {type(content).__name__}, not a state_dict; save model.state_dict()"
        )
    if _is_state(content):
        return {name: item for name, item in content.items() if isinstance(item, Tensor)}
    states = {str(name): value for name, value in content.items() if _is_state(value)}
    for name in _WRAPPERS:
        if name in states:
            return _unwrap(states[name], path, None)
    if len(states) == 1:
        return _unwrap(next(iter(states.values())), path, None)
    if states:
        raise InputError(
            f"{path}: several state_dicts in it ({', '.join(states)}); choose one with --key NAME"
        )
    nested = {
        str(name): value
        for name, value in content.items()
        if isinstance(value, Mapping) and name in _WRAPPERS
    }
    if nested:
        return _unwrap(next(iter(nested.values())), path, None)
    raise InputError(
        f"{path}: no state_dict in it (keys: {', '.join(str(name) for name in list(content)[:6])})"
    )


def _strip_prefixes(tensors: dict[str, Tensor]) -> dict[str, Tensor]:
    """Take off what DataParallel, torch.compile and wrappers put before every name."""
    changed = True
    while changed:
        changed = False
        for prefix in _PREFIXES:
            if tensors and all(name.startswith(prefix) and len(name) > len(prefix) for name in tensors):
                tensors = {name[len(prefix) :]: tensor for name, tensor in tensors.items()}
                changed = True
    return tensors


def write_checkpoint(path: Path, tensors: Mapping[str, Tensor], details: Mapping[str, Any]) -> None:
    """Write a safetensors file that carries, in ``details``, all that a probe needs to know.

    Raises:
        InputError: it cannot be written; then there is no file.
    """
    from safetensors.torch import save

    metadata = {FORMAT: json.dumps(details, sort_keys=True)}  # one key: several come in a random order
    content = {name: tensor.detach().cpu().contiguous() for name, tensor in tensors.items()}
    write_atomically(path, save(content, metadata))
