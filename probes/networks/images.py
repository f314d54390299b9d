"""Reference networks beside the perceptron: convolutional, residual and a character-level transformer.

Each kind is a description, checked so that one from a stranger's file can be trusted, and a plain torch module.
"""

from __future__ import annotations

import math
import reprlib
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, fields
from typing import Any, ClassVar, Protocol, Self

import torch
from torch import Tensor, nn
from torch.nn import functional

from probes.errors import InputError
from probes.networks.perceptron import Perceptron, PerceptronSpec

__all__ = [
    "NAMED",
    "CharTransformer",
    "ConvNet",
    "ConvSpec",
    "NetworkSpec",
    "ResidualNet",
    "ResidualSpec",
    "TransformerSpec",
    "build",
    "read_spec",
    "spec_of",
]

_LARGEST_SIDE = 4096
_LARGEST_WIDTH = 65_536
_MOST_LAYERS = 1024
"""Limits that a description is held to, because even a module without memory takes time to build."""


class NetworkSpec(Protocol):
    """What training and probing need to know of a network, whatever its kind."""

    @property
    def depth(self) -> int:
        """Weight layers that data pass through one after another."""

    @property
    def residual(self) -> bool:
        """Whether layers add their input."""

    @property
    def norm(self) -> str:
        """``none``, ``batch`` or ``layer``."""

    @property
    def inputs(self) -> int:
        """Numbers an example has; the longest sequence where these are characters."""

    @property
    def outputs(self) -> int:
        """Outputs an example, or a character."""

    @property
    def vocabulary(self) -> int | None:
        """How many different characters there are; None where inputs are real numbers."""

    @property
    def widest(self) -> int:
        """Numbers in the largest hidden layer of one example."""

    def to_json(self) -> dict[str, Any]:
        """A JSON-ready mapping."""


class _Description:
    """Reading and writing of a description: its fields and its kind, nothing more and nothing less."""

    kind: ClassVar[str]

    def to_json(self) -> dict[str, Any]:
        """A JSON-ready mapping that :meth:`from_json` reads back."""
        return {"kind": self.kind, **asdict(self)}  # type: ignore[call-overload]

    @classmethod
    def from_json(cls, content: Any) -> Self:
        """Read what :meth:`to_json` wrote.

        Raises:
            InputError: it is not a description of this kind, or one of no possible network.
        """
        known = {field.name for field in fields(cls)}  # type: ignore[arg-type]
        if not isinstance(content, Mapping) or set(content) != known | {"kind"}:
            raise InputError(f"the checkpoint's description of its network is damaged (not a {cls.kind})")
        if content["kind"] != cls.kind:
            raise InputError(f"unknown kind of network {reprlib.repr(content['kind'])}")
        values = {name: content[name] for name in known}
        return cls(**{name: tuple(v) if isinstance(v, list) else v for name, v in values.items()})


def _check_size(name: str, value: Any, most: int) -> None:
    """Refuse what is no whole number from 1 to ``most``.

    Raises:
        InputError: it names the size.
    """
    if type(value) is not int or not 1 <= value <= most:
        raise InputError(
            f"a network's {name} must be a whole number from 1 to {most}, got {reprlib.repr(value)}"
        )


def _check_sizes(name: str, values: Any, most: int) -> None:
    """Refuse what is no tuple of such numbers.

    Raises:
        InputError: it names the sizes.
    """
    if not isinstance(values, tuple) or not 1 <= len(values) <= _MOST_LAYERS:
        raise InputError(
            f"a network's {name} must be 1 to {_MOST_LAYERS} numbers, got {reprlib.repr(values)}"
        )
    for value in values:
        _check_size(name, value, most)


class _ImageDescription(_Description):
    """What networks on square one-channel images, given flat, have in common."""

    vocabulary: ClassVar[int | None] = None
    side: int
    channels: tuple[int, ...]
    outputs: int
    norm: str

    def __post_init__(self) -> None:
        """Check everything, so that a description from a file can be trusted.

        Raises:
            InputError: a value that makes no network.
        """
        _check_size("side", self.side, _LARGEST_SIDE)
        _check_sizes("channels", self.channels, _LARGEST_WIDTH)
        _check_size("outputs", self.outputs, _LARGEST_WIDTH)
        if self.norm not in ("none", "batch"):
            raise InputError(f"--norm {reprlib.repr(self.norm)}: this network knows none and batch")

    @property
    def inputs(self) -> int:
        """Pixels."""
        return self.side**2

    @property
    def widest(self) -> int:
        """Numbers in the largest convolution's output."""
        return max(c * _halved(self.side, k + 1) ** 2 for k, c in enumerate(self.channels))


