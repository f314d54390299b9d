"""What claims say of measurements, computed once: verdicts, figures and the ladder all ask for the same."""

from __future__ import annotations

from dataclasses import replace

from trust.claims import Claim
from trust.claims.remembering import once

__all__ = ["remembered"]


def remembered(claim: Claim) -> Claim:
    """The same claim, whose sides, allowance and premises are found once for each measurements."""
    allowance = claim.log10_allowance
    return replace(
        claim,
        measured=once(claim.measured),
        bound=once(claim.bound),
        log10_allowance=None if allowance is None else once(allowance),
        premises=tuple(replace(premise, check=once(premise.check)) for premise in claim.premises),
    )
