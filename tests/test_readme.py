"""What the README says works as it says."""

from __future__ import annotations

import re
import shlex
from pathlib import Path

import pytest
import torch

import trust

README = Path(__file__).parent.parent / "README.md"


def blocks(language: str) -> list[str]:
    """The fenced blocks of a language."""
    return re.findall(rf"```{language}\n(.*?)```", README.read_text("utf-8"), flags=re.DOTALL)


def test_the_bounds_block_runs_and_its_numbers_are_right() -> None:
    block = next(block for block in blocks("python") if "import trust" in block)
    torch.manual_seed(0)
    names = {"before": torch.nn.Linear(3, 2), "after": torch.nn.Linear(3, 2), "model": torch.nn.Linear(3, 2)}
    exec(block, dict(names))
    assert float(trust.lemma2_step_limit(depth=16)) == pytest.approx(0.0443, abs=5e-5)
    assert trust.transmission("gelu").alpha == 0
    assert trust.transmission("gelu").beta == pytest.approx(1.1289, abs=5e-5)


def test_every_command_in_it_exists_with_its_options() -> None:
    from probes.cli.main import main

    lines = [line for block in blocks("console") for line in block.splitlines() if "probe " in line]
    assert len(lines) >= 6
    for line in lines:
        for part in line.removeprefix("$ ").split("#")[0].split("&&"):
            words = shlex.split(part)
            assert words[0] == "probe"
            command = main.commands[words[1]]
            known = {
                name for parameter in command.params for name in (*parameter.opts, *parameter.secondary_opts)
            }
            assert {word for word in words if word.startswith("--")} <= known


def test_the_documented_witnesses_refute_their_claims_and_are_all_there() -> None:
    from probes.cli.witnesses import replay_file

    folder = README.parent / "docs" / "falsified"
    table = (folder / "falsified.md").read_text("utf-8")
    refuted = set(re.findall(r"^\| (\S+) \|.*refuted as restated here", table, flags=re.MULTILINE))
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