@dataclass(frozen=True)
class ConvSpec(_ImageDescription):
    """A convolutional network on square one-channel images, given flat.

    Every layer but the last is a 3×3 convolution of stride 2 with zero padding, then the norm, then ReLU; the last is
    linear on all that is left. A convolution before a batch norm has no bias, which the norm would take out again.

    Attributes:
        side: of the images.
        channels: of each convolution's output.
        outputs: of the last layer.
        norm: ``none`` or ``batch``.
    """

    kind: ClassVar[str] = "conv"
    residual: ClassVar[bool] = False

    side: int = 28
    channels: tuple[int, ...] = (16, 32)
    outputs: int = 10
    norm: str = "none"

    @property
    def depth(self) -> int:
        """Convolutions and the linear layer."""
        return len(self.channels) + 1


@dataclass(frozen=True)
class ResidualSpec(_ImageDescription):
    """A residual network on square one-channel images, given flat.

    The kind for small images of He et al. ("Deep Residual Learning for Image Recognition", 2016): a 3×3 convolution of
    stride 2, stages of blocks h ← relu(shortcut(h) + conv(relu(conv(h)))), the mean over positions, a linear layer.
    Each stage after the first halves the side at its start. There the shortcut takes every second position and adds
    channels of zeros, so that it has no weights. With batch norm every convolution is followed by one and has no bias.

    Attributes:
        side: of the images.
        channels: of each stage, not fewer than of the one before.
        blocks: of each stage.
        outputs: of the last layer.
        norm: ``none`` or ``batch``.
    """

    kind: ClassVar[str] = "residual"
    residual: ClassVar[bool] = True

    side: int = 28
    channels: tuple[int, ...] = (8, 16, 32)
    blocks: tuple[int, ...] = (3, 2, 2)
    outputs: int = 10
    norm: str = "none"

    def __post_init__(self) -> None:
        """Check everything, so that a description from a file can be trusted.

        Raises:
            InputError: a value that makes no network.
        """
        super().__post_init__()
        _check_sizes("blocks", self.blocks, _MOST_LAYERS)
        if len(self.blocks) != len(self.channels) or sum(self.blocks) > _MOST_LAYERS:
            raise InputError(
                f"a residual network needs as many blocks as channels, in all at most {_MOST_LAYERS}"
            )
        if list(self.channels) != sorted(self.channels):
            raise InputError("a residual network's channels must not become fewer")

    @property
    def depth(self) -> int:
        """The first convolution, two in each block, and the linear layer."""
        return 2 * sum(self.blocks) + 2


@dataclass(frozen=True)
class TransformerSpec(_Description):
    """A decoder-only transformer on characters, which predicts each next one.

    Pre-norm blocks h ← h + attention(norm(h)), h ← h + mlp(norm(h)) with GELU and four times the width inside, learned
    positions, a last norm. The head is tied: it is the matrix of the characters' embeddings. Queries, keys and values
    have no bias (a key's has gradient zero, as softmax does not see it).

    Attributes:
        vocabulary: how many different characters there are.
        context: the longest sequence.
        width: of the residual stream.
        heads: of each attention; they divide the width.
        blocks: how many.
    """

    kind: ClassVar[str] = "transformer"
    norm: ClassVar[str] = "layer"
    residual: ClassVar[bool] = True

    vocabulary: int = 256
    context: int = 64
    width: int = 64
    heads: int = 4
    blocks: int = 2

    def __post_init__(self) -> None:
        """Check everything, so that a description from a file can be trusted.

        Raises:
            InputError: a value that makes no network.
        """
        _check_size("vocabulary", self.vocabulary, 2**20)
        _check_size("context", self.context, _LARGEST_WIDTH)
        _check_size("width", self.width, _LARGEST_WIDTH)
        _check_size("heads", self.heads, self.width)
        _check_size("blocks", self.blocks, _MOST_LAYERS)
        if self.width % self.heads:
            raise InputError(
                f"a transformer's heads must divide its width, got {self.heads} and {self.width}"
            )

    @property
    def depth(self) -> int:
        """The embedding, in each block values, their projection and the two of the perceptron, and the head."""
        return 4 * self.blocks + 2

    @property
    def inputs(self) -> int:
        """Characters."""
        return self.context

    @property
    def outputs(self) -> int:
        """One for each character that may come next."""
        return self.vocabulary

    @property
    def widest(self) -> int:
        """Numbers in the hidden layer of a block, in the attention weights, or in the outputs."""
        return self.context * max(4 * self.width, self.heads * self.context, self.vocabulary)


