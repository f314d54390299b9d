"""Show benchmarks' JSON: ``python -m benchmarks.report FILE… [--plot FILE.png] [--markdown PAGE.md]``."""

from __future__ import annotations

import argparse
import json
import statistics
import textwrap
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from analysis.tables import Rows
from benchmarks.records import cases_of, comparisons, several, size_of
from figures.report.markdown import markdown_table
from probes.cli.tables import plain

__all__ = ["BEGIN", "END", "insert", "same_table", "section", "times_table"]

BEGIN, END = "<!-- measured: begin -->", "<!-- measured: end -->"
"""What stands between these lines of a page is replaced."""
_WIDTH = 100  # of a page's lines


def main(arguments: Sequence[str] | None = None) -> None:
    """A table for each file, and where it was asked for a plot, or the tables in a page."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("files", nargs="+", type=Path, help="what benchmarks.measure wrote")
    parser.add_argument(
        "--plot", type=Path, help="a .png, .pdf or .svg of the one file; its numbers are put beside it as CSV"
    )
    parser.add_argument(
        "--markdown", type=Path, help=f"the page to put the tables in, between {BEGIN} and {END}"
    )
    options = parser.parse_args(arguments)
    if options.plot is not None and len(options.files) > 1:
        parser.error("--plot: give one file")
    every = [json.loads(path.read_text("utf-8")) for path in options.files]
    for found in every:
        print(section(found, markdown=False))
    if options.plot is not None:
        from benchmarks.plots import plot  # slow to import, and needed only here

        plot(every[0], options.plot)
    if options.markdown is not None:
        page = options.markdown.read_text("utf-8")
        tables_text = "\n".join(section(found, markdown=True) for found in every)
        options.markdown.write_text(insert(page, tables_text), "utf-8")


def insert(page: str, text: str) -> str:
    """The page with ``text`` between the two marks.

    Raises:
        SystemExit: it has not each of them once, in order.
    """
    before, found_begin, rest = page.partition(BEGIN)
    _, found_end, after = rest.partition(END)
    if not found_begin or not found_end or BEGIN in rest or END in after:
        raise SystemExit(f"--markdown: the page must have the lines {BEGIN} and {END}, each once")
    return f"{before}{BEGIN}\n\n{text}\n{END}{after}"


def section(found: dict[str, Any], *, markdown: bool) -> str:
    """A benchmark in words and tables."""
    table = markdown_table if markdown else plain
    machine = found["machine"]
    where = (
        f"{machine['processor']}, {several(machine['threads'], 'thread')}"
        if isinstance(machine, dict)
        else f"{machine}, {several(found['threads'], 'thread')}"
    )
    title = f"### {found['benchmark']}\n" if markdown else found["benchmark"]
    peers = ", ".join(f"{name} {version}" for name, version in found.get("peers", {}).items())
    words = [found["what"], f"On {where}; {found['versions']}{'; ' if peers else ''}{peers}."]
    lines = [title, *(textwrap.fill(line, _WIDTH) if markdown else line for line in words)]
    times = times_table(found)
    lines += ["", table(times), ""] if len(times) > 1 else [""]
    agreed = same_table(found)
    if len(agreed) > 1:
        lines += ["How far the two sides' numbers are apart:", "", table(agreed), ""]
    for case in cases_of(found):
        weights = ", ".join(f"{name} {size:,}" for name, size in case.get("bytes", {}).items())
        lines += [f"Bytes: {weights}.", ""] if weights else []
        told = ", ".join(
            f"{name} {_range(min(values), max(values))}" for name, values in case.get("told", {}).items()
        )
        lines += [f"{case['case']}: {told}.", ""] if told else []
    missing = sorted({name for case in cases_of(found) for name in case.get("not_installed", [])})
    lines += [f"Not installed, so not compared with: {', '.join(missing)}.", ""] if missing else []
    return "\n".join(lines)


def times_table(found: dict[str, Any]) -> Rows:
    """One row an alternative, and one more for each further peer that it is compared with."""
    heading = ["case", "alternative", "median seconds", "smallest to largest", "compared with"]
    heading += ["ratio", "smallest to largest", "target", "least possible", "by count"]
    heading += ["share of the product rate", "evaluations"]
    rows = [heading]
    for case in cases_of(found):
        roofline = case.get("roofline", {})
        title = _title(case)
        for name, seconds in case["seconds"].items():
            share = roofline.get("share", {}).get(name)
            own = [name, _number(statistics.median(seconds)), _range(min(seconds), max(seconds))]
            mine = [compared for compared in comparisons(case) if compared["of"] == name]
            reached = "" if share is None else f"{share['median']:.0%}"
            counts = case.get("counts", {}).get(name, {})
            asked = ", ".join(f"{count} {what}" for what, count in counts.items())
            if name in case.get("residuals", {}):
                asked += f", residual {case['residuals'][name]:.0e}"
            rest: list[dict[str, Any] | None] = [*mine]
            for compared in rest or [None]:
                if compared is None:
                    cells = [""] * 6
                else:
                    bound = roofline.get("bounds", {}).get(name)
                    cells = [
                        compared["to"],
                        _number(compared["median"]),
                        _range(compared["smallest"], compared["largest"]),
                        _number(compared["target"]) if "target" in compared else "",
                        "" if bound is None else _number(bound["median"]),
                        "" if bound is None else _number(bound["flops"] / case["flops"][compared["to"]]),
                    ]
                rows.append([title, *own, *cells, reached, asked])
                title, own, reached, asked = "", ["", "", ""], "", ""
    return _without_empty_columns(rows)


def same_table(found: dict[str, Any]) -> Rows:
    """One row a quantity that both sides compute."""
    rows = [["case", "quantity", "error", "allowed"]]
    for case in cases_of(found):
        rows += [
            [case["case"], same["what"], f"{same['error']:.1e}", f"{same['tolerance']:.0e}"]
            for same in case.get("same", [])
        ]
    return rows


def _title(case: dict[str, Any]) -> str:
    if "examples" not in case:
        return str(case["case"])
    return f"{case['case']} ({size_of(case)})"


def _number(value: float) -> str:
    return f"{value:#.3g}" if value < 100 else f"{value:.0f}"


def _range(low: float, high: float) -> str:
    return f"{_number(low)} to {_number(high)}"


def _without_empty_columns(rows: Rows) -> Rows:
    kept = [k for k in range(len(rows[0])) if any(row[k] for row in rows[1:])]
    return [[row[k] for k in kept] for row in rows]


if __name__ == "__main__":
    main()
