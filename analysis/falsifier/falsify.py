"""Search for a counterexample to a claim, certify it, and make it short."""

from __future__ import annotations

import math
import time
from collections.abc import Sequence
from dataclasses import dataclass
from fractions import Fraction
from typing import Any

import torch

from analysis.falsifier.certify import CLEAR, Certificate, allowed, certify
from analysis.falsifier.generic import UnsupportedError, form_of
from analysis.falsifier.search import WIDTHS, Candidate, rounds
from analysis.falsifier.shrink import modest, shrink
from analysis.falsifier.witness import to_json
from trust.claims import Claim, Form

__all__ = ["Outcome", "falsify"]

_SLOPES = ("0.1", "0.5")
"""Of leaky ReLU, where none is asked for."""
_BUDGET = 60.0


@dataclass(frozen=True)
class Outcome:
    """What a search came to.

    Attributes:
        claim: id.
        certificate: the counterexample; None where none was certified.
        worst_log10_ratio: the largest log10(measured/bound) that was seen, in floats: the closest approach where
            nothing was found. −inf where no network satisfied the premises.
        trials: how many networks were evaluated.
        seconds: how long it took.
        doubt: why an apparent counterexample could not be certified; empty where there is none.
    """

    claim: str
    certificate: Certificate | None
    worst_log10_ratio: float
    trials: int
    seconds: float
    doubt: str = ""

    def to_json(self, claim: Claim) -> dict[str, Any]:
        """The document that ``probe falsify --json`` prints."""
        ratio = self.worst_log10_ratio
        return {
            "claim": self.claim,
            "witness": None if self.certificate is None else to_json(claim, self.certificate),
            "worst_log10_ratio": ratio if math.isfinite(ratio) else None,
            "certified": self.certificate is not None,
            "trials": self.trials,
            "doubt": self.doubt or None,
        }


def falsify(
    claim: Claim,
    *,
    widths: Sequence[Sequence[int]] | None = None,
    activation: str | None = None,
    seed: int = 0,
    budget: float | None = None,
    most_trials: int | None = None,
    most_rounds: int | None = None,
) -> Outcome:
    """Search small networks that satisfy every premise of a claim for one at which its inequality fails.

    Args:
        claim: what to refute.
        widths: d_0, …, d_L of the networks, and of the counterexample; None for many small ones.
        activation: φ; None for all that the premises allow.
        seed: of the starting points. The same seed finds the same witness, if the budget lets it come that far.
        budget: seconds, kept to within one evaluation; None for a minute, and for any time where trials or rounds
            are limited.
        most_trials: how many networks to evaluate, to within one batch of them.
        most_rounds: how many sets of starting points to go through.

    Raises:
        ValueError: the premises exclude the widths or the activation.
        UnsupportedError: the claim cannot be searched on small networks.
    """
    form = form_of(claim)
    shapes = _shapes(form, widths)
    functions = _functions(form, activation)
    if budget is None:
        budget = _BUDGET if most_trials is None and most_rounds is None else math.inf
    most = (math.inf if limit is None else limit for limit in (most_trials, most_rounds))
    begin = time.monotonic()
    threads = torch.get_num_threads()
    torch.set_num_threads(1)  # the matrices are tiny, and one thread gives the same numbers everywhere
    try:
        return _search(claim, form, shapes, functions, seed, begin, budget, *most, narrower=widths is None)
    finally:
        torch.set_num_threads(threads)


def _search(
    claim: Claim,
    form: Form,
    shapes: list[tuple[int, ...]],
    functions: list[str],
    seed: int,
    begin: float,
    budget: float,
    most_trials: float,
    most_rounds: float,
    *,
    narrower: bool,
) -> Outcome:
    trials, worst, doubt, count = 0, -math.inf, "", 0

    def enough(more: int) -> bool:
        late = time.monotonic() - begin > budget
        return late or trials + more >= most_trials or count >= most_rounds

    for found in rounds(form, widths=shapes, activations=functions, seed=seed, enough=enough):
        trials += found.trials
        try:
            certificate = _certified(form, found.candidates, begin + budget, narrower)
            worst = max(worst, _closest(form, found.candidates))
        except UnsupportedError as error:
            doubt, certificate = str(error), None
            worst = max(worst, found.worst_log10_ratio)
        if certificate is not None:
            return Outcome(claim.id, certificate, worst, trials, time.monotonic() - begin)
        if worst > math.log10(CLEAR) and not doubt:
            doubt = "there are counterexamples, but of numbers that are too long to be written down"
        count += 1
    return Outcome(claim.id, None, worst, trials, time.monotonic() - begin, doubt)


def _certified(
    form: Form, candidates: Sequence[Candidate], until: float, narrower: bool
) -> Certificate | None:
    """The first candidate that stands up to exact arithmetic, those with small steps first."""
    broken = [candidate for candidate in candidates if candidate.log_ratio > math.log(CLEAR)]
    for candidate in sorted(broken, key=lambda candidate: not modest(candidate.numbers)):
        certificate = shrink(
            form, candidate.numbers, enough=lambda: time.monotonic() > until, narrower=narrower
        )
        if certificate is not None:
            return certificate
    return None


def _closest(form: Form, candidates: Sequence[Candidate]) -> float:
    """The largest log10(left/right), where floats say that the inequality fails by exact arithmetic's word."""
    found = -math.inf
    for candidate in candidates:
        ratio = candidate.log_ratio / math.log(10.0)
        if candidate.log_ratio > math.log(CLEAR):
            certificate = certify(form, candidate.numbers)
            if certificate is None or not certificate.holds:
                continue  # rounding made it, or a kink: no evidence
            exact = certificate.ratio
            ratio = math.inf if exact is None else _log10(exact)
        found = max(found, ratio)
    return found


def _log10(ratio: Fraction) -> float:
    """Of fractions that floats cannot hold, too."""
    return math.log10(ratio.numerator) - math.log10(ratio.denominator) if ratio > 0 else -math.inf


def _shapes(form: Form, widths: Sequence[Sequence[int]] | None) -> list[tuple[int, ...]]:
    if widths is None:
        return [shape for shape in WIDTHS if form.widths(shape)]
    shapes = [tuple(shape) for shape in widths]
    if not shapes or any(len(shape) < 2 or min(shape) < 1 for shape in shapes):
        raise ValueError("widths: at least one network of at least two positive numbers, d_0 and d_1")
    for shape in shapes:
        if not form.widths(shape):
            raise ValueError(
                f"widths {','.join(map(str, shape))}: the claim's premises, or their number, exclude them"
            )
    return shapes


def _functions(form: Form, activation: str | None) -> list[str]:
    if activation is not None:
        if not allowed(form, activation):
            known = ", ".join(name + "a" if name.endswith(":") else name for name in form.activations)
            raise ValueError(f"activation {activation}: the claim's premises allow {known}")
        return [activation]
    return [
        name + slope if name.endswith(":") else name
        for name in form.activations
        for slope in (_SLOPES if name.endswith(":") else ("",))
    ]
