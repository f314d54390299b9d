"""What a claim is."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from enum import Enum

import xarray as xr

from trust.claims.forms.trial import Form

__all__ = ["Claim", "Kind", "Measurements", "Premise", "Quantity"]

Measurements = xr.Dataset
"""Labelled measurements with dims ``checkpoint``, ``eta``, ``layer``, ``example``; see docs/reference/variables.md."""

Quantity = Callable[[Measurements], xr.DataArray]
"""Measurements to numbers, labelled with at least ``checkpoint``."""


class Kind(Enum):
    """What a claim is, and so what measurements can say against it: only a theorem or a lemma can be refuted."""

    THEOREM = "theorem"
    LEMMA = "lemma"
    MODEL = "model"
    """A modelling assumption, with one constant: it fits within a factor, or is off by one."""
    ESTIMATE = "estimate"
    """A number that is near the measured one, or far from it."""
    RULE = "rule"
    """A theorem's conclusion, used where its premise is not known to hold."""


@dataclass(frozen=True)
class Premise:
    """One condition of a claim.

    Attributes:
        name: short, in words.
        statement: what must be true.
        check: measurements to booleans, or to 1, 0 and NaN where the measurements cannot tell; labelled with
            ``checkpoint`` and any dims that the truth depends on.
        needs: variables without which it cannot be checked.
        add: what to add to the run so that the measurements can tell; settings as Python spells them, between
            backticks: ```jacobian=N```, which the command shows as its option.
        gates: whether the claim says nothing where it fails. A rule shows the premise of the theorem that it was
            taken from, and is judged without it.
    """

    name: str
    statement: str
    check: Quantity
    needs: tuple[str, ...] = ()
    add: str = ""
    gates: bool = True


@dataclass(frozen=True)
class Claim:
    """An inequality measured ≤ bound, with the premises under which it is claimed.

    An estimate claims measured ≈ bound instead: its own number is on the left, the measured one on the right.

    Attributes:
        id: the name under which it is reported.
        source: who says so, and where.
        statement: the inequality, in words and symbols.
        formula: the statement's mathematics in LaTeX, for pages: without dollars, lines parted by a double
            backslash. Where it is empty they show the statement. ``dataclasses.replace`` keeps it: a claim that is
            made so and states something else gives its own.
        left: what is measured, in words.
        measured: log10 of the left side; −inf where nothing changed, NaN where it is no evidence.
        bound: log10 of the right side; +inf where nothing is claimed.
        kind: theorem, lemma, model, estimate or rule: it decides in which words the claim is judged.
        premises: empty for a model that is offered without any.
        needs: variables without which it is not measured.
        add: what to add to the run to have them, as of a premise.
        evidence: what it takes where they were measured and tell nothing; None: the same.
        log10_constant: log10 of the constant that the claim multiplies with, or that would save it.
        log10_allowance: by how much, in log10, the measurement's own noise may have raised measured/bound: a
            breach that is no larger refutes nothing. None: rounding in float64 alone.
        trivial: log10 of what the triangle inequality alone says of the left side: a bound above it is useless.
        number: place in lists.
        subject: what the left side speaks of: ``function`` for the relative change of the output (drawn on the
            ladder), ``jacobian``, ``gradient``, ``loss``, ``input``, ``step`` or ``weights``.
        proved: whether a proof under the premises is known: a breach then means a fault in the measurement.
        mended_by: id of the nearest claim that survives, where this one is refuted as restated.
        mend: the premise or change that makes the difference.
        trajectory: whether it speaks of a whole training run: then what both sides and the premises say of its
            checkpoints is judged together, and there is one verdict, of no checkpoint.
        form: the claim on one small network, in any arithmetic, so that it can be searched by gradients and
            its counterexamples certified; without it the falsifier uses both sides above.
    """

    id: str
    source: str
    statement: str
    left: str
    measured: Quantity
    bound: Quantity
    kind: Kind = Kind.THEOREM
    premises: tuple[Premise, ...] = ()
    needs: tuple[str, ...] = ()
    add: str = ""
    log10_constant: Quantity | None = None
    log10_allowance: Quantity | None = None
    trivial: Quantity | None = None
    number: int = 1000
    subject: str = "function"
    proved: bool = False
    mended_by: str = ""
    mend: str = ""
    trajectory: bool = False
    form: Form | None = None
    evidence: str | None = None
    formula: str = ""
