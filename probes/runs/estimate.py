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
from probes.measures.settings import SliceSettings

__all__ = ["WORTH_SAYING", "about", "gradients_per_slice", "seconds_per_slice"]

WORTH_SAYING = 30.0
"""Seconds above which a run tells what it will take."""
_TWICE = 3.0  # gradients that differentiating twice takes the time of, and so do the step limit's search and prediction
_LADDER = 6.0  # the same of an example's way through the ladder, in float64
_SPLIT = 4 / 3  # the gradient with residuals held, and where they are computed
_FEW = 8  # examples that are timed first
_ENOUGH = 0.1  # seconds that can be told from noise


def gradients_per_slice(settings: SliceSettings, examples: int) -> float:
    """How many gradients of one example a slice is worth, spectra and Jacobians aside."""
    etas = len(settings.etas) - 1
    sample = min(settings.samples, examples)
    count = (2.0 + etas) * examples  # η = 0 twice, for the noise floor
    if settings.direction == "adversarial":
        tried = etas * (3 + settings.restarts) * (1 + settings.ascent_steps)
        count += tried * (sample if settings.objective == "output" else _TWICE * examples)
    else:
        count += _TWICE * examples * (settings.curvature + 2 * settings.limit)
    split = {"none": 0, "small": 1, "slice": etas}[settings.split]
    count += split * (_SPLIT * examples + 2 * min(settings.split_examples, examples))
    return count + _LADDER * etas * sample * settings.ladder


def seconds_per_slice(network: nn.Module, data: Batches, loss: Loss, settings: SliceSettings) -> float:
    """Time a gradient of a few examples, or of more until the clock can tell, up to a chunk; and multiply.

    Good to a factor of two or three: the first slice's own time tells better.
    """
    wanted = [name for name, parameter in network.named_parameters() if parameter.requires_grad]

    def gradient(count: int) -> float:
        evaluator = Evaluator(
            network,
            data[:count],
            None,
            loss,
            dtype=getattr(torch, settings.dtype),
            device=settings.device,
            chunk=count,
            precision=settings.precision,
        )
        start = time.perf_counter()
        _ = evaluator.evaluate(evaluator.frozen, wanted=wanted).loss  # reading it waits for a GPU
        return time.perf_counter() - start

    if len(data) < 2 and mixes_examples(network, settings.batchnorm):
        return math.nan  # which the slice refuses, and says why
    most = min(len(data), settings.chunk or len(data))
    count = min(_FEW, most)
    with probing(network, batchnorm=settings.batchnorm, precision=settings.precision):
        gradient(count)  # the first call prepares what later ones find ready
        # the better of two, for another process may take the machine for a moment
        while (seconds := min(gradient(count), gradient(count))) < _ENOUGH and count < most:
            count = min(4 * count, most)
    return seconds / count * gradients_per_slice(settings, len(data))


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
