"""Findings: everything that the analysis says of one run, for tables, figures and pages to show."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import xarray as xr

from analysis import explained, tables, wording
from analysis.alignment import alignment, alignment_table
from analysis.certified import certified_labels
from analysis.completion import completed
from analysis.constants import summarise
from analysis.curvature import curvature_summary
from analysis.envelopes import find_envelopes
from analysis.growth import Growth, compare_growth
from analysis.in_short import in_short
from analysis.judged import Judged, judged
from analysis.notebook import findings_in_html
from analysis.probed import probed
from analysis.selfchecks import CheckOutcome, check_measurements
from analysis.slack import Inversion, inversions, slack
from analysis.spectral_condition import spectral_condition, spectral_condition_table
from analysis.split import split
from analysis.start import chance_lines, start_table
from analysis.statuses import Verdict
from analysis.step_limits import step_limits
from analysis.verdicts import judge
from trust.claims import Claim, claims_of
from trust.claims.remembering import remembering

if TYPE_CHECKING:
    import pandas as pd

__all__ = ["Findings", "find"]


@dataclass(frozen=True)
class Findings:
    """Everything that the analysis says of one run.

    Attributes:
        title: what the run is called.
        measurements: of the run.
        summary: what :func:`analysis.summarise` found, and so on.
        limits: of :func:`analysis.step_limits`.
        claims: that were judged.
        verdicts: on each claim at each checkpoint.
        checks: the self-checks.
        growth: which model of trust explains the slice.
        slack: what loosens the bounds; None where the run did not measure it.
        split: the effective constant taken apart; None where the run did not measure it.
        curvature: sharpness in every form that was measured; None where none was.
        inversions: where the bounds' order inverts.
        labels: how many provably do not change; None where the run did not measure it.
        alignment: the product bound's slack taken apart; None where the run did not measure it.
        envelopes: for each claim's id its two sides; without those that the run did not measure, and without twins.
        history: the training run (step, epoch, loss, accuracy); None where it is not known.
    """

    title: str
    measurements: xr.Dataset
    summary: xr.Dataset
    limits: xr.Dataset
    claims: Sequence[Claim]
    verdicts: Sequence[Verdict]
    checks: Sequence[CheckOutcome]
    growth: Sequence[Growth]
    slack: xr.Dataset | None
    split: xr.Dataset | None
    curvature: xr.Dataset | None
    inversions: Sequence[Inversion]
    labels: xr.Dataset | None
    alignment: xr.Dataset | None
    envelopes: Mapping[str, xr.Dataset]
    history: pd.DataFrame | None

    @property
    def alarms(self) -> list[str]:
        """A sentence for each self-check that failed; where there is one, nothing else here can be trusted."""
        return wording.alarm_lines(self.checks)

    @property
    def in_short(self) -> list[tuple[str, str]]:
        """What was probed, what holds, what breaks, what step is safe and how sure that is, a sentence each."""
        return in_short(self)

    @property
    def introduction(self) -> list[str]:
        """Paragraphs on how exactly it was measured."""
        first, *rest = wording.rounding_lines(self.measurements)
        return [f"The {first}.", *(f"{line.capitalize()}." for line in rest)]

    @property
    def probed(self) -> list[tuple[str, str]]:
        """What it takes to know what was measured, a word and what is known of it each."""
        return probed(self.measurements)

    @property
    def judged(self) -> list[Judged]:
        """Each claim with its statement, its premises and how it fared, the telling first."""
        return judged(self.verdicts, self.claims)

    @property
    def sections(self) -> list[tuple[str, str, tables.Rows]]:
        """Heading, explanation (which may be empty) and table of each."""
        found = [
            ("Verdicts", explained.VERDICTS, tables.verdict_table(self.verdicts)),
            ("Step limits", explained.LIMITS, tables.limits_table(self.limits)),
            ("Where the slices start", explained.START, start_table(self.measurements)),
            ("Effective constants", explained.CONSTANTS, tables.constants_table(self.summary)),
            ("Which model of trust explains the slice", explained.GROWTH, tables.growth_table(self.growth)),
            ("What rounding does", explained.ROUNDING, tables.rounding_table(self.measurements)),
            ("Self-checks", explained.CHECKS, tables.checks_table(self.checks)),
        ]
        if self.curvature is not None:
            found.append(("Curvature", explained.CURVATURE, tables.curvature_table(self.curvature)))
        if self.split is not None:
            table = tables.split_table(self.split)
            found.append(("The effective constant, taken apart", explained.SPLIT, table))
        if self.slack is not None:
            table = tables.slack_table(self.slack)
            found.append(("Where the bounds lose their tightness", explained.SLACK, table))
        if self.labels is not None:
            found.append(("Certified labels", explained.LABELS, tables.labels_table(self.labels)))
        if self.alignment is not None:
            found.append(("Alignment of layers", explained.ALIGNMENT, alignment_table(self.alignment)))
        condition = spectral_condition(self.measurements)
        if condition is not None:
            table = spectral_condition_table(condition)
            found.append(("Spectral condition", explained.SPECTRAL_CONDITION, table))
        return found

    def _repr_html_(self) -> str:
        """For a notebook."""
        return findings_in_html(self)

    @property
    def unfinished(self) -> list[str]:
        """A sentence for a run not finished, which goes before all that is said of it."""
        return wording.unfinished_lines(self.measurements)

    @property
    def warnings(self) -> list[str]:
        """A sentence for networks no better than chance, and for each thing that is odd in bounds or constants."""
        return [
            *chance_lines(self.measurements),
            *wording.inversion_lines(self.inversions),
            *wording.constant_lines(self.summary),
        ]


def find(
    measurements: xr.Dataset,
    *,
    title: str,
    claims: Iterable[Claim | str] | None = None,
    history: pd.DataFrame | None = None,
) -> Findings:
    """Analyse a run.

    Args:
        measurements: of the run.
        title: what to call it.
        claims: to be judged, themselves or by their ids; None for all that are installed.
        history: the training run, for figures: columns step, epoch, loss and accuracy.
    """
    with remembering():
        chosen = list(claims_of(claims))
        verdicts = judge(measurements, chosen)  # which tells what is missing from what is unknown
        measurements = completed(measurements)
        return Findings(
            title=title,
            measurements=measurements,
            summary=summarise(measurements),
            limits=step_limits(measurements),
            claims=chosen,
            verdicts=verdicts,
            checks=check_measurements(measurements),
            growth=compare_growth(measurements),
            slack=slack(measurements),
            split=split(measurements),
            curvature=curvature_summary(measurements),
            inversions=inversions(measurements, chosen),
            labels=certified_labels(measurements),
            alignment=alignment(measurements),
            envelopes=find_envelopes(measurements, chosen),
            history=history,
        )
