"""Several processes that share one run: each takes a part of the examples, and sums are over all of them.

``torchrun`` starts the processes and says who they are; :mod:`torch.distributed` carries what they tell each other,
by gloo between CPUs and by NCCL between GPUs.
"""

from __future__ import annotations

import itertools
import math
import os
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import timedelta
from typing import Any, TypeVar

import torch
import torch.distributed as dist
from torch import Tensor
from torch.distributed.distributed_c10d import PrefixStore, Store
from torch.distributed.rendezvous import rendezvous

from probes.errors import InputError, PeerLostError, mention
from probes.system.failures import FailureHandler, StoppedError

__all__ = ["ALONE", "Share", "from_environment", "padded", "started_by_torchrun"]

T = TypeVar("T")

_VARIABLES = ("RANK", "WORLD_SIZE", "LOCAL_RANK", "MASTER_ADDR", "MASTER_PORT")
_PATIENCE = timedelta(days=1)
"""How long a process waits for another, which may be hashing or measuring: a dead one is seen by its closed
connection, however long this is."""
_MEETING = timedelta(minutes=10)
"""How long processes wait for each other before they have met, when nothing yet tells a dead one from a late one."""
_MEETINGS = itertools.count()
"""How often this process has met the others: each time needs names of its own in what they can all write to."""
_SMALL = 2**18
"""Tensors of at most so many values travel together: fewer messages, at the price of a copy."""