def _halved(side: int, times: int) -> int:
    """What is left of a side after convolutions of stride 2."""
    for _ in range(min(times, side.bit_length())):
        side = (side + 1) // 2
    return side


def _convolution(spec: ConvSpec | ResidualSpec, fan_in: int, fan_out: int, stride: int) -> nn.Sequential:
    """A 3×3 convolution and the norm, if there is one."""
    parts: list[tuple[str, nn.Module]] = [
        ("conv", nn.Conv2d(fan_in, fan_out, 3, stride, 1, bias=spec.norm == "none"))
    ]
    if spec.norm == "batch":
        parts.append(("norm", nn.BatchNorm2d(fan_out)))
    stack = nn.Sequential()
    for name, part in parts:
        stack.add_module(name, part)
    return stack


class ConvNet(nn.Module):
    """The module of a :class:`ConvSpec`: images (n, …) of side² numbers to outputs (n, outputs)."""

    def __init__(self, spec: ConvSpec) -> None:
        """Build it with PyTorch's default initialisation."""
        super().__init__()
        self.spec = spec
        ins = (1, *spec.channels[:-1])
        self.layers = nn.ModuleList(
            _convolution(spec, i, o, 2) for i, o in zip(ins, spec.channels, strict=True)
        )
        left = spec.channels[-1] * _halved(spec.side, len(spec.channels)) ** 2
        self.head = nn.Linear(left, spec.outputs)

    def forward(self, x: Tensor) -> Tensor:
        """The outputs (n, outputs)."""
        h = x.reshape(-1, 1, self.spec.side, self.spec.side)
        for layer in self.layers:
            h = torch.relu(layer(h))
        outputs: Tensor = self.head(h.flatten(1))
        return outputs


class _ResidualBlock(nn.Module):
    """h ← relu(shortcut(h) + second(relu(first(h))))."""

    def __init__(self, spec: ResidualSpec, fan_in: int, fan_out: int, stride: int) -> None:
        super().__init__()
        self.first = _convolution(spec, fan_in, fan_out, stride)
        self.second = _convolution(spec, fan_out, fan_out, 1)
        self.stride, self.added = stride, fan_out - fan_in

    def forward(self, h: Tensor) -> Tensor:
        shortcut = h[:, :, :: self.stride, :: self.stride]
        if self.added:
            shortcut = functional.pad(shortcut, (0, 0, 0, 0, 0, self.added))
        return torch.relu(shortcut + self.second(torch.relu(self.first(h))))


class ResidualNet(nn.Module):
    """The module of a :class:`ResidualSpec`: images (n, …) of side² numbers to outputs (n, outputs)."""

    def __init__(self, spec: ResidualSpec) -> None:
        """Build it with PyTorch's default initialisation."""
        super().__init__()
        self.spec = spec
        self.stem = _convolution(spec, 1, spec.channels[0], 2)
        self.blocks = nn.ModuleList()
        before = spec.channels[0]
        for stage, (channels, count) in enumerate(zip(spec.channels, spec.blocks, strict=True)):
            for place in range(count):
                stride = 2 if stage > 0 and place == 0 else 1
                self.blocks.append(_ResidualBlock(spec, before, channels, stride))
                before = channels
        self.head = nn.Linear(before, spec.outputs)

    def forward(self, x: Tensor) -> Tensor:
        """The outputs (n, outputs)."""
        h = torch.relu(self.stem(x.reshape(-1, 1, self.spec.side, self.spec.side)))
        for block in self.blocks:
            h = block(h)
        outputs: Tensor = self.head(h.mean((2, 3)))
        return outputs


