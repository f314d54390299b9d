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

__all__ = ["Claim", "Measurements", "Premise", "all_claims"]


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
