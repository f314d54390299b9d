"""``--curvature`` through the commands: measured, continued, shown."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from click.testing import CliRunner

import probes
from probes.cli.main import main
from probes.runs.config import read_config
from tests.support.shared_work import write_run

QUICK = (
    "--etas",
    "0.1",
    "--no-ladder",
    "--split",
    "none",
    "--no-spot-check",
    "--samples",
    "2",
    "--chunk",
    "10",
)
CURVED = ("--curvature", "2", "--curvature-lowest", "1", "--batch-sharpness", "4")


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("curved")
    write_run(folder)
    result = probe("run", *given(folder), *QUICK, *CURVED, "--out", folder / "run")
    assert result.exit_code == 0, result.output
    return folder


def probe(*arguments: object) -> Any:
    return CliRunner().invoke(main, [str(argument) for argument in arguments])


def given(folder: Path) -> tuple[object, ...]:
    return folder / "net", "--data", folder / "data.npz", "--device", "cpu"


def test_everything_is_measured(folder: Path) -> None:
    found = probes.load(folder / "run")
    assert found["hessian_eigenvalue"].dims == ("checkpoint", "rank")
    assert found["layer_gauss_newton_eigenvalue"].dims == ("checkpoint", "layer", "rank")
    names = "hessian_trace ntk_trace batch_sharpness sign_sharpness spectral_sharpness gradient_step_limit"
    for name in (*names.split(), "hessian_eigenvalue", "breakdown_slope"):
        assert found[name].notnull().all(), name
    exported = probe("export", folder / "run", folder / "run.csv")
    assert exported.exit_code == 0
    assert "layer_hessian_residual" in (folder / "run.csv").read_text("utf-8")


def test_a_run_that_stopped_goes_on_with_equal_numbers(folder: Path) -> None:
    """Of each checkpoint by itself: what was measured before it has no say."""
    before = probes.load(folder / "run")
    (folder / "run" / "slices" / "0002.nc").unlink()
    assert probe("run", "--config", folder / "run" / "run.toml").exit_code == 0
    after = probes.load(folder / "run")
    for name in before.data_vars:
        np.testing.assert_array_equal(after[name].values, before[name].values, err_msg=str(name))


def test_no_curvature_is_kept_in_the_settings(folder: Path, tmp_path: Path) -> None:
    config = folder / "run" / "run.toml"
    options = ("--no-curvature", "--curvature-lowest", 0, "--batch-sharpness", 0)
    assert probe("run", "--config", config, *options, "--out", tmp_path / "none").exit_code == 0
    assert read_config(tmp_path / "none" / "run.toml")["curvature"] == "none"
    found = probes.load(tmp_path / "none")
    assert found["curvature"].isnull().all()
    assert "hessian_eigenvalue" not in found
    again = probe("run", "--config", tmp_path / "none" / "run.toml")
    assert "nothing was left to do" in again.output


@pytest.mark.parametrize("wrong", ["-1", "two", "1.5"])
def test_what_is_no_number_is_one_line(folder: Path, tmp_path: Path, wrong: str) -> None:
    result = probe("run", *given(folder), "--curvature", wrong, "--out", tmp_path / "run")
    assert result.exit_code == 2
    assert f"--curvature {wrong}: give how many eigenvalues, 0, or none" in result.output
    assert not (tmp_path / "run").exists()


def test_the_report_tells_of_it(folder: Path, tmp_path: Path) -> None:
    result = probe("report", folder / "run", "--out", tmp_path, "--json")
    assert result.exit_code == 0, result.output
    rows = json.loads(result.stdout)["curvature"]
    found = probes.load(folder / "run")
    for row, one in zip(rows, found.transpose("checkpoint", ...)["hessian_eigenvalue"].values, strict=True):
        assert row["hessian"] == one[0]
    critical = 2 / found["gradient_step_limit"].values
    assert [row["critical_sharpness"] for row in rows] == critical.tolist()
    assert "### Curvature" in (tmp_path / "report.md").read_text("utf-8")
    assert "2/s, critical" in probe("report", folder / "run", "--out", tmp_path).stdout


def test_limits_and_sharpness_side_by_side(folder: Path) -> None:
    result = probe("limit", *given(folder), "--curvature", 1, "--json")
    assert result.exit_code == 0, result.output
    found = probes.load(folder / "run")
    rows = json.loads(result.stdout)
    for row, expected in zip(rows, found["hessian_eigenvalue"].values[:, 0], strict=True):
        # of another search, for one eigenvalue: the error is of the order of the residual's square
        assert row["sharpness"]["hessian"] == pytest.approx(expected, rel=1e-5)
        assert row["sharpness"]["relative_critical_sharpness"] == 2 / row["measured"]
    assert "2/η, critical" in probe("limit", *given(folder), "--curvature", 1).stdout


def test_a_dry_run_knows_that_it_takes_longer(folder: Path, tmp_path: Path) -> None:
    assert probe("run", *given(folder), *CURVED, "--out", tmp_path / "run", "--dry-run").exit_code == 0
