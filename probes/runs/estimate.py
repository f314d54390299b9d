"""What a run will take, in seconds and bytes, told beforehand from a few short timings.

An estimate is counts (:class:`Work`, arithmetic on the settings) times rates (:class:`Rates`, timed on the run's
own network, data and device). It is good to a factor of two at best, and says "about".
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from probes.data.batches import Batches
from probes.evaluation.evaluator import Evaluator
from probes.measures.jacobians import Jacobians
from probes.measures.operator_norms import Operator, find_operators, operator_norm
from probes.measures.settings import SliceSettings
from probes.measures.spectra import spectrum
from probes.runs.chunk import GradientTimer
from probes.runs.memory import saved_bytes

__all__ = ["Estimate", "Rates", "Work", "activation_bytes", "count_work", "measure_rates", "memory_of"]

WORTH_SAYING = 30.0
"""Seconds above which a run tells what it will take."""
_SEARCH = 10  # losses that the search for a step limit evaluates: 4 to 25 in practice
_CURVATURE = 3.0  # gradients that differentiating twice is worth
_NOISE_SAMPLE = 200  # examples of the noise floor's comparison with float64
_LADDER = (
    3.0  # gradients that an example's way through the ladder is worth at each η: about eight forward passes
)
_TRIALS = 0.5  # of an adversarial ascent's steps: how many find a better point, which wants a gradient
_COPIES = 4  # of the parameters in the working precision: frozen, moved and two gradients
_COPIES_EXACT = 2  # the ladder's in float64: frozen and a tangent
_BACKWARD = 2.0  # the most that an evaluation with its backward pass holds, where what is kept for that is 1
TWICE = 4.0  # the same of differentiating twice
_SIDES = (64, 128, 256, 512, 1024)  # of the matrices whose singular values are timed


@dataclass(frozen=True)
class Work:
    """What one checkpoint takes, counted.

    Attributes:
        gradients: of one example in the working precision.
        losses: of one example without gradient.
        exact: gradients of one example in float64.
        jacobians: of one example.
        spectra: Σ m n min(m, n) over all matrices whose singular values are computed.
        norms: the same over all whose spectral norm alone is.
        convolutions: how many times the norms of all convolutions are computed.
    """

    gradients: float = 0.0
    losses: float = 0.0
    exact: float = 0.0
    jacobians: float = 0.0
    spectra: float = 0.0
    norms: float = 0.0
    convolutions: float = 0.0


@dataclass(frozen=True)
class Rates(Work):
    """Seconds for one of each."""

    def seconds(self, work: Work) -> float:
        """How long the work of one checkpoint takes."""
        rates = vars(self)
        return math.fsum(rates[name] * count for name, count in vars(work).items())


@dataclass(frozen=True)
class Estimate:
    """What remains to be done.

    Attributes:
        seconds: for the checkpoints that remain.
        memory: bytes of tensors at most, on the device.
        remaining: how many checkpoints that is.
        measured: how many are measured already.
        chunk: examples at once.
        device: where.
    """

    seconds: float
    memory: float
    remaining: int
    measured: int
    chunk: int
    device: str = "cpu"

    def line(self) -> str:
        """In words."""
        known = f" ({self.measured} more are measured already)" if self.measured else ""
        where = "of tensors" if self.device == "cpu" else f"of {self.device}'s memory"
        return (
            f"about {duration(self.seconds)} for {self.remaining} checkpoint{'s' * (self.remaining != 1)}{known},"
            f" {size(self.memory)} {where} at most; chunks of {self.chunk} examples"
        )


def duration(seconds: float) -> str:
    """Rounded as an estimate deserves: two digits at most."""
    for unit, length in (("days", 86400.0), ("h", 3600.0), ("min", 60.0)):
        if seconds >= 2 * length:
            return f"{_two_digits(seconds / length)} {unit}"
    return f"{_two_digits(max(seconds, 1.0))} s"


def size(count: float) -> str:
    """Bytes in two digits."""
    for unit, length in (("TB", 1e12), ("GB", 1e9), ("MB", 1e6)):
        if count >= length:
            return f"{_two_digits(count / length)} {unit}"
    return "1 MB"


def _two_digits(value: float) -> str:
    rounded = float(f"{value:.2g}")
    return f"{rounded:.0f}" if rounded >= 10 else f"{rounded:g}"


def count_work(
    settings: SliceSettings, shapes: Sequence[tuple[int, int]], examples: int, *, outputs: bool, mixed: bool
) -> Work:
    """Count what one checkpoint takes.

    Args:
        settings: what is measured.
        shapes: of the weight matrices, those with more axes flattened to two.
        examples: how many there are.
        outputs: whether the network's outputs can be had, so that the ladder and Jacobians are measured.
        mixed: whether outputs depend on all examples, so that the ladder is left out.
    """
    etas = len(settings.etas) - 1  # η = 0 is the noise floor's second evaluation
    sample, noise = min(settings.samples, examples), min(_NOISE_SAMPLE, examples)
    adversarial = settings.direction == "adversarial"
    gradients = (2.0 + etas) * examples + noise
    losses, exact = 0.0, float(noise)
    if adversarial:
        ascents = etas * (3 + settings.restarts)  # down and up the gradient, and from the last η's worst
        values = ascents * (1 + settings.ascent_steps)
        better = ascents * (1 + _TRIALS * settings.ascent_steps)
        if settings.objective == "output":
            losses += values * sample
            gradients += better * sample
        else:
            gradients += (values + _CURVATURE * better) * examples
    else:
        gradients += _CURVATURE * examples * settings.curvature
        losses += _SEARCH * examples * settings.limit
    matrices = float(sum(m * n * min(m, n) for m, n in shapes))
    spectra = norms = convolutions = 0.0
    if settings.spectra != "none":
        norms += matrices  # of the gradient, for its stable rank
        spectra += matrices * (1 + (etas if adversarial else 1))
        spectra += matrices * (etas + 1) * (settings.spectra == "slice")
        if settings.ladder and outputs and not mixed and sample > 0:
            exact += _LADDER * (etas + 1) * sample
            convolutions = 1.0 + 2 * etas if adversarial else 2.0 + etas
            norms += matrices * convolutions
    jacobians = float((etas + 2) * min(settings.jacobian, examples)) if outputs else 0.0
    return Work(gradients, losses, exact, jacobians, spectra, norms, convolutions)


def rough_seconds(work: Work, gradient: float) -> float:
    """A first idea, before anything but a gradient is timed: whether it is worth timing more."""
    return gradient * (work.gradients + work.losses / 3 + 2 * work.exact + 100 * work.jacobians) + 5e-10 * (
        work.spectra + work.norms
    )


def measure_rates(
    timer: GradientTimer,
    weights: Sequence[str],
    work: Work,
    *,
    gradient: float,
    chunk: int,
    budget: float,
) -> Rates:
    """Time one of everything that the work has, on examples and matrices so few and small that it takes ``budget``.

    Args:
        timer: network, data, loss, precision and device.
        weights: names of the weight matrices in forward order.
        work: what is to be done; what it has none of is not timed.
        gradient: seconds for one example's gradient.
        chunk: examples at once.
        budget: seconds that all of it may take, roughly.
    """
    part = budget / 6
    count = len(timer.data)

    def affordable(seconds: float, most: int) -> int:
        return max(1, min(most, int(part / seconds) if seconds > 0 else most))

    losses = exact = jacobians = 0.0
    if work.losses:
        few = affordable(gradient, min(chunk, count))
        losses = timer.seconds(few, few, gradient=False) / few
    if work.exact:
        few = affordable(3 * gradient, min(chunk, count, _NOISE_SAMPLE))
        double = GradientTimer(
            timer.network, timer.data, timer.loss, dtype=torch.float64, device=timer.device, clock=timer.clock
        )
        exact = double.seconds(few, few) / few
    evaluator = timer.batch(min(2, count), 2)
    if work.jacobians:
        jacobians = output_width(evaluator) * gradient  # each example is repeated once for each output
        if jacobians < part:
            probe = Jacobians(evaluator, samples=1, weights=list(weights))
            jacobians = timer.of(lambda: probe.measure(evaluator.frozen))
    spectra, norms = (
        _matrix_rates(timer, [evaluator.frozen[name] for name in weights], part) if work.spectra else (0, 0)
    )
    convolutions = _convolution_seconds(timer, evaluator, weights, part) if work.convolutions else 0.0
    return Rates(gradient, losses, exact, jacobians, spectra, norms, convolutions)


def output_width(evaluator: Evaluator) -> int:
    """How many numbers an example's outputs are."""
    with torch.no_grad():
        _, examples = next(evaluator.chunks(1))
        return evaluator.call(evaluator.frozen, examples.inputs).numel() // len(examples)


