"""``probe report``: a run's folder in, its findings on the terminal, as JSON, and as figures and a page."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from analysis import Findings, find
from analysis.documents import split_rows, verdict_rows
from analysis.selfchecks import CheckOutcome
from analysis.start import start_table
from analysis.tables import checks_table, limits_table, slack_table, verdict_table
from analysis.wording import VERDICTS_EXPLAINED, failure_lines, noise_line
from probes.cli.tables import plain
from probes.errors import InputError, shown
from probes.runs.history import read_history
from probes.runs.results import load
from probes.system.files import make_folder, remove_leftovers, write_atomically
from trust.claims import Claim

__all__ = [
    "findings_in",
    "judging",
    "report_document",
    "self_check_lines",
    "terminal_summary",
    "write_report",
]


def findings_in(folder: Path, *, claims: Iterable[Claim] | None = None) -> Findings:
    """Analyse a run's folder, by all claims that are installed or by those given.

    Raises:
        InputError: there is no run in it, or it is damaged.
    """
    with judging(folder):
        title = shown(folder.resolve().name)
        return find(load(folder), title=title, claims=claims, history=read_history(folder))


@contextmanager
def judging(folder: Path) -> Iterator[None]:
    """Say of which results it is that they cannot be judged or drawn.

    Raises:
        InputError: whatever came of variables that are missing, or of numbers that mean nothing.
    """
    try:
        yield
    except InputError:
        raise
    except (ArithmeticError, AttributeError, LookupError, TypeError, ValueError) as error:
        raise InputError(
            f"{folder}: what is in it cannot be judged ({type(error).__name__}: {error}); no run leaves such results,"
            " or the fault is ours, and --debug shows where"
        ) from error


def self_check_lines(checks: Sequence[CheckOutcome]) -> str:
    """The self-checks as a table, with a warning line below it where one failed."""
    return "\n".join([plain(checks_table(checks)), *(f"WARNING: {line}" for line in failure_lines(checks))])


def terminal_summary(findings: Findings) -> str:
    """Verdicts, limits, the last checkpoint's slack and self-checks for reading on a terminal."""
    parts = [
        f"── {findings.title} ──",
        plain(verdict_table(findings.verdicts)),
        "",
        plain(limits_table(findings.limits)),
        "",
        plain(start_table(findings.measurements)),
        "",
    ]
    if findings.slack is not None:
        parts += [
            "where the bounds lose their tightness, in orders of magnitude",
            plain(slack_table(findings.slack.isel(checkpoint=[-1]))),
            "",
        ]
    parts += [f"WARNING: {line}" for line in findings.warnings]
    return "\n".join([*parts, self_check_lines(findings.checks), noise_line(findings.measurements)])


def report_document(findings: Sequence[Findings], figures: Sequence[Path]) -> dict[str, Any]:
    """The document that ``probe report --json`` prints."""
    return {
        "verdicts": verdict_rows(findings),
        "split": split_rows(findings),
        "figures": [str(path) for path in figures],
    }


def write_report(
    findings: Sequence[Findings], out: Path, *, formats: Sequence[str] = ("png", "pdf")
) -> list[Path]:
    """Figures, ``report.md`` and ``verdicts.json`` into ``out``.

    Returns:
        The figures' files.

    Raises:
        InputError: the folder cannot be written.
    """
    from figures.report.figures import write_report_figures
    from figures.report.page import page

    remove_leftovers(make_folder(out))
    figures = write_report_figures(out, findings, formats=tuple(formats), write=write_atomically)
    document = json.dumps(report_document(findings, figures), indent=1) + "\n"
    write_atomically(out / "verdicts.json", document.encode())
    write_atomically(out / "report.md", page(findings, figures, out, preface=VERDICTS_EXPLAINED).encode())
    return figures
