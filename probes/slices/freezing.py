"""A network frozen for a slice: its layers and what moves, the direction, the perturbed weights, the noise floor."""

from __future__ import annotations

import fnmatch
import math
from collections.abc import Mapping, Sequence
from dataclasses import replace

from torch import Tensor, nn

from probes.errors import InputError, mention
from probes.evaluation.directions import (
    Direction,
    gradient_direction,
    noise_direction,
    sign_direction,
    spectral_direction,
    update_direction,
)
from probes.evaluation.evaluator import Evaluation, Evaluator
from probes.evaluation.perturbed_weights import PerturbedWeights
from probes.measures.layers import PERTURBED, Layer, find_layers, treated
from probes.measures.measure import Frozen
from probes.measures.noise_floor import (
    NoiseFloor,
    measure_noise_floor,
    measure_precision,
    without_gradient,
)
from probes.measures.settings import SliceSettings
from probes.slices.adversarial_path import AdversarialPath
from probes.slices.levels_path import LevelsPath
from trust.measurements import WITHOUT_LINE

__all__ = ["check_layers", "freeze"]

_STEEPEST = {"gradient": gradient_direction, "spectral": spectral_direction, "sign": sign_direction}
"""By the direction: steepest descent under the Frobenius norm, the spectral norm and the largest entry."""


def check_layers(network: nn.Module, settings: SliceSettings, reported: Mapping[str, str]) -> None:
    """Refuse settings that choose none of a network's layers, as far as that is seen before anything runs.

    Raises:
        InputError: nothing moves, or nothing is measured.
    """
    found = [layer for layer in find_layers(network, reported=reported) if layer.name in reported]
    layers = treated(found, perturb=settings.perturb, biases=settings.biases)
    _check_movable(layers)
    _measured(settings, layers)


def freeze(
    evaluator: Evaluator,
    settings: SliceSettings,
    reported: Mapping[str, str],
    following: Mapping[str, Tensor] | None = None,
    *,
    mixed: bool = False,
) -> tuple[Frozen, NoiseFloor, Evaluation]:
    """Evaluate the frozen network, decide what moves and where to, and prove that evaluations repeat.

    Args:
        evaluator: network, data and loss.
        settings: what to measure, and how.
        reported: the names to report, by the module's names.
        following: the next checkpoint's parameters, for the direction ``update``.
        mixed: whether an example's output depends on the others.

    Returns:
        The frozen network, its noise floor, and the second evaluation of its gradients.

    Raises:
        InputError: settings that do not fit the network, or a stochastic network.
    """
    missing = [name for name in reported if name not in evaluator.frozen]
    if missing:
        raise InputError(f"the network has no parameter {missing[0]}")
    found = [layer for layer in find_layers(evaluator.network, evaluator, reported) if layer.name in reported]
    trainable = [layer.name for layer in found if layer.trainable]
    samples = min(settings.samples, len(evaluator))
    wanted = max(settings.jacobian, settings.pattern, settings.alignment)
    samples = max(samples, min(wanted, len(evaluator)))
    # before there are gradients to hold
    precision = measure_precision(evaluator, trainable, evaluations=len(settings.etas), together=mixed)
    base = evaluator.evaluate(evaluator.frozen, wanted=trainable, samples=samples)
    # a few examples may miss what the whole data uses
    found = [replace(layer, used=layer.used or _has_gradient(base, layer.name)) for layer in found]
    layers = treated(found, perturb=settings.perturb, biases=settings.biases)
    _check_movable(layers)
    measured = _measured(settings, layers)
    still = without_gradient(base.gradients, precision)
    direction, update_size = _direction(evaluator, settings, base, layers, following, still)
    path: PerturbedWeights | AdversarialPath | LevelsPath
    if direction is not None:
        path = PerturbedWeights(evaluator, direction, at_once=settings.etas_at_once or 1)
    elif settings.levels is not None:
        path = LevelsPath(evaluator, settings, layers)
    else:
        path = AdversarialPath(evaluator, settings, base, layers)
    frozen = Frozen(evaluator, settings, base, layers, measured, direction, path, update_size, mixed, still)
    floor, again = measure_noise_floor(evaluator, base, precision, measured, samples=samples, still=still)
    return frozen, floor, again


def _has_gradient(base: Evaluation, name: str) -> bool:
    gradient = base.gradients.get(name)
    return gradient is not None and bool((gradient != 0).any())


def _check_movable(layers: Sequence[Layer]) -> None:
    """Refuse a network of which no weight matrix would move."""
    weights = [layer for layer in layers if layer.is_weight]
    if not weights:
        raise InputError("the network has no weight matrix to perturb")
    if all(layer.treatment != PERTURBED for layer in weights):
        reasons = ", ".join(sorted({layer.treatment for layer in weights}))
        raise InputError(f"no weight matrix is perturbed: {reasons}; `perturb` chooses")


def _measured(settings: SliceSettings, layers: Sequence[Layer]) -> list[str]:
    """Whose gradients are measured: of those chosen the trainable ones."""
    choice = settings.layers
    trainable = [layer for layer in layers if layer.trainable]
    if choice == "all":
        return [layer.name for layer in trainable]
    if choice == "first":
        return [layer.name for layer in trainable if layer.is_weight][:1]
    chosen = [layer for layer in layers if fnmatch.fnmatchcase(layer.reported, choice)]
    if not chosen:
        known = ", ".join(layer.reported for layer in layers[:6])
        raise InputError(f"{mention('layers', choice)}: matches no layer (there are {known}, …)")
    names = [layer.name for layer in chosen if layer.trainable]
    if not names:
        raise InputError(
            f"{mention('layers', choice)}: matches frozen parameters only, whose gradients are not measured"
        )
    return names


def _direction(
    evaluator: Evaluator,
    settings: SliceSettings,
    base: Evaluation,
    layers: Sequence[Layer],
    following: Mapping[str, Tensor] | None,
    still: frozenset[str],
) -> tuple[Direction | None, float]:
    """The slice's direction (None where every η has one of its own), and the size of a real update."""
    frozen, moving = evaluator.frozen, [layer.name for layer in layers if layer.treatment == PERTURBED]
    if settings.direction in WITHOUT_LINE:
        return None, math.nan
    if settings.direction in _STEEPEST:
        gradients = {name: base.gradients[name] for name in moving}
        return _STEEPEST[settings.direction](frozen, gradients, still), math.nan
    if settings.direction == "noise":
        return noise_direction(frozen, moving, seed=settings.seed), math.nan
    if following is None:
        raise InputError("`direction='update'`: needs the checkpoint that follows; give at least two")
    weights = [layer.name for layer in layers if layer.is_weight]
    return update_direction(frozen, following, moving, weights=weights)