def _matrix_rates(timer: GradientTimer, weights: Sequence[Tensor], budget: float) -> tuple[float, float]:
    """Seconds over m n min(m, n), for singular values and for a spectral norm, of the largest affordable block."""
    largest = max((weight.detach().flatten(1) for weight in weights), key=lambda m: m.numel() * min(m.shape))
    spectra = norms = 0.0
    for side in _SIDES:
        block = largest[:side, :side]
        units = block.numel() * min(block.shape)
        taken = timer.of(lambda block=block: spectrum(block))  # type: ignore[misc]
        norm = timer.of(lambda block=block: operator_norm(block, Operator("matrix")))  # type: ignore[misc]
        spectra, norms = taken / units, norm / units
        if 8 * (taken + norm) > budget or side >= max(largest.shape):
            break
    return spectra, norms


_CHANNELS = 16  # of a convolution whose norm is timed


def _convolution_seconds(
    timer: GradientTimer, evaluator: Evaluator, weights: Sequence[str], budget: float
) -> float:
    """Seconds for the norms of all convolutions; each is timed on some channels, and those of one shape once."""
    total = spent = units = 0.0
    known: dict[tuple[Operator, torch.Size], float] = {}
    for name, operator in find_operators(evaluator, list(weights)).items():
        if operator.kind not in ("convolution", "transposed convolution"):
            continue
        weight = evaluator.frozen[name]
        whole = float(weight.shape[0] * weight.shape[1] * min(weight.shape[:2]))
        key = (operator, weight.shape)
        if key not in known and spent <= budget:
            cut = weight[:_CHANNELS, :_CHANNELS] if operator.groups == 1 else weight
            seconds = timer.of(lambda cut=cut, operator=operator: operator_norm(cut, operator))  # type: ignore[misc]
            spent += seconds
            small = float(cut.shape[0] * cut.shape[1] * min(cut.shape[:2]))
            known[key] = seconds * whole / small
            units = max(units, seconds / small)
        total += known.get(key, units * whole)
    return total


