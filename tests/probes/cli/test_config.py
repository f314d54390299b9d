"""``--config``: a run's own file repeats it, options override it, and what is wrong in it is one line."""

from __future__ import annotations

import json
import os
import shutil
import tomllib
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import xarray as xr

import probes
from probes import SliceSettings, Source, measure_run
from probes.measures.etas import parse_etas
from probes.runs.config import read_config, write_config
from tests.conftest import Probe
from tests.probes.cli.refusals import one_line


@pytest.fixture(scope="module")
def odd(probe: Probe, trained: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run with many options of its own."""
    out = tmp_path_factory.mktemp("odd") / 'a "quoted" folder'
    options = ["--etas", "0.003,0.1", "--direction", "noise", "--seed", 3, "--perturb", "layers.0*"]
    options += ["--perturb", "*2*", "--no-limit", "--no-curvature", "--samples", 5, "--chunk", 7]
    options += ["--split", "none", "--examples", 50]
    result = probe("run", trained, *options, "--out", out)
    assert result.exit_code == 0, result.output
    return out


def test_a_run_is_repeated_by_its_own_file(probe: Probe, odd: Path, tmp_path: Path) -> None:
    config = odd / "run.toml"
    before = config.read_bytes()
    again = probe("run", "--config", config)
    assert again.exit_code == 0, again.output
    assert f"nothing was left to do, {odd} holds 3 checkpoints measured before" in again.stdout
    other = tmp_path / "other"
    repeated = probe("run", "--config", config, "--out", other)
    assert repeated.exit_code == 0, repeated.output
    xr.testing.assert_equal(probes.load(other), probes.load(odd))
    identities = [json.loads((path / "run.json").read_text())["identity"] for path in (odd, other)]
    assert identities[0] == identities[1]
    assert config.read_bytes() == before
    mine, theirs = json.dumps(str(odd)).encode(), json.dumps(str(other)).encode()
    assert (other / "run.toml").read_bytes() == before.replace(mine, theirs)


def test_options_beside_the_file_override_it(probe: Probe, odd: Path, trained: Path, tmp_path: Path) -> None:
    last = sorted(trained.glob("*.safetensors"))[-1]
    options = ["--etas", "0.2", "--perturb", "*", "--limit", "--chunk", "auto"]
    result = probe("run", last, "--config", odd / "run.toml", *options, "--out", tmp_path / "out")
    assert result.exit_code == 0, result.output
    found = probes.load(tmp_path / "out")
    np.testing.assert_allclose(found["eta"], [0, 1e-4, 0.2])
    assert found.sizes["checkpoint"] == 1
    assert found.attrs["perturb"] == "*"
    assert found.attrs["direction"] == "noise"
    assert "step_limit" in found


def test_a_file_by_hand(probe: Probe, trained: Path, tmp_path: Path) -> None:
    config = tmp_path / "mine.toml"
    config.write_text(
        f"checkpoints = {json.dumps(str(trained))}\n"
        'etas = "0.01,0.1"\n'
        "limit = false\n"
        "ascent-steps = 5\n"
        'measure = ["breakdown"]\n'
        f"out = {json.dumps(str(tmp_path / 'out'))}\n"
    )
    result = probe("run", "--config", config)
    assert result.exit_code == 0, result.output
    np.testing.assert_allclose(probes.load(tmp_path / "out")["eta"], [0, 1e-4, 0.01, 0.1])
    written = tomllib.loads((tmp_path / "out" / "run.toml").read_text("utf-8"))
    assert written["ascent_steps"] == 5
    assert written["etas"] == [0, 1e-4, 0.01, 0.1]
    assert "loss" not in written


@pytest.mark.parametrize(
    ("line", "part"),
    [
        ("sampels = 3", "there is no setting sampels; did you mean samples?"),
        ("json = true", "there is no setting json"),
        ("config = 'x'", "there is no setting config"),
        ("[settings]\nsamples = 3", "there is no setting settings"),
        ("samples = 'many'", "samples: must be a whole number"),
        ("samples = 2.5", "samples: must be a whole number"),
        ("samples = true", "samples: must be a whole number"),
        ("samples = {a = 1}", "samples: must be a whole number"),
        ("limit = 1", "limit: must be true or false"),
        ("direction = 'sideways'", "direction: 'sideways' is not one of"),
        ("direction = ['noise']", "direction: must be text"),
        ("perturb = [1]", "perturb: must be text or a list of it"),
        ("data = 2020-01-01", "data: must be text"),
        ('data = "a\\u0000b"', "data: must be text"),
        ("etas = ['x']", "etas: must be text or a list of numbers"),
        ("etas = [0, nan]", "--etas: the grid must increase"),
        ("etas = [0.1, 0.2]", "--etas: give a list with 0 first"),
        ("chunk = 0", "--chunk 0"),
        ("etas_at_once = 0", "--etas-at-once 0"),
        ("samples = ", "is not TOML"),
        ("samples = " + 5000 * "9", "is not TOML"),
        ("a = " + 3000 * "[", "is not TOML"),
    ],
)
def test_wrong_files_are_one_line(probe: Probe, trained: Path, tmp_path: Path, line: str, part: str) -> None:
    config = tmp_path / "bad.toml"
    config.write_text(line + "\n")
    one_line(probe("run", trained, "--config", config, "--out", tmp_path / "out"), part)
    assert not (tmp_path / "out").exists()


def test_files_that_are_none(probe: Probe, trained: Path, tmp_path: Path) -> None:
    def run(path: Path) -> Any:
        return probe("run", trained, "--config", path, "--out", tmp_path / "out")

    one_line(run(tmp_path / "nowhere.toml"), "nowhere.toml: no such file")
    one_line(run(tmp_path), "is not a plain file")
    os.mkfifo(tmp_path / "pipe")
    one_line(run(tmp_path / "pipe"), "is not a plain file")
    (tmp_path / "bytes").write_bytes(b"\xff\xfe")
    one_line(run(tmp_path / "bytes"), "is not TOML")
    (tmp_path / "large").write_bytes(b"#" * ((1 << 20) + 1))
    one_line(run(tmp_path / "large"), "larger than 1 MiB")


def test_every_text_comes_back_from_the_file(tmp_path: Path) -> None:
    texts = ('"', "\\", "a\nb\tc", "\x7f\x1f\u2028é\N{GRINNING FACE}", "x = 1 # no comment", "'''", "")
    for place, text in enumerate(texts):
        folder = tmp_path / str(place)
        folder.mkdir()
        settings = SliceSettings(etas=[0.0, 1 / 3, 1e300], dtype="float64", perturb=(text, "*"), seed=2**60)
        write_config(folder, Source((text,), data=text), settings, shard="data")
        found = read_config(folder / "run.toml")
        assert (found["checkpoints"], found["data"], found["perturb"]) == ([text], text, [text, "*"])
        assert (found["etas"], found["seed"]) == ([0.0, 1 / 3, 1e300], 2**60)
    write_config(tmp_path, Source(("a",)), SliceSettings(), shard="data")
    np.testing.assert_array_equal(read_config(tmp_path / "run.toml")["etas"], parse_etas("log"))


def test_what_only_python_has_is_not_written(trained: Path, tmp_path: Path) -> None:
    x, y = np.random.default_rng(0).normal(size=(9, 6)), np.arange(9) % 3
    settings = SliceSettings(etas=[0, 0.1], limit=False, ladder=False)
    measure_run(Source((str(trained),), data=(x, y)), tmp_path / "held", settings=settings)
    assert not (tmp_path / "held" / "run.toml").exists()
    measure_run(trained, tmp_path / "named", settings=settings)
    assert (tmp_path / "named" / "run.toml").is_file()
    write_config(tmp_path, Source(("no text \udcff",)), settings, shard="data")
    assert not (tmp_path / "run.toml").exists()


def test_what_was_there_before_is_said(probe: Probe, measured: Path, tmp_path: Path) -> None:
    copy = tmp_path / "run"
    shutil.copytree(measured, copy)
    (copy / "slices" / "0001.nc").unlink()
    options = ["run", "--config", measured / "run.toml", "--out", copy]
    report = probe("report", copy, "--format", "png")
    warning = "2 of 3 checkpoints measured: the run is not finished, and the same command continues it"
    assert f"WARNING: {warning}" in report.stdout
    assert warning in (copy / "report" / "report.md").read_text("utf-8")
    assert warning in json.loads(probe("report", copy, "--format", "png", "--json").stdout)["warnings"]
    assert warning in probe("export", copy, tmp_path / "x.csv").stderr
    partly = probe(*options)
    assert f"3 checkpoints measured into {copy}, 2 of them before; next" in partly.stdout
    whole = probe(*options, "--json")
    assert json.loads(whole.stdout)["measured_before"] == 3
    assert "WARNING" not in probe("report", copy, "--format", "png").stdout
    assert probes.load(copy).attrs["planned_checkpoints"] == 3
