"""Every block of code in the pages and in the README runs, in the order of its page.

Python is executed, with the names of the blocks above it; a block that says in which file it belongs is that file
too. Commands are obeyed as `commands` says. What is shown below a command must be like what it prints: the same
headings of tables, and the same lines where they have no numbers. A language that is not known here fails.
"""

from __future__ import annotations

import re
import shutil
import subprocess
from collections.abc import Callable, Iterable
from itertools import pairwise
from pathlib import Path
from subprocess import CalledProcessError

import pytest
import torch
from click import ClickException
from sybil import Document, Example, Region, Sybil
from sybil.evaluators.python import PythonEvaluator
from sybil.parsers.markdown.lexers import FencedCodeBlockLexer

from tests.conftest import Probe
from tests.docs import commands
from tests.docs.commands import ROOT

PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md"))]
STAGED = {
    "concepts/ladder.md": ["runs/net"],
    "how-to/long-runs.md": ["runs/leaky"],
    "how-to/own-claim.md": ["runs/leaky-worst"],
    "how-to/share-a-report.md": ["results", "other-results"],
    "how-to/own-measure.md": ["runs/leaky"],
    "how-to/own-checkpoint.md": [
        "checkpoints", "data.npz", "net.py", "before.pt", "after.pt", "other-results",
    ],
}  # fmt: skip
"""What a page speaks of and does not make."""
BUILT = ("toctree", "eval-rst", "commands", "claims")
"""Directives, which the site's builder obeys."""
_FILE = re.compile(r'`(\w+\.py)`:\s*\Z|\A"""(\w+\.py): ')


class Page:
    """One page's blocks in order, in a folder of its own."""

    def __init__(self, text: str) -> None:
        self.text = text
        self.printed: list[str] = []
        self.python = PythonEvaluator()

    def parse(self, document: Document) -> Iterable[Region]:
        """The regions of all blocks, whatever their language."""
        for region in FencedCodeBlockLexer(r"[^\n`]*")(document):
            region.parsed = region.lexemes["source"]
            region.evaluator = self.evaluate
            yield region

    def evaluate(self, example: Example) -> None:
        """One block, by its language."""
        language = example.region.lexemes["language"]
        directive = re.fullmatch(r"\{([\w-]+)\}", language)
        if directive:
            assert directive[1] in BUILT
        else:
            evaluators: dict[str, Callable[[Example], object]] = {
                "python": self.run,
                "console": self.obey,
                "text": self.compare,
                "bash": self.read_script,
                "toml": lambda one: commands.read_options(str(one.parsed)),
            }
            assert language in evaluators, f"nothing tests {language!r}, line {example.line}"
            evaluators[language](example)

    def run(self, example: Example) -> None:
        """Execute Python, and leave it in its file if it has one."""
        file = _FILE.search(self.text[: example.start]) or _FILE.search(str(example.parsed))
        if file:
            Path(file[1] or file[2]).write_text(str(example.parsed), "utf-8")
        self.python(example)

    def obey(self, example: Example) -> None:
        """Obey commands, and hold what is shown against what they print."""
        for command, shown in commands.lines(str(example.parsed)):
            printed = commands.obey(command)
            self.printed.append(printed)
            if shown and printed:
                assert unlike("\n".join(shown), printed) == []

    def compare(self, example: Example) -> None:
        """What is shown apart from its command has headings that the commands above it have printed."""
        if any(self.printed):
            assert headings(str(example.parsed)) <= headings("\n".join(self.printed), all_parts=True)

    def read_script(self, example: Example) -> None:
        """A script that the shell can read, and commands in it that probe can."""
        subprocess.run(["bash", "-n"], input=str(example.parsed), text=True, check=True)
        script = re.sub(r"\\\n\s*", " ", str(example.parsed))
        found = re.findall(r"-m probes (\w+) (.*)", script)
        assert found
        for name, words in found:
            commands.read(name, words.replace('"', "").split())


