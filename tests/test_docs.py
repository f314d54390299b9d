"""The documents show what the code says: the tables of variables, and the example of a measure of one's own."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np

import probes
from docs.variables import PAGE, page
from tests.conftest import Probe


def test_the_tables_of_variables_are_those_of_the_vocabulary() -> None:
    text = PAGE.read_text("utf-8")
    assert page(text) == text, "run python docs/variables.py"


def test_the_measure_of_ones_own_is_measured(probe: Probe, trained: Path, tmp_path: Path) -> None:
    example = next(
        code for code in re.findall(r"```python\n(.*?)```", PAGE.read_text("utf-8"), re.S) if "own.py" in code
    )
    (tmp_path / "own.py").write_text(example, "utf-8")
    own = f"{tmp_path / 'own.py'}:Agreement"
    options = ["--measure", "default", "--measure", own, "--etas", "0.001,0.1"]
    result = probe("run", trained, *options, "--out", tmp_path / "out")
    assert result.exit_code == 0, result.output
    found = probes.load(tmp_path / "out")
    agreement = found["agreement"]
    assert agreement.attrs["long_name"] == "agreement"
    np.testing.assert_array_equal(agreement.isel(eta=0), 1.0)
    assert ((agreement >= 0) & (agreement <= 1)).all()
    assert "gradient_change" in found
