"""Verdicts and findings as a notebook shows them: HTML, in which all that is told is text."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from html import escape
from typing import TYPE_CHECKING

from analysis import tables
from analysis.dataframes import table
from analysis.statuses import Verdict

if TYPE_CHECKING:
    import pandas as pd

    from analysis.findings import Findings

__all__ = ["Verdicts", "findings_in_html"]


class Verdicts(list[Verdict]):
    """A list of verdicts, which a notebook shows as a table: claim by claim, those of which something is said first."""

    def to_pandas(self) -> pd.DataFrame:
        """A row a verdict, as :func:`analysis.table` has it."""
        return table(self)

    def _repr_html_(self) -> str:
        return _verdicts_in_html(self)


def findings_in_html(findings: Findings) -> str:
    """What a report says of a run in short, its verdicts and its step limits."""
    parts = [f"<h3>{escape(findings.title)}</h3>"]
    parts += [f"<p><b>ALARM: {escape(line)}</b></p>" for line in findings.alarms]
    parts += [f"<p><b>WARNING: {escape(line)}</b></p>" for line in (*findings.unfinished, *findings.warnings)]
    parts.append(_lines(f"<b>{escape(word)}</b>: {escape(said)}" for word, said in findings.in_short))
    parts.append(_verdicts_in_html(findings.verdicts))
    parts.append(_rows_in_html(tables.limits_table(findings.limits)))
    return "\n".join(parts)


def _verdicts_in_html(verdicts: Sequence[Verdict]) -> str:
    silent = [escape(line) for line in tables.silent_lines(verdicts)]
    return _rows_in_html(tables.verdict_table(tables.telling(verdicts))) + (_lines(silent) if silent else "")


def _lines(lines: Iterable[str]) -> str:
    return f"<ul>{''.join(f'<li>{line}</li>' for line in lines)}</ul>"


def _rows_in_html(rows: Sequence[Sequence[str]]) -> str:
    head, *body = rows
    shown = "".join(f"<tr>{_cells(row, 'td')}</tr>" for row in body)
    return f"<table><thead><tr>{_cells(head, 'th')}</tr></thead><tbody>{shown}</tbody></table>"


def _cells(row: Sequence[str], tag: str) -> str:
    return "".join(f'<{tag} style="text-align: left">{escape(cell)}</{tag}>' for cell in row)
