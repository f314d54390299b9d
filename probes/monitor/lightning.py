"""The monitor as a callback of Lightning's trainer."""

from __future__ import annotations

from typing import Any

from probes.errors import InputError
from probes.monitor.monitor import Monitor

try:
    from lightning.pytorch import Callback
except ModuleNotFoundError as missing:
    raise InputError("Lightning is not there: pip install 'deep-relative-trust[lightning]'") from missing

__all__ = ["MonitorCallback"]


class MonitorCallback(Callback):  # type: ignore[misc, unused-ignore]
    """``Trainer(callbacks=[MonitorCallback(log="run.jsonl", held=(x, y))])``; arguments are :class:`Monitor`'s.

    Attributes:
        monitor: of the training that goes on or was the last; None before the first.
    """

    def __init__(self, **arguments: Any) -> None:
        """Keep them until the training starts."""
        self.monitor: Monitor | None = None
        self._arguments = arguments

    def on_train_start(self, trainer: Any, pl_module: Any) -> None:
        """Watch the module, on its device."""
        self._last = trainer.global_step
        self.monitor = Monitor(pl_module, **self._arguments)

    def on_train_batch_end(self, trainer: Any, *_: Any) -> None:
        """A step, where this batch ended one of the optimiser."""
        if self.monitor is not None and trainer.global_step != self._last:
            self._last = trainer.global_step
            self.monitor.step(trainer.global_step)

    def on_train_end(self, *_: Any) -> None:
        """End the log."""
        if self.monitor is not None:
            self.monitor.close()

    on_exception = on_train_end
