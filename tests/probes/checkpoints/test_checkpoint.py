"""Reading files from outside: what is accepted, what is refused, and that nothing in them runs."""

from __future__ import annotations

import os
import pickle
import struct
import zlib
from collections import OrderedDict
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import save_file

from probes import InputError
from probes.checkpoints.checkpoint import Checkpoint, read_checkpoint, write_checkpoint
from probes.checkpoints.order import training_order
from probes.networks.frozen_network import load_network
from tests.support.reference import make


def refused(call: Callable[[], Any], path: Path, *parts: str) -> str:
    """Assert that ``call`` is refused in one line that names the file."""
    with pytest.raises(InputError) as caught:
        call()
    message = str(caught.value)
    assert "\n" not in message
    assert str(path) in message, message
    for part in parts:
        assert part in message, message
    return message


def state(**tensors: Any) -> dict[str, Any]:
    return {"a.weight": torch.ones(4, 6), "a.bias": torch.ones(4), "b.weight": torch.ones(3, 4), **tensors}


WRAPPED: dict[str, Any] = {
    "bare": state(),
    "ordered": OrderedDict(state()),
    "model": {"model": state(), "epoch": 3, "loss": torch.tensor(0.3)},
    "state_dict": {"state_dict": state(), "optimizer": torch.optim.SGD([torch.ones(2)], lr=0.1).state_dict()},
    "lightning": {"state_dict": {f"net.{name}": t for name, t in state().items()}, "callbacks": {}},
    "twice": {"model": {"state_dict": state()}, "step": 1},
    "other name": {"student": state(), "args": {"lr": 0.1}},
    "adam": {
        "model_state_dict": state(),
        "optimizer_state_dict": {"state": {0: {"exp_avg": torch.ones(4, 6)}}, "param_groups": [{"lr": 1}]},
    },
    "parallel": {f"module.{name}": tensor for name, tensor in state().items()},
    "compiled": {f"_orig_mod.{name}": tensor for name, tensor in state().items()},
    "both": {"model": {f"_orig_mod.module.{name}": tensor for name, tensor in state().items()}},
    "with a number beside": {**state(), "epoch": 7},
}


@pytest.mark.parametrize("wrapping", WRAPPED)
@pytest.mark.parametrize("zipped", [True, False])
def test_state_dicts_are_unwrapped(tmp_path: Path, wrapping: str, zipped: bool) -> None:
    path = tmp_path / "net.pt"
    torch.save(WRAPPED[wrapping], path, _use_new_zipfile_serialization=zipped)
    found = read_checkpoint(path)
    assert list(found.tensors) == list(state())
    assert all(torch.equal(found.tensors[name], tensor) for name, tensor in state().items())
    assert found.ordered
    assert found.label == "net"


def test_content_decides_and_not_the_name(tmp_path: Path) -> None:
    save_file(state(), tmp_path / "net.pt")
    assert not read_checkpoint(tmp_path / "net.pt").ordered
    torch.save(state(), tmp_path / "net.safetensors")
    assert read_checkpoint(tmp_path / "net.safetensors").ordered


def test_a_key_chooses_among_several(tmp_path: Path) -> None:
    path = tmp_path / "gan.pt"
    torch.save(
        {"generator": state(), "critic": {"nets": {"x.weight": torch.ones(1, 6)}, "n": 1}, "d": state()}, path
    )
    refused(lambda: read_checkpoint(path), path, "`key=NAME`", "generator", "d")
    assert list(read_checkpoint(path, key="critic/nets").tensors) == ["x.weight"]
    assert len(read_checkpoint(path, key="generator").tensors) == 3
    refused(lambda: read_checkpoint(path, key="nothing"), path, "key='nothing'", "generator")
    refused(lambda: read_checkpoint(path, key="critic/n"), path)


@pytest.mark.parametrize("name", ["ema", "model_ema", "best_model_state", "averages"])
def test_the_same_tensors_under_two_names_are_not_chosen_from(tmp_path: Path, name: str) -> None:
    path = tmp_path / "ema2.pt"
    averaged = {f"module.{key}": tensor for key, tensor in state().items()} | {"n_averaged": torch.tensor(2)}
    for second in (state(), averaged, {"shadow": state()}):
        torch.save({"model": state(), name: second, "epoch": 3}, path)
        refused(lambda: read_checkpoint(path), path, "several state_dicts", "model", name, "`key=NAME`")
        assert len(read_checkpoint(path, key="model").tensors) == 3
    other = {"x.weight": torch.ones(1, 6)}
    torch.save({"critic": other, "model": state(), "scheduler": {"best": state()}}, path)
    assert list(read_checkpoint(path).tensors) == list(state())


