"""The registry of claims: what can be tested, its source, its premises and both of its sides.

Each module beside this one that does not start with an underscore holds claims; other distributions add
theirs through the entry-point group ``trust.claims``, whose entries name a :class:`Claim` or a list of them.
Nothing else is needed.
"""

from __future__ import annotations

import importlib
import pkgutil
from importlib.metadata import entry_points

from trust.claims._claim import Claim, Measurements, Premise
from trust.claims._forms import Condition, Form, Trial
from trust.claims._ladder_premises import LINEAR, LIPSCHITZ, RELU, SMALL_RHO, ZERO_AT_ZERO
from trust.claims._premises import CHAIN, INJECTIVE, NO_BIASES, TRANSMISSION
from trust.claims._quantities import log10, output_change, output_change_allowance, perturbed, weights

__all__ = [
    "CHAIN",
    "INJECTIVE",
    "LINEAR",
    "LIPSCHITZ",
    "NO_BIASES",
    "RELU",
    "SMALL_RHO",
    "TRANSMISSION",
    "ZERO_AT_ZERO",
    "Claim",
    "Condition",
    "Form",
    "Measurements",
    "Premise",
    "Trial",
    "all_claims",
    "log10",
    "output_change",
    "output_change_allowance",
    "perturbed",
    "weights",
]


def all_claims() -> dict[str, Claim]:
    """Every claim that is installed, by its id, ours first.

    Raises:
        ValueError: two claims share an id, or an entry point names something else than a claim.
    """
    found: dict[str, Claim] = {}
    for info in sorted(pkgutil.iter_modules(__path__), key=lambda info: info.name):
        if not info.name.startswith("_"):
            for value in vars(importlib.import_module(f"{__name__}.{info.name}")).values():
                if isinstance(value, Claim):
                    _add(found, value, info.name)
    found = dict(sorted(found.items(), key=lambda item: item[1].number))
    for entry in entry_points(group="trust.claims"):
        loaded = entry.load()
        for value in loaded if isinstance(loaded, list | tuple) else [loaded]:
            if not isinstance(value, Claim):
                raise ValueError(
                    f"entry point {entry.name} ({entry.value}) is a {type(value).__name__}, not a Claim"
                )
            _add(found, value, entry.value)
    return found


def _add(found: dict[str, Claim], claim: Claim, place: str) -> None:
    if claim.id in found and found[claim.id] is not claim:
        raise ValueError(f"{place}: a claim named {claim.id} is there already")
    found[claim.id] = claim
