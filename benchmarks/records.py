"""What stands in a benchmark's JSON: its cases, what is compared with what, and their size in words."""

from __future__ import annotations

from typing import Any

__all__ = ["cases_of", "comparisons", "several", "size_of"]


def cases_of(found: dict[str, Any]) -> list[dict[str, Any]]:
    """The cases; a file of timings alone is one."""
    cases: list[dict[str, Any]] = found.get("cases", [{"case": "", **found}])
    return cases


def comparisons(case: dict[str, Any]) -> list[dict[str, Any]]:
    """Which alternatives are compared with which."""
    if "compared" in case:
        compared: list[dict[str, Any]] = case["compared"]
        return compared
    return [{"of": name, "to": case["baseline"], **ratio} for name, ratio in case.get("ratio", {}).items()]


def size_of(case: dict[str, Any]) -> str:
    """Examples and grid in words."""
    return f"{several(case['examples'], 'example')}, {case['etas']} η"


def several(count: int, noun: str) -> str:
    """The count with its noun."""
    return f"{count:,} {noun}{'' if count == 1 else 's'}"
