"""The number of examples that are evaluated at once, chosen by a short timing on what the run will evaluate."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import nn

from probes.data.batches import Batches
from probes.data.losses import Loss, ModelLoss
from probes.errors import InputError
from probes.evaluation.chunks import halving, is_out_of_memory
from probes.evaluation.evaluator import Evaluator
from probes.evaluation.frozen_state import mixes_examples, probing

__all__ = ["CANDIDATES", "DEFAULT", "ChunkChoice", "GradientTimer", "choose_chunk"]

CANDIDATES = (125, 500, 1000, 2000, 4000)
"""The sizes that are tried, as far as there are examples."""
DEFAULT = 1000
"""What is taken where a choice is not worth its time."""
_NOISE = 0.03  # timings this close are the same: then the smaller chunk, which needs less memory
_SHARE = 0.04  # of the run's expected time
_SECONDS = 5.0  # and never more
_PASSES = 3  # the best of so many timings counts
_CONTENDING = 1.25  # a candidate that was twice this much slower than the best is not timed a third time
_FIRST = 8  # examples of the very first evaluation, which shows how slow one is


@dataclass(frozen=True)
class ChunkChoice:
    """A number of examples, and why.

    Attributes:
        chunk: how many examples are evaluated at once.
        reason: what decided, in words.
        seconds: how long one example's share of a full-batch gradient takes; NaN where nothing was timed.
        timings: the same for every size that was timed.
    """

    chunk: int
    reason: str
    seconds: float = math.nan
    timings: Mapping[int, float] = field(default_factory=dict)

    def to_json(self) -> dict[str, Any]:
        """As a run keeps it."""
        known = math.isfinite(self.seconds)
        return {
            "size": self.chunk,
            "reason": self.reason,
            "seconds_per_example": self.seconds if known else None,
            "timings": {str(chunk): seconds for chunk, seconds in self.timings.items()},
        }

    @classmethod
    def from_json(cls, kept: Any) -> ChunkChoice:
        """The choice that :meth:`to_json` wrote.

        Raises:
            InputError: it is none.
        """
        try:
            chunk, seconds = kept["size"], kept["seconds_per_example"]
            timings = {int(size): float(value) for size, value in kept["timings"].items()}
            if type(chunk) is not int or chunk < 1:
                raise ValueError(f"a chunk of {chunk!r} examples")
            return cls(chunk, str(kept["reason"]), math.nan if seconds is None else float(seconds), timings)
        except (AttributeError, KeyError, TypeError, ValueError) as error:
            raise InputError(
                f"the chunk that the run recorded is damaged ({type(error).__name__}: {error}); measure again"
                " into another folder"
            ) from error


class GradientTimer:
    """Times the evaluation that a run repeats, on the run's own network, data, loss, precision and device."""

    def __init__(
        self,
        network: nn.Module,
        data: Batches,
        loss: Loss,
        *,
        dtype: torch.dtype,
        device: torch.device | str,
        clock: Callable[[], float] = time.perf_counter,
    ) -> None:
        """Remember what is evaluated; a caller puts the network into its frozen state."""
        self.network, self.data, self.loss = network, data, loss
        self.dtype, self.device, self.clock = dtype, torch.device(device), clock
        self.trainable = [name for name, value in network.named_parameters() if value.requires_grad]

    def batch(self, examples: int, chunk: int) -> Evaluator:
        """The first examples, ready to be evaluated."""
        return Evaluator(
            self.network,
            self.data[:examples],
            None,
            self.loss,
            dtype=self.dtype,
            device=self.device,
            chunk=chunk,
            patient=False,
        )

    def seconds(self, examples: int, chunk: int, *, gradient: bool = True) -> float:
        """How long one evaluation of the first ``examples`` takes."""
        evaluator = self.batch(examples, chunk)
        return self.of(
            lambda: evaluator.evaluate(evaluator.frozen, wanted=self.trainable if gradient else None)
        )

    def of(self, function: Callable[[], object]) -> float:
        """How long a call takes, with what the device still has to do when it returns."""
        self._wait()
        start = self.clock()
        function()
        self._wait()
        return self.clock() - start

    def _wait(self) -> None:
        if self.device.type == "cuda":
            torch.cuda.synchronize(self.device)


