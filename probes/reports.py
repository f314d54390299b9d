"""``probe report``: measurements through the analysis into tables, a report and figures."""

from __future__ import annotations

import csv
import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import xarray as xr

from analysis import check_measurements, compare_growth, envelope, judge, step_limits, summarise
from analysis.growth import Growth
from analysis.selfchecks import CheckOutcome, Outcome
from analysis.verdicts import Verdict
from probes import tables
from probes.errors import InputError
from probes.files import make_folder, write_atomically, writing_errors
from probes.store import load
from trust.claims import all_claims

if TYPE_CHECKING:
    from figures.network import Network

__all__ = ["Findings", "find", "limits_json", "self_check_lines", "write_report"]


@dataclass(frozen=True)
class Findings:
    """Everything that the analysis says of one run."""

    title: str
    folder: Path
    measurements: xr.Dataset
    summary: xr.Dataset
    limits: xr.Dataset
    verdicts: list[Verdict]
    checks: list[CheckOutcome]
    growth: list[Growth]

    def network(self) -> Network:
        """What the figures are drawn from."""
        import pandas as pd

        from figures.network import Network

        history = self.folder / "training.csv"
        frame = None
        if history.is_file():
            try:
                frame = pd.read_csv(history)
                frame = frame.astype(dict.fromkeys(("step", "epoch", "loss", "accuracy"), float))
            except (ValueError, KeyError) as error:
                raise InputError(
                    f"{history}: is damaged ({error}); delete it to report without it"
                ) from error
        claims = all_claims().values()
        pairs = {claim.id: envelope(self.measurements, claim) for claim in claims}
        return Network(
            title=self.title,
            measurements=self.measurements,
            summary=self.summary,
            limits=self.limits,
            history=frame,
            envelopes={name: pair for name, pair in pairs.items() if pair is not None},
        )


def find(folder: Path, *, title: str | None = None) -> Findings:
    """Analyse a run's folder.

    Raises:
        InputError: there is no run in it, or it is damaged.
    """
    measurements = load(folder)
    return Findings(
        title=title or folder.resolve().name,
        folder=folder,
        measurements=measurements,
        summary=summarise(measurements),
        limits=step_limits(measurements),
        verdicts=judge(measurements),
        checks=check_measurements(measurements),
        growth=compare_growth(measurements),
    )


def self_check_lines(checks: Sequence[CheckOutcome]) -> str:
    """The self-checks as a table, with a warning line below it where one failed."""
    text = tables.plain(tables.checks_table(checks))
    failed = [check for check in checks if check.outcome is Outcome.FAILED]
    if failed:
        first = failed[0]
        text += f"\nWARNING: {first.check} {first.outcome.value} at {first.checkpoint}; trust no number of it"
    return text


def noise_line(measurements: xr.Dataset) -> str:
    """The run's noise floor in a sentence."""
    floor = float(measurements["noise_floor"].max())
    return (
        f"noise floor of the gradient change ({measurements.attrs['dtype']}): {tables.number(floor, 2)};"
        " what is below ten times a layer's floor is marked and is no evidence"
    )


def terminal_summary(findings: Findings) -> str:
    """Verdicts, limits, constants and self-checks for reading on a terminal."""
    parts = [
        f"── {findings.title} ──",
        tables.plain(tables.verdict_table(findings.verdicts)),
        "",
        tables.plain(tables.limits_table(findings.limits)),
        "",
        self_check_lines(findings.checks),
        noise_line(findings.measurements),
    ]
    return "\n".join(parts)


def report_json(findings: Sequence[Findings], figures: Sequence[Path]) -> dict[str, Any]:
    """The document that ``probe report --json`` prints."""
    verdicts = []
    for one in findings:
        for verdict in one.verdicts:
            row = verdict.to_json()
            if len(findings) > 1:
                row["network"] = one.title
            verdicts.append(row)
    return {"verdicts": verdicts, "figures": [str(path) for path in figures]}


