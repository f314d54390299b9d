"""The reference networks: what they compute, what their descriptions may say, and that they train and reload."""

from __future__ import annotations

import json
import math
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from click.testing import CliRunner
from torch import Tensor, nn

from analysis import judge
from probes import InputError, SliceSettings, load, measure_slice
from probes.checkpoints.checkpoint import read_checkpoint, write_checkpoint
from probes.cli.main import main
from probes.data.dataset import DataSet
from probes.data.losses import accuracy_of, resolve_loss
from probes.evaluation.directions import Direction
from probes.evaluation.evaluator import Evaluator
from probes.networks.frozen_network import check_spec_fits, load_network
from probes.networks.perceptron import PerceptronSpec
from probes.networks.zoo import (
    NAMED,
    CharTransformer,
    ConvNet,
    ConvSpec,
    NetworkSpec,
    ResidualNet,
    ResidualSpec,
    TransformerSpec,
    build,
    read_spec,
    spec_of,
)
from probes.runs.source import Source, prepare
from probes.runs.training import TrainingSettings, train

CONV = ConvSpec(side=6, channels=(2, 3), outputs=3)
RESIDUAL = ResidualSpec(side=7, channels=(2, 3), blocks=(1, 2), outputs=3)
TRANSFORMER = TransformerSpec(vocabulary=7, context=5, width=8, heads=2, blocks=2)
TINY: dict[str, NetworkSpec] = {
    "conv": CONV,
    "conv-bn": replace(CONV, norm="batch"),
    "residual": RESIDUAL,
    "residual-bn": replace(RESIDUAL, norm="batch"),
    "transformer": TRANSFORMER,
}
KINDS = [PerceptronSpec((3, 2), "relu", biases=(True,)), *TINY.values()]


