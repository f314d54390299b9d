"""A study's page: its question, its figure, its answer with the numbers, what was run, and what it does not say."""

from __future__ import annotations

import shlex
import textwrap
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from figures.report.page import markdown_table

__all__ = ["Page", "command_line"]

_WIDTH = 100


@dataclass(frozen=True)
class Page:
    """What is known of a study's page before it has an answer.

    Attributes:
        name: of the study.
        question: in a line.
        study: as ``probe study`` takes it.
        given: its options by name.
        figure: the file beside the page.
        sizes: what was run, by name; the name may be empty.
    """

    name: str
    question: str
    study: str
    given: Mapping[str, str]
    figure: str
    sizes: Mapping[str, str]

    def written(self, answer: str, table: Sequence[Sequence[str]], caveats: Sequence[str]) -> str:
        """The page in Markdown.

        Args:
            answer: in words.
            table: the first row its heading.
            caveats: what the answer does not say.
        """
        seeds = self.given["seeds"]
        command = command_line(["probe", "study", self.study], self.given)
        size = f"the {self.given['preset']} preset, {seeds} seed{'' if seeds == '1' else 's'}"
        sizes = "; ".join(f"{name}: {value}" if name else value for name, value in self.sizes.items())
        blocks = [
            f"# {self.name}",
            _filled(self.question),
            f"![{self.name}]({self.figure})",
            f"## Answer ({size})",
            *(_filled(line) for line in answer.splitlines()),
            markdown_table([list(row) for row in table]),
            "## What was run",
            _filled(f"{sizes}."),
            "## What it does not say",
            *(_filled(f"* {line}", "  ") for line in caveats),
            _filled(
                f"* These are the numbers of {size} on one machine: other processors give others, for training and"
                " slices of deep networks are chaotic. Intervals are from the smallest to the largest of the seeds, and"
                " of the layers or checkpoints where a number is of several.",
                "  ",
            ),
            "## Run it again",
            f"```console\n$ {command}\n```",
        ]
        return "\n\n".join(blocks) + "\n"


def command_line(words: Sequence[str], options: Mapping[str, object]) -> str:
    """A command as a shell takes it.

    Args:
        words: it begins with.
        options: by their names, without dashes; those that are None are left out.
    """
    given = {name: str(value) for name, value in options.items() if value is not None}
    return shlex.join([*words, *(part for name, value in given.items() for part in (f"--{name}", value))])


def _filled(text: str, indent: str = "") -> str:
    return textwrap.fill(text, _WIDTH, subsequent_indent=indent, break_long_words=False)
