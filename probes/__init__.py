"""Freeze a network, perturb it relatively, and measure: data flows from here to ``analysis`` and ``figures``.

``import probes`` is light; the heavy parts load when they are first used.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from probes.errors import InputError as InputError
    from probes.runs.results import load as load
    from probes.slices.slice import SliceSettings as SliceSettings
    from probes.slices.slice import measure_slice as measure_slice

_HOMES = {
    "InputError": "probes.errors",
    "SliceSettings": "probes.slices.slice",
    "load": "probes.runs.results",
    "measure_slice": "probes.slices.slice",
}

__all__ = ["InputError", "SliceSettings", "load", "measure_slice"]


def __getattr__(name: str) -> Any:
    """Import a public name from its home on first use."""
    if name in _HOMES:
        return getattr(importlib.import_module(_HOMES[name]), name)
    raise AttributeError(f"module 'probes' has no attribute {name!r}")
