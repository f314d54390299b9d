"""``probe report``: a run's folder in, its findings on the terminal, as JSON, and as figures and a page."""

from __future__ import annotations

import json
import os
import shlex
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import xarray as xr

from analysis import Findings, explained, find
from analysis.documents import curvature_rows, split_rows, summary_rows, verdict_rows
from analysis.in_short import network_name
from analysis.selfchecks import CheckOutcome
from analysis.start import start_table
from analysis.tables import (
    checks_table,
    curvature_table,
    limits_table,
    silent_lines,
    slack_table,
    telling,
    verdict_table,
)
from analysis.wording import alarm_lines, rounding_lines
from probes.cli.runs import names_of
from probes.cli.spelling import in_ticks, spelled_in
from probes.cli.tables import headings, paragraph, plain
from probes.errors import InputError
from probes.monitor.log import read_log
from probes.runs.history import read_history
from probes.runs.results import load
from probes.runs.source import Paths
from probes.system.files import make_folder, remove_leftovers, write_atomically
from trust.claims import Claim

if TYPE_CHECKING:
    from studies.frame.outcome import Outcome

__all__ = [
    "Report",
    "curvature_shown",
    "findings_in",
    "judging",
    "limits_shown",
    "noise_lines",
    "report",
    "report_document",
    "self_check_lines",
    "terminal_summary",
    "write_report",
]


@dataclass(frozen=True)
class Report:
    """A page and what stands on it.

    Attributes:
        page: the file report.html.
        figures: files.
        findings: of each run.
        studies: outcomes by the folder that they are in.
        logs: monitors' logs by what they are called.
        document: what ``probe report --json`` prints.
    """

    page: Path
    figures: Sequence[Path]
    findings: Sequence[Findings]
    studies: Mapping[Path, Sequence[Outcome]]
    logs: Mapping[str, xr.Dataset]
    document: Mapping[str, Any]


def report(
    folders: Paths,
    *,
    out: str | os.PathLike[str] | None = None,
    title: str | None = None,
    claims: Iterable[Claim | str] | None = None,
    formats: Sequence[str] = ("png", "pdf"),
) -> Report:
    """Judge every claim on what was measured, draw it beside the bounds, and write it all on one page.

    Args:
        folders: of runs and of studies, and files that :class:`probes.Monitor` logged into, or one of these.
        out: the folder for the page; None: ``report`` in the folder of the results, or beside a log.
        title: what to call the network, where it is one; None: by its kind and depth.
        claims: to be judged, themselves or by their ids; None for all that are installed.
        formats: of the figures.

    Raises:
        InputError: anything given that cannot be used.
    """
    from studies.frame.outcome import outcomes_in

    given = [Path(one) for one in ([folders] if isinstance(folders, str | os.PathLike) else folders)]
    if len(given) > 1 and out is None:
        raise InputError("`out`: name a folder for the page of several")
    names_of(given)  # which refuses one that is given twice
    files = [path for path in given if path.is_file()]
    if (len(given) > 1 or files) and title is not None:
        raise InputError("`title`: names one network; of several each has its folder's name")
    logs = {name: read_log(log) for name, log in zip(names_of(files), files, strict=True)}
    studies = {path: found for path in given if path not in files and (found := outcomes_in(path))}
    runs = [path for path in given if path not in studies and path not in files]
    titles = names_of(runs) if len(given) > 1 else [title] * len(runs)
    chosen = None if claims is None else list(claims)
    findings = [findings_in(run, claims=chosen, title=name) for run, name in zip(runs, titles, strict=True)]
    first = given[0]
    beside = first.with_name(f"{first.stem}-report") if files else first / "report"
    target = beside if out is None else Path(out)
    with judging(runs[0] if runs else first):
        page, figures = write_report(
            findings, target, formats=formats, studies=studies, logs=logs, again=_commands(runs, target)
        )
        document = report_document(findings, figures, page=page, studies=studies, logs=logs)
    return Report(page, figures, findings, studies, logs, document)


