"""One small network's tensors, in every format."""

from __future__ import annotations

import json
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save_file
from torch import nn

State = dict[str, torch.Tensor]


def network() -> nn.Sequential:
    """Matrices, vectors, a counter, and running statistics."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        made = nn.Sequential(nn.Linear(6, 4), nn.ReLU(), nn.BatchNorm1d(4), nn.Linear(4, 3))
        made(torch.randn(9, 6))
    return made.eval()


def state() -> State:
    return {name: tensor.detach().clone() for name, tensor in network().state_dict().items()}


def legacy(content: Any, path: Path) -> None:
    torch.save(content, path, _use_new_zipfile_serialization=False)


def folder(path: Path) -> Path:
    path.mkdir()
    (path / "config.json").write_text(json.dumps({"architectures": ["Mine"], "auto_map": {"x": "evil.py"}}))
    return path


def sharded(path: Path, suffix: str, save: Callable[[Any, Path], None]) -> None:
    names = list(state())
    stem = "model" if suffix == "safetensors" else "pytorch_model"
    parts = [names[:4], names[4:]]
    places = {}
    for number, part in enumerate(parts, 1):
        file = f"{stem}-{number:05d}-of-00002.{suffix}"
        save({name: state()[name] for name in part}, folder(path) / file if number == 1 else path / file)
        places |= dict.fromkeys(part, file)
    index = {"metadata": {"total_size": 1}, "weight_map": places}
    (path / f"{stem}.{suffix}.index.json").write_text(json.dumps(index))


def distributed(content: Any, path: Path) -> None:
    import torch.distributed.checkpoint as checkpoint

    with warnings.catch_warnings(action="ignore"):
        checkpoint.save(content, checkpoint_id=path)


def exported(path: Path) -> None:
    with warnings.catch_warnings(action="ignore"):
        torch.export.save(torch.export.export(network(), (torch.ones(2, 6),)), path)


def scripted(path: Path) -> None:
    with warnings.catch_warnings(action="ignore"):
        torch.jit.save(torch.jit.script(network()), path)


def averaged() -> Any:
    with warnings.catch_warnings(action="ignore"):
        return torch.optim.swa_utils.AveragedModel(network()).state_dict()


def lightning() -> dict[str, Any]:
    return {
        "epoch": 3, "global_step": 120, "pytorch-lightning_version": "2.4.0",
        "state_dict": {f"model.{name}": tensor for name, tensor in state().items()},
        "loops": {"fit_loop": {"state_dict": {}, "epoch_progress": {"total": {"ready": 3}}}},
        "callbacks": {"ModelCheckpoint{}": {"best_model_score": torch.tensor(0.5), "dirpath": "x"}},
        "optimizer_states": [torch.optim.Adam(network().parameters()).state_dict()],
        "lr_schedulers": [], "hparams_name": "kwargs", "hyper_parameters": {"lr": 0.1, "path": Path("x")},
    }  # fmt: skip


def prefixed(*prefixes: str) -> State:
    return {f"{''.join(prefixes)}{name}": tensor for name, tensor in state().items()}


FORMATS: dict[str, Callable[[Path], None]] = {
    "torch": lambda path: torch.save(network().state_dict(), path),
    "legacy": lambda path: legacy(network().state_dict(), path),
    "pickle protocol 4": lambda path: torch.save(state(), path, pickle_protocol=4),
    "pickle protocol 5": lambda path: torch.save(state(), path, pickle_protocol=5),
    "parameters": lambda path: torch.save(
        dict(network().named_parameters()) | dict(network().named_buffers()), path
    ),
    "safetensors": lambda path: save_file(state(), path),
    "wrapped thrice": lambda path: torch.save({"a": {"model": {"net": state()}}, "args": [1]}, path),
    "in a list": lambda path: torch.save({"models": [state()], "step": 1}, path),
    "average beside": lambda path: torch.save(
        {"ema": {"x.weight": torch.ones(1, 1)}, "model": state()}, path
    ),
    "average alone": lambda path: torch.save(
        {"ema": state(), "optimizer": {"state": {}, "param_groups": []}}, path
    ),
    "lightning": lambda path: torch.save(lightning(), path),
    "legacy lightning": lambda path: legacy(lightning(), path),
    "data parallel": lambda path: torch.save(nn.DataParallel(network()).state_dict(), path),
    "data parallel inside": lambda path: torch.save(
        nn.Sequential(nn.DataParallel(network())).state_dict(), path
    ),
    "compiled": lambda path: torch.save(prefixed("_orig_mod."), path),
    "compiled and parallel": lambda path: torch.save(prefixed("_orig_mod.", "module.", "_orig_mod."), path),
    "compiled inside": lambda path: torch.save(prefixed("model.", "_orig_mod.", "net."), path),
    "averaged": lambda path: torch.save(averaged(), path),
    "averaged, wrapped": lambda path: torch.save({"swa_model": averaged(), "epoch": 1}, path),
    "hugging face": lambda path: save_file(state(), folder(path) / "model.safetensors"),
    "hugging face pickle": lambda path: torch.save(state(), folder(path) / "pytorch_model.bin"),
    "hugging face shards": lambda path: sharded(path, "safetensors", save_file),
    "hugging face pickled shards": lambda path: sharded(path, "bin", torch.save),
    "distributed": lambda path: distributed(state(), path),
    "distributed, wrapped": lambda path: distributed({"model": state(), "step": 7}, path),
    "distributed, lightning": lambda path: distributed({"app": {"state_dict": prefixed("module.")}}, path),
    "exported": exported,
    "scripted": scripted,
}
