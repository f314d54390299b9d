"""How a perceptron is recognised in a stranger's tensors."""

from __future__ import annotations

from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import save_file
from torch import nn

from probes import InputError
from probes.checkpoints.checkpoint import read_checkpoint
from probes.networks.frozen_network import load_network
from probes.networks.perceptron import PerceptronSpec
from probes.networks.recovery import recover_perceptron
from tests.support.reference import make_data


def tensors_of(
    depth: int = 3, *, width: int = 8, inputs: int = 8, outputs: int = 8, bias: bool = True
) -> list[Any]:
    """Weights and biases in forward order, all different."""
    generator = torch.Generator().manual_seed(0)
    widths = [inputs, *[width] * (depth - 1), outputs]
    made: list[Any] = []
    for fan_in, fan_out in pairwise(widths):
        made.append(torch.randn(fan_out, fan_in, generator=generator))
        if bias:
            made.append(torch.randn(fan_out, generator=generator))
    return made


def by_hand(tensors: list[Any], x: Any, phi: Any, *, bias: bool = True) -> Any:
    """The forward pass in forward order."""
    stride = 2 if bias else 1
    for k in range(0, len(tensors), stride):
        x = x @ tensors[k].T + (tensors[k + 1] if bias else 0)
        if k + stride < len(tensors):
            x = phi(x)
    return x


NAMES = {
    "fc": ["fc1.weight", "fc1.bias", "fc2.weight", "fc2.bias", "fc3.weight", "fc3.bias"],
    "sequential": ["0.weight", "0.bias", "2.weight", "2.bias", "4.weight", "4.bias"],
    "capitals": ["W1", "b1", "W2", "b2", "W3", "b3"],
    "keras": [
        "dense/kernel",
        "dense/bias",
        "dense_1/kernel",
        "dense_1/bias",
        "dense_2/kernel",
        "dense_2/bias",
    ],
    "words": ["hidden.weight", "hidden.bias", "middle.weight", "middle.bias", "out.weight", "out.bias"],
    "misleading words": ["z.weight", "z.bias", "m.weight", "m.bias", "a.weight", "a.bias"],
    "lists": ["weights.0", "biases.0", "weights.1", "biases.1", "weights.2", "biases.2"],
    "no pattern": ["p", "q", "r", "s", "t", "u"],
}


@pytest.mark.parametrize("naming", NAMES)
@pytest.mark.parametrize("width", [8, 5])
def test_any_names_in_the_order_of_the_file(tmp_path: Path, naming: str, width: int) -> None:
    tensors, x = tensors_of(width=width), make_data(4, 8)[0]
    path = tmp_path / "foreign.pt"
    torch.save(dict(zip(NAMES[naming], tensors, strict=True)), path)
    frozen = load_network(read_checkpoint(path), activation="tanh")
    torch.testing.assert_close(frozen.network(x), by_hand(tensors, x, torch.tanh), rtol=1e-6, atol=1e-5)
    assert list(frozen.names.values()) == NAMES[naming]
    assert isinstance(frozen.spec, PerceptronSpec)
    assert frozen.spec.widths == (8, width, width, 8)


@pytest.mark.parametrize("naming", ["fc", "sequential", "capitals", "lists"])
def test_names_with_numbers_tell_the_order_of_a_safetensors_file(tmp_path: Path, naming: str) -> None:
    tensors, x = tensors_of(), make_data(4, 8)[0]
    path = tmp_path / "foreign.safetensors"
    save_file(dict(zip(NAMES[naming], tensors, strict=True)), path)
    frozen = load_network(read_checkpoint(path), activation="tanh")
    torch.testing.assert_close(frozen.network(x), by_hand(tensors, x, torch.tanh), rtol=1e-6, atol=1e-5)


@pytest.mark.parametrize("bias", [True, False])
def test_layer_ten_comes_after_layer_two(tmp_path: Path, bias: bool) -> None:
    tensors, x = tensors_of(12, bias=bias), make_data(4, 8)[0]
    kinds = ("weight", "bias") if bias else ("weight",)
    names = [f"layers.{k}.{kind}" for k in range(12) for kind in kinds]
    path = tmp_path / "deep.safetensors"
    save_file(dict(zip(names, tensors, strict=True)), path)
    frozen = load_network(read_checkpoint(path), activation="tanh")
    expected = by_hand(tensors, x, torch.tanh, bias=bias)
    torch.testing.assert_close(frozen.network(x), expected, rtol=1e-5, atol=1e-5)
    assert list(frozen.names.values()) == names


