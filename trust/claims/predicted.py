"""The step limit that is predicted from two gradients: an estimate, made safe by losses."""

from __future__ import annotations

from trust import measurements as variables
from trust.claims.claim import Claim, Kind
from trust.claims.quantities import log10

__all__ = ["PREDICTED_LIMIT"]

PREDICTED_LIMIT = Claim(
    id="predicted-limit",
    source="this toolkit: two gradients and a few losses; the limit itself is 2 over the critical sharpness of"
    " arXiv 2601.16979, in relative units",
    statement="the loss is back at its start, 𝓛(η) = 𝓛(0), near the η that two gradients predict, and not before it",
    formula=r"\mathcal{L}(\eta) = \mathcal{L}(0) \text{ near the } \eta \text{ that two gradients predict}",
    left="the predicted limit, against the measured one",
    measured=lambda measurements: log10(measurements[variables.PREDICTED_LIMIT]),
    bound=lambda measurements: log10(measurements[variables.STEP_LIMIT]),
    kind=Kind.ESTIMATE,
    needs=(variables.PREDICTED_LIMIT, variables.STEP_LIMIT),
    add="the search for the step limit (leave out `limit=False`)",
    number=61,
    subject="step",
)
