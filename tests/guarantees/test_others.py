"""The atlas's networks that others trained: that their weights are rightly placed, and what their commands measure.

Each is skipped where its package is not installed; docs/how-to/other-networks.md says how to install them.
"""

from __future__ import annotations

import shlex
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

import probes
from studies.others import OTHERS, is_installed, write
from tests.conftest import Probe

pytestmark = pytest.mark.slow

NAMES = [name for name, other in OTHERS.items() if other.packages]
LEAST = {"crepe-tiny": 0.9, "crepe-full": 0.9, "watermark": 0.9, "speaker": 0.5, "minilm": 0.4}
"""The share that each gets right of what is known for certain, far above chance's."""


def skip_unless_installed(name: str) -> None:
    if not is_installed(name):
        pytest.skip(f"needs {OTHERS[name].install}")


@pytest.mark.parametrize("name", NAMES)
def test_its_command_measures_it(name: str, probe: Probe, tmp_path: Path) -> None:
    skip_unless_installed(name)
    written = write(name, tmp_path / "out", examples=4)
    bare = ["--no-limit", "--no-ladder", "--no-curvature", "--spectra", "none", "--split", "none"]
    done = probe(*shlex.split(written.command)[1:], *bare, "--no-spot-check", "--etas", "0.001")
    assert done.exit_code == 0, done.output
    other = OTHERS[name]
    network, (x, y) = other.loaded(examples=4, seed=0)
    with torch.no_grad():
        out = network(x)
    loss = nn.functional.mse_loss(out, y) if other.loss else nn.functional.cross_entropy(out, y)
    found = probes.load(tmp_path / "out" / "results").isel(checkpoint=0)
    assert float(found["loss"][0]) == pytest.approx(float(loss), rel=1e-3, abs=1e-6)


@pytest.mark.parametrize("name", LEAST)
def test_it_does_what_it_was_trained_to(name: str) -> None:
    skip_unless_installed(name)
    other = OTHERS[name]
    network, (x, y) = other.loaded(examples=other.examples, seed=0)
    with torch.no_grad():
        out = network(x)
    right = (out > 0.5) == (y > 0.5) if other.loss else out.argmax(1) == y
    assert float(right.double().mean()) >= LEAST[name]


def test_faces_are_told_from_other_pictures() -> None:
    skip_unless_installed("face-o")
    for name in ("face-r", "face-o"):
        _, (_, y) = OTHERS[name].loaded(examples=32, seed=0)
        assert y[::2].double().mean() > 0.8  # about the face
        assert y[1::2].double().mean() < 0.3


def test_a_whole_picture_is_named() -> None:
    """What is behind Grace Hopper is a flag, and she is in a military uniform, ImageNet's class 652."""
    skip_unless_installed("efficientnet-lite1")
    from PIL import Image

    from studies.others.inputs import _PICTURES, packaged

    package, file = _PICTURES[2]
    with Image.open(packaged(package, *file.split("/"))) as picture:
        small = torch.tensor(np.array(picture.convert("RGB").resize((128, 128))))
    x = small[None].permute(0, 3, 1, 2) / 127.5 - 1
    network, _ = OTHERS["efficientnet-lite1"].loaded(examples=2, seed=0)
    assert int(network(x).argmax()) == 652