def _commands(runs: Sequence[Path], out: Path) -> list[str]:
    """What measures and judges the same again."""
    again = [
        shlex.join(["probe", "run", "--config", str(run / "run.toml"), "--out", f"{run}-again"])
        for run in runs
        if (run / "run.toml").is_file()
    ]
    judged = ["probe", "report", *(f"{run}-again" for run in runs)]
    return [*again, shlex.join([*judged, *(["--out", f"{out}-again"] * (len(runs) > 1))])] if again else []


def findings_in(
    folder: Path, *, claims: Iterable[Claim | str] | None = None, title: str | None = None
) -> Findings:
    """Analyse a run's folder.

    Args:
        folder: of the run.
        claims: to be judged; None for all that are installed.
        title: what to call the network; None: by its kind and depth.

    Raises:
        InputError: there is no run in it, or it is damaged.
    """
    with judging(folder):
        measurements = load(folder)
        name = network_name(measurements) if title is None else title
        return find(measurements, title=name, claims=claims, history=read_history(folder))


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


def self_check_lines(checks: Sequence[CheckOutcome], width: int | None = None) -> str:
    """The self-checks as a table, below an alarm for each that failed."""
    return "\n".join([*_alarms(alarm_lines(checks), width), plain(checks_table(checks), width)])


def terminal_summary(findings: Findings, width: int | None = None) -> str:
    """A run in short, verdicts, limits, the last checkpoint's slack and self-checks for reading on a terminal.

    Args:
        findings: of the run.
        width: of the terminal, for which what says little is gathered or left out; None: all of it, as wide as it is.
    """
    fits = width is not None
    judged = telling(findings.verdicts) if fits else findings.verdicts
    parts = [f"── {findings.title} ──", *_warnings(findings.unfinished, width)]
    parts += _alarms(findings.alarms, width)
    parts += [
        paragraph(said, width, head=f"{word:>9}: ", indent=11 * fits) for word, said in findings.in_short
    ]
    parts += ["", plain(verdict_table(judged), width, spare=_SPARE_VERDICTS)]
    if fits:
        parts += [paragraph(line, width, indent=2) for line in silent_lines(findings.verdicts)]
    parts += [
        "",
        limits_shown(findings.limits, width),
        "",
        *([] if findings.curvature is None else [curvature_shown(findings.curvature, width), ""]),
        plain(start_table(findings.measurements), width),
        "",
    ]
    if findings.slack is not None:
        last = findings.slack.isel(checkpoint=[-1])
        table = slack_table(_with_short_names(last) if fits else last)
        shown = headings(table, width, spare=_SPARE_SLACK)
        told = "; ".join(f"{name}: {said}" for name, said in explained.SLACK_BRIEFLY.items() if name in shown)
        parts += [
            "where the bounds lose their tightness, in orders of magnitude",
            plain(table, width, spare=_SPARE_SLACK),
            *([paragraph(f"{told}.", width)] if told else []),
            "",
        ]
    parts += _warnings(findings.warnings, width)
    return "\n".join(
        [*parts, plain(checks_table(findings.checks), width), *noise_lines(findings.measurements, width)]
    )


def limits_shown(limits: xr.Dataset, width: int | None = None) -> str:
    """The step limits as a table, and what its columns are."""
    table = limits_table(limits if width is None else _with_short_names(limits))
    return "\n".join([plain(table, width, spare=_SPARE_LIMITS), paragraph(explained.LIMITS_BRIEFLY, width)])


def curvature_shown(curvature: xr.Dataset, width: int | None = None) -> str:
    """Sharpness as a table, and what its columns are."""
    table = curvature_table(curvature if width is None else _with_short_names(curvature))
    return "\n".join(
        [plain(table, width, spare=_SPARE_CURVATURE), paragraph(explained.CURVATURE_BRIEFLY, width)]
    )


def noise_lines(measurements: xr.Dataset, width: int | None = None) -> list[str]:
    """What rounding does, to the gradient at η = 0 and further out."""
    return [paragraph(line, width, indent=2) for line in rounding_lines(measurements)]


def _warnings(lines: Iterable[str], width: int | None) -> list[str]:
    return [paragraph(line, width, head="WARNING: ", indent=2) for line in lines]


def _alarms(lines: Iterable[str], width: int | None) -> list[str]:
    return [paragraph(line, width, head="ALARM: ", indent=2) for line in lines]


