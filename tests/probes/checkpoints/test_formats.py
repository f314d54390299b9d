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

from probes import InputError, distance
from probes.checkpoints.checkpoint import read_checkpoint
from probes.networks.frozen_network import load_network
from tests.probes.checkpoints.examples import (
    FORMATS,
    State,
    distributed,
    exported,
    lightning,
    network,
    prefixed,
    scripted,
    sharded,
    state,
)


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


class Remembering(nn.Module):
    """A network that keeps tensors in its attributes between calls, as streaming models do."""

    def __init__(self) -> None:
        super().__init__()
        self.inner = network()
        self.register_buffer("window", torch.ones(6))
        self.state = torch.zeros(0)
        self.context = torch.full((2, 6), torch.nan)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        self.state = x[:1]
        return self.inner(x * self.window) + self.context.sum()  # type: ignore[no-any-return]


def test_attributes_of_a_scripted_module_are_no_weights(tmp_path: Path) -> None:
    path = tmp_path / "streaming.jit"
    with warnings.catch_warnings(action="ignore"):
        torch.jit.save(torch.jit.script(Remembering()), path)
        expected = torch.jit.load(path).state_dict()
    found = read_checkpoint(path).tensors
    assert list(found) == list(expected)
    assert set(found) == {"window", *(f"inner.{name}" for name in state())}
    assert all(torch.equal(found[name], tensor) for name, tensor in expected.items())


def test_distance_takes_programs_and_wrappers(tmp_path: Path) -> None:
    """Between a TorchScript archive and a state_dict of its inner network, in half precision."""
    with warnings.catch_warnings(action="ignore"):
        torch.jit.save(torch.jit.script(Remembering()), tmp_path / "a.jit")
    moved = {name: (1.5 * tensor).bfloat16() if tensor.ndim else tensor for name, tensor in state().items()}
    torch.save({"model": prefixed("_orig_mod."), "n": 1}, tmp_path / "b.pt")
    torch.save(moved, tmp_path / "c.pt")
    with pytest.raises(InputError, match=r"'window' .* `ignore_tensors='GLOB'` leaves out"):
        distance(tmp_path / "a.jit", tmp_path / "b.pt")
    same = distance(tmp_path / "a.jit", tmp_path / "b.pt", ignore_tensors=("window",))
    assert same == {
        "distance": 0.0,
        "layers": [{"name": f"inner.{k}.weight", "relative": 0.0} for k in (0, 3)],
    }
    half = distance(tmp_path / "b.pt", tmp_path / "c.pt")
    for layer in half["layers"]:
        old, new = (one[layer["name"]].double() for one in (state(), moved))
        assert layer["relative"] == pytest.approx(float((new - old).norm() / old.norm()), rel=1e-12)
    with pytest.raises(InputError, match="`ignore_tensors='nothing'`: matches no tensor"):
        distance(tmp_path / "b.pt", tmp_path / "c.pt", ignore_tensors=("nothing",))


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


def test_a_prefix_of_the_file_s_own(tmp_path: Path) -> None:
    """A part of a larger program, in a network of the user's for that part."""
    content = {**prefixed("_first."), **prefixed("_second.")}
    torch.save(content, tmp_path / "net.pt")
    with pytest.raises(InputError, match=r"_second\.0\.weight has no place"):
        load_network(read_checkpoint(tmp_path / "net.pt"), network=network)
    content |= {name: 2 * tensor for name, tensor in prefixed("_second.").items()}
    torch.save(content, tmp_path / "net.pt")
    for part, factor in (("_first.", 2), ("_second.", 1)):
        found = load_network(read_checkpoint(tmp_path / "net.pt", ignore=(f"{part}*",)), network=network)
        assert torch.equal(found.network.state_dict()["0.weight"], factor * state()["0.weight"])


@pytest.mark.parametrize("other", [[1.0, 2.0], 3, None, "text", {"a": 1}])
def test_something_else_where_a_tensor_should_be(tmp_path: Path, other: Any) -> None:
    torch.save({**state(), "3.bias": other}, tmp_path / "net.pt")
    one_line(tmp_path / "net.pt", "3.bias is no tensor" if not isinstance(other, dict) else "")