@dataclass(frozen=True)
class Share:
    """This process among those that share a run. All call the same methods in the same order.

    Attributes:
        rank: which of them, from 0.
        size: how many there are; with one alone nothing is sent.
    """

    rank: int = 0
    size: int = 1

    def part(self, count: int) -> slice:
        """This process's neighbours of ``count`` things; empty where there are fewer things than processes."""
        return slice(count * self.rank // self.size, count * (self.rank + 1) // self.size)

    def sum_(self, tensors: Iterable[Tensor]) -> None:
        """Replace every tensor by its sum over the processes, which is the same to the last bit on all of them."""
        if self.size == 1:
            return
        small: dict[tuple[torch.dtype, torch.device], list[Tensor]] = {}
        for tensor in tensors:
            if tensor.numel() <= _SMALL:
                small.setdefault((tensor.dtype, tensor.device), []).append(tensor)
            else:
                _copied(tensor, self._summed(tensor.contiguous()))
        for group in small.values():
            total = self._summed(torch.cat([tensor.reshape(-1) for tensor in group]))
            parts = torch.split(total, [tensor.numel() for tensor in group])
            for tensor, part in zip(group, parts, strict=True):
                _copied(tensor, part.view(tensor.shape))

    def _summed(self, tensor: Tensor) -> Tensor:
        with _speaking():
            dist.all_reduce(tensor)
        return tensor

    def gather(self, rows: Tensor) -> Tensor:
        """All processes' rows (k_r, w_r) one behind the other, (Σ k_r, max w_r), zeros behind the shorter."""
        if self.size == 1:
            return rows
        shapes = [torch.zeros(2, dtype=torch.int64) for _ in range(self.size)]
        with _speaking():
            dist.all_gather(shapes, torch.tensor(rows.shape))
        parts = []
        for rank, shape in enumerate(shapes):
            count, width = shape.tolist()
            if count == 0:
                continue
            part = rows.contiguous() if rank == self.rank else rows.new_empty(count, width)
            self._copy(part, rank)
            parts.append(part)
        return padded(parts) if parts else rows

    def copy_(self, tensors: Iterable[Tensor]) -> None:
        """Replace every tensor by the first process's, where theirs might differ in rounding."""
        if self.size > 1:
            for tensor in tensors:
                sent = tensor.contiguous()
                self._copy(sent, 0)
                _copied(tensor, sent)

    def same(self, value: float) -> float:
        """The first process's number on all of them, so that they decide alike."""
        if self.size == 1:
            return value
        sent = torch.tensor(value, dtype=torch.float64)
        self._copy(sent, 0)
        return float(sent)

    def _copy(self, tensor: Tensor, rank: int) -> None:
        with _speaking():
            dist.broadcast(tensor, rank)

    def led(self, search: Callable[[Callable[[float], float]], T], function: Callable[[float], float]) -> T:
        """What ``search`` finds of a function that all processes evaluate together: the first leads.

        Args:
            search: asks for values of a function and decides by them where to ask next.
            function: what it asks for; called with the same numbers on all processes, none of them NaN.
        """
        if self.size == 1:
            return search(function)
        if self.rank > 0:
            while not math.isnan(at := self.same(math.nan)):
                function(at)
            return self._first_of([])
        found = search(lambda at: function(self.same(at)))
        self.same(math.nan)
        return self._first_of([found])

    def together(self, work: Callable[[], T]) -> T:
        """Do the same work on all processes; what one of them cannot use ends all.

        Raises:
            InputError: the first that any process met, on all of them.
        """
        if self.size == 1:
            return work()
        outcome: list[T] = []
        line: str | None = None
        try:
            outcome.append(work())
        except InputError as error:
            line = str(error)
        for met in self._each(line):
            if met is not None:
                raise InputError(met)
        return outcome[0]

    def first(self, work: Callable[[], T]) -> T:
        """What the first process finds, while the others wait for it.

        Raises:
            InputError: what it met, on all of them.
        """
        return self._first_of(self.together(lambda: [work()] if self.rank == 0 else []))

    def agree(self, what: Mapping[str, str], *, remedy: str) -> None:
        """See that all processes read the same.

        Args:
            what: names of things to their digests.
            remedy: what to do where one differs.

        Raises:
            InputError: it names the first that differs.
        """
        for others in self._each(dict(what)):
            for name, digest in what.items():
                if others[name] != digest:
                    raise InputError(f"the processes do not have the same {name}; {remedy}")

    def wait(self) -> None:
        """Go on when all processes have come here."""
        self._each(None)

    def _each(self, value: T) -> Sequence[T]:
        """Every process's value."""
        values: list[Any] = [value] * self.size
        if self.size > 1:
            with _speaking():
                dist.all_gather_object(values, value)
        return values

    def _first_of(self, values: list[T]) -> T:
        """The one thing in the first process's list; the others' are empty."""
        sent: list[Any] = values or [None]
        if self.size > 1:
            with _speaking():
                dist.broadcast_object_list(sent, 0)
        return sent[0]  # type: ignore[no-any-return]


ALONE = Share()
"""One process that has all the work."""


def _copied(tensor: Tensor, value: Tensor) -> None:
    if value is not tensor:
        tensor.copy_(value)


@contextmanager
def _speaking() -> Iterator[None]:
    """What fails between the processes is told from a process's own faults."""
    try:
        yield
    except RuntimeError as error:
        raise PeerLostError(" ".join(str(error).split())) from error


def started_by_torchrun() -> bool:
    """Whether this process is one of several that ``torchrun`` started."""
    return all(name in os.environ for name in _VARIABLES) and os.environ["WORLD_SIZE"] != "1"


@contextmanager
def from_environment(
    device: str = "cpu", *, say: Callable[[str], object], debug: bool = False
) -> Iterator[Share]:
    """The share that ``torchrun`` gave this process; :data:`ALONE` where it did not start several.

    Whatever ends one of the processes inside ends all: one of them says why, in one line.

    Args:
        device: ``cpu``, ``cuda`` (every process takes the GPU of its LOCAL_RANK) or ``auto``.
        say: shows a line; called by one of the processes.
        debug: let errors pass, so that their traceback shows, rather than turn them into an exit status.

    Raises:
        SystemExit: some process could not go on; with the status that it would have had alone.
    """
    if not started_by_torchrun():
        yield ALONE
        return
    rank, size = _number("RANK"), _number("WORLD_SIZE")
    with FailureHandler(_store(), rank, size, say).installed() as failures:
        try:
            backend = _backend(device, _number("LOCAL_RANK"))
            try:
                failures.store.set(f"met/{rank}", "yes")
                failures.store.wait([f"met/{other}" for other in range(size)], _MEETING)
                dist.init_process_group(
                    backend, store=failures.store, rank=rank, world_size=size, timeout=_PATIENCE
                )
            except RuntimeError as error:
                raise PeerLostError(" ".join(str(error).split())) from error
            yield Share(rank, size)
        except (Exception, KeyboardInterrupt, StoppedError) as error:
            status = failures.handle(error)
            if debug or status is None:
                raise
            raise SystemExit(status) from error
        finally:
            if dist.is_initialized():
                dist.destroy_process_group()


def _store() -> Store:
    try:
        store: Store = next(rendezvous("env://", timeout=_MEETING))[0]
    except (RuntimeError, ValueError) as error:
        where = f"{os.environ['MASTER_ADDR']}:{os.environ['MASTER_PORT']}"
        raise InputError(
            f"the processes cannot meet at {where} ({error}); start the run with torchrun"
        ) from error
    return PrefixStore(f"probe/{next(_MEETINGS)}", store)


def _number(name: str) -> int:
    text = os.environ[name]
    if not (text.isascii() and text.isdecimal()):
        raise InputError(f"the environment's {name} is {text!r}, not a number; start the run with torchrun")
    return int(text)


def _backend(device: str, local_rank: int) -> str:
    """What carries the messages; on GPUs this process's becomes the current one.

    Raises:
        InputError: there is no GPU for this process, or the device is of another kind.
    """
    if device == "cpu" or not torch.cuda.is_available():
        return "gloo"
    if device not in ("auto", "cuda"):
        raise InputError(
            f"{mention('device', device)}: with several processes each takes a GPU of its own; say cuda, or cpu"
        )
    found = torch.cuda.device_count()
    if local_rank >= found:
        raise InputError(
            f"{mention('device', device)}: this machine has {found} GPUs, too few for one a process;"
            f" start torchrun with --nproc-per-node={found}, or add `device='cpu'`"
        )
    torch.cuda.set_device(local_rank)
    return "cpu:gloo,cuda:nccl"


def padded(parts: list[Tensor]) -> Tensor:
    """Rows (n_i, w_i) as one tensor (Σ n_i, max w_i), zeros behind the shorter: no norm changes."""
    if len(parts) == 1:
        return parts[0]
    width = max(part.shape[1] for part in parts)
    return torch.cat([torch.nn.functional.pad(part, (0, width - part.shape[1])) for part in parts])
