"""One network saved in every format, by the library that users save it with, is the same network when read."""

from __future__ import annotations

import json
import subprocess
import sys
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import save_file
from torch import nn

from probes import InputError
from probes.checkpoints.checkpoint import read_checkpoint
from probes.networks.frozen_network import load_network

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


@pytest.mark.parametrize("name", FORMATS)
def test_every_format_gives_the_same_tensors(tmp_path: Path, name: str) -> None:
    path = tmp_path / "saved.anything"
    FORMATS[name](path)
    found = read_checkpoint(path)
    unwrapped = {
        key.removeprefix("0.") if name == "data parallel inside" else key: tensor
        for key, tensor in found.tensors.items()
    }
    assert set(unwrapped) == set(state())
    for key, tensor in state().items():
        assert torch.equal(unwrapped[key], tensor), key
        assert unwrapped[key].dtype == tensor.dtype
    given = network().requires_grad_(False)
    for tensor in given.state_dict().values():
        tensor.zero_()
    frozen = load_network(
        found, network=lambda: nn.Sequential(given) if "inside" in name[:20] and "data" in name else given
    )
    x = torch.randn(5, 6, generator=torch.Generator().manual_seed(1))
    assert torch.equal(frozen.network(x), network()(x))


def test_formats_say_how_far_training_was(tmp_path: Path) -> None:
    torch.save(lightning(), tmp_path / "a")
    distributed({"model": state(), "step": 7}, tmp_path / "b")
    assert read_checkpoint(tmp_path / "a").details == {"step": 120, "epoch": 3}
    assert read_checkpoint(tmp_path / "b").details == {"step": 7}


@pytest.mark.parametrize(
    "dtype",
    [torch.float16, torch.bfloat16, torch.float32, torch.float64, torch.int64, torch.bool, torch.uint16],
)
@pytest.mark.parametrize("zipped", [True, False])
def test_views_and_types_come_out_as_they_were(tmp_path: Path, dtype: torch.dtype, zipped: bool) -> None:
    base = torch.arange(24).to(dtype).reshape(4, 6)
    tensors = {
        "whole.weight": base, "turned.weight": base.T, "part.weight": base[1:3, ::2], "row.bias": base[2],
        "stretched.bias": base[:, :1].expand(4, 5), "single": base[0, 0], "other.weight": base.clone(),
    }  # fmt: skip
    torch.save(tensors, tmp_path / "net.pt", _use_new_zipfile_serialization=zipped)
    found = read_checkpoint(tmp_path / "net.pt").tensors
    for name, tensor in tensors.items():
        assert found[name].dtype == dtype
        assert found[name].shape == tensor.shape
        assert found[name].tolist() == tensor.tolist(), name
    assert found["stretched.bias"].stride() == (5, 1)  # memory of its own for every number
    assert found["whole.weight"].data_ptr() == found["turned.weight"].data_ptr()  # tied weights stay tied


def test_settings_beside_the_weights_are_passed_over(tmp_path: Path) -> None:
    import argparse
    import collections
    import datetime

    import numpy as np

    beside = {
        "args": argparse.Namespace(lr=0.1, out=Path("x")), "best": np.float64(0.5), "rng": np.arange(3),
        "when": datetime.datetime(2020, 1, 1), "counts": collections.Counter("abc"), "names": {"a", "b"},
        "by": collections.defaultdict(list, a=[1]), "device": torch.device("cpu"), "dtype": torch.float32,
    }  # fmt: skip
    for zipped in (True, False):
        torch.save({"model": state(), **beside}, tmp_path / "net.pt", _use_new_zipfile_serialization=zipped)
        assert set(read_checkpoint(tmp_path / "net.pt").tensors) == set(state())


def one_line(path: Path, *parts: str) -> str:
    with pytest.raises(InputError) as caught:
        read_checkpoint(path)
    message = str(caught.value)
    for part in (str(path), *parts):
        assert part in message, message
    return message


def test_the_line_for_a_distributed_checkpoint_converts_it(tmp_path: Path) -> None:
    path = tmp_path / "saved"
    distributed(state(), path)
    whole = (path / ".metadata").read_bytes()
    (path / ".metadata").write_bytes(
        whole.replace(b"torch.distributed.checkpoint.metadata", b"torch.distributed.checkpoinX.metadata")
    )
    message = one_line(path, "if you trust it")
    (path / ".metadata").write_bytes(whole)
    words = message.partition("convert it: ")[2].split()
    assert words[:3] == ["python", "-m", "torch.distributed.checkpoint.format_utils"]
    subprocess.run([sys.executable, *words[1:]], cwd=tmp_path, check=True, capture_output=True)
    converted = read_checkpoint(tmp_path / words[-1]).tensors
    assert all(torch.equal(converted[name], tensor) for name, tensor in state().items())


