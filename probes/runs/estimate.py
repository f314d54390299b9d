"""About how long a run will take: one timed gradient times the number of evaluations, before it begins."""

from __future__ import annotations

import math
import time

import torch
from torch import nn

from probes.data.batches import Batches
from probes.data.losses import Loss
from probes.evaluation.evaluator import Evaluator
from probes.evaluation.frozen_state import mixes_examples, probing
from probes.measures.curvature.batches import BATCHES
from probes.measures.curvature.norms import ASCENTS
from probes.measures.curvature.traces import TRACE_SAMPLES
from probes.measures.settings import SliceSettings
from probes.measures.spot_check import checked_rows, spot_check_examples
from trust.measurements import WITHOUT_LINE

__all__ = ["WORTH_SAYING", "about", "gradients_per_slice", "seconds_per_slice"]

WORTH_SAYING = 30.0
"""Seconds above which a run tells what it will take."""
_TWICE = 3.0  # gradients that differentiating twice takes the time of, and so do the step limit's search and prediction
_SEARCH, _ASCENT = 15, 6  # products of one search for eigenvalues beside these, and of an ascent
_LADDER = 6.0  # the same of an example's way through the ladder, in float64
_SPLIT = 4 / 3  # the gradient with residuals held, and where they are computed
_FEW = 8  # examples that are timed first
_ENOUGH = 0.1  # seconds that can be told from noise


def gradients_per_slice(settings: SliceSettings, examples: int, matrices: int = 1) -> float:
    """How many gradients of one example a slice is worth, spectra and Jacobians aside.

    Args:
        settings: what to measure.
        examples: how many there are.
        matrices: the network's weight matrices, each of which has blocks of its own.
    """
    etas = len(settings.etas) - 1
    sample = min(settings.samples, examples)
    count = (2.0 + etas) * examples  # η = 0 twice, for the noise floor
    if settings.direction == "adversarial":
        tried = etas * (3 + settings.restarts) * (1 + settings.ascent_steps)
        count += tried * (sample if settings.objective == "output" else _TWICE * examples)
    elif settings.direction not in WITHOUT_LINE:
        count += _TWICE * examples * ((settings.curvature is not None) + 2 * settings.limit)
    count += _TWICE * examples * _products(settings, matrices)
    if settings.batch_sharpness:
        count += _TWICE * BATCHES * min(settings.batch_sharpness, examples)
    split = {"none": 0, "small": 1, "slice": etas}[settings.split]
    count += split * (_SPLIT * examples + 2 * min(settings.split_examples, examples))
    if settings.spot_check:  # float64 is worth two
        count += 3 * (1 + len(checked_rows(settings.etas))) * spot_check_examples(examples)
    return count + _LADDER * etas * sample * settings.ladder


def _products(settings: SliceSettings, matrices: int) -> float:
    """About how many products with all data the second derivatives take."""
    searches = bool(settings.curvature_lowest) * (settings.curvature_lowest + _SEARCH)
    if not settings.curvature:
        return searches
    searches += (2 + 2 * matrices) * (settings.curvature + _SEARCH)
    return searches + 3 * TRACE_SAMPLES + 2 * ASCENTS * _ASCENT + 3


def seconds_per_slice(network: nn.Module, data: Batches, loss: Loss, settings: SliceSettings) -> float:
    """Time a gradient of a few examples, or of more until the clock can tell; and multiply.

    Good to a factor of two or three: the first slice's own time tells better. What a call costs beside its examples
    is told from two timings, since a chunk pays it once.

    Returns:
        Seconds; NaN where a gradient of a part of the data cannot be taken, which the slice itself will say.
    """
    chunk = min(settings.chunk or len(data), len(data))
    if mixes_examples(network, settings.batchnorm) and (chunk < len(data) or chunk < 2):
        return math.nan
    wanted = [name for name, parameter in network.named_parameters() if parameter.requires_grad]

    def gradient(count: int) -> float:
        evaluator = Evaluator(
            network,
            data[:count],
            None,
            loss,
            dtype=getattr(torch, settings.dtype),
            device=settings.device,
            chunk=min(count, chunk),
            precision=settings.precision,
        )

        def once() -> float:
            start = time.perf_counter()
            _ = evaluator.evaluate(evaluator.frozen, wanted=wanted).loss  # reading it waits for a GPU
            return time.perf_counter() - start

        once()  # the first call prepares what later ones find ready
        return min(once(), once())  # another process may take the machine for a moment

    with probing(
        network,
        batchnorm=settings.batchnorm,
        precision=settings.precision,
        matmul="torch" if settings.matmul == "auto" else settings.matmul,
    ):
        try:
            count = min(_FEW, len(data))
            while (seconds := gradient(count)) < _ENOUGH and count < len(data):
                count = min(4 * count, len(data))
            per_example = seconds / count
            if count < chunk:  # its one call cost as much as a chunk's will, beside its examples
                fewer = max(count // 2, 2)
                slope = (seconds - gradient(fewer)) / max(count - fewer, 1)
                slope = min(max(slope, 0.0), per_example)
                per_example = slope + (seconds - slope * count) / chunk
        except Exception:  # of anybody's network, on a part of its data; an estimate ends no run
            return math.nan
    matrices = sum(one.ndim > 1 and one.requires_grad for one in network.parameters())
    return per_example * gradients_per_slice(settings, len(data), matrices)


def about(seconds: float, checkpoints: int) -> str:
    """In words."""
    return f"about {_duration(seconds)} for {checkpoints} checkpoint{'s' * (checkpoints != 1)}"


def _duration(seconds: float) -> str:
    """Rounded as an estimate deserves: two digits at most."""
    for unit, length in (("days", 86400.0), ("h", 3600.0), ("min", 60.0)):
        if seconds >= 2 * length:
            return f"{_two_digits(seconds / length)} {unit}"
    return f"{_two_digits(max(seconds, 1.0))} s"


def _two_digits(value: float) -> str:
    rounded = float(f"{value:.2g}")
    return f"{rounded:.0f}" if rounded >= 10 else f"{rounded:g}"
