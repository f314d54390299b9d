"""What claims say of measurements, computed once: verdicts, figures and the ladder all ask for the same."""

from __future__ import annotations

from dataclasses import replace

import xarray as xr

from trust.claims import Claim
from trust.claims.claim import Quantity

__all__ = ["Memory"]


class Memory:
    """Remembers the quantities of claims and premises, for measurements that do not change meanwhile."""

    def __init__(self) -> None:
        """Begin with nothing."""
        self._found: dict[tuple[Quantity, int], tuple[xr.Dataset, xr.DataArray]] = {}

    def of(self, claim: Claim) -> Claim:
        """The same claim, whose sides, allowance and premises are computed once for each measurements."""
        allowance = claim.log10_allowance
        return replace(
            claim,
            measured=self._remembered(claim.measured),
            bound=self._remembered(claim.bound),
            log10_allowance=None if allowance is None else self._remembered(allowance),
            premises=tuple(
                replace(premise, check=self._remembered(premise.check)) for premise in claim.premises
            ),
        )

    def _remembered(self, quantity: Quantity) -> Quantity:
        def once(measurements: xr.Dataset) -> xr.DataArray:
            key = quantity, id(measurements)
            if key not in self._found:
                self._found[key] = measurements, quantity(measurements)  # held, so that its id stays its own
            return self._found[key][1]

        return once