def made(spec: NetworkSpec, *, seed: int = 0) -> Any:
    """A module with random weights, and in its norms random scales, shifts and statistics, in evaluation mode."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        network = build(spec).double()
        for module in network.modules():
            if isinstance(module, nn.BatchNorm2d | nn.LayerNorm):
                for name, tensor in module.state_dict().items():
                    if name != "num_batches_tracked":
                        tensor.uniform_(0.5, 1.5)
    return network.eval()


def toy(spec: NetworkSpec, count: int = 36) -> DataSet:
    """Examples that the network can learn: classes with a mean of their own, or characters that count upwards."""
    random = np.random.default_rng(0)
    if spec.vocabulary is not None:
        start = random.integers(0, spec.vocabulary, (count, 1))
        line = torch.from_numpy((start + np.arange(spec.inputs + 1)) % spec.vocabulary)
        return DataSet("toy", line[:, :-1].contiguous(), line[:, 1:].contiguous())
    y = np.arange(count) % 3
    means = random.normal(size=(3, spec.inputs))
    x = (random.normal(size=(count, spec.inputs)) + 2 * means[y]).astype(np.float32)
    return DataSet("toy", torch.from_numpy(x), torch.from_numpy(y))


def plan_for(spec: NetworkSpec, **changes: Any) -> TrainingSettings:
    plan = TrainingSettings(
        spec, data="toy", optimizer="adam", lr=0.01, epochs=8, batch_size=12, checkpoints="3", seed=3
    )
    return replace(plan, **changes)


# -- descriptions


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


# -- shapes


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


# -- the forward pass, once more


def convolved(x: Any, layer: Any, stride: int) -> Any:
    """A 3×3 convolution with a border of zeros and the norm after it, written as loops."""
    kernel = layer.conv.weight.detach().numpy()
    padded = np.pad(x, ((0, 0), (0, 0), (1, 1), (1, 1)))
    side = (x.shape[2] + 1) // stride if stride > 1 else x.shape[2]
    out = np.zeros((len(x), len(kernel), side, side))
    for i in range(side):
        for j in range(side):
            patch = padded[:, :, stride * i : stride * i + 3, stride * j : stride * j + 3]
            for channel, weights in enumerate(kernel):
                out[:, channel, i, j] = (patch * weights).sum((1, 2, 3))
    if layer.conv.bias is not None:
        out += layer.conv.bias.detach().numpy()[:, None, None]
    if hasattr(layer, "norm"):
        state = {name: tensor.numpy() for name, tensor in layer.norm.state_dict().items()}
        mean, scale = state["running_mean"], state["weight"] / np.sqrt(state["running_var"] + 1e-5)
        out = (out - mean[:, None, None]) * scale[:, None, None] + state["bias"][:, None, None]
    return out


def relu(z: Any) -> Any:
    return np.maximum(z, 0)


def linear(h: Any, layer: Any) -> Any:
    out = h @ layer.weight.detach().numpy().T
    return out if layer.bias is None else out + layer.bias.detach().numpy()


@pytest.mark.parametrize("side", [6, 7])
@pytest.mark.parametrize("norm", ["none", "batch"])
def test_the_convolutional_network_is_loops(side: int, norm: str) -> None:
    network = made(replace(CONV, side=side, norm=norm))
    x = np.random.default_rng(0).normal(size=(3, side * side))
    h = x.reshape(3, 1, side, side)
    for layer in network.layers:
        h = relu(convolved(h, layer, 2))
    expected = linear(h.reshape(3, -1), network.head)
    np.testing.assert_allclose(network(torch.from_numpy(x)).detach().numpy(), expected, rtol=1e-10)


@pytest.mark.parametrize("side", [7, 8])
@pytest.mark.parametrize("norm", ["none", "batch"])
def test_the_residual_network_is_loops(side: int, norm: str) -> None:
    network = made(replace(RESIDUAL, side=side, norm=norm))
    x = np.random.default_rng(0).normal(size=(3, side * side))
    h = relu(convolved(x.reshape(3, 1, side, side), network.stem, 2))
    for block, halves in zip(network.blocks, (False, True, False), strict=True):
        shortcut = h
        if halves:  # every second position, and one more channel of zeros
            shortcut = np.concatenate([h[:, :, ::2, ::2], np.zeros_like(h[:, :1, ::2, ::2])], axis=1)
        inside = relu(convolved(h, block.first, 2 if halves else 1))
        h = relu(shortcut + convolved(inside, block.second, 1))
    expected = linear(h.mean((2, 3)), network.head)
    np.testing.assert_allclose(network(torch.from_numpy(x)).detach().numpy(), expected, rtol=1e-10)


def normed(h: Any, layer: Any) -> Any:
    centred = (h - h.mean(-1, keepdims=True)) / np.sqrt(h.var(-1, keepdims=True) + 1e-5)
    return centred * layer.weight.detach().numpy() + layer.bias.detach().numpy()


def attended(h: Any, attention: Any, heads: int) -> Any:
    """Causal attention of one sequence (t, width), position by position and head by head."""
    query, key, value = (linear(h, getattr(attention, name)) for name in ("query", "key", "value"))
    size = h.shape[1] // heads
    out = np.zeros_like(h)
    for head in range(heads):
        part = slice(head * size, (head + 1) * size)
        for place in range(len(h)):
            scores = np.array([query[place, part] @ key[j, part] for j in range(place + 1)])
            weights = np.exp(scores / math.sqrt(size))
            weights /= weights.sum()
            out[place, part] = sum(w * value[j, part] for j, w in enumerate(weights))
    return linear(out, attention.project)


def test_the_transformer_is_attention_by_hand() -> None:
    from scipy.special import erf

    network = made(TRANSFORMER)
    x = toy(TRANSFORMER, 3).x
    embedded = network.characters.weight.detach().numpy()
    outputs = network(x).detach().numpy()
    for example, characters in enumerate(x.numpy()):
        h = embedded[characters] + network.positions.weight.detach().numpy()
        for block in network.blocks:
            h = h + attended(normed(h, block.attention_norm), block.attention, TRANSFORMER.heads)
            z = linear(normed(h, block.mlp_norm), block.up)
            h = h + linear(z * (1 + erf(z / math.sqrt(2))) / 2, block.down)
        np.testing.assert_allclose(outputs[example], normed(h, network.norm) @ embedded.T, rtol=1e-9)


def test_a_later_character_leaves_earlier_outputs() -> None:
    network = made(TRANSFORMER)
    x = toy(TRANSFORMER, 4).x
    before = network(x)
    for place in range(x.shape[1]):
        changed = x.clone()
        changed[:, place] = (changed[:, place] + 1) % 7
        after = network(changed)
        assert torch.equal(after[:, :place], before[:, :place])
        assert bool((after[:, place:] != before[:, place:]).any(2).all())


# -- losses and accuracy of sequences


def test_the_loss_of_a_sequence_is_the_mean_over_its_characters() -> None:
    generator = torch.Generator().manual_seed(0)
    outputs = torch.randn(4, 5, 7, generator=generator, dtype=torch.float64)
    targets = torch.randint(0, 7, (4, 5), generator=generator)
    name, loss = resolve_loss(None, targets)
    assert name == "cross-entropy"
    chosen = torch.log_softmax(outputs, 2).numpy()
    expected = [-np.mean([chosen[n, t, targets[n, t]] for t in range(5)]) for n in range(4)]
    np.testing.assert_allclose(loss(outputs, targets).numpy(), expected, rtol=1e-12)
    outputs[0, 0, targets[0, 0]] = 99.0
    hits = accuracy_of(outputs, targets)
    right = (outputs.argmax(2) == targets).sum()
    assert hits is not None
    assert float(hits) == pytest.approx(int(right) / 5)
    assert 0 < float(hits) < 4
    with pytest.raises(InputError, match="do not fit targets"):
        loss(outputs[:, 0], targets)


def test_data_that_does_not_fit() -> None:
    images, text = toy(CONV), toy(TRANSFORMER)
    check_spec_fits(CONV, images, "cross-entropy")
    check_spec_fits(TRANSFORMER, text, "cross-entropy")
    check_spec_fits(TRANSFORMER, DataSet("d", text.x[:, :3], text.y[:, :3]), "cross-entropy")
    for spec, data, part in (
        (CONV, text, "real numbers"),
        (TRANSFORMER, images, "characters"),
        (CONV, DataSet("d", images.x[:, :35], images.y), "36"),
        (CONV, DataSet("d", images.x, images.y + 1), "labels"),
        (CONV, DataSet("d", images.x, images.y[:, None]), "one label an example"),
        (TRANSFORMER, DataSet("d", text.x + 1, text.y), "character"),
        (TRANSFORMER, DataSet("d", text.x - 1, text.y), "character"),
        (TRANSFORMER, DataSet("d", text.x, text.y + 1), "labels"),
        (TRANSFORMER, DataSet("d", text.x, text.y[:, 0]), "one label a character"),
        (TRANSFORMER, DataSet("d", text.x.repeat(1, 2), text.y.repeat(1, 2)), "10 characters"),
    ):
        with pytest.raises(InputError, match=part):
            check_spec_fits(spec, data, "cross-entropy")


# -- training and reloading


@pytest.mark.parametrize("name", TINY)
def test_training_learns_and_checkpoints_reload(tmp_path: Path, name: str) -> None:
    spec = TINY[name]
    data, plan = toy(spec), plan_for(spec)
    files = train(plan, tmp_path / "a", data=data)
    torch.rand(3)  # the caller's stream has no say
    again = train(plan, tmp_path / "b", data=data)
    assert [path.read_bytes() for path in files] == [path.read_bytes() for path in again]
    other = train(replace(plan, seed=4), tmp_path / "c", data=data)
    assert files[-1].read_bytes() != other[-1].read_bytes()
    rows = (tmp_path / "a" / "training.csv").read_text().splitlines()[1:]
    losses = [float(row.split(",")[2]) for row in rows]
    assert np.mean(losses[-3:]) < 0.8 * np.mean(losses[:3])
    last = read_checkpoint(files[-1])
    frozen = load_network(last)
    assert frozen.spec == spec
    network = frozen.network.eval()
    outputs = network(data.x)
    twin = made(spec).float()
    twin.load_state_dict(dict(last.tensors))
    assert torch.equal(outputs, twin(data.x))
    for checkpoint in map(read_checkpoint, files):  # the first is the one that has learnt nothing yet
        twin.load_state_dict(dict(checkpoint.tensors))
        right = accuracy_of(twin(data.x), data.y)
        assert right is not None
        assert checkpoint.details["train_accuracy"] == pytest.approx(float(right) / len(data))
    order = [parameter for parameter, _ in twin.named_parameters()]
    assert list(frozen.names) == order


@pytest.mark.parametrize("name", ["conv-bn", "residual-bn"])
def test_running_statistics_are_learnt_and_saved(tmp_path: Path, name: str) -> None:
    spec = TINY[name]
    files = train(plan_for(spec, epochs=2), tmp_path / "run", data=toy(spec))
    first, last = (read_checkpoint(path).tensors for path in (files[0], files[-1]))
    means = [key for key in first if key.endswith("running_mean")]
    assert len(means) == len([key for key in first if key.endswith("conv.weight")])
    for key in means:
        assert not bool(first[key].any())
        assert bool(last[key].any())
    assert {int(last[key]) for key in last if key.endswith("num_batches_tracked")} == {6}
    with pytest.raises(InputError, match="--batch-size"):
        train(plan_for(spec, batch_size=1), tmp_path / "other", data=toy(spec))


def test_checkpoints_of_different_networks_are_not_mixed(tmp_path: Path) -> None:
    data = toy(CONV)
    np.savez(tmp_path / "d.npz", x=data.x.numpy(), y=data.y.numpy())
    files = [
        str(train(plan_for(spec, epochs=1, data="toy"), tmp_path / name, data=data)[0])
        for name, spec in (("a", CONV), ("b", replace(CONV, norm="batch")))
    ]
    prepare(Source((files[0],), data=str(tmp_path / "d.npz")))
    with pytest.raises(InputError, match="another network"):
        prepare(Source(tuple(files), data=str(tmp_path / "d.npz")))
    first = load_network(read_checkpoint(Path(files[0])))
    assert prepare(Source((files[0],), data=str(tmp_path / "d.npz"))).networks[0].spec == first.spec
    corpus = tmp_path / "corpus"
    corpus.write_bytes(bytes(range(64, 128)) * 8)
    for heads in (2, 4):  # tensors of the same names and shapes
        wide = TransformerSpec(width=8, heads=heads, blocks=1)
        write_checkpoint(
            tmp_path / f"{heads}.safetensors", build(wide).state_dict(), {"network": wide.to_json()}
        )
    pair = tuple(str(tmp_path / f"{heads}.safetensors") for heads in (2, 4))
    prepare(Source(pair[:1], data=f"text:{corpus}"))
    with pytest.raises(InputError, match="another network"):
        prepare(Source(pair, data=f"text:{corpus}"))
    with pytest.raises(InputError, match="--activation"):
        prepare(Source((files[0],), data=str(tmp_path / "d.npz"), activation="tanh"))


# -- probing


@pytest.mark.parametrize("name", TINY)
def test_a_slice_of_each(name: str) -> None:
    spec = TINY[name]
    network, data = made(spec).float(), toy(spec, 12)
    settings = SliceSettings(etas=np.array([0.0, 1e-3, 1e-2]), samples=4, jacobian=2, dtype="float64")
    found = measure_slice(network, data.x, data.y, settings=settings)
    assert found.attrs["architecture"] == spec.to_json()["kind"]
    assert found.attrs["norm"] == spec.norm
    assert found.attrs["residual"] == str(spec.residual).lower()
    assert {verdict.claim for verdict in judge(found)} >= {"lemma1", "deep-relative-trust"}
    change = found["gradient_change"].values[0]
    assert np.isfinite(change).all()
    assert (change[0] < 1e-10).all()  # no tensor has a gradient of rounding errors alone
    assert (change[2] > change[1]).all()
    assert np.isfinite(found["curvature"].values).all()
    kinds = dict(zip(found["layer"].values, found["operator"].values, strict=True))
    jacobians = found["jacobian_change"].isel(checkpoint=0, eta=2, example=0)
    last = found["layer"].values[np.flatnonzero(jacobians.notnull())]
    assert len(last) > 0  # of a transformer the layers behind the embedding
    assert all(
        kind in ("matrix", "convolution")
        for n, kind in kinds.items()
        if n.endswith(("conv.weight", "head.weight"))
    )


@pytest.mark.parametrize("name", TINY)
def test_the_curvature_is_that_of_the_losses(name: str) -> None:
    """By second differences, which also shows that every operation can be differentiated twice."""
    spec = TINY[name]
    network, data = made(spec), toy(spec, 6)
    evaluator = Evaluator(network, data.x, data.y, resolve_loss(None, data.y)[1], dtype=torch.float64)
    generator = torch.Generator().manual_seed(1)
    step = {
        n: torch.randn(w.shape, generator=generator, dtype=torch.float64) for n, w in evaluator.frozen.items()
    }
    size = 1e-4 if spec.vocabulary is not None else 1e-6  # ReLU's kinks must not be crossed
    around = [
        evaluator.loss({n: w + k * size * step[n] for n, w in evaluator.frozen.items()}) for k in (-1, 0, 1)
    ]
    expected = (around[0] - 2 * around[1] + around[2]) / size**2
    assert evaluator.directional_curvature(Direction.of(step)) == pytest.approx(expected, rel=0.02, abs=0.01)


# -- the commands


def call(*arguments: object) -> Any:
    return CliRunner().invoke(main, [str(argument) for argument in arguments])


@pytest.mark.parametrize("name", ["mlp3", "conv-bn", "residual16", "char-transformer"])
def test_train_and_run(tmp_path: Path, name: str) -> None:
    out = tmp_path / "net"
    options: list[object] = ["--examples", 8, "--batch-size", 4, "--epochs", 1, "--checkpoints", 2]
    options += ["--width", 8] if name == "mlp3" else []
    result = call("train", "--network", name, *options, "--out", out)
    assert result.exit_code == 0, result.output
    measured = call(
        "run",
        out,
        "--etas",
        "0.001,0.01",
        "--samples",
        3,
        "--no-limit",
        "--no-ladder",
        "--out",
        tmp_path / "r",
    )
    assert measured.exit_code == 0, measured.output
    found = load(tmp_path / "r")
    assert found.sizes["checkpoint"] == 2
    assert found.attrs["number_of_examples"] == 8
    assert np.isfinite(found["gradient_change"].values).all()
    assert np.isfinite(found["curvature"].values).all()
    depth = {"mlp3": 3, "conv-bn": 3, "residual16": 16}.get(name, 2 + 2 * 6)
    assert int(found["is_weight"].sum()) == depth


def test_residual16_with_batch_norm(tmp_path: Path) -> None:
    options = (
        "--examples",
        24,
        "--batch-size",
        12,
        "--epochs",
        1,
        "--checkpoints",
        1,
        "--out",
        tmp_path / "net",
    )
    result = call("train", "--network", "residual16", "--norm", "batch", *options)
    assert result.exit_code == 0, result.output
    (path,) = (tmp_path / "net").glob("*.safetensors")
    assert load_network(read_checkpoint(path)).spec == ResidualSpec(norm="batch")


@pytest.mark.parametrize(
    ("options", "part"),
    [
        (("conv", "--depth", "2"), "--depth"),
        (("conv", "--width", "784"), "--width"),
        (("conv", "--norm", "none"), "--norm"),
        (("conv-bn", "--no-bias"), "--bias"),
        (("conv-bn", "--activation", "relu"), "--activation"),
        (("residual16", "--residual"), "--residual"),
        (("residual16", "--norm", "layer"), "--norm"),
        (("char-transformer", "--norm", "layer"), "--norm"),
        (("mlp3", "--depth", "3"), "--depth"),
        (("conv", "--data", "text"), "--data text"),
        (("char-transformer", "--data", "mnist"), "--data mnist"),
        (("perceptron", "--data", "text"), "--data text"),
        (("resnet", "--depth", "3"), "--network"),
    ],
)
def test_options_that_conflict(tmp_path: Path, options: tuple[str, ...], part: str) -> None:
    result = call("train", "--network", *options, "--examples", 300, "--out", tmp_path / "net")
    assert result.exit_code == 2
    assert part in result.stderr
    assert result.stderr.count("\n") == 1 or "resnet" in options
    assert not (tmp_path / "net").exists()


def test_modules_are_what_their_descriptions_say() -> None:
    for spec, module in ((CONV, ConvNet), (RESIDUAL, ResidualNet), (TRANSFORMER, CharTransformer)):
        assert type(build(spec)) is module
