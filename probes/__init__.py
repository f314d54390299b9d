"""Freeze a network, perturb it relatively, and measure: data flows from here to ``analysis`` and ``figures``.

* one network in Python, with data and a loss in any form: :func:`measure_slice`, with :class:`SliceSettings`
* checkpoints into a folder: :func:`measure_run`, with a :class:`Source`, and :func:`load`, which joins what is there
* the step limits of checkpoints: :func:`measure_limits`, for :func:`analysis.step_limits`
* one's own training, while it goes on: :class:`Monitor`, and :func:`read_log`, which reads what it wrote
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

Whatever the command does is a function too, with the command's options as arguments and its errors as
:class:`InputError`:

    ====================  ==========================================================================================
    ``probe figure1``     :func:`studies.figure1.reproduce`
    ``probe train``       :func:`probes.train`, with :class:`probes.TrainingSettings`
    ``probe layers``      :func:`probes.layers`
    ``probe run``         :func:`probes.measure_run`, with :class:`probes.Source` and :class:`probes.SliceSettings`
    ``probe report``      :func:`probes.report`
    ``probe limit``       :func:`probes.measure_limits`, then :func:`analysis.step_limits`
    ``probe study``       :func:`studies.frame.run_study`
    ``probe compare``     :func:`probes.compare`
    ``probe distance``    :func:`probes.distance`
    ``probe claims``      :func:`trust.claims.all_claims`
    ``probe falsify``     :func:`analysis.falsify`, of a witness :func:`analysis.replay`
    ``probe export``      :func:`probes.export`
    ``probe playground``  :func:`probes.playground.opening.open_playground`
    ====================  ==========================================================================================

``import probes`` is light; the heavy parts load when they are first used.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from probes.checkpoints.checkpoint import read_checkpoint as read_checkpoint
    from probes.checkpoints.distance import distance as distance
    from probes.cli.comparisons import compare as compare
    from probes.cli.reports import report as report
    from probes.data.loaders import read_batches as read_batches
    from probes.errors import InputError as InputError
    from probes.limits import measure_limits as measure_limits
    from probes.measures.measure import Frozen as Frozen
    from probes.measures.measure import Measure as Measure
    from probes.measures.measure import Point as Point
    from probes.measures.settings import SliceSettings as SliceSettings
    from probes.monitor.log import read_log as read_log
    from probes.monitor.monitor import Monitor as Monitor
    from probes.runs.export import export as export
    from probes.runs.layers import layers as layers
    from probes.runs.results import load as load
    from probes.runs.run import measure_run as measure_run
    from probes.runs.source import Source as Source
    from probes.runs.training import train as train
    from probes.runs.training_settings import TrainingSettings as TrainingSettings
    from probes.slices.slice import measure_slice as measure_slice

_HOMES = {
    "Frozen": "measures.measure",
    "InputError": "errors",
    "Measure": "measures.measure",
    "Monitor": "monitor.monitor",
    "Point": "measures.measure",
    "SliceSettings": "measures.settings",
    "Source": "runs.source",
    "TrainingSettings": "runs.training_settings",
    "compare": "cli.comparisons",
    "distance": "checkpoints.distance",
    "export": "runs.export",
    "layers": "runs.layers",
    "load": "runs.results",
    "measure_limits": "limits",
    "measure_run": "runs.run",
    "measure_slice": "slices.slice",
    "read_batches": "data.loaders",
    "read_checkpoint": "checkpoints.checkpoint",
    "read_log": "monitor.log",
    "report": "cli.reports",
    "train": "runs.training",
}

__all__ = [*_HOMES]


def __getattr__(name: str) -> Any:
    """Import a public name from its home on first use."""
    if name in _HOMES:
        return getattr(importlib.import_module(f"probes.{_HOMES[name]}"), name)
    raise AttributeError(f"module 'probes' has no attribute {name!r}")


def __dir__() -> list[str]:
    return [*globals(), *__all__]
