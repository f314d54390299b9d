"""Findings: everything that the analysis says of one run, for tables, figures and pages to show."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import xarray as xr

from analysis import tables, wording
from analysis.certified import certified_labels
from analysis.completion import completed
from analysis.constants import summarise
from analysis.envelopes import common_examples, distinct, envelope
from analysis.growth import Growth, compare_growth
from analysis.selfchecks import CheckOutcome, check_measurements
from analysis.slack import Inversion, inversions, slack
from analysis.split import split
from analysis.start import chance_lines, start_table
from analysis.statuses import Verdict
from analysis.step_limits import step_limits
from analysis.verdicts import judge
from trust.claims import Claim, all_claims

if TYPE_CHECKING:
    import pandas as pd

__all__ = ["Findings", "find"]

_SLACK_EXPLAINED = (
    "The gap between the measured change of the output and Theorem 1 as published, step by step, in orders of"
    " magnitude (means of log10 over the same examples). Nothing can be told after a step to an infinite"
    " bound; a share in brackets leads to a bound a premise of which is not known to hold."
)


_SPLIT_EXPLAINED = (
    "C is the breakdown ‖v‖/‖g‖ over deep relative trust D at η₀: of the input layer, and of the weight matrix where it"
    " is largest. v is what the Jacobians do (A, every example's ∂ℓ/∂f held) and what the change of these residuals"
    " does; the two signed parts add up to C, and (βκ²/α)^L speaks of the first alone. On the split's examples, whose C"
    " may be another than that of all, it is also a product: C_ex = Σ‖A_i‖/(D Σ‖g_i‖) of single examples, what cancels"
    " in their mean, and ‖v‖/‖A‖. Beside it stand single examples' own ‖A_i‖/(‖g_i‖D), and Theorem 1b's left side over"
    " its product (with `--jacobian N`). What is below the noise is in brackets."
)
_START_EXPLAINED = (
    "The frozen networks as they are. Chance is the best output that is the same for every example, all labels being"
    " alike."
)
_LABELS_EXPLAINED = (
    "Shares of the examples of --pattern whose label did not change, and whose label provably cannot: the margin"
    " exceeds √2 times the smallest of all proved bounds."
)


@dataclass(frozen=True)
class Findings:
    """Everything that the analysis says of one run.

    Attributes:
        title: what the run is called.
        measurements: of the run.
        summary: what :func:`analysis.summarise` found, and so on.
        limits: of :func:`analysis.step_limits`.
        verdicts: on each claim at each checkpoint.
        checks: the self-checks.
        growth: which model of trust explains the slice.
        slack: what loosens the bounds; None where the run did not measure it.
        split: the effective constant taken apart; None where the run did not measure it.
        inversions: where the bounds' order inverts.
        labels: how many provably do not change; None where the run did not measure it.
        envelopes: for each claim's id its two sides; without those that the run did not measure, and without twins.
        history: the training run (step, epoch, loss, accuracy); None where it is not known.
    """

    title: str
    measurements: xr.Dataset
    summary: xr.Dataset
    limits: xr.Dataset
    verdicts: Sequence[Verdict]
    checks: Sequence[CheckOutcome]
    growth: Sequence[Growth]
    slack: xr.Dataset | None
    split: xr.Dataset | None
    inversions: Sequence[Inversion]
    labels: xr.Dataset | None
    envelopes: Mapping[str, xr.Dataset]
    history: pd.DataFrame | None

    @property
    def introduction(self) -> list[str]:
        """Paragraphs on what was measured."""
        return [wording.run_line(self.measurements), f"The {wording.noise_line(self.measurements)}."]

    @property
    def sections(self) -> list[tuple[str, str, tables.Rows]]:
        """Heading, explanation (which may be empty) and table of each."""
        found = [
            ("Verdicts", "", tables.verdict_table(self.verdicts)),
            ("Step limits", "", tables.limits_table(self.limits)),
            ("Where the slices start", _START_EXPLAINED, start_table(self.measurements)),
            ("Effective constants", "", tables.constants_table(self.summary)),
            ("Which model of trust explains the slice", "", tables.growth_table(self.growth)),
            ("Self-checks", "", tables.checks_table(self.checks)),
        ]
        if self.split is not None:
            table = tables.split_table(self.split)
            found.append(("The effective constant, taken apart", _SPLIT_EXPLAINED, table))
        if self.slack is not None:
            table = tables.slack_table(self.slack)
            found.append(("Where the bounds lose their tightness", _SLACK_EXPLAINED, table))
        if self.labels is not None:
            found.append(("Certified labels", _LABELS_EXPLAINED, tables.labels_table(self.labels)))
        return found

    @property
    def warnings(self) -> list[str]:
        """A sentence for each network no better than chance, inverted order of bounds, and constant that is none."""
        return [
            *chance_lines(self.measurements),
            *wording.inversion_lines(self.inversions),
            *wording.constant_lines(self.summary),
        ]


def find(
    measurements: xr.Dataset,
    *,
    title: str,
    claims: Iterable[Claim] | None = None,
    history: pd.DataFrame | None = None,
) -> Findings:
    """Analyse a run.

    Args:
        measurements: of the run.
        title: what to call it.
        claims: to be judged; None for all that are installed.
        history: the training run, for figures: columns step, epoch, loss and accuracy.
    """
    chosen = list(all_claims().values()) if claims is None else list(claims)
    verdicts = judge(measurements, chosen)  # which tells what is missing from what is unknown
    measurements = completed(measurements)
    ladder = common_examples(measurements)  # all rungs of the same examples
    pairs = {
        claim.id: envelope(ladder if claim.subject == "function" else measurements, claim) for claim in chosen
    }
    return Findings(
        title=title,
        measurements=measurements,
        summary=summarise(measurements),
        limits=step_limits(measurements),
        verdicts=verdicts,
        checks=check_measurements(measurements),
        growth=compare_growth(measurements),
        slack=slack(measurements),
        split=split(measurements),
        inversions=inversions(measurements, chosen),
        labels=certified_labels(measurements),
        envelopes=distinct({name: pair for name, pair in pairs.items() if pair is not None}),
        history=history,
    )
