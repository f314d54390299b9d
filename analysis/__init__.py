"""Measurements and claims joined into verdicts; no network is loaded here.

* everything at once: find, which gives Findings; or an Overview, without verdicts
* several runs: comparison_rows, differing_verdicts
* verdicts: judge, a Verdict with its Status on each claim at each checkpoint, together Verdicts, a list that a notebook
  shows as a table; table, for pandas
* what the theory leaves open: summarise (the effective constants), split (these taken apart, into FACTORS), step_limits
  (side by side), compare_growth (which model of trust explains the slice)
* the bounds against each other: slack, what loosens them (CAUSES) from rung to rung (RUNGS); inversions of their order;
  certified_labels, which provably do not change; alignment, what makes the product of norms larger than the Jacobian
* norms against the spectral condition: spectral_condition
* for figures: envelope, a claim's two sides; find_envelopes, those of all claims
* what must hold of any correct measurement: check_measurements
* the search for counterexamples: falsify, and replay of a witness (they need torch, and import it on first use)

A verdict on a claim needs only the variables that the claim speaks of:

>>> import numpy as np, xarray as xr
>>> from analysis import judge
>>> from trust.claims import Claim, all_claims
>>> layer = {"layer": ["0.weight", "1.weight"], "is_weight": ("layer", [True, True])}
>>> sizes = [[[0.0, 0.0], [0.01, 0.01]]]  # of one checkpoint at η = 0 and 0.01
>>> dims = ("checkpoint", "eta", "layer")
>>> run = xr.Dataset(
...     {
...         "relative_perturbation": (dims, sizes),
...         "gradient_change": (dims, 3 * np.array(sizes)),
...         "perturbation_norm": (dims, sizes),
...         "noise_floor": (("checkpoint", "layer"), [[1e-7, 1e-7]]),
...     },
...     {"checkpoint": ["last"], "eta": [0.0, 0.01], **layer},
... )
>>> (verdict,) = judge(run, [all_claims()["deep-relative-trust"]])
>>> verdict.words, round(verdict.to_json()["constant"], 3)  # 0.03 / (1.01² − 1)
('within a factor of 1.5', 1.493)
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from analysis.alignment import alignment
from analysis.certified import certified_labels
from analysis.comparison import comparison_rows, differing_verdicts
from analysis.constants import summarise
from analysis.curvature import curvature_summary
from analysis.dataframes import table
from analysis.envelopes import envelope, find_envelopes
from analysis.findings import Findings, find
from analysis.growth import Growth, compare_growth
from analysis.notebook import Verdicts
from analysis.overview import Overview
from analysis.selfchecks import CheckOutcome, check_measurements
from analysis.slack import CAUSES, RUNGS, Inversion, inversions, slack
from analysis.spectral_condition import spectral_condition
from analysis.split import FACTORS, split
from analysis.statuses import Status, Verdict
from analysis.step_limits import step_limits
from analysis.verdicts import judge

if TYPE_CHECKING:
    from analysis.falsifier import falsify, replay

__all__ = [
    "CAUSES",
    "FACTORS",
    "RUNGS",
    "CheckOutcome",
    "Findings",
    "Growth",
    "Inversion",
    "Overview",
    "Status",
    "Verdict",
    "Verdicts",
    "alignment",
    "certified_labels",
    "check_measurements",
    "compare_growth",
    "comparison_rows",
    "curvature_summary",
    "differing_verdicts",
    "envelope",
    "falsify",
    "find",
    "find_envelopes",
    "inversions",
    "judge",
    "replay",
    "slack",
    "spectral_condition",
    "split",
    "step_limits",
    "summarise",
    "table",
]


def __getattr__(name: str) -> Any:
    """Import the falsifier, and with it torch, on first use."""
    if name in ("falsify", "replay"):
        from analysis import falsifier

        return getattr(falsifier, name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    return [*globals(), *__all__]
