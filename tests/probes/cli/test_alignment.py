"""``--alignment N``: what a number of examples may be, and what a run then has."""

from __future__ import annotations

from pathlib import Path

import torch
from torch import Tensor, nn

import probes
from tests.conftest import Probe
from tests.probes.cli.refusals import one_line


def test_a_run_has_it_for_as_many_examples_as_are_asked_for(
    probe: Probe, trained: Path, tmp_path: Path
) -> None:
    out = tmp_path / "run"
    options = ["--alignment", 5, "--samples", 3, "--etas", "0.001,0.01", "--no-limit", "--out", out]
    dry = probe("run", trained, *options, "--dry-run")
    assert dry.exit_code == 0, dry.output
    result = probe("run", trained, *options)
    assert result.exit_code == 0, result.output
    found = probes.load(out)
    assert found.sizes["example"] == 5
    assert found["whole_jacobian_alignment"].notnull().all()
    assert (found["whole_jacobian_alignment"] <= 0).all()


def test_a_number_that_is_none_is_refused_in_one_line(probe: Probe, trained: Path, tmp_path: Path) -> None:
    out = tmp_path / "run"
    one_line(probe("run", trained, "--alignment", -1, "--out", out), "--alignment -1", "at least 0")
    assert not out.exists()
    one_line(probe("run", trained, "--alignment", 10**6, "--out", out), "--alignment 1000000", "at most")
    assert not out.exists()
    one_line(probe("run", trained, "--measure", "alignment", "--out", out), "add --alignment N")


class Branching(nn.Module):
    """Does what its numbers say, so that nobody knows its structure."""

    def __init__(self) -> None:
        super().__init__()
        self.a, self.b = nn.Linear(6, 4), nn.Linear(4, 3)

    def forward(self, x: Tensor) -> Tensor:
        found: Tensor = self.b(self.a(x) if bool((x > 100).any()) else torch.tanh(self.a(x)))
        return found


def test_where_the_structure_is_not_known_it_is_said_in_one_line(
    probe: Probe, data: Path, tmp_path: Path
) -> None:
    torch.save(Branching().state_dict(), tmp_path / "net.pt")
    network = ["--network", f"{__name__}:Branching", "--data", data, "--etas", "0.01", "--no-limit"]
    result = probe("run", tmp_path / "net.pt", *network, "--alignment", 5, "--out", tmp_path / "run")
    assert result.exit_code == 0, result.output
    (line,) = [line for line in result.stderr.splitlines() if "--alignment" in line]
    assert line.startswith("probe: --alignment 5 has no meaning for this network")
    assert "depend on the numbers" in line
