"""The monitor as a callback of Transformers' trainer."""

from __future__ import annotations

from typing import Any

from probes.errors import InputError
from probes.monitor.monitor import Monitor

try:
    from transformers import TrainerCallback
except ModuleNotFoundError as missing:
    raise InputError("Transformers is not there: pip install 'deep-relative-trust[hf]'") from missing

__all__ = ["MonitorCallback"]


class MonitorCallback(TrainerCallback):  # type: ignore[misc, unused-ignore]
    """``Trainer(callbacks=[MonitorCallback(log="run.jsonl", held=batch)])``; arguments are :class:`Monitor`'s.

    Attributes:
        monitor: of the training that goes on or was the last; None before the first.
    """

    def __init__(self, **arguments: Any) -> None:
        """Keep them until the training starts."""
        self.monitor: Monitor | None = None
        self._arguments = arguments

    def on_train_begin(self, args: Any, state: Any, control: Any, **given: Any) -> None:
        """Watch the model, on its device."""
        self.monitor = Monitor(given["model"], **self._arguments)

    def on_step_end(self, args: Any, state: Any, control: Any, **given: Any) -> None:
        """A step of the optimiser."""
        if self.monitor is not None:
            self.monitor.step(state.global_step)

    def on_train_end(self, args: Any, state: Any, control: Any, **given: Any) -> None:
        """End the log."""
        if self.monitor is not None:
            self.monitor.close()
