"""Which claims are judged: all that are installed, and those of the user's own files."""

from __future__ import annotations

import difflib
from collections.abc import Sequence
from dataclasses import fields, replace
from typing import Any

from probes.errors import InputError, mention
from probes.system.callables import is_callable_spec, load_object, user_code, with_siblings
from trust.claims import Claim, all_claims

__all__ = ["chosen_claims", "claim_named"]


def chosen_claims(specs: Sequence[str] = ()) -> dict[str, Claim]:
    """Every installed claim by id, and those that ``specs`` (``path/to/file.py:name``) add.

    Raises:
        InputError: a spec names no claim, or one whose id is taken; or an installed claim is broken.
    """
    try:
        found = all_claims()
    except Exception as error:  # somebody else's entry point
        raise InputError(f"an installed claim cannot be used: {error}") from error
    for spec in specs:
        claim = _load(spec, "claim")
        if claim.id in found:
            raise InputError(f"--claim {spec}: there is a claim {claim.id} already; give yours another id")
        found[claim.id] = claim
    return found


def claim_named(name: str, specs: Sequence[str] = ()) -> Claim:
    """A claim by its id, or by ``path/to/file.py:name``.

    Raises:
        InputError: there is none of that name; the message has the nearest one.
    """
    claims = chosen_claims(specs)
    if name in claims:
        return claims[name]
    if is_callable_spec(name):
        return _load(name, "CLAIM")
    near = difflib.get_close_matches(name, claims, n=1)
    hint = f"did you mean {near[0]}?" if near else "probe claims lists them all"
    raise InputError(f"CLAIM {name}: there is no such claim; {hint}")


def _load(spec: str, option: str) -> Claim:
    claim = load_object(spec, option=option)
    if not isinstance(claim, Claim):
        what = "nothing" if claim is None else f"a {type(claim).__name__}"
        raise InputError(f"{mention(option, spec)}: that is {what}, not a trust.claims.Claim")

    def own(part: Any) -> Any:
        found = with_siblings(part, spec)  # intervals and small networks have answers to a division by zero
        return part if found is part else user_code("claim", spec, passing=(ArithmeticError,))(found)

    sides = {field.name: own(getattr(claim, field.name)) for field in fields(claim)}
    checks = [(premise, own(premise.check)) for premise in claim.premises]
    # a premise of ours is known by what it is, and stays
    premises = tuple(one if one.check is check else replace(one, check=check) for one, check in checks)
    return replace(claim, **{**sides, "premises": premises})
