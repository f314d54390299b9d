"""The kinds of network: what their descriptions may say, and the modules and shapes that they make."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from probes import InputError
from probes.checkpoints.checkpoint import read_checkpoint, write_checkpoint
from probes.networks.frozen_network import load_network
from probes.networks.images import ConvNet, ConvSpec, ResidualNet, ResidualSpec
from probes.networks.kinds import build, read_spec, spec_of
from probes.networks.named import NAMED
from probes.networks.perceptron import PerceptronSpec
from probes.networks.specs import NetworkSpec
from probes.networks.transformer import CharTransformer, TransformerSpec
from tests.probes.networks.examples import CONV, RESIDUAL, TINY, TRANSFORMER, made, toy

KINDS = [PerceptronSpec((6, 5, 3), "leaky_relu:0.1", True, "layer", (True, False)), *TINY.values()]


@pytest.mark.parametrize("spec", KINDS, ids=lambda spec: str(spec.to_json()["kind"]))
def test_descriptions_survive_json(spec: NetworkSpec) -> None:
    text = json.dumps(spec.to_json())
    assert read_spec(json.loads(text)) == spec
    assert type(read_spec(json.loads(text))) is type(spec)
    assert spec_of(build(spec)) is spec


def test_other_modules_have_no_description() -> None:
    class Mine(ConvNet):
        pass

    assert spec_of(nn.Linear(2, 2)) is None
    assert spec_of(Mine(CONV)) is None


HOSTILE: list[Any] = [
    None,
    3,
    [],
    {},
    {"kind": "wavelet"},
    {"kind": ["conv"]},
    {"kind": "conv"},
    {**CONV.to_json(), "extra": 1},
    {**CONV.to_json(), "kind": "residual"},
    {**CONV.to_json(), "kind": "transformer"},
    *({**CONV.to_json(), "side": side} for side in (0, -1, 2.0, True, "6", None, 10**9, 10**400, [6])),
    *(
        {**CONV.to_json(), "channels": channels}
        for channels in ([], [0], [2.5], "23", 3, [[2]], [True], [10**9], [1] * 5000, {"0": 1}, None)
    ),
    *({**CONV.to_json(), "norm": norm} for norm in ("layer", "", None, 1, ["batch"], "x" * 10**6)),
    *({**CONV.to_json(), "outputs": outputs} for outputs in (0, 1.5, 10**12)),
    *(
        {**RESIDUAL.to_json(), "blocks": blocks}
        for blocks in ([1], [1, 2, 3], [0, 1], [1, 10**9], [1000, 1000], 3, [1, "2"])
    ),
    {**RESIDUAL.to_json(), "channels": [3, 2]},
    *({**TRANSFORMER.to_json(), "heads": heads} for heads in (0, 3, 16, 2.0, None)),
    *({**TRANSFORMER.to_json(), "blocks": blocks} for blocks in (0, 10**7, "2", [2])),
    *({**TRANSFORMER.to_json(), name: 10**15} for name in ("vocabulary", "context", "width")),
]


@pytest.mark.parametrize("content", HOSTILE, ids=range(len(HOSTILE)))
def test_hostile_descriptions_are_refused_in_one_short_line(tmp_path: Path, content: Any) -> None:
    with pytest.raises(InputError) as caught:
        read_spec(content)
    assert "\n" not in str(caught.value)
    assert len(str(caught.value)) < 300
    path = tmp_path / "net.safetensors"
    write_checkpoint(path, {"w": torch.ones(2)}, {"network": content})
    with pytest.raises(InputError, match=r"net\.safetensors"):
        load_network(read_checkpoint(path))


@pytest.mark.parametrize(
    "spec",
    [
        ConvSpec(4096, (65536, 65536), 65536),
        ResidualSpec(4096, (65536, 65536), (2, 2), 65536),
        TransformerSpec(2**20, 65536, 65536, 1, 4),
    ],
)
def test_a_description_larger_than_memory_takes_none(tmp_path: Path, spec: NetworkSpec) -> None:
    path = tmp_path / "net.safetensors"
    write_checkpoint(path, {"w": torch.ones(2)}, {"network": spec.to_json()})
    with pytest.raises(InputError, match="no tensor"):
        load_network(read_checkpoint(path))


def test_a_description_of_another_kind() -> None:
    with pytest.raises(InputError, match="kind"):
        ConvSpec.from_json({**CONV.to_json(), "kind": "residual"})


def weights_of(network: nn.Module) -> list[Tensor]:
    return [parameter for parameter in network.parameters() if parameter.ndim >= 2]


def test_sizes_of_the_named_networks() -> None:
    conv, bn, residual, transformer = (
        NAMED[name](64 if name == "char-transformer" else 784, 10, "none") for name in NAMED
    )
    count: Callable[[NetworkSpec], int] = lambda spec: sum(p.numel() for p in build(spec).parameters())  # noqa: E731
    assert count(conv) == (9 * 16 + 16) + (9 * 16 * 32 + 32) + (7 * 7 * 32 * 10 + 10)
    assert count(bn) == (9 * 16 + 32) + (9 * 16 * 32 + 64) + (7 * 7 * 32 * 10 + 10)
    stage = [6 * (9 * 8 * 8 + 8), 9 * 8 * 16 + 16 + 3 * (9 * 16 * 16 + 16)]
    stage += [9 * 16 * 32 + 32 + 3 * (9 * 32 * 32 + 32)]
    assert count(residual) == (9 * 8 + 8) + sum(stage) + (32 * 10 + 10)
    block = 4 * 64 * 64 + 64 + 2 * 64 * 256 + 256 + 64 + 4 * 64
    assert count(transformer) == 256 * 64 + 64 * 64 + 2 * block + 2 * 64
    assert len(weights_of(build(residual))) == residual.depth == 16  # shortcuts have no weights
    assert len(weights_of(build(conv))) == conv.depth == 3
    assert [spec.widest for spec in (conv, residual, transformer)] == [16 * 14**2, 8 * 14**2, 64 * 256]
    with pytest.raises(InputError, match="square"):
        NAMED["conv"](783, 10, "none")


@pytest.mark.parametrize("name", TINY)
def test_shapes(name: str) -> None:
    spec, network = TINY[name], made(TINY[name])
    data = toy(spec, 4)
    x = data.x.double() if spec.vocabulary is None else data.x
    expected = (4, 3) if spec.vocabulary is None else (4, 5, 7)
    assert network(x).shape == expected
    widths: list[int] = []
    for module in network.modules():
        if isinstance(module, nn.Conv2d):
            module.register_forward_hook(lambda *call: widths.append(call[2][0].numel()))
    network(x)
    if widths:
        assert max(widths) == spec.widest
        pixels = x.reshape(4, 1, spec_side(spec), spec_side(spec))
        assert torch.equal(network(pixels), network(x))
    else:
        assert torch.equal(network(x[:, :2]), network(x)[:, :2])  # shorter sequences are sequences


def spec_side(spec: Any) -> int:
    return int(spec.side)


def test_modules_are_what_their_descriptions_say() -> None:
    for spec, module in ((CONV, ConvNet), (RESIDUAL, ResidualNet), (TRANSFORMER, CharTransformer)):
        assert type(build(spec)) is module