def headings(text: str, *, all_parts: bool = False) -> set[tuple[str, ...]]:
    """The headings of tables; with all parts also those of tables with fewer columns."""
    lines, found = text.splitlines(), set()
    for above, rule in pairwise(lines):
        if re.fullmatch(r"─+(  ─+)+", rule):
            cells = re.split(r"\s{2,}", above.strip())
            ends = range(1, len(cells) + 1) if all_parts else [len(cells)]
            found |= {tuple(cells[:end]) for end in ends}
    return found


def unlike(shown: str, printed: str) -> list[object]:
    """Headings and lines without numbers that are shown and were not printed."""
    said = {line.strip() for line in printed.splitlines()}
    lines = [line.strip() for line in shown.splitlines()]
    plain = [line for line in lines if line and not re.search(r"[\d─]|\s{2,}", line)]
    return [
        *(headings(shown) - headings(printed, all_parts=True)),
        *(line for line in plain if line not in said),
    ]


def evaluate(path: Path) -> int:
    """Every block of a page; how many there were."""
    text = path.read_text("utf-8")
    document = Sybil(parsers=[Page(text).parse], path=str(path.parent)).parse(path)
    examples = list(document.examples())
    for example in examples:
        example.evaluate()
    return len(examples)


@pytest.fixture(scope="session")
def stage(probe: Probe, trained: Path, data: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Toys that pages speak of by name."""
    folder = tmp_path_factory.mktemp("stage")
    for name in ("runs/net", "runs/leaky"):
        shutil.copytree(trained, folder / name)
    last = sorted(trained.glob("*.safetensors"))[-1]
    for name in ("runs/leaky-worst", "results", "other-results"):
        result = probe("run", last, "--etas", "0.001,0.1", "--out", folder / name)
        assert result.exit_code == 0, result.output
    shutil.copy(data, folder / "data.npz")
    (folder / "net.py").write_text(
        "import torch\n\n\ndef make():\n    return torch.nn.Sequential(torch.nn.Linear(6, 8), torch.nn.ReLU(),"
        " torch.nn.Linear(8, 3))\n"
    )
    (folder / "checkpoints").mkdir()
    for name in ("checkpoints/first.pt", "checkpoints/last.pt", "before.pt", "after.pt"):
        network = torch.nn.Sequential(torch.nn.Linear(6, 8), torch.nn.ReLU(), torch.nn.Linear(8, 3))
        torch.save(network.state_dict(), folder / name)
    return folder


@pytest.mark.parametrize("path", PAGES, ids=lambda path: str(path.relative_to(ROOT)))
def test_every_block_of_a_page_runs(
    path: Path, stage: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    for name in STAGED.get(str(path.relative_to(ROOT / "docs")) if "docs" in path.parts else "", []):
        there = tmp_path / name
        there.parent.mkdir(parents=True, exist_ok=True)
        (shutil.copytree if (stage / name).is_dir() else shutil.copy)(stage / name, there)
    assert evaluate(path) == path.read_text("utf-8").count("\n```") / 2


@pytest.mark.parametrize(
    ("block", "why"),
    [
        ("python\n1 / 0\n", "division by zero"),
        ("console\n$ probe run --no-such-option\n", "No such option"),
        ("console\n$ probe claims\nno line that it prints\n", "no line that it prints"),
        ("console\n$ probe study depth --seeds many\n", "many"),
        ("console\n$ make nothing\n", "make nothing"),
        ("console\n$ python -m pip install -r nowhere.txt\n", "nowhere.txt"),
        ("console\n$ ls\n", "nothing tests ls"),
        ("toml\nnothing = 1\n", "nothing"),
        ("bash\nfi\n", "bash"),
        ("cobol\nSTOP RUN.\n", "nothing tests 'cobol'"),
        ("{image} picture.png\n", "nothing tests '{image}"),
        ("{image}\n", "image"),
        ("\n1 + 1\n", "nothing tests ''"),
    ],
)
def test_a_block_that_does_not_do_what_it_says_fails(
    block: str, why: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    page = tmp_path / "page.md"
    page.write_text(f"```{block}```\n", "utf-8")
    with pytest.raises(
        (AssertionError, ArithmeticError, ClickException, CalledProcessError), match=re.escape(why)
    ):
        evaluate(page)