@pytest.mark.parametrize("make", [exported, scripted])
def test_the_line_for_a_program_converts_it(
    tmp_path: Path, make: Callable[[Path], None], monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "saved.pt2"
    make(path)
    from probes.checkpoints import exported as module
    from probes.checkpoints import torch_file as torch_files
    from probes.checkpoints.pickles import UnreadableError

    def unreadable(*_: Any, **__: Any) -> Any:
        raise UnreadableError("kept in another way")

    with monkeypatch.context() as patch:
        patch.setattr(module, "_leaf", unreadable)
        patch.setattr(torch_files, "read_pickle", unreadable)
        message = one_line(path, "kept in another way", "if you trust it: ")
    monkeypatch.chdir(tmp_path)
    with warnings.catch_warnings(action="ignore"):
        exec(message.partition("if you trust it: ")[2], {})
    converted = read_checkpoint(tmp_path / "saved-state.pt").tensors
    assert all(torch.equal(converted[name], tensor) for name, tensor in state().items())


def test_folders_that_are_not_whole(tmp_path: Path) -> None:
    path = tmp_path / "shards"
    sharded(path, "safetensors", save_file)
    index = path / "model.safetensors.index.json"
    whole = json.loads(index.read_text())
    for places, part in (
        ({"0.weight": "../outside.safetensors"}, "outside of the folder"),
        ({"0.weight": "/etc/passwd"}, "outside of the folder"),
        ({"0.weight": "gone.safetensors"}, "gone.safetensors"),
        ({"0.weight": "model-00002-of-00002.safetensors"}, "0.weight is not in"),
        ({"0.weight": 3}, "outside of the folder"),
        ({}, "weight_map"),
        ([], "weight_map"),
    ):
        index.write_text(json.dumps({**whole, "weight_map": places}))
        one_line(path, part)
    for text in ("", "[" * 100_000, "[]", "{", "\0"):
        index.write_text(text)
        one_line(path, "index.json")


def test_what_does_not_fit_is_named_with_the_nearest(tmp_path: Path) -> None:
    path = tmp_path / "net.pt"

    def fit(content: State, *parts: str) -> None:
        torch.save(content, path)
        with pytest.raises(InputError) as caught:
            load_network(read_checkpoint(path), network=network)
        for part in (str(path), *parts):
            assert part in str(caught.value), str(caught.value)

    named = {("0.weigth" if name == "0.weight" else name): tensor for name, tensor in state().items()}
    fit(named, "no tensor 0.weight", "nearest in the file: 0.weigth")
    fit(
        {name: tensor for name, tensor in state().items() if name != "3.bias"},
        "no tensor 3.bias",
        "nothing in the file",
    )
    heads = {name.replace("3.", "head."): tensor for name, tensor in state().items()}
    fit(heads, "no tensor 3.weight", "(nor 1 more)", "nearest in the file: head.weight")
    fit({**state(), "3.extra": torch.ones(2)}, "3.extra has no place", "nearest in the network: 3.")
    fit(
        {**state(), "3.weight": state()["3.weight"].T},
        "3.weight has shape (4, 3)",
        "needs (3, 4)",
        "nothing in that shape",
    )
    swapped = {**state(), "0.bias": torch.ones(3), "3.bias": torch.ones(4)}
    fit(swapped, "0.bias has shape (3,)", "needs (4,)", "nearest in that shape: 3.bias")


@pytest.mark.parametrize("attribute", ["net", "module", "backbone"])
def test_wrappers_names_in_the_users_own_network(tmp_path: Path, attribute: str) -> None:
    class Mine(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.add_module(attribute, network())

        def forward(self, x: torch.Tensor) -> Any:
            return getattr(self, attribute)(x)

    x = torch.randn(5, 6)
    for content in (Mine().state_dict(), network().state_dict(), nn.DataParallel(Mine()).state_dict()):
        torch.save(content, tmp_path / "net.pt")
        frozen = load_network(read_checkpoint(tmp_path / "net.pt"), network=Mine)
        assert torch.equal(frozen.network(x), network()(x))


@pytest.mark.parametrize("other", [[1.0, 2.0], 3, None, "text", {"a": 1}])
def test_something_else_where_a_tensor_should_be(tmp_path: Path, other: Any) -> None:
    torch.save({**state(), "3.bias": other}, tmp_path / "net.pt")
    one_line(tmp_path / "net.pt", "3.bias is no tensor" if not isinstance(other, dict) else "")
