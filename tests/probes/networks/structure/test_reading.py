"""Structures read off modules, ours and users', and what cannot be read."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional

from probes.data.losses import as_loss, resolve_loss
from probes.evaluation.evaluator import Evaluator
from probes.evaluation.frozen_state import probing
from probes.networks.images import ConvNet, ConvSpec, ResidualNet, ResidualSpec
from probes.networks.perceptron import Perceptron, PerceptronSpec
from probes.networks.structure import Reading, read_structure
from trust.structure import Step


def reading(network: nn.Module, x: Tensor, *, batchnorm: str = "running") -> Reading:
    y = torch.zeros(len(x), dtype=torch.int64)
    loss = as_loss(resolve_loss("cross-entropy", _batches(x, y))[1])
    with probing(network, batchnorm=batchnorm):
        return read_structure(Evaluator(network, x, y, loss))


def _batches(x: Tensor, y: Tensor) -> Any:
    from probes.data.batch import Batch
    from probes.data.batches import Batches

    return Batches([Batch(x, y)])


def kinds(network: nn.Module, x: Tensor) -> str:
    """Each step in short."""
    found = reading(network, x)
    assert found.structure is not None, found.why
    return " ".join(_short(step) for step in found.structure.steps[1:])


def _short(step: Step) -> str:
    return {
        "weight": step.name + ("+b" if step.bias else "") + ("*n" if step.norm else ""),
        "batch norm": f"({step.name})",
        "map": f"{step.factor:.4g}" + ("+" if step.bias else ""),
        "sum": f"sum{step.inputs}",
        "join": f"join{step.inputs}",
        "normalisation": "norm",
        "other": f"{step.name}?",
    }.get(step.kind, step.name)


class Forward(nn.Module):
    """A module whose forward is a function of itself and x."""

    def __init__(self, forward: Callable[[Any, Tensor], Any], **parts: Any) -> None:
        super().__init__()
        for name, part in parts.items():
            setattr(self, name, nn.Parameter(part) if isinstance(part, Tensor) else part)
        self.function = forward

    def forward(self, x: Tensor) -> Any:
        return self.function(self, x)


class Own(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor) -> Tensor:
        return x.clamp(min=0)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> Tensor:
        return gradients[0]


F = functional
VECTOR, IMAGE = (6,), (1, 8, 8)
A, B, C = (lambda: nn.Linear(6, 6)), (lambda: nn.Linear(6, 3, bias=False)), (lambda: nn.Conv2d(1, 4, 3))
NETWORKS: dict[str, tuple[Callable[[], nn.Module], tuple[int, ...], str]] = {
    "modules": (
        lambda: nn.Sequential(A(), nn.LeakyReLU(0.1), B()),
        VECTOR,
        "0.weight+b leaky_relu:0.1 2.weight",
    ),
    "a bare layer": (lambda: nn.Linear(6, 3), VECTOR, "weight+b"),
    "functions": (
        lambda: Forward(lambda s, x: s.b(F.relu(s.a(x))), a=A(), b=B()),
        VECTOR,
        "a.weight+b relu b.weight",
    ),
    "methods": (
        lambda: Forward(lambda s, x: s.b(s.a(x).tanh()), a=A(), b=B()),
        VECTOR,
        "a.weight+b tanh b.weight",
    ),
    "in place": (
        lambda: nn.Sequential(A(), nn.ReLU(inplace=True), A(), nn.ELU(0.5, inplace=True), B()),
        VECTOR,
        "0.weight+b relu 2.weight+b elu:0.5 4.weight",
    ),
    "gelu": (
        lambda: nn.Sequential(A(), nn.GELU(), A(), nn.GELU("tanh"), A(), nn.Softplus(2), A(), nn.SiLU()),
        VECTOR,
        "0.weight+b gelu 2.weight+b gelu_tanh 4.weight+b softplus:2 6.weight+b silu",
    ),
    "clamp": (lambda: Forward(lambda s, x: s.a(x).clamp(min=0), a=A()), VECTOR, "a.weight+b relu"),
    "another clamp": (lambda: Forward(lambda s, x: s.a(x).clamp(-1, 1), a=A()), VECTOR, "a.weight+b clamp?"),
    "by hand": (
        lambda: Forward(
            lambda s, x: torch.tanh(x @ s.W.t() + s.b) @ s.V.T,
            W=torch.randn(5, 6),
            b=torch.randn(5),
            V=torch.randn(3, 5),
        ),
        VECTOR,
        "W+b tanh V",
    ),
    "a bias of another's": (
        lambda: Forward(
            lambda s, x: (lambda z: z + torch.tanh(z + s.b))(x @ s.W.t()),
            W=torch.randn(5, 6),
            b=torch.randn(5),
        ),
        VECTOR,
        "W bias? tanh sum(1, 3)",
    ),
    "scaled inputs": (lambda: Forward(lambda s, x: s.a((x - 0.5) / 4), a=A()), VECTOR, "1+ 0.25 a.weight+b"),
    "flattened": (
        lambda: Forward(
            lambda s, x: s.a(F.dropout(x, training=s.training).view(x.size(0), -1)), a=nn.Linear(64, 3)
        ),
        IMAGE,
        "a.weight+b",
    ),
    "permuted": (
        lambda: Forward(lambda s, x: s.a(x.transpose(2, 3).flatten(1)), a=nn.Linear(64, 3)),
        IMAGE,
        "1 a.weight+b",
    ),
    "pooled": (
        lambda: nn.Sequential(
            C(), nn.ReLU(), nn.AvgPool2d(2), nn.Conv2d(4, 2, 1), nn.AdaptiveAvgPool2d(1), nn.Flatten()
        ),
        IMAGE,
        "0.weight+b relu 0.5 3.weight+b 0.3333",
    ),
    "maxima": (
        lambda: nn.Sequential(C(), nn.MaxPool2d(2), nn.MaxPool2d(3, 2, 1), nn.Flatten(), nn.Linear(16, 3)),
        IMAGE,
        "0.weight+b 1 2 4.weight+b",
    ),
    "batch norm": (
        lambda: nn.Sequential(
            C(), nn.BatchNorm2d(4), nn.ReLU(), nn.Flatten(), nn.Linear(144, 3), nn.BatchNorm1d(3)
        ),
        IMAGE,
        "0.weight+b*n relu 4.weight+b*n",
    ),
    "batch norm first": (
        lambda: nn.Sequential(nn.BatchNorm1d(6), nn.ReLU(), B()),
        VECTOR,
        "(0.weight) relu 2.weight",
    ),
    "batch norm on positions": (
        lambda: nn.Sequential(nn.Linear(8, 5), nn.BatchNorm2d(1), nn.Flatten(), nn.Linear(40, 3)),
        IMAGE,
        "0.weight+b (1.weight) 3.weight+b",
    ),
    "batch norm of what else is used": (
        lambda: Forward(lambda s, x: (lambda z: z + F.relu(s.n(z)))(s.a(x)), a=A(), n=nn.BatchNorm1d(6)),
        VECTOR,
        "a.weight+b (n.weight) relu sum(1, 3)",
    ),
    "batch norm without weights": (
        lambda: nn.Sequential(A(), nn.BatchNorm1d(6, affine=False)),
        VECTOR,
        "0.weight+b norm",
    ),
    "layer norm": (
        lambda: nn.Sequential(A(), nn.LayerNorm(6), nn.ReLU(), B()),
        VECTOR,
        "0.weight+b norm relu 3.weight",
    ),
    "a skip": (
        lambda: Forward(lambda s, x: s.b(x + F.relu(s.a(x))), a=A(), b=B()),
        VECTOR,
        "a.weight+b relu sum(0, 2) b.weight",
    ),
    "side by side": (
        lambda: Forward(lambda s, x: torch.cat([x, s.a(x)], dim=1), a=A()),
        VECTOR,
        "a.weight+b join(0, 1)",
    ),
    "examples behind each other": (
        lambda: Forward(lambda s, x: torch.cat([x, s.a(x)])[: len(x)], a=A()),
        VECTOR,
        "a.weight+b cat? __getitem__?",
    ),
    "mixed examples": (lambda: Forward(lambda s, x: s.a(x).flip(0), a=A()), VECTOR, "a.weight+b flip?"),
    "the mean over examples": (
        lambda: Forward(lambda s, x: s.a(x) - s.a(x).mean(0), a=A()),
        VECTOR,
        "a.weight+b a.weight+b mean? sub?",
    ),
    "log softmax": (lambda: nn.Sequential(B(), nn.LogSoftmax(1)), VECTOR, "0.weight 1.732+"),
    "a gate of its own": (
        lambda: Forward(lambda s, x: s.a(x) * torch.sigmoid(s.a(x)), a=A()),
        VECTOR,
        "a.weight+b a.weight+b sigmoid mul?",
    ),
    "a learned slope": (lambda: nn.Sequential(A(), nn.PReLU(), B()), VECTOR, "0.weight+b prelu? 2.weight"),
    "a weight that is made": (
        lambda: nn.Sequential(nn.utils.parametrizations.weight_norm(A()), nn.ReLU(), B()),
        VECTOR,
        "linear? relu 2.weight",
    ),
    "a gradient of its own": (
        lambda: Forward(lambda s, x: Own.apply(s.a(x)), a=A()),
        VECTOR,
        "a.weight+b relu",
    ),
    "an idle branch": (
        lambda: Forward(lambda s, x: (s.a(x), s.b(s.a(x)))[1], a=A(), b=B()),
        VECTOR,
        "a.weight+b b.weight",
    ),
}


@pytest.mark.parametrize("name", NETWORKS)
def test_steps(name: str) -> None:
    make, shape, expected = NETWORKS[name]
    assert kinds(make(), torch.randn(5, *shape)) == expected


def test_networks_of_ours_come_through_the_same_door() -> None:
    perceptron = Perceptron(
        PerceptronSpec((6, 6, 6, 3), "gelu", residual=True, norm="batch", biases=(True,) * 3)
    )
    found = "layers.0.weight+b*n gelu sum(0, 2) layers.1.weight+b*n gelu sum(3, 5) layers.2.weight+b"
    assert kinds(perceptron, torch.randn(4, 6)) == found
    conv = ConvNet(ConvSpec(8, (2, 3), 3))
    assert (
        kinds(conv, torch.randn(4, 64))
        == "layers.0.conv.weight+b relu layers.1.conv.weight+b relu head.weight+b"
    )
    residual = ResidualNet(ResidualSpec(8, (2, 3), (1, 1), 3, "batch"))
    block = "blocks.{0}.first.conv.weight*n relu blocks.{0}.second.conv.weight*n sum({1}) relu"
    expected = [
        "stem.conv.weight*n relu",
        block.format(0, "2, 5"),
        "1 1",  # every second position, and channels of zeros
        block.format(1, "9, 12"),
        "0.5 head.weight+b",  # the mean over 2 × 2 positions
    ]
    assert kinds(residual, torch.randn(4, 64)) == " ".join(expected)


def looks(s: Any, x: Tensor) -> Tensor:
    return s.a(x) if bool((x > 0).all()) else s.a(-x)


def changes(s: Any, x: Tensor) -> Tensor:
    h = s.a(x)
    h.view(-1, 2, 3).relu_()
    return h


@pytest.mark.parametrize(
    ("network", "why"),
    [
        (Forward(looks, a=A()), "depend on the numbers"),
        (Forward(changes, a=A()), "in place"),
        (Forward(lambda s, x: s.a(x) * x.sum().item(), a=A()), "depend on the numbers"),
        (Forward(lambda s, x: s.a(x) if s.a.bias.sum() > 0 else -s.a(x), a=A()), "depend on the weights"),
        (Forward(lambda s, x: torch.from_numpy(s.a(x).numpy() + 1), a=A()), "depend on the numbers"),
        (Forward(lambda s, x: torch.zeros(len(x), 3), a=A()), "watched"),
    ],
)
def test_what_cannot_be_followed_is_unknown(network: nn.Module, why: str) -> None:
    found = reading(network, torch.randn(4, 6))
    assert found.structure is None
    assert why in found.why


def test_the_batchs_own_statistics_are_no_affine_map() -> None:
    network = nn.Sequential(A(), nn.BatchNorm1d(6))
    found = reading(network, torch.randn(4, 6), batchnorm="batch")
    assert found.structure is not None
    assert found.structure.steps[-1].kind == "normalisation"
    assert found.norms == {"batch"}
    assert reading(network, torch.randn(4, 6)).structure != found.structure


def test_tokens_have_no_chain() -> None:
    network = nn.Sequential(nn.Embedding(5, 4), nn.Flatten(), nn.Linear(12, 3))
    found = reading(network, torch.randint(0, 5, (4, 3))).structure
    assert found is not None
    assert found.is_chain is None
    assert found.activations == {"2.weight": "identity"}


def test_reading_leaves_no_trace() -> None:
    network = nn.Sequential(A(), nn.BatchNorm1d(6), nn.Dropout(0.5), nn.ReLU(inplace=True), B()).train()
    x = torch.randn(4, 6)
    before, kept = {k: v.clone() for k, v in network.state_dict().items()}, x.clone()
    state = torch.get_rng_state()
    assert reading(network, x).structure is not None
    assert all(torch.equal(v, before[k]) for k, v in network.state_dict().items())
    assert torch.equal(x, kept)
    assert torch.equal(torch.get_rng_state(), state)
    assert all(module.training for module in network.modules())
