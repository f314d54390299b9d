"""The trainings that the study limit-echo compares, as names and values, in words, and as parts of numbers' names."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TypeAlias

__all__ = ["TITLES", "VARIANTS", "Case", "batch_in_words", "case_of", "in_words", "named"]

Case: TypeAlias = Mapping[str, str | int | float]
TITLES = {"fromage": "Fromage", "lars": "LARS", "sgd": "SGD"}
VARIANTS = {"other-batch": "slopes from another batch", "momentum": "along a mean of gradients"}
"""What else the rule is given, with c = 1 and mini-batches."""


def case_of(
    optimizer: str, lr: float, *, batch: int = 0, then: float = 0.0, factor: float = 0.0
) -> dict[str, str | int | float]:
    """Names and values of runs of every depth.

    Args:
        optimizer: its name, or one of :data:`VARIANTS`.
        lr: the step; 0 for the rule, which has its own.
        batch: examples of each step; 0: all.
        then: the step after the switch; 0: none.
        factor: c of the rule; 0: not the rule.
    """
    return {"optimizer": optimizer, "lr": lr, "then": then, "batch": batch, "factor": factor}


def batch_in_words(batch: int) -> str:
    """Of so many examples; 0: of all."""
    return f"batches of {batch}" if batch else "full batch"


def in_words(case: Case) -> str:
    """The case as a heading."""
    batch = batch_in_words(int(case["batch"]))
    if case["factor"]:
        how = VARIANTS.get(str(case["optimizer"]))
        return f"c = {case['factor']:g}, {batch}" + (f", {how}" if how else "")
    then = f" → {case['then']:g}" if case["then"] else ""
    return f"{TITLES[str(case['optimizer'])]} at {case['lr']:g}{then}, {batch}"


def named(case: Case) -> str:
    """The case as the beginning of a number's name."""
    batch = case["batch"] or "full"
    if case["factor"]:
        kind = case["optimizer"] if case["optimizer"] in VARIANTS else "rule"
        return f"{kind}/{case['factor']:g}/{batch}"
    then = f"-to-{case['then']:g}" if case["then"] else ""
    return f"{case['optimizer']}/{case['lr']:g}{then}/{batch}"