def choose_chunk(
    network: nn.Module,
    data: Batches,
    loss: Loss,
    *,
    dtype: torch.dtype,
    device: torch.device | str,
    evaluations: float,
    batchnorm: str = "running",
    asked: int | None = None,
    largest: Callable[[], float] | None = None,
    clock: Callable[[], float] = time.perf_counter,
) -> ChunkChoice:
    """Choose the number of examples at once by timing gradients of the first examples.

    The timing takes at most 4 % of the run's expected time, and at most 5 s. Of sizes as fast as the fastest
    within 3 % the smallest is taken. Where examples are not independent of their chunk there is nothing to
    choose: batch statistics want all examples at once, and a loss that calls the network itself may be any
    function of its batch, so that it gets the default rather than what is fast here and now.

    Args:
        network: the network, which is left as it was found.
        data: all examples.
        loss: their loss.
        dtype: the working precision.
        device: where the run computes.
        evaluations: how many gradients of all the data the run is worth.
        batchnorm: as for :func:`probes.evaluation.frozen_state.probing`.
        asked: a size that is not to be chosen, only timed.
        largest: tells how many examples memory has room for; asked only if the run is worth a timing.
        clock: tells the time in seconds.

    Raises:
        InputError: not even one example fits into memory.
    """
    count = len(data)
    candidates = sorted({min(size, count) for size in CANDIDATES})
    reason = ""
    if asked is not None:
        candidates, reason = [asked], "as asked"
    elif mixes_examples(network, batchnorm):
        candidates, reason = [max(count, 2)], "all examples, for batch statistics"
    elif isinstance(loss, ModelLoss):
        candidates, reason = [DEFAULT], "the default, for a loss that calls the network itself"
    elif len(candidates) == 1:
        reason = "all examples"
    with probing(network, batchnorm=batchnorm):
        timer = GradientTimer(network, data, loss, dtype=dtype, device=device, clock=clock)
        timing = _Timing(timer, count, evaluations)
        if reason:
            return ChunkChoice(candidates[0], reason, timing.rough(candidates[0])[0])
        return timing.choose(candidates, largest)


class _Timing:
    """One choice in the making, with what it may take."""

    def __init__(self, timer: GradientTimer, count: int, evaluations: float) -> None:
        self.timer, self.count, self.evaluations = timer, count, evaluations
        self.spent = 0.0

    def budget(self, seconds: float) -> float:
        """How long all timings may take, where an example takes so many seconds."""
        return min(_SECONDS, _SHARE * seconds * self.count * self.evaluations)

    def time(self, examples: int, chunk: int) -> float:
        """Seconds an example."""
        seconds = self.timer.seconds(examples, chunk)
        self.spent += seconds
        return seconds / examples

    def rough(self, chunk: int) -> tuple[float, int]:
        """Seconds an example, of few examples and then of a chunk if there is time; and how many fit, up to it."""

        def run(size: int) -> float:
            few = min(_FIRST, size)
            self.time(few, few)  # the first call prepares what later ones find ready
            seconds = self.time(few, few)
            more = min(4 * few, size)
            while few < more and more * seconds <= (self.budget(seconds) - self.spent) / 2:
                seconds = self.time(more, more)
                few, more = more, min(4 * more, size)
            return seconds

        return halving(run, min(chunk, self.count), report=lambda _: None)

    def choose(self, candidates: list[int], largest: Callable[[], float] | None) -> ChunkChoice:
        """The smallest of the fastest candidates, or another where there is no time, or memory, to compare them."""
        first, fitting = self.rough(candidates[0])
        room = min(
            math.inf if largest is None else largest(), math.inf if fitting == candidates[0] else fitting
        )
        if room < candidates[0]:
            return ChunkChoice(max(int(room), 1), "as many as memory has room for", first)
        enough = self._enough(candidates, first)
        tried = [size for size in candidates if size <= min(enough, room)]
        if len(tried) > 1:
            return self._fastest(tried, first)
        if self.budget(first) >= _SECONDS:
            return ChunkChoice(candidates[0], "the smallest, since examples are slow", first)
        fallback = max(size for size in candidates if size <= min(DEFAULT, room))
        return ChunkChoice(fallback, "the default, for a short run", first)

    def _enough(self, candidates: list[int], seconds: float) -> int:
        """The largest candidate up to which all can be timed twice; 0 where there is no time."""
        left = self.budget(seconds) - self.spent
        for place in reversed(range(len(candidates))):
            if 2 * sum(map(self._sample, candidates[: place + 1])) * seconds <= left:
                return candidates[place]
        return 0

    def _sample(self, size: int) -> int:
        """On how many examples a candidate is timed: a chunk, or as many as make several small ones."""
        return max(size, min(DEFAULT, self.count))

    def _fastest(self, tried: list[int], first: float) -> ChunkChoice:
        """All in turns, so that a machine that is busy for a while is so for all of them."""
        smallest, found = tried[0], dict[int, float]()
        for turn in range(_PASSES):
            for size in tried[:]:
                best = min(found.values(), default=first)
                expected = found.get(size, best)
                late = self.spent + self._sample(size) * expected > self.budget(best)
                if found and (late or (turn > 1 and expected > _CONTENDING * best)):
                    continue
                try:
                    found[size] = min(self.time(self._sample(size), size), found.get(size, math.inf))
                except Exception as error:
                    if not is_out_of_memory(error):
                        raise
                    tried = [fits for fits in tried if fits < size]
                    break
        timings = {size: seconds for size, seconds in found.items() if size in tried}
        if not timings:
            return ChunkChoice(smallest, "as many as memory has room for", first)
        near = (1 + _NOISE) * min(timings.values())
        chunk = min(size for size, seconds in timings.items() if seconds <= near)
        return ChunkChoice(chunk, "the fastest of those timed", timings[chunk], timings)
