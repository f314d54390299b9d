"""What the README says works as it says."""

from __future__ import annotations

import ast
import re
from pathlib import Path

import pytest
import torch

import trust

README = Path(__file__).parent.parent / "README.md"
DOCS = README.parent / "docs"


def blocks(language: str, page: Path = README) -> list[str]:
    """The fenced blocks of a language."""
    return re.findall(rf"```{language}\n(.*?)```", page.read_text("utf-8"), flags=re.DOTALL)


def test_the_ten_lines_of_python_run_and_their_comments_are_right(capsys: pytest.CaptureFixture[str]) -> None:
    (block,) = blocks("python")
    lines = [line for line in block.splitlines() if line]
    assert len(lines) == 10
    exec(block, {})
    measured, allowed, verdicts = capsys.readouterr().out.splitlines()
    said = next(line.partition("first layer:")[2] for line in lines if "first layer:" in line)
    numbers = [float(number) for number in measured.strip("[]").split()]
    assert numbers == pytest.approx([float(number) for number in said.split(",")], abs=5e-3)
    assert float(allowed) == pytest.approx(0.21)
    assert "0.21" in block
    assert ast.literal_eval(verdicts)["deep-relative-trust"].startswith("off by a factor of ")


def test_the_bounds_block_runs_and_its_numbers_are_right() -> None:
    block = next(
        block for block in blocks("python", DOCS / "start" / "python.md") if "trust.distance_between" in block
    )
    torch.manual_seed(0)
    names = {"before": torch.nn.Linear(3, 2), "after": torch.nn.Linear(3, 2), "model": torch.nn.Linear(3, 2)}
    exec(block, dict(names))
    assert float(trust.lemma2_step_limit(depth=16)) == pytest.approx(0.0443, abs=5e-5)
    assert trust.transmission("gelu").alpha == 0
    assert trust.transmission("gelu").beta == pytest.approx(1.1289, abs=5e-5)


def test_the_documented_witnesses_refute_their_claims_and_are_all_there() -> None:
    from probes.cli.witnesses import replay_file

    folder = README.parent / "docs" / "results" / "falsified"
    table = (folder / "falsified.md").read_text("utf-8")
    refuted = set(re.findall(r"^\| (\S+) \|.*\| \*\*[^|]+\*\* \|", table, flags=re.MULTILINE))
    files = {path.stem: path for path in folder.glob("*.json")}
    assert set(files) == refuted
    assert len(refuted) >= 6
    for path in files.values():
        assert replay_file(path).refutes, path


def test_it_names_the_two_commands_of_the_makefile() -> None:
    makefile = (README.parent / "Makefile").read_text("utf-8")
    for target in ("figure1", "test"):
        assert f"make {target}" in README.read_text("utf-8")
        assert re.search(rf"^{target}:", makefile, flags=re.MULTILINE)