def activation_bytes(timer: GradientTimer) -> float:
    """Bytes of activations that one example's forward pass keeps for the backward pass, of the largest example."""
    piece = max(timer.data.pieces, key=lambda piece: sum(math.prod(t.shape[1:]) for _, t in piece.leaves()))
    counts = sorted({max(1, min(8, len(piece)) // 2), min(8, len(piece))})
    held = []
    for count in counts:
        evaluator = Evaluator(
            timer.network,
            Batches([piece[:count]]),
            None,
            timer.loss,
            dtype=timer.dtype,
            device=timer.device,
            chunk=count,
        )
        held.append(_forward_bytes(evaluator))
    if len(counts) == 1:
        return held[0] / counts[0]
    return max(held[1] - held[0], 0) / (counts[1] - counts[0])


def _forward_bytes(evaluator: Evaluator) -> int:
    leaves = {
        name: value.requires_grad_(value.is_floating_point()) for name, value in evaluator.frozen.items()
    }
    _, examples = next(evaluator.chunks())
    there = [*leaves.values(), *evaluator.buffers.values(), *(tensor for _, tensor in examples.leaves())]
    with torch.enable_grad():
        return saved_bytes(lambda: evaluator.example_losses(leaves, examples), there)


def memory_of(
    settings: SliceSettings,
    *,
    parameters: int,
    largest: int,
    example: float,
    sample: int,
    jacobian: int = 0,
    resident: float = 0.0,
    evaluation: float = 0.0,
) -> float:
    """Bytes at most: copies of the parameters, what is always there, and the hungriest of what comes in turn.

    Args:
        settings: what is measured.
        parameters: how many numbers they are.
        largest: how many the largest weight matrix has.
        example: bytes of activations of one example, :func:`activation_bytes`.
        sample: examples of the ladder; 0 without it.
        jacobian: rows of the sampled Jacobians, examples times outputs.
        resident: data and checkpoints, where they are on the device.
        evaluation: bytes that a chunk's evaluation was measured to take, where that is known.
    """
    width = 4 if settings.dtype == "float32" else 8
    copies = parameters * (_COPIES * width + 8 * _COPIES_EXACT * settings.ladder)
    turns = [
        evaluation,
        _BACKWARD * settings.chunk * example + parameters * width,
        TWICE * settings.chunk * example * settings.curvature,
        TWICE * sample * example * (8 / width) * settings.ladder,
        _BACKWARD * jacobian * example,
        4 * 8.0 * largest * (settings.spectra != "none"),  # LAPACK works on copies
    ]
    return copies + resident + max(turns)


def data_bytes(data: Batches) -> int:
    """Of all tensors that are in memory; what is mapped from a file is not."""
    tensors = [t for piece in data.pieces for _, t in piece.leaves() if isinstance(t, Tensor)]
    return sum(t.numel() * t.element_size() for t in tensors)


def is_worth_saying(estimate: Estimate) -> bool:
    """Whether somebody would want to know before the run begins."""
    return math.isfinite(estimate.seconds) and estimate.seconds > WORTH_SAYING