def limits_json(measurements: xr.Dataset, limits: xr.Dataset) -> list[dict[str, Any]]:
    """The document that ``probe limit --json`` prints."""
    found = []
    depth = int(measurements["is_weight"].sum())
    for place, label in enumerate(limits["checkpoint"].values):
        one = limits.isel(checkpoint=place)
        numbers = {
            name: _finite(float(one[name]))
            for name in ("cos_theta", "constant", "lemma2", "calibrated", "curvature", "measured")
        }
        evaluations = int(one["evaluations"]) + measurements.sizes["eta"] + 1
        found.append({"checkpoint": str(label), "depth": depth, **numbers, "evaluations": evaluations})
    return found


def _finite(value: float) -> float | None:
    return value if abs(value) < float("inf") else None


def write_report(
    findings: Sequence[Findings], out: Path, *, formats: Sequence[str] = ("png", "pdf")
) -> list[Path]:
    """Figures, ``report.md`` and ``verdicts.json`` into ``out``.

    Returns:
        The figures' files.

    Raises:
        InputError: the folder cannot be written.
    """
    from figures.report import write_report_figures

    make_folder(out)
    with writing_errors(out):
        figures = write_report_figures(out, [one.network() for one in findings], formats=tuple(formats))
    document = json.dumps(report_json(findings, figures), indent=1) + "\n"
    write_atomically(out / "verdicts.json", document.encode())
    write_atomically(out / "report.md", _markdown(findings, figures, out).encode())
    return figures


def _markdown(findings: Sequence[Findings], figures: Sequence[Path], out: Path) -> str:
    parts = ["# Deep relative trust: what was measured", ""]
    parts += [
        "A verdict is `refuted` where every premise holds and the inequality fails, `premise fails` where one does not"
        " hold (the inequality's own outcome is beside it), and `vacuous` where the bound is more than 10⁶ times"
        " every measurement. All speak of the claims as this toolkit restates them (`probe claims`).",
        "",
    ]
    for one in findings:
        attributes = one.measurements.attrs
        moved = "moved" if attributes["biases_moved"] == "true" else "not moved"
        parts += [
            f"## {one.title}",
            "",
            f"{attributes['number_of_examples']} examples of {attributes.get('data', 'unknown data')}, direction"
            f" {attributes['direction']}, {attributes['dtype']}, biases {moved}"
            f" ({attributes.get('versions', '')}).",
            "",
            f"The {noise_line(one.measurements)}.",
            "",
        ]
        sections = {
            "Verdicts": tables.verdict_table(one.verdicts),
            "Step limits": tables.limits_table(one.limits),
            "Effective constants": tables.constants_table(one.summary),
            "Which model of trust explains the slice": tables.growth_table(one.growth),
            "Self-checks": tables.checks_table(one.checks),
        }
        for heading, rows in sections.items():
            parts += [f"### {heading}", "", tables.markdown(rows), ""]
    parts += ["## Figures", ""]
    for path in figures:
        if path.suffix == ".png":
            parts += [f"![{path.stem}]({path.relative_to(out)})", ""]
    return "\n".join(parts)


def claims_json() -> list[dict[str, Any]]:
    """The registry as JSON."""
    return [
        {
            "claim": claim.id,
            "source": claim.source,
            "statement": claim.statement,
            "measures": claim.left,
            "premises": {premise.name: premise.statement for premise in claim.premises},
            "needs": list(claim.needs),
        }
        for claim in all_claims().values()
    ]


def copy_history(checkpoints: Sequence[str], folder: Path) -> None:
    """Keep the training run's accuracy curve with the measurements, so that the report can draw it."""
    for path in map(Path, checkpoints):
        source = path / "training.csv"
        if path.is_dir() and source.is_file():
            content = source.read_bytes()
            heading = next(csv.reader([content.split(b"\n", 1)[0].decode("utf-8", "replace")]), [])
            if {"step", "epoch", "loss", "accuracy"} <= set(heading):
                write_atomically(folder / "training.csv", content)
            return
