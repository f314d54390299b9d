"""What networks are asked: inputs, and targets that are known, or else their own answers to undisturbed inputs."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import torch
from torch import Tensor, nn

from studies.others import networks
from studies.others.inputs import entry, face_crops, mel_frames, packaged, passages, pictures, tones, voices
from studies.others.weights import perth

__all__ = ["Data", "crops", "neighbours", "own_answers", "pitches", "speakers", "spectra", "speech"]

Data = tuple[Tensor, Tensor]
"""Inputs and targets."""
_SEQUENCE = 32  # tokens
_FRAMES = 80  # of 10 ms
_KNOWN = 8  # sounds of each speaker


def _float(values: np.ndarray) -> Tensor:
    return torch.from_numpy(np.ascontiguousarray(values)).float()


def _disturbed(x: Tensor, seed: int, *, noise: float) -> Tensor:
    """Pictures in [0, 1], darker or lighter and with noise."""
    random = torch.Generator().manual_seed(seed)
    light = 0.7 + 0.6 * torch.rand(len(x), 1, 1, 1, generator=random)
    return (x * light + noise * torch.randn(x.shape, generator=random)).clamp(0, 1)


def own_answers(side: int, *, noise: float, faces: bool = False) -> Callable[[nn.Module, int, int], Data]:
    """Disturbed pictures, and what the network says to them undisturbed."""

    def data(network: nn.Module, count: int, seed: int) -> Data:
        clean = _float((face_crops if faces else pictures)(count, side, seed))
        return 2 * _disturbed(clean, seed, noise=noise) - 1, network(2 * clean - 1).argmax(1)

    return data


def pitches(network: nn.Module, count: int, seed: int) -> Data:
    """Tones, and the bins of their pitch."""
    sounds, bins = tones(count, seed)
    return _float(sounds), torch.from_numpy(bins)


def speakers(network: nn.Module, count: int, seed: int) -> Data:
    """Of each speaker some sounds for the prototype, their mean, and others to be told."""
    assert isinstance(network, networks.Speaker)
    speakers = np.random.default_rng(seed).permutation(np.arange(count) % networks.SPEAKERS)
    samples = 160 * (_FRAMES - 1)
    known = np.repeat(np.arange(networks.SPEAKERS), _KNOWN)
    heard = mel_frames(voices(known, samples, seed + 1000), bands=40)
    embedded = network.embed(_float(heard)).view(networks.SPEAKERS, _KNOWN, -1)
    network.prototypes.copy_(nn.functional.normalize(embedded.mean(1), dim=1))
    heard = mel_frames(voices(speakers, samples, seed), bands=40)
    return _float(heard), torch.from_numpy(speakers)


def speech(network: nn.Module, count: int, seed: int) -> Data:
    """Voices and none, and what the network says to them with less noise."""
    random = np.random.default_rng(seed)
    clean = voices(random.integers(100, size=count), 576, seed)
    clean[1::2] = 0.02 * random.standard_normal((count // 2, 576))
    noisy = clean + 0.01 * random.standard_normal(clean.shape)
    return _float(noisy), network(_float(clean)).argmax(1)


def spectra(network: nn.Module, count: int, seed: int) -> Data:
    """Spectra of voices, of which every other one is given the watermark by the network's own encoder."""
    encoder = networks.Watermarker()
    encoder.load_state_dict(perth("encoder"))
    sounds = _float(voices(np.random.default_rng(seed).integers(100, size=count), 16000, seed, rate=32000))
    window = torch.hann_window(2048)
    spectrum = torch.stft(sounds, 2048, 320, window=window, return_complex=True).abs()
    magnitude = (20 * torch.log10(spectrum.clip(1e-9)) + 180) / 195
    marked = torch.arange(count) % 2 == 0
    magnitude[marked] = encoder(magnitude[marked])
    return magnitude, marked.float()[:, None]


def neighbours(network: nn.Module, count: int, seed: int) -> Data:
    """Passages of documentation; which of so many neighbours each of them is followed by."""
    from tokenizers import Tokenizer

    assert isinstance(network, networks.Sentences)
    content = entry(packaged("all_minilm_l6_v2", "model.zip"), "tokenizer.json", limit=10_000_000)
    tokenizer = Tokenizer.from_str(content.decode())
    tokenizer.no_padding()
    tokenizer.enable_truncation(_SEQUENCE)
    count = min(count, networks.TOPICS)
    pairs = passages(networks.TOPICS, _SEQUENCE, seed)
    first, second = (
        torch.tensor([one.ids for one in tokenizer.encode_batch([pair[k] for pair in pairs])]) for k in (0, 1)
    )
    network.prototypes.copy_(network.embed(second))
    return first[:count], torch.arange(count)


def crops(network: nn.Module, count: int, seed: int) -> Data:
    """Tiny pictures, with labels that mean nothing."""
    x = _float(pictures(count, 8, seed))
    return x, torch.arange(count) % 4
