"""Measurements and claims joined into verdicts; no network is loaded here.

* verdicts: for each claim and checkpoint whether its premises and its inequality hold
* constants: what the constant that the theory drops really is
* limits: the step limits side by side
* growth: which model of trust explains the slice
* selfchecks: what must hold of any correct measurement
* envelopes: a claim's two sides, ready to draw
* ladder: what loosens the bounds, from the measured change up to Theorem 1 as published
"""

from analysis.constants import summarise
from analysis.envelopes import envelope
from analysis.growth import compare_growth
from analysis.ladder import CAUSES, RUNGS, Inversion, inversions, slack
from analysis.limits import step_limits
from analysis.selfchecks import check_measurements
from analysis.verdicts import Status, Verdict, judge

__all__ = [
    "CAUSES",
    "RUNGS",
    "Inversion",
    "Status",
    "Verdict",
    "check_measurements",
    "compare_growth",
    "envelope",
    "inversions",
    "judge",
    "slack",
    "step_limits",
    "summarise",
]
