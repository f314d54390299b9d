"""A report of a run that was stopped says so before anything else."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

from tests.conftest import Probe


def test_the_report_says_first_that_the_run_is_not_finished(
    probe: Probe, measured: Path, tmp_path: Path
) -> None:
    run = Path(shutil.copytree(measured, tmp_path / "run"))
    (run / "slices" / "0002.nc").unlink()
    said = "2 of 3 checkpoints measured: the run is not finished, and the same command continues it"
    result = probe("report", run, "--format", "png", "--wide")
    assert result.exit_code == 0, result.output
    lines = result.stdout.splitlines()
    assert lines[1] == f"WARNING: {said}"
    assert result.stdout.count("WARNING: 2 of 3") == 1
    assert "at 2 of 3 checkpoints (" in lines[2]
    (step,) = [line for line in lines if line.startswith("safe step:")]
    assert "at the last checkpoint that is measured" in step or "never came back" in step
    page = (run / "report" / "report.md").read_text("utf-8")
    assert page.count(f"**Beware:** {said}.") == 1
    assert page.index("Beware") < page.index("**probed**")
    result = probe("report", run, "--format", "png", "--json")
    assert said in json.loads(result.stdout)["warnings"]