def test_written_and_read(tmp_path: Path) -> None:
    network, path = make(norm="batch"), tmp_path / "own.safetensors"
    write_checkpoint(path, network.state_dict(), {"network": network.spec.to_json(), "step": 3, "note": "é"})
    found = read_checkpoint(path)
    assert found.details == {
        "network": {**network.spec.to_json(), "widths": [6, 8, 8, 3], "biases": [True] * 3},
        "step": 3,
        "note": "é",
    }
    frozen = load_network(found)
    for name, tensor in network.state_dict().items():
        assert torch.equal(frozen.network.state_dict()[name], tensor), name
    assert all(not tensor.is_meta for tensor in frozen.network.state_dict().values())
    assert frozen.spec == network.spec
    assert list(frozen.names)[:5] == [
        "layers.0.weight",
        "layers.0.bias",
        "norms.0.weight",
        "norms.0.bias",
        "layers.1.weight",
    ]


def test_the_digest_sees_every_bit() -> None:
    def digest(**tensors: Any) -> str:
        return Checkpoint(Path("x"), state(**tensors), ordered=True).digest()

    assert digest() == digest()
    nudged = torch.ones(4)
    nudged[3] = torch.nextafter(nudged[3], torch.tensor(2.0))
    assert (
        len(
            {
                digest(),
                digest(**{"a.bias": nudged}),
                digest(c=torch.ones(1)),
                digest(**{"a.bias": torch.ones(4).double()}),
                digest(**{"a.bias": torch.ones(4).bfloat16()}),
                digest(**{"b.weight": torch.ones(4, 3)}),
            }
        )
        == 6
    )


def test_folders_in_natural_order(tmp_path: Path) -> None:
    for name in ("step-10.pt", "step-9.pt", "step-2.pth", "step-11.dat", ".hidden.pt"):
        torch.save(state(), tmp_path / name)
    (tmp_path / "notes.txt").write_text("nothing here")
    np.savez(tmp_path / "data.npz", x=np.ones((2, 2)))
    (tmp_path / "training.csv").write_text("step\n1\n")
    (tmp_path / "inner.pt").mkdir()
    found = [path.name for path in training_order([tmp_path]).paths]
    assert found == ["step-2.pth", "step-9.pt", "step-10.pt", "step-11.dat"]
    refused(
        lambda: training_order([tmp_path, tmp_path / "step-9.pt"]), tmp_path / "step-9.pt", "more than once"
    )


def test_paths_that_are_not_there(tmp_path: Path) -> None:
    refused(lambda: training_order([tmp_path / "none"]), tmp_path / "none", "no such")
    refused(lambda: read_checkpoint(tmp_path / "none"), tmp_path / "none", "no such")
    (tmp_path / "folder").mkdir()
    (tmp_path / "folder" / "readme.txt").write_text("nothing here")
    refused(lambda: training_order([tmp_path / "folder"]), tmp_path / "folder", "no checkpoints")
    refused(lambda: read_checkpoint(tmp_path / "folder"), tmp_path / "folder")
    with pytest.raises(InputError, match="no checkpoint was given"):
        training_order([])


def _saved(kind: str, path: Path) -> bytes:
    if kind == "safetensors":
        save_file(state(), path)
    elif kind == "ours":
        write_checkpoint(path, make().state_dict(), {"network": make().spec.to_json()})
    else:
        torch.save(state(), path, _use_new_zipfile_serialization=kind == "zip")
    return path.read_bytes()


@pytest.mark.parametrize("kind", ["safetensors", "ours", "zip", "legacy"])
def test_truncated_files(tmp_path: Path, kind: str) -> None:
    path = tmp_path / "cut.pt"
    whole = _saved(kind, path)
    lengths = {0, 1, 3, 4, 7, 8, 9, 17, len(whole) // 3, len(whole) // 2, len(whole) - 9, len(whole) - 1}
    for length in sorted(lengths):
        path.write_bytes(whole[:length])
        message = refused(lambda: read_checkpoint(path), path)
        assert len(message) < 500, message
    path.write_bytes(whole)
    assert read_checkpoint(path).tensors


def _png() -> bytes:
    def chunk(kind: bytes, body: bytes) -> bytes:
        return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))

    header = struct.pack(">IIBBBBB", 1, 1, 8, 0, 0, 0, 0)
    return (
        b"\x89PNG\r\n\x1a\n"
        + chunk(b"IHDR", header)
        + chunk(b"IDAT", zlib.compress(b"\0\0"))
        + chunk(b"IEND", b"")
    )