class _Attention(nn.Module):
    """Causal attention by plain products and softmax: torch's fused one cannot be differentiated twice on a CPU."""

    def __init__(self, spec: TransformerSpec) -> None:
        super().__init__()
        self.heads = spec.heads
        self.query = nn.Linear(spec.width, spec.width, bias=False)
        self.key = nn.Linear(spec.width, spec.width, bias=False)
        self.value = nn.Linear(spec.width, spec.width, bias=False)
        self.project = nn.Linear(spec.width, spec.width)

    def forward(self, h: Tensor) -> Tensor:
        count, length, width = h.shape
        split = (count, length, self.heads, width // self.heads)
        query, key, value = (
            layer(h).view(split).transpose(1, 2) for layer in (self.query, self.key, self.value)
        )
        scores = query @ key.transpose(2, 3) / math.sqrt(width // self.heads)
        later = torch.ones(length, length, dtype=torch.bool, device=h.device).triu(1)
        weights = torch.softmax(scores.masked_fill(later, -math.inf), dim=-1)
        mixed: Tensor = self.project((weights @ value).transpose(1, 2).reshape(h.shape))
        return mixed


class _TransformerBlock(nn.Module):
    """h ← h + attention(norm(h)), h ← h + mlp(norm(h))."""

    def __init__(self, spec: TransformerSpec) -> None:
        super().__init__()
        self.attention_norm = nn.LayerNorm(spec.width)
        self.attention = _Attention(spec)
        self.mlp_norm = nn.LayerNorm(spec.width)
        self.up = nn.Linear(spec.width, 4 * spec.width)
        self.down = nn.Linear(4 * spec.width, spec.width)

    def forward(self, h: Tensor) -> Tensor:
        h = h + self.attention(self.attention_norm(h))
        grown: Tensor = h + self.down(functional.gelu(self.up(self.mlp_norm(h))))
        return grown


def _embedding(count: int, width: int) -> nn.Embedding:
    """Vectors with entries of variance 1/width."""
    weight = torch.empty(count, width)
    if not weight.is_meta:  # drawing there would draw nothing, after importing torch's compiler for seconds
        weight.normal_(std=width**-0.5)
    embedding: nn.Embedding = nn.Embedding.from_pretrained(weight, freeze=False)  # type: ignore[no-untyped-call]
    return embedding


class CharTransformer(nn.Module):
    """The module of a :class:`TransformerSpec`: characters (n, t) to outputs (n, t, vocabulary)."""

    def __init__(self, spec: TransformerSpec) -> None:
        """Build it with PyTorch's default initialisation, and embeddings of entries of variance 1/width.

        The head shares the characters' embeddings, so that larger ones would make the first outputs large.
        """
        super().__init__()
        self.spec = spec
        self.characters = _embedding(spec.vocabulary, spec.width)
        self.positions = _embedding(spec.context, spec.width)
        self.blocks = nn.ModuleList(_TransformerBlock(spec) for _ in range(spec.blocks))
        self.norm = nn.LayerNorm(spec.width)

    def forward(self, x: Tensor) -> Tensor:
        """The outputs (n, t, vocabulary) for what comes after each character."""
        h = self.characters(x) + self.positions(torch.arange(x.shape[1], device=x.device))
        for block in self.blocks:
            h = block(h)
        return functional.linear(self.norm(h), self.characters.weight)


_KINDS: dict[str, tuple[type[Any], type[nn.Module]]] = {
    "perceptron": (PerceptronSpec, Perceptron),
    ConvSpec.kind: (ConvSpec, ConvNet),
    ResidualSpec.kind: (ResidualSpec, ResidualNet),
    TransformerSpec.kind: (TransformerSpec, CharTransformer),
}


def read_spec(content: Any) -> NetworkSpec:
    """The description that ``to_json`` of any kind wrote.

    Raises:
        InputError: it is none.
    """
    kind = content.get("kind") if isinstance(content, Mapping) else None
    if not isinstance(kind, str) or kind not in _KINDS:
        raise InputError(f"unknown kind of network {reprlib.repr(kind)}; known are {', '.join(_KINDS)}")
    spec: NetworkSpec = _KINDS[kind][0].from_json(content)
    return spec


def build(spec: NetworkSpec) -> nn.Module:
    """The module that ``spec`` describes, with random weights."""
    return next(module(spec) for made, module in _KINDS.values() if type(spec) is made)


def spec_of(network: nn.Module) -> NetworkSpec | None:
    """The description of a network of ours; None of any other."""
    if type(network) not in {module for _, module in _KINDS.values()}:
        return None
    spec: NetworkSpec = network.spec  # type: ignore[assignment]
    return spec


def _side(inputs: int) -> int:
    side = math.isqrt(inputs)
    if side**2 != inputs:
        raise InputError(
            f"--network: needs square images of one channel, but x has {inputs} numbers an example"
        )
    return side


NAMED: dict[str, Callable[[int, int, str], NetworkSpec]] = {
    # name: description from the numbers an example has, the outputs, and the norm
    "conv": lambda inputs, outputs, _: ConvSpec(_side(inputs), outputs=outputs),
    "conv-bn": lambda inputs, outputs, _: ConvSpec(_side(inputs), outputs=outputs, norm="batch"),
    "residual16": lambda inputs, outputs, norm: ResidualSpec(_side(inputs), outputs=outputs, norm=norm),
    "char-transformer": lambda inputs, _, __: TransformerSpec(context=inputs),
}
"""The networks that ``probe train --network`` knows beside perceptrons."""