def test_a_stem_and_a_head_around_numbered_layers(tmp_path: Path) -> None:
    tensors, x = tensors_of(5, outputs=3, inputs=6), make_data(4, 6)[0]
    parts = ["stem", "blocks.0", "blocks.1", "blocks.2", "head"]
    names = [f"{part}.{kind}" for part in parts for kind in ("weight", "bias")]
    save_file(dict(zip(names, tensors, strict=True)), tmp_path / "net.safetensors")
    frozen = load_network(read_checkpoint(tmp_path / "net.safetensors"), activation="relu")
    torch.testing.assert_close(frozen.network(x), by_hand(tensors, x, torch.relu), rtol=1e-6, atol=1e-5)


@pytest.mark.parametrize("naming", ["words", "no pattern"])
def test_an_order_that_nothing_tells_is_refused(tmp_path: Path, naming: str) -> None:
    path = tmp_path / "square.safetensors"
    save_file(dict(zip(NAMES[naming], tensors_of(), strict=True)), path)
    with pytest.raises(InputError, match="in more than one order") as caught:
        load_network(read_checkpoint(path), activation="tanh")
    assert str(path) in str(caught.value)
    # where the widths tell the order, it is taken
    tensors = [torch.randn(5, 8), torch.randn(4, 5), torch.randn(3, 4)]
    names = [name for name in NAMES[naming] if name.endswith("weight") or len(name) == 1][: len(tensors)]
    save_file(dict(zip(reversed(names), tensors, strict=True)), path)
    frozen = load_network(read_checkpoint(path), activation="tanh")
    assert list(frozen.names.values()) == list(reversed(names))


def test_lengths_tell_whose_bias_it_is_where_names_do_not(tmp_path: Path) -> None:
    tensors = {"z": torch.ones(5, 8), "a": torch.ones(5), "m": torch.ones(3, 5), "n": torch.ones(3)}
    save_file(tensors, tmp_path / "net.safetensors")
    frozen = load_network(read_checkpoint(tmp_path / "net.safetensors"), activation="tanh")
    assert list(frozen.names.values()) == ["z", "a", "m", "n"]


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16, torch.float64])
def test_other_precisions(tmp_path: Path, dtype: torch.dtype) -> None:
    tensors, x = [tensor.to(dtype) for tensor in tensors_of()], make_data(4, 8)[0]
    torch.save(dict(zip(NAMES["fc"], tensors, strict=True)), tmp_path / "half.pt")
    network = load_network(read_checkpoint(tmp_path / "half.pt"), activation="relu").network.double()
    expected = by_hand([tensor.double() for tensor in tensors], x.double(), torch.relu)
    torch.testing.assert_close(network(x.double()), expected)


def test_without_biases_and_with_some() -> None:
    weights = {"a": torch.ones(4, 6), "c": torch.ones(3, 4)}
    assert recover_perceptron(weights, activation="relu")[0].biases == (False, False)
    some = {"a": torch.ones(4, 6), "c": torch.ones(3, 4), "d": torch.ones(3)}
    assert recover_perceptron(some, activation="relu")[0].biases == (False, True)


def test_the_activation_is_asked_for_and_never_guessed() -> None:
    two = {"a": torch.ones(4, 6), "c": torch.ones(3, 4)}
    with pytest.raises(InputError, match="activation="):
        recover_perceptron(two, activation=None)
    assert recover_perceptron({"a": torch.ones(4, 6)}, activation=None)[0].activation == "identity"


@pytest.mark.parametrize(
    "tensors",
    [
        {"conv.weight": torch.ones(2, 3, 3)},
        {"scale": torch.tensor(1.0), "w": torch.ones(2, 3)},
        {"bias": torch.ones(3)},
        {"a.weight": torch.ones(4, 6), "b.weight": torch.ones(3, 5)},
        {"a.weight": torch.ones(4, 6), "a.bias": torch.ones(3)},
        {"a.weight": torch.ones(4, 6), "a.bias": torch.ones(4), "extra": torch.ones(4)},
        # norm layers: after a layer with bias, without one, and one that has no shift
        nn.Sequential(nn.Linear(6, 4), nn.LayerNorm(4), nn.ReLU(), nn.Linear(4, 3)).state_dict(),
        nn.Sequential(nn.Linear(6, 4, bias=False), nn.BatchNorm1d(4), nn.Linear(4, 3)).state_dict(),
        nn.Sequential(nn.Linear(6, 4, bias=False), nn.RMSNorm(4), nn.Linear(4, 3)).state_dict(),
        {"fc1.weight": torch.ones(4, 6), "norm1.gamma": torch.ones(4)},
        nn.Sequential(nn.Linear(6, 4, bias=False), nn.PReLU(4), nn.Linear(4, 3)).state_dict(),
    ],
)
@pytest.mark.parametrize("ordered", [True, False])
def test_tensors_that_no_plain_perceptron_explains(tensors: Any, ordered: bool) -> None:
    with pytest.raises(InputError, match="network="):
        recover_perceptron(tensors, activation="relu", ordered=ordered)
