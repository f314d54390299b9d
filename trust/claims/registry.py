"""The registry: every claim that is installed, ours and those that other distributions bring along."""

from __future__ import annotations

import difflib
import importlib
import pkgutil
from collections.abc import Iterable
from importlib.metadata import entry_points

from trust.claims.claim import Claim

__all__ = ["all_claims", "claims_of"]

_GROUP = "trust.claims"


def all_claims() -> dict[str, Claim]:
    """Every claim that is installed, by its id, ours first.

    Raises:
        ValueError: two claims share an id, or an entry point names something else than a claim.
    """
    found: dict[str, Claim] = {}
    package = importlib.import_module(__package__)
    for info in sorted(pkgutil.iter_modules(package.__path__), key=lambda info: info.name):
        for value in vars(importlib.import_module(f"{__package__}.{info.name}")).values():
            if isinstance(value, Claim):
                _add(found, value, info.name)
    found = dict(sorted(found.items(), key=lambda item: item[1].number))
    for entry in entry_points(group=_GROUP):
        loaded = entry.load()
        for value in loaded if isinstance(loaded, list | tuple) else [loaded]:
            if not isinstance(value, Claim):
                raise ValueError(
                    f"entry point {entry.name} ({entry.value}) is a {type(value).__name__}, not a Claim"
                )
            _add(found, value, entry.value)
    return found


def claims_of(claims: Iterable[Claim | str] | Claim | str | None = None) -> list[Claim]:
    """The claims that are meant: each as it is or by its id, or one; None means all that are installed.

    Raises:
        ValueError: there is none of that id.
    """
    if claims is None:
        return list(all_claims().values())
    if isinstance(claims, Claim):
        return [claims]
    chosen = [claims] if isinstance(claims, str) else list(claims)
    known = all_claims() if any(isinstance(one, str) for one in chosen) else {}
    for one in chosen:
        if not isinstance(one, Claim) and one not in known:
            near = difflib.get_close_matches(str(one), known, n=1)
            hint = f"did you mean {near[0]}?" if near else "trust.claims.all_claims() has them all"
            raise ValueError(f"{one!r}: there is no such claim; {hint}")
    return [one if isinstance(one, Claim) else known[one] for one in chosen]


def _add(found: dict[str, Claim], claim: Claim, place: str) -> None:
    if claim.id in found and found[claim.id] is not claim:
        raise ValueError(f"{place}: a claim named {claim.id} is there already")
    found[claim.id] = claim
