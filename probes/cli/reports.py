"""``probe report``: measurements through the analysis into tables, a report and figures."""

from __future__ import annotations

import csv
import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import xarray as xr

from analysis import (
    Inversion,
    check_measurements,
    compare_growth,
    envelope,
    inversions,
    judge,
    slack,
    step_limits,
    summarise,
)
from analysis.growth import Growth
from analysis.selfchecks import CheckOutcome, Outcome
from analysis.verdicts import Verdict
from probes.cli import tables
from probes.errors import InputError
from probes.runs.results import load
from probes.system.files import make_folder, remove_leftovers, write_atomically
from trust.claims import Claim, all_claims

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
    claims: list[Claim]
    verdicts: list[Verdict]
    checks: list[CheckOutcome]
    growth: list[Growth]
    slack: xr.Dataset | None
    inversions: list[Inversion]

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
        pairs = {claim.id: envelope(self.measurements, claim) for claim in self.claims}
        return Network(
            title=self.title,
            measurements=self.measurements,
            summary=self.summary,
            limits=self.limits,
            history=frame,
            envelopes={name: pair for name, pair in pairs.items() if pair is not None},
            slack=self.slack,
        )


def find(folder: Path, *, title: str | None = None, claims: Sequence[Claim] | None = None) -> Findings:
    """Analyse a run's folder, by all claims that are installed or by those given.

    Raises:
        InputError: there is no run in it, or it is damaged.
    """
    measurements = load(folder)
    chosen = list(all_claims().values()) if claims is None else list(claims)
    return Findings(
        title=title or folder.resolve().name,
        folder=folder,
        measurements=measurements,
        summary=summarise(measurements),
        limits=step_limits(measurements),
        claims=chosen,
        verdicts=judge(measurements, chosen),
        checks=check_measurements(measurements),
        growth=compare_growth(measurements),
        slack=slack(measurements),
        inversions=inversions(measurements, chosen),
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
    precision = measurements.attrs.get("precision", "full")
    layers = "" if precision == "full" else f", layers in {precision}"
    return (
        f"noise floor of the gradient change ({measurements.attrs['dtype']}{layers}): {tables.number(floor, 2)};"
        " what is below ten times a layer's floor is marked and is no evidence"
    )


def inversion_lines(found: Sequence[Inversion]) -> list[str]:
    """A sentence for each place where the ladder's order inverts."""
    lines = []
    for one in found:
        example = "" if one.example is None else f", example {one.example}"
        points = f"{one.points} point{'s' * (one.points > 1)} of {one.checkpoint}"
        excess = tables.number(one.excess, 2)
        lines.append(
            f"{one.lower} is above {one.upper} at {points}, most at η = {tables.number(one.eta)}{example},"
            f" by 10^{excess}"
        )
    return lines


def terminal_summary(findings: Findings) -> str:
    """Verdicts, limits, the last checkpoint's slack and self-checks for reading on a terminal."""
    parts = [
        f"── {findings.title} ──",
        tables.plain(tables.verdict_table(findings.verdicts)),
        "",
        tables.plain(tables.limits_table(findings.limits)),
        "",
        *(() if findings.slack is None else (_last_slack(findings.slack), "")),
        *(f"WARNING: {line}" for line in inversion_lines(findings.inversions)),
        self_check_lines(findings.checks),
        noise_line(findings.measurements),
    ]
    return "\n".join(parts)


def _last_slack(found: xr.Dataset) -> str:
    title = "where the bounds lose their tightness, in orders of magnitude"
    return f"{title}\n{tables.plain(tables.slack_table(found.isel(checkpoint=[-1])))}"


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

    remove_leftovers(make_folder(out))
    networks = [one.network() for one in findings]
    figures = write_report_figures(out, networks, formats=tuple(formats), write=write_atomically)
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
        parts += _slack_section(one)
    parts += ["## Figures", ""]
    for path in figures:
        if path.suffix == ".png":
            parts += [f"![{path.stem}]({path.relative_to(out)})", ""]
    return "\n".join(parts)


def _slack_section(findings: Findings) -> list[str]:
    """From the measured change to the published bound, and where the order inverts."""
    parts: list[str] = []
    if findings.slack is not None:
        parts += [
            "### Where the bounds lose their tightness",
            "",
            "The gap between the measured change of the output and Theorem 1 as published, step by step, in orders of"
            " magnitude (means of log10 over the same examples). Nothing can be told after a step to an infinite"
            " bound; a share in brackets leads to a bound a premise of which is not known to hold.",
            "",
            tables.markdown(tables.slack_table(findings.slack)),
            "",
        ]
    if findings.inversions:
        parts += ["**The order inverts although all premises hold:**", ""]
        parts += [f"* {line}" for line in inversion_lines(findings.inversions)] + [""]
    return parts


def claims_json(claims: Iterable[Claim]) -> list[dict[str, Any]]:
    """Claims as JSON."""
    return [
        {
            "claim": claim.id,
            "source": claim.source,
            "statement": claim.statement,
            "measures": claim.left,
            "premises": {premise.name: premise.statement for premise in claim.premises},
            "needs": list(claim.needs),
            "proved": claim.proved,
        }
        for claim in claims
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
