"""The monitor: relative updates, deep relative trust and step limits in somebody's own training loop."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from importlib.metadata import version
from types import TracebackType
from typing import Any

import torch
from torch import Tensor, nn

from analysis.documents import limit_rows
from analysis.step_limits import step_limits
from analysis.wording import count_of, number
from probes.choices import check_count
from probes.data.dataset import DataSet, data_of
from probes.data.losses import Loss
from probes.errors import InputError, mention, shown
from probes.limits import measure_network_limits
from probes.measures.settings import SliceSettings
from probes.monitor.cost import Cadence, Cost
from probes.monitor.sinks import Log, Record, Sink, sinks_of
from probes.monitor.updates import Updates
from probes.slices.slice import measure_slice
from trust.measurements import SMALL_ETA

__all__ = ["Monitor"]

_SEEN = 0.7
"""About what share of its cost the monitor's clock sees: the training has to fill its caches again, too."""
_TIMES_THE_CHECK = 5
"""About how many times as long as its check a measurement of limits takes."""
_CLOCKS = {"processor": "processor's clock", "wall": "clock on the wall"}
_LONGEST_PAUSE = 10**9  # steps


class Monitor:
    """Log each layer's relative update, deep relative trust and the step limits while a network trains.

    Call :meth:`step` after each step of the optimiser. The training is left exactly as it would have been: no
    parameter, buffer, gradient, hook, mode or random state changes. It keeps one copy of the weight matrices that can
    move.

    A record of updates has each weight matrix's ‖ΔW‖_F/‖W‖_F over one step, W being before it, and deep relative trust
    of that step, as ``probe distance`` has them between checkpoints saved before and after it. A record of limits has
    what ``probe limit --json`` says of a checkpoint saved then, on the data held out for it.

    By default each is made as often as its half of ``budget`` allows (all of it where no data are held), with room for
    what no clock of the monitor sees, and after the thousandth step at least a thousandth of the training apart; with
    ``updates_every`` and ``every`` at these steps, whatever it costs. The first record of updates is made at once and
    paid back. In a training of several processes the first one's monitor records, and the others' do nothing.

    >>> import probes, tempfile, torch
    >>> network, x, y = torch.nn.Linear(4, 3), torch.randn(30, 4), torch.arange(30) % 3
    >>> optimizer = torch.optim.SGD(network.parameters(), lr=0.1)
    >>> log = tempfile.mkdtemp() + "/run.jsonl"
    >>> with probes.Monitor(network, log=log, held=(x, y), every=5, updates_every=1) as monitor:
    ...     for _ in range(10):
    ...         optimizer.zero_grad()
    ...         torch.nn.functional.cross_entropy(network(x), y).backward()
    ...         _ = optimizer.step()
    ...         monitor.step()
    >>> found = probes.read_log(log)
    >>> dict(found.sizes)
    {'step': 10, 'layer': 1, 'limit_step': 2}
    """

    def __init__(
        self,
        network: nn.Module,
        *,
        log: Log | Iterable[Log],
        held: Any = None,
        loss: str | Loss | Callable[..., Tensor] | None = None,
        every: int | None = None,
        updates_every: int | None = None,
        budget: float = 0.05,
        settings: SliceSettings | None = None,
        clock: Callable[[], float] | None = None,
    ) -> None:
        """Check what is given, the network on the held examples too.

        Args:
            network: that is trained; wrapped in DistributedDataParallel, DataParallel or compiled it is watched as it
                was before.
            log: the name of a JSON Lines file, which is continued where it is there and which ``probe report`` draws;
                an object with ``add_scalar`` (TensorBoard) or ``log`` (Weights & Biases); or a list of these.
            held: inputs and targets, or data in any form that :func:`probes.read_batches` reads, for the step limits;
                None for no limits.
            loss: as :func:`probes.measure_slice` takes it.
            every: steps from one measurement of the limits to the next; None: as the budget allows.
            updates_every: steps from one record of updates to the next; None likewise.
            budget: what share of the training's own time may be spent.
            settings: how limits are measured; on the network's device if these are None.
            clock: seconds, in place of the processor's (on an accelerator, the wall's).

        Raises:
            InputError: it names what cannot be used.
        """
        if not isinstance(network, nn.Module):
            raise InputError(f"network: is a {type(network).__name__}, not a torch module")
        if not 0 < budget <= 1:
            raise InputError(
                f"{mention('budget', budget)}: must be a share of the training's time, above 0, at most 1"
            )
        for name, count in (("every", every), ("updates_every", updates_every)):
            if count is not None:
                check_count(name, count, 1, _LONGEST_PAUSE)
        if every is not None and held is None:
            raise InputError(
                f"{mention('every', every)}: is of the step limits; give `held`, examples to see them on"
            )
        self._network = _watched(network)
        self._settings, self._loss = settings, loss
        self._step = 0
        self._open = _rank() == 0
        share = _SEEN * (budget if held is None else budget / 2)
        self._updating = Cadence(updates_every, share, kind="relative updates")
        self._limiting = Cadence(every, share, kind="step limits")
        self._cost = Cost(self._device(), clock)
        self._updates = Updates(self._network)
        self._held: DataSet | None = None
        self._sinks: list[Sink] = []
        if not self._open:
            return
        with self._cost.counted():
            if held is not None:
                self._hold(held)
            self._sinks = sinks_of(log)
            if updates_every == 1:
                self._updates.keep()
        about = "none" if self._held is None else f"{len(self._held)} examples"
        self._write(
            {"monitor": f"deep-relative-trust {version('deep-relative-trust')}", "held": about}
            | {"clock": self._cost.clock}
        )

    def step(self, step: int | None = None) -> None:
        """Record what is due, after a step of the optimiser (with accumulated gradients once a step of it).

        What fails here is said in a warning and in the log, ends records of its kind, and never the training.

        Args:
            step: its number; None: one more than the last.
        """
        self._step = self._step + 1 if step is None else step
        if not self._open:
            return
        self._cost.begin()
        if self._updates.fresh:
            with self._recording(self._updating):
                found = self._updates.since()
                self._write({"relative_update": found.layers, "deep_relative_trust": found.distance})
        if self._held is not None and self._limiting.due(self._step, self._cost):
            with self._recording(self._limiting):
                self._write({"limits": self._limits(self._held)})
        if self._updating.due(self._step + 1, self._cost):
            with self._surviving(self._updating), self._cost.counted(self._updating):
                self._updates.keep()

    @property
    def cost(self) -> float | None:
        """The monitor's time over the training's own, since the first step; None before there was any."""
        return self._cost.share

    def close(self) -> str:
        """End the log.

        Returns:
            What was recorded and what that cost, a sentence.
        """
        share, cost = self._cost.share, self._cost
        percent = "–" if share is None else f"{number(100 * share, 2)} %"
        said = (
            f"{count_of(self._updating.count, 'record')} of relative updates and {self._limiting.count} of step limits"
            f" in {count_of(self._step, 'step')} took {percent} of the training's own time"
            f" ({number(cost.spent, 2)} of {number(cost.training, 2)} s by the {_CLOCKS[cost.clock]}, and"
            f" {number(cost.setup, 2)} s before it)"
        )
        if self._held is not None and self._limiting.every is None and self._limiting.count == 0:
            said += "; for step limits within the budget it was too short: give `every`, a number of steps"
        if self._open:
            self._write({"closed": said})
            self._open = False
            for sink in self._sinks:
                sink.close()
        return said

    def __enter__(self) -> Monitor:
        """The monitor itself."""
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """End the log, by whatever way out."""
        self.close()

    def _hold(self, held: Any) -> None:
        """Read the held data and see that network and loss take them; where time decides, time it.

        Raises:
            InputError: they do not.
        """
        self._held = data_of(*(held if isinstance(held, tuple) and len(held) == 2 else (held,)))
        self._check(self._held)  # the first time with all that is loaded and settled once
        if self._limiting.every is None:
            before = self._cost.now()
            self._check(self._held)
            self._limiting.expected = _TIMES_THE_CHECK * (self._cost.now() - before)

    def _check(self, data: DataSet) -> None:
        """The loss and its gradient, as of any slice, at one η.

        Raises:
            InputError: they cannot be had.
        """
        chosen = replace(
            self._chosen(),
            etas=[0.0, SMALL_ETA],
            limit=False,
            curvature=None,
            spectra="none",
            split="none",
            ladder=False,
            spot_check=False,
        )
        with self._plainly():
            measure_slice(self._network, data, settings=chosen, loss=self._loss)

    def _limits(self, data: DataSet) -> Record:
        """What ``probe limit --json`` says of a checkpoint saved now."""
        with self._plainly():
            found = measure_network_limits(self._network, data, settings=self._chosen(), loss=self._loss)
        (row,) = limit_rows(found, step_limits(found))
        return {name: value for name, value in row.items() if name != "checkpoint"}

    @contextmanager
    def _plainly(self) -> Iterator[None]:
        """Whatever the training's step stands in: gradients can be had, in the settings' precision."""
        kind = self._device().type
        with torch.inference_mode(False), torch.enable_grad(), torch.autocast(kind, enabled=False):
            yield

    def _chosen(self) -> SliceSettings:
        return SliceSettings(device=str(self._device())) if self._settings is None else self._settings

    def _device(self) -> torch.device:
        return next((one.device for one in self._network.parameters()), torch.device("cpu"))

    @contextmanager
    def _recording(self, cadence: Cadence) -> Iterator[None]:
        """Count a record that is made inside, and what it takes."""
        with self._surviving(cadence):
            with self._cost.counted(cadence):
                yield
            cadence.made(self._step)

    @contextmanager
    def _surviving(self, cadence: Cadence) -> Iterator[None]:
        """Say what fails inside, and end this kind of record rather than the training."""
        try:
            yield
        except Exception as error:
            cadence.ended = True
            said = shown(" ".join(f"no more {cadence.kind}: {type(error).__name__}: {error}".split()))
            warnings.warn(f"probes.Monitor: at step {self._step}: {said}", RuntimeWarning, stacklevel=2)
            self._write({"failed": said})

    def _write(self, record: Record) -> None:
        """Into each sink; one that fails gets no more."""
        share = self._cost.share
        record = {**record, **({} if share is None else {"monitor_cost": share})}
        for sink in [*self._sinks]:
            try:
                sink.write(self._step, record)
            except Exception as error:
                self._sinks.remove(sink)
                warnings.warn(
                    f"probes.Monitor: no more records in {sink}: {type(error).__name__}: {error}",
                    RuntimeWarning,
                    stacklevel=2,
                )


def _watched(network: nn.Module) -> nn.Module:
    """The network in its wrappers.

    Raises:
        InputError: each process has but a part of it.
    """
    while True:
        inner = network
        if isinstance(network, nn.DataParallel | nn.parallel.DistributedDataParallel):
            inner = network.module
        inner = getattr(inner, "_orig_mod", inner)  # of torch.compile
        if inner is network:
            break
        network = inner
    sharded = any(type(module).__name__ == "FullyShardedDataParallel" for module in network.modules())
    if sharded or any(hasattr(parameter, "placements") for parameter in network.parameters()):
        raise InputError(
            "network: its parameters are spread over processes (FSDP, tensor parallelism), so that none can see a whole"
            " matrix; save checkpoints and use `probe distance` and `probe limit`"
        )
    return network


def _rank() -> int:
    """This process's number among those that train together."""
    distributed = torch.distributed
    return distributed.get_rank() if distributed.is_available() and distributed.is_initialized() else 0
