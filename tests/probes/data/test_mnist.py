"""Real MNIST, the full set's files, and everything that can be wrong with them."""

from __future__ import annotations

import gzip
from pathlib import Path

import numpy as np
import pytest
import torch

from probes.data.dataset import load_data
from tests.probes.data.refusals import refused
from tests.support.idx import idx

IMAGES = np.random.default_rng(0).integers(0, 256, (5, 4, 3), dtype=np.uint8)
LABELS = np.array([3, 1, 4, 1, 5], np.uint8)


def test_embedded_mnist() -> None:
    data = load_data("mnist")
    assert data.x.shape == (5000, 784)
    assert data.x.dtype == torch.float32
    assert torch.bincount(data.y).tolist() == [500] * 10
    # undoing (p/255 − 0.1307)/0.3081 gives whole pixels from 0 to 255; mostly background
    pixels = (data.x.double() * 0.3081 + 0.1307) * 255
    assert (pixels - pixels.round()).abs().max() < 255 * 0.3081 * 8 * 2**-24
    assert pixels.round().min() == 0
    assert pixels.round().max() == 255
    assert 0.7 < float((pixels.round() == 0).float().mean()) < 0.9
    # shuffled: each label among the first 500 is binomial (500, 0.1), 50 ± 6.7; 5 deviations
    counts = torch.bincount(load_data("mnist", examples=500).y, minlength=10)
    assert counts.min() >= 17
    assert counts.max() <= 83
    assert load_data("mnist").digest() == data.digest() != data.head(4999).digest()


def test_pooled_mnist_has_the_mean_of_every_two_by_two_pixels() -> None:
    whole, pooled = load_data("mnist", examples=50), load_data("mnist-14x14", examples=50)
    assert pooled.x.shape == (50, 196)
    assert torch.equal(pooled.y, whole.y)
    image = whole.x[7].view(28, 28)
    means = [
        [float(image[2 * i : 2 * i + 2, 2 * j : 2 * j + 2].mean()) for j in range(14)] for i in range(14)
    ]
    np.testing.assert_allclose(pooled.x[7].view(14, 14), means, rtol=1e-6, atol=1e-6)


def test_the_pictures_belong_to_their_labels() -> None:
    data = load_data("mnist")
    means = torch.stack([data.x[:2500][data.y[:2500] == digit].mean(0) for digit in range(10)])
    nearest = torch.cdist(data.x[2500:], means).argmin(1)
    assert (nearest == data.y[2500:]).float().mean() > 0.7  # chance is 0.1


@pytest.mark.parametrize("place", ["", "MNIST/raw", "raw"])
@pytest.mark.parametrize("zipped", [False, True])
@pytest.mark.parametrize("separator", ["-", "."])
def test_the_full_sets_files(tmp_path: Path, place: str, zipped: bool, separator: str) -> None:
    folder = tmp_path / place
    folder.mkdir(parents=True, exist_ok=True)
    for name, array in (("train-images{}idx3-ubyte", IMAGES), ("train-labels{}idx1-ubyte", LABELS)):
        content = gzip.compress(idx(array)) if zipped else idx(array)
        (folder / (name.format(separator) + (".gz" if zipped else ""))).write_bytes(content)
    data = load_data(f"mnist:{tmp_path}")
    expected = (IMAGES.reshape(5, 12) / 255 - 0.1307) / 0.3081
    np.testing.assert_allclose(data.x, expected, rtol=1e-5, atol=1e-6)
    assert data.y.tolist() == LABELS.tolist()


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"\0\0\x08\x03",
        idx(LABELS),
        idx(IMAGES)[:-1],
        idx(IMAGES) + b"\0",
        bytes([0, 0, 8, 3]) + b"\xff" * 12 + b"\0" * 60,
        bytes([0, 0, 13, 3]) + idx(IMAGES)[4:],
        idx(IMAGES[:0]),
        idx(IMAGES[:, :0]),
        idx(IMAGES[:4]),
        b"<html>404</html>" * 9,
    ],
)
@pytest.mark.parametrize("zipped", [False, True])
def test_idx_files_that_lie(tmp_path: Path, content: bytes, zipped: bool) -> None:
    (tmp_path / "train-labels-idx1-ubyte").write_bytes(idx(LABELS))
    name = "train-images-idx3-ubyte" + (".gz" if zipped else "")
    (tmp_path / name).write_bytes(gzip.compress(content) if zipped else content)
    refused(f"mnist:{tmp_path}", str(tmp_path))


def test_damaged_gzip_and_missing_folders(tmp_path: Path) -> None:
    refused(f"mnist:{tmp_path}", "train-images")
    refused(f"mnist:{tmp_path / 'none'}", "no such folder")
    (tmp_path / "train-labels-idx1-ubyte").write_bytes(idx(LABELS))
    whole = gzip.compress(idx(np.random.default_rng(0).integers(0, 256, (50, 8, 8))))
    path = tmp_path / "train-images-idx3-ubyte.gz"
    broken = bytearray(whole)
    broken[len(whole) // 2] ^= 0xFF
    stored = bytearray(whole)
    stored[10:14] = b"\xff\xff\xff\xff"  # no deflate block looks like this
    for content in (whole[: len(whole) // 2], bytes(broken), bytes(stored), b"\x1f\x8b", b"plain text"):
        path.write_bytes(content)
        refused(f"mnist:{tmp_path}", str(path))