@pytest.mark.parametrize(
    "content",
    [
        _png(),
        b"hello, this is text\n" * 9,
        b"\0" * 64,
        b"\x80",
        b"\x80\x02",
        b"PK\x03\x04",
        b"{}",
        b"\xff" * 99,
    ],
)
@pytest.mark.parametrize("suffix", ["pt", "safetensors"])
def test_renamed_files(tmp_path: Path, content: bytes, suffix: str) -> None:
    path = tmp_path / f"net.{suffix}"
    path.write_bytes(content)
    refused(lambda: read_checkpoint(path), path)


class Evil:
    """Its pickle makes a file when it is loaded."""

    def __init__(self, marker: Path) -> None:
        self.marker = marker

    def __reduce__(self) -> tuple[Any, ...]:
        """What unpickling calls."""
        return os.mkdir, (str(self.marker),)


@pytest.mark.parametrize("how", ["pickle", "zip", "legacy", "inside"])
def test_code_in_a_file_does_not_run(tmp_path: Path, how: str) -> None:
    marker, path = tmp_path / "ran", tmp_path / "evil.pt"
    if how == "pickle":
        path.write_bytes(pickle.dumps(Evil(marker)))
    else:
        content: Any = {"model": state(), "extra": Evil(marker)} if how == "inside" else Evil(marker)
        torch.save(content, path, _use_new_zipfile_serialization=how != "legacy")
    refused(lambda: read_checkpoint(path), path, "would run code" if how != "pickle" else "")
    assert not marker.exists()
    torch.load(path, weights_only=False) if how != "pickle" else pickle.loads(path.read_bytes())
    assert marker.exists()  # the trap was live


def test_whole_modules_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "module.pt"
    torch.save(torch.nn.Linear(2, 2), path)
    refused(lambda: read_checkpoint(path), path, "state_dict()", "torch.nn.modules.linear.Linear")


def test_a_checkpoint_cannot_name_code_for_its_data_or_loss(tmp_path: Path) -> None:
    from probes.runs.source import Source, prepare

    (tmp_path / "evil.py").write_text(f"import os\nos.mkdir({str(tmp_path / 'ran')!r})\ndef f(*_): pass\n")
    network, path = make(), tmp_path / "own.safetensors"
    for details in (
        {"data": f"{tmp_path / 'evil.py'}:f"},
        {"data": "mnist", "loss": f"{tmp_path / 'evil.py'}:f"},
    ):
        write_checkpoint(path, network.state_dict(), {"network": network.spec.to_json(), **details})
        refused(lambda: prepare(Source((str(path),))), path, "code", "yourself")
        assert not (tmp_path / "ran").exists()


def self_holding() -> dict[str, Any]:
    content: dict[str, Any] = {}
    content["model"] = content
    return content


@pytest.mark.parametrize(
    ("content", "part"),
    [
        (state(**{"a.bias": torch.tensor([1.0, torch.nan, 1, 1])}), "a.bias has 1 NaN"),
        (state(**{"a.weight": torch.full((4, 6), torch.inf)}), "a.weight has 24 NaN or infinite"),
        (state(**{"a.bias": torch.ones(0)}), "no entries"),
        (state(**{"a.bias": torch.ones(4).to_sparse()}), "sparse"),
        (state(**{"a.bias": torch.ones(4) * 1j}), "complex"),
        (state(**{"a.bias": torch.ones(4).to(torch.float8_e4m3fn)}), "float8"),
        ({}, ""),
        ({"model": {}}, ""),
        ([torch.ones(2)], "list"),
        (torch.ones(2), "Tensor"),
        ("text", "str"),
        ({"epoch": 1, "lr": 0.1}, "no state_dict"),
        (self_holding(), ""),
    ],
)
def test_contents_that_cannot_be_probed(tmp_path: Path, content: Any, part: str) -> None:
    path = tmp_path / "bad.pt"
    torch.save(content, path)
    refused(lambda: read_checkpoint(path), path, part)


@pytest.mark.parametrize(
    "network",
    [
        "text",
        {"kind": "transformer"},
        {"kind": "perceptron"},
        {"widths": [6]},
        {"widths": [6, -3]},
        {"widths": [1e999, 3]},
        {"widths": [6, 10**6, 10**6, 3], "biases": [True] * 3},  # four terabytes, were they made
        {"activation": "wavelet"},
        {"activation": "leaky_relu:nan"},
        {"norm": "group"},
        {"biases": [True]},
        {"widths": [7, 8, 8, 3]},
    ],
)
def test_damaged_descriptions(tmp_path: Path, network: Any) -> None:
    path = tmp_path / "own.safetensors"
    good = make().spec.to_json()
    described = {**good, **network} if isinstance(network, dict) else network
    if network == {"kind": "perceptron"}:
        described = network
    write_checkpoint(path, make().state_dict(), {"network": described})
    refused(lambda: load_network(read_checkpoint(path)), path)
