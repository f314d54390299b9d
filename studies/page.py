"""A study's page: its question, its figure, its answer with the numbers, and what it does not say."""

from __future__ import annotations

import shlex
import textwrap
from collections.abc import Mapping, Sequence

from figures.report.page import markdown_table

__all__ = ["page"]

_WIDTH = 100


def page(
    name: str,
    question: str,
    study: str,
    given: Mapping[str, str],
    answer: str,
    table: Sequence[Sequence[str]],
    caveats: Sequence[str],
) -> str:
    """The page in Markdown, its figure ``NAME.png`` beside it.

    Args:
        name: of the study.
        question: in a line.
        study: as ``probe study`` takes it.
        given: its options by name.
        answer: in words.
        table: the first row its heading.
        caveats: what the answer does not say.
    """
    seeds = given["seeds"]
    command = shlex.join([study, *(part for name, value in given.items() for part in (f"--{name}", value))])
    size = f"the {given['preset']} preset, {seeds} seed{'' if seeds == '1' else 's'}"
    blocks = [
        f"# {name}",
        _filled(question),
        f"![{name}]({name}.png)",
        f"## Answer ({size})",
        *(_filled(line) for line in answer.splitlines()),
        markdown_table([list(row) for row in table]),
        "## What it does not say",
        *(_filled(f"* {line}", "  ") for line in caveats),
        _filled(
            f"* These are the numbers of {size} on one machine: other processors give others, for training and"
            " slices of deep networks are chaotic. Intervals are from the smallest to the largest of the seeds.",
            "  ",
        ),
        "## Run it again",
        f"```console\n$ probe study {command}\n```",
    ]
    return "\n\n".join(blocks) + "\n"


def _filled(text: str, indent: str = "") -> str:
    return textwrap.fill(text, _WIDTH, subsequent_indent=indent, break_long_words=False)
