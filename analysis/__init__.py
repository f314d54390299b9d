"""Measurements and claims joined into verdicts; no network is loaded here.

* verdicts: for each claim and checkpoint whether its premises and its inequality hold
* constants: what the constant that the theory drops really is
* limits: the step limits side by side
* growth: which model of trust explains the slice
* selfchecks: what must hold of any correct measurement
* envelopes: a claim's two sides, ready to draw
"""

from analysis.constants import summarise
from analysis.envelopes import envelope
from analysis.growth import compare_growth
from analysis.limits import step_limits
from analysis.selfchecks import check_measurements
from analysis.verdicts import Status, Verdict, judge

__all__ = [
    "Status",
    "Verdict",
    "check_measurements",
    "compare_growth",
    "envelope",
    "judge",
    "step_limits",
    "summarise",
]
