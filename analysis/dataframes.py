"""Verdicts for pandas."""

from __future__ import annotations

import math
from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

from analysis.statuses import Verdict

if TYPE_CHECKING:
    import pandas as pd

__all__ = ["table"]

_WHERE = ("eta", "layer", "example")


def table(verdicts: Iterable[Verdict]) -> pd.DataFrame:
    """A row for each verdict, to be filtered, grouped and joined.

    Args:
        verdicts: of :func:`analysis.judge`.

    Returns:
        The columns ``claim``, ``kind``, ``checkpoint``, ``status`` and ``words``; ``premises_failing`` and
        ``premises_unknown``, names with commas between; the numbers of :class:`analysis.Verdict` (NaN where there is
        none, log10 where the name says so, and ``constant``, inf beyond 1e300); where the worst ratio is, as
        ``worst_eta``, ``worst_layer`` and ``worst_example``; and ``remark``.
    """
    import pandas as pd

    return pd.DataFrame([_row(verdict) for verdict in verdicts], columns=_COLUMNS)


_COLUMNS = [
    "claim",
    "kind",
    "checkpoint",
    "status",
    "words",
    "premises_failing",
    "premises_unknown",
    "holds_fraction",
    "worst_log10_ratio",
    "median_log10_ratio",
    "least_log10_ratio",
    *(f"worst_{place}" for place in _WHERE),
    "good_to",
    "constant",
    "log10_constant",
    "remark",
]


def _row(verdict: Verdict) -> dict[str, Any]:
    def premises(truth: bool | None) -> str:
        return ", ".join(name for name, holds in verdict.premises.items() if holds is truth)

    own = {name: getattr(verdict, name) for name in _COLUMNS if hasattr(verdict, name)}
    return own | {
        "kind": verdict.kind.value,
        "status": verdict.status.value,
        "premises_failing": premises(False),
        "premises_unknown": premises(None),
        "constant": math.inf if verdict.log10_constant >= 300 else 10.0**verdict.log10_constant,
        **{f"worst_{place}": verdict.worst_at.get(place, math.nan) for place in _WHERE},
    }
