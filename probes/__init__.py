"""Freeze a network, perturb it relatively, and measure: data flows from here to ``analysis`` and ``figures``.

* one network in Python, with data and a loss in any form: :func:`measure_slice`, with :class:`SliceSettings`
* checkpoints into a folder: :func:`measure_run`, with a :class:`Source`, and :func:`load`, which joins what is there
* files from outside: :func:`read_checkpoint`, :func:`read_batches`
* a measure of one's own: :class:`Measure`, made for a :class:`Frozen` network, fed each :class:`Point`
* whatever cannot be used: :class:`InputError`, a line that says what to do

>>> import probes, torch
>>> _ = torch.manual_seed(0)
>>> network = torch.nn.Sequential(torch.nn.Linear(4, 8), torch.nn.ReLU(), torch.nn.Linear(8, 3))
>>> x, y = torch.randn(30, 4), torch.arange(30) % 3
>>> settings = probes.SliceSettings(etas=[0, 0.001, 0.01])
>>> found = probes.measure_slice(network, x, y, settings=settings)
>>> found.gradient_change.dims
('checkpoint', 'eta', 'layer')
>>> bool(found.gradient_change[0, 1, 0] < found.gradient_change[0, 2, 0])
True

``import probes`` is light; the heavy parts load when they are first used.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from probes.checkpoints.checkpoint import read_checkpoint as read_checkpoint
    from probes.data.loaders import read_batches as read_batches
    from probes.errors import InputError as InputError
    from probes.measures.measure import Frozen as Frozen
    from probes.measures.measure import Measure as Measure
    from probes.measures.measure import Point as Point
    from probes.measures.settings import SliceSettings as SliceSettings
    from probes.runs.results import load as load
    from probes.runs.run import measure_run as measure_run
    from probes.runs.source import Source as Source
    from probes.slices.slice import measure_slice as measure_slice

_HOMES = {
    "Frozen": "measures.measure",
    "InputError": "errors",
    "Measure": "measures.measure",
    "Point": "measures.measure",
    "SliceSettings": "measures.settings",
    "Source": "runs.source",
    "load": "runs.results",
    "measure_run": "runs.run",
    "measure_slice": "slices.slice",
    "read_batches": "data.loaders",
    "read_checkpoint": "checkpoints.checkpoint",
}

__all__ = [*_HOMES]


def __getattr__(name: str) -> Any:
    """Import a public name from its home on first use."""
    if name in _HOMES:
        return getattr(importlib.import_module(f"probes.{_HOMES[name]}"), name)
    raise AttributeError(f"module 'probes' has no attribute {name!r}")


def __dir__() -> list[str]:
    return [*globals(), *__all__]
