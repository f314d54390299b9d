"""A training run's curve is kept beside the measurements, and read back or refused."""

from __future__ import annotations

from pathlib import Path

import pytest

from probes.errors import InputError
from probes.runs.history import copy_history, read_history

CURVE = "step,epoch,loss,accuracy\n0,0,2.5,0.1\n1,0,2.25,0.5\n"


def test_the_curve_beside_the_checkpoints_is_kept_and_read(tmp_path: Path) -> None:
    checkpoints, out = tmp_path / "net", tmp_path / "run"
    checkpoints.mkdir()
    out.mkdir()
    copy_history([str(checkpoints)], out)
    assert read_history(out) is None
    (checkpoints / "training.csv").write_text("step,loss\n0,1\n")  # somebody else's
    copy_history([str(checkpoints)], out)
    assert read_history(out) is None
    (checkpoints / "training.csv").write_text(CURVE)
    copy_history([str(tmp_path / "one.pt"), str(checkpoints)], out)
    found = read_history(out)
    assert found is not None
    assert found.to_dict("list") == {
        "step": [0.0, 1.0],
        "epoch": [0.0, 0.0],
        "loss": [2.5, 2.25],
        "accuracy": [0.1, 0.5],
    }


@pytest.mark.parametrize(
    "content", ["", "step,epoch,loss\n1,1,1\n", CURVE + "2,x,1,1\n", CURVE + "1,2,3,4,5\n"]
)
def test_a_damaged_curve_is_refused_by_name(tmp_path: Path, content: str) -> None:
    (tmp_path / "training.csv").write_text(content)
    with pytest.raises(InputError, match=r"training\.csv: is damaged .*delete it to report without it"):
        read_history(tmp_path)
