"""What all studies share: what a study is, its runs shared among processes, intervals over seeds, the page.

It imports the four packages below, and of the studies only their catalogue.
"""

from __future__ import annotations

from studies.frame.finding import find_study
from studies.frame.identity import claim_study
from studies.frame.intervals import Interval, banded, interval
from studies.frame.running import Result, run_study
from studies.frame.study import Conclusion, Coordinates, Study

__all__ = [
    "Conclusion",
    "Coordinates",
    "Interval",
    "Result",
    "Study",
    "banded",
    "claim_study",
    "find_study",
    "interval",
    "run_study",
]
