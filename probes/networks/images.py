"""Networks on square one-channel images: convolutional and residual, each as a description and as a torch module."""

from __future__ import annotations

import reprlib
from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor, nn
from torch.nn import functional

from probes.errors import InputError
from probes.networks.specs import LARGEST_WIDTH, MOST_LAYERS, Description, check_size, check_sizes

__all__ = ["ConvNet", "ConvSpec", "ResidualNet", "ResidualSpec"]

_LARGEST_SIDE = 4096


class _ImageSpec(Description):
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
        check_size("side", self.side, _LARGEST_SIDE)
        check_sizes("channels", self.channels, LARGEST_WIDTH)
        check_size("outputs", self.outputs, LARGEST_WIDTH)
        if self.norm not in ("none", "batch"):
            raise InputError(f"`norm={reprlib.repr(self.norm)}`: this network knows none and batch")

    @property
    def inputs(self) -> int:
        """Pixels."""
        return self.side**2

    @property
    def widest(self) -> int:
        """Numbers in the largest convolution's output."""
        return max(c * _halved(self.side, k + 1) ** 2 for k, c in enumerate(self.channels))


@dataclass(frozen=True)
class ConvSpec(_ImageSpec):
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
class ResidualSpec(_ImageSpec):
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
        check_sizes("blocks", self.blocks, MOST_LAYERS)
        if len(self.blocks) != len(self.channels) or sum(self.blocks) > MOST_LAYERS:
            raise InputError(
                f"a residual network needs as many blocks as channels, in all at most {MOST_LAYERS}"
            )
        if list(self.channels) != sorted(self.channels):
            raise InputError("a residual network's channels must not become fewer")

    @property
    def depth(self) -> int:
        """The first convolution, two in each block, and the linear layer."""
        return 2 * sum(self.blocks) + 2


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