_SPARE_VERDICTS = ("why", "constant", "kind", "worst measured / bound")
_SPARE_LIMITS = ("cos θ", "certified", "slice curvature", "calibrated")
_SPARE_CURVATURE = ("gᵀHg/‖g‖²", "trace of H", "largest of a layer's block", "lowest λ of H")
_SPARE_SLACK = ("published bound", "total")
"""The columns that a narrow terminal can do without, in the order in which they go."""


def _with_short_names(data: xr.Dataset) -> xr.Dataset:
    """Checkpoints by their steps, where these are known and tell them apart."""
    if "step" not in data.coords or not bool(data["step"].notnull().all()):
        return data
    names = [f"{float(step):g}" for step in data["step"].values]
    return data.assign_coords(checkpoint=names) if len(set(names)) == len(names) else data


def report_document(
    findings: Sequence[Findings],
    figures: Sequence[Path],
    *,
    page: Path | None = None,
    studies: Mapping[Path, Sequence[Outcome]] | None = None,
    logs: Mapping[str, xr.Dataset] | None = None,
) -> dict[str, Any]:
    """The document that ``probe report --json`` prints."""
    from probes.monitor.page import log_document  # which draws, as little else here does

    answers = [asdict(outcome) for found in (studies or {}).values() for outcome in found]
    return {
        **({"studies": answers} if answers else {}),
        **({"logs": {name: log_document(log) for name, log in logs.items()}} if logs else {}),
        "summary": summary_rows(findings),
        "verdicts": verdict_rows(findings),
        "split": split_rows(findings),
        "curvature": [
            row | ({"network": one.title} if len(findings) > 1 else {})
            for one in findings
            if one.curvature is not None
            for row in curvature_rows(one.curvature)
        ],
        "warnings": [line for one in findings for line in (*one.unfinished, *one.warnings)],
        "figures": [str(path) for path in figures],
        **({} if page is None else {"page": str(page)}),
    }


def write_report(
    findings: Sequence[Findings],
    out: Path,
    *,
    formats: Sequence[str] = ("png", "pdf"),
    studies: Mapping[Path, Sequence[Outcome]] | None = None,
    logs: Mapping[str, xr.Dataset] | None = None,
    again: Sequence[str] = (),
) -> tuple[Path, list[Path]]:
    """Figures, ``report.html`` with all that is told of them, the same as ``report.md``, and ``verdicts.json``.

    Args:
        findings: of each network.
        out: the folder.
        formats: of the figures; the page takes SVG before PNG.
        studies: outcomes by the folder that they are in.
        logs: monitors' logs by what to call them.
        again: commands that do it again, as a shell takes them.

    Returns:
        The page in HTML, and the figures' files.

    Raises:
        InputError: the folder cannot be written.
    """
    from figures.report.blocks import Block, Chapter, Code
    from figures.report.chapters import network_chapters
    from figures.report.figures import write_report_figures
    from figures.report.pages import write_page
    from probes.monitor.page import log_chapter, write_log_figure
    from studies.frame.outcome import outcome_chapter

    remove_leftovers(make_folder(out))
    shown = tuple(dict.fromkeys(("png", *formats)))  # the page shows the PNGs
    figures: list[Path] = []
    if findings:
        figures = write_report_figures(out, findings, formats=shown, write=write_atomically)
    networks = [*figures]
    document = json.dumps(spelled_in(report_document(findings, figures, logs=logs)), indent=1) + "\n"
    write_atomically(out / "verdicts.json", document.encode())
    drawn: list[Block] = []
    for place, (name, log) in enumerate((logs or {}).items()):
        stem = out / ("training" if len(logs or {}) == 1 else f"training-{place + 1}")
        files = write_log_figure(log, stem, formats=shown, write=write_atomically)
        figures += files
        drawn.append(log_chapter(log, name, stem.with_suffix(".png")))
    chapters = [
        *drawn,
        *(outcome_chapter(one, folder) for folder, found in (studies or {}).items() for one in found),
        *(network_chapters(findings, networks) if findings else []),
        *([Chapter("Do it again", [Code(again)])] if again else []),
    ]
    page = Chapter("Deep relative trust: what was measured", chapters)
    return write_page(page, out / "report", words=in_ticks, write=write_atomically), figures
