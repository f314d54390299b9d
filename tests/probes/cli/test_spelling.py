"""Two vocabularies: no text of the packages has an option of the command in it, and the command shows only its own."""

from __future__ import annotations

import ast
import json
import re
from collections.abc import Iterator
from pathlib import Path

import click
import pytest

from probes.cli.main import main
from probes.cli.spelling import spelled, spelled_in
from probes.errors import mention
from tests.conftest import Probe
from tests.probes.cli.refusals import one_line

ROOT = Path(__file__).parents[3]
ROOMS = ("probes", "analysis", "figures", "studies", "trust")
OPTION = re.compile(r"(?<![\w-])--[a-z]")
OTHERS = re.compile("--nproc-per-node=|--no-deps")
"""Options of torchrun and of pip."""


def spoken(source: str) -> Iterator[str]:
    """The texts of a file, without its docstrings."""
    tree = ast.parse(source)
    alone = {id(node.value) for node in ast.walk(tree) if isinstance(node, ast.Expr)}
    for node in ast.walk(tree):
        if isinstance(node, ast.Constant) and isinstance(node.value, str) and id(node) not in alone:
            yield node.value


def test_the_packages_know_no_option() -> None:
    files = [path for room in ROOMS for path in sorted((ROOT / room).rglob("*.py"))]
    own = ROOT / "probes" / "cli"
    # the vocabulary's page, and the settings that a run writes down, are of the command; the last is one itself
    pages = [ROOT / "trust" / "measurements.py", ROOT / "probes" / "runs" / "config.py"]
    pages.append(ROOT / "studies" / "others" / "__main__.py")
    found = [
        f"{path.relative_to(ROOT)}: {text}"
        for path in files
        if own not in path.parents and path not in pages
        for text in spoken(path.read_text("utf-8"))
        if OPTION.search(OTHERS.sub("", text))
    ]
    assert len(files) > 100
    assert found == []
    assert [text for text in spoken('"""--doc"""\nf"{x}: add --chunk {y}"') if OPTION.search(text)]


@pytest.fixture
def context() -> Iterator[None]:
    with click.Context(main, info_name="probe"):
        yield


@pytest.mark.usefixtures("context")
@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (f"{mention('etas', '0')}: no", "--etas 0: no"),
        (f"{mention('data', Path('a b.npz'))}: no", "--data 'a b.npz': no"),
        (f"{mention('ascent_steps', 0)}: at least 1", "--ascent-steps 0: at least 1"),
        ("add `jacobian=N` (gates)", "add --jacobian N (gates)"),
        ("leave out `limit=False`", "leave out --no-limit"),
        ("`limit=True`", "--limit"),
        ("`residual=True`", "--residual"),
        ("`layers='all'` and smaller η (`etas`)", "--layers all and smaller η (--etas)"),
        ("`perturb=('a', 'b')`", "--perturb a,b"),
        ("`claim='mine.py:one'`", "--claim mine.py:one"),
        ("`CLAIM='lemma2'`", "CLAIM lemma2"),
        (mention("data", "two\nlines"), "--data 'two\\nlines'"),
        (mention("data", "a`b"), "--data 'a`b'"),
        ("it `holds` in `no_room=1`", "it `holds` in `no_room=1`"),
        ("a folder seed=1 and --x", "a folder seed=1 and --x"),
    ],
)
def test_a_setting_is_shown_as_the_option(text: str, expected: str) -> None:
    assert spelled(text) == expected


@pytest.mark.usefixtures("context")
def test_documents_and_pages_are_spelled_throughout() -> None:
    assert spelled("with `jacobian=8`", ticks=True) == "with `--jacobian 8`"
    document = {"a": ["`chunk=0`", 1, None], "b": {"c": "`out`"}}
    assert spelled_in(document) == {"a": ["--chunk 0", 1, None], "b": {"c": "--out"}}


def test_outside_of_the_command_nothing_changes() -> None:
    assert spelled("`chunk=0`") == "`chunk=0`"


def test_an_option_that_two_commands_know_is_that_of_the_one_at_work(probe: Probe, tmp_path: Path) -> None:
    result = probe("train", "--checkpoints", "9:0", "--epochs", 2, "--width", 4, "--out", tmp_path / "out")
    one_line(result, "probe: --checkpoints 9:0: ")


def test_a_report_speaks_of_options(probe: Probe, measured: Path, tmp_path: Path) -> None:
    result = probe("report", measured, "--out", tmp_path, "--format", "png")
    assert "add --pattern N" in result.output
    page, document = (tmp_path / "report.md").read_text("utf-8"), (tmp_path / "verdicts.json").read_text()
    assert "`--jacobian N`" in page
    for text in (result.output, page, document):
        assert not re.search(r"`?pattern=N", text)
    remarks = {row["remark"] for row in json.loads(document)["verdicts"]}
    assert any(remark.startswith("add --pattern N") for remark in remarks)
