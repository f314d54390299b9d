"""The slice: freeze a network, perturb every layer relatively along a direction, and measure what breaks."""

from __future__ import annotations

import fnmatch
import math
from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
import xarray as xr
from torch import Tensor, nn

from probes.data.batches import Batch, Batches
from probes.data.losses import Loss, as_loss, resolve_loss
from probes.errors import InputError
from probes.evaluation.chunks import default_chunk
from probes.evaluation.curvature import directional_curvature
from probes.evaluation.directions import (
    Direction,
    gradient_direction,
    hash_of,
    noise_direction,
    update_direction,
)
from probes.evaluation.evaluator import Evaluation, Evaluator
from probes.evaluation.frozen_state import mixes_examples, probing
from probes.evaluation.perturbed_weights import PerturbedWeights
from probes.evaluation.reductions import compare, norm
from probes.measures.adversarial import find_worst
from probes.measures.bound_ingredients import Ladder
from probes.measures.breakdown import Breakdown, ratio
from probes.measures.layers import PERTURBED, Layer, find_layers, treated
from probes.measures.noise_floor import NoiseFloor, measure_noise_floor, measure_precision
from probes.measures.operator_norms import Operator, operator_norm
from probes.measures.sensitivity import Sensitivity
from probes.measures.spectra import spectrum
from probes.measures.step_limit import find_step_limit
from probes.networks.perceptron import Perceptron, PerceptronSpec
from probes.networks.zoo import spec_of
from probes.slices.settings import SliceSettings, evaluations_per_slice
from probes.system.processes import ALONE, Share

__all__ = ["SliceSettings", "evaluations_per_slice", "measure_slice"]


_OWN_SPECTRA = ("perturbation_spectral_norm", "perturbation_condition_number")
"""Measured at every η where every η has a perturbation of its own."""
_NEAR = 1e-3
"""The η whose slope, where it is measured, tells the curvature for the first guess at the step limit."""
_GUESS = 0.1
"""That guess where nothing tells it."""


def measure_slice(
    network: nn.Module,
    x: Tensor | Batches,
    y: Tensor | None = None,
    *,
    settings: SliceSettings,
    loss: str | Loss | None = None,
    names: Mapping[str, str] | None = None,
    label: str = "network",
    following: Mapping[str, Tensor] | None = None,
    progress: Callable[[int], object] | None = None,
    share: Share = ALONE,
) -> xr.Dataset:
    """Measure one slice of a frozen network, leaving the network exactly as it was found.

    Args:
        network: maps x (n, …) to outputs (n, …); its weights are taken as they are.
        x: inputs (n, …), or batches of any form (:func:`probes.data.loaders.read_batches` makes them).
        y: targets (n, …); None for batches, which have their own.
        settings: what to measure, and how.
        loss: a name of :func:`probes.data.losses.resolve_loss`, losses (n,) of outputs and targets, or a function
            of (model, batch); None: cross-entropy for labels.
        names: the module's parameters to the names to report (default: all, under their own names). They are
            reported in the order of the forward pass (:func:`probes.measures.layers.find_layers`).
        label: the checkpoint's name in the result.
        following: the next checkpoint's parameters, for the direction ``update``.
        progress: called with 1 after each η.
        share: the processes that measure it together, all with the same arguments.

    Returns:
        Measurements with dims ``checkpoint`` (of size 1), ``eta``, ``layer``, ``example``; the names are
        described in docs/measurements.md.

    Raises:
        InputError: settings that do not fit, or a stochastic network.
    """
    if loss is None or isinstance(loss, str):
        loss = resolve_loss(loss, x if isinstance(x, Batches) else Batches([Batch(x, y)]))[1]
    function = as_loss(loss)
    reported = dict(names) if names is not None else {name: name for name, _ in network.named_parameters()}
    mixed = mixes_examples(network, settings.batchnorm)
    chunk = default_chunk(len(x), together=mixed) if settings.chunk is None else settings.chunk
    if mixed:
        _refuse_mixed(settings, len(x), chunk, share)
    with probing(network, batchnorm=settings.batchnorm, precision=settings.precision):
        evaluator = Evaluator(
            network,
            x,
            y,
            function,
            dtype=getattr(torch, settings.dtype),
            device=settings.device,
            chunk=chunk,
            precision=settings.precision,
            share=share,
            divisible=not mixed,
        )
        return _Slice(evaluator, settings, reported, following, mixed=mixed).measure(label, progress)


def _refuse_mixed(settings: SliceSettings, examples: int, chunk: int, share: Share) -> None:
    """Batch statistics make one function of all examples: refuse what is defined example by example.

    Raises:
        InputError: it names the setting.
    """
    if examples < 2 or examples > chunk:
        raise InputError(
            f"--batchnorm batch: the statistics are those of all {examples} examples at once;"
            f" give --chunk {max(examples, 2)}, or from 2 to {chunk} examples"
        )
    if share.size > 1:
        raise InputError(
            "--batchnorm batch: the statistics are those of all examples at once, so processes cannot share them;"
            " add --shard checkpoints"
        )
    if settings.jacobian > 0:
        raise InputError("--batchnorm batch: an output depends on all examples; leave --jacobian out")
    if settings.direction == "adversarial":
        raise InputError(
            "--batchnorm batch: not with --direction adversarial, which looks at some examples only"
        )


def _quadratic_limit(
    slope: float, curvature: float, etas: npt.NDArray[np.float64], slopes: npt.NDArray[np.float64]
) -> float:
    """Where a quadratic loss is back: −2𝓛'/𝓛'' by a difference of slopes, which sees kinks, or the curvature."""
    row = min(int(np.searchsorted(etas, _NEAR)), len(etas) - 1)
    measured = (float(slopes[row]) - slope) / float(etas[row])
    used = measured if measured > 0 else curvature
    return 2 * -slope / used if used > 0 else _GUESS


def _reasons(layers: list[Layer]) -> str:
    """How the weight matrices are treated, in words."""
    return ", ".join(sorted({layer.treatment for layer in layers if layer.is_weight}))


class _Slice:
    """One slice in the making."""

    def __init__(
        self,
        evaluator: Evaluator,
        settings: SliceSettings,
        reported: dict[str, str],
        following: Mapping[str, Tensor] | None,
        *,
        mixed: bool = False,
    ) -> None:
        self.evaluator, self.settings, self.reported, self.mixed = evaluator, settings, reported, mixed
        missing = [name for name in reported if name not in evaluator.frozen]
        if missing:
            raise InputError(f"the network has no parameter {missing[0]}")
        found = [
            layer for layer in find_layers(evaluator.network, evaluator, reported) if layer.name in reported
        ]
        self.names = [layer.name for layer in found]
        self.trainable = [layer.name for layer in found if layer.trainable]
        samples = min(settings.samples, len(evaluator))
        self.samples = max(samples, min(settings.jacobian, len(evaluator)))
        self.precision = measure_precision(evaluator, self.trainable, together=mixed)
        self.base = evaluator.evaluate(evaluator.frozen, wanted=self.trainable, samples=self.samples)
        # a few examples may miss what the whole data uses
        found = [replace(layer, used=layer.used or self._has_gradient(layer.name)) for layer in found]
        self.layers = treated(found, perturb=settings.perturb, biases=settings.biases)
        self.is_weight = [layer.is_weight for layer in self.layers]
        self.weights = [layer.name for layer in self.layers if layer.is_weight]
        self.moving = [layer.name for layer in self.layers if layer.treatment == PERTURBED]
        if not self.weights:
            raise InputError("the network has no weight matrix to perturb")
        if not set(self.moving) & set(self.weights):
            raise InputError(f"no weight matrix is perturbed: {_reasons(self.layers)}; see probe layers")
        self.measured = self._chosen_layers()
        self.adversarial = settings.direction == "adversarial"
        self.direction, self.update_size = self._direction(following)
        self.line = PerturbedWeights(evaluator, self.direction)
        self.worst: dict[str, Tensor] | None = None
        self.gradient_norms = {name: float(norm(self.base.gradients[name])) for name in self.trainable}
        self.weight_norms = {name: float(norm(evaluator.frozen[name])) for name in self.names}

    def _has_gradient(self, name: str) -> bool:
        gradient = self.base.gradients.get(name)
        return gradient is not None and bool((gradient != 0).any())

    def _chosen_layers(self) -> list[str]:
        """Whose gradients are measured: of those chosen the trainable ones."""
        choice = self.settings.layers
        if choice == "all":
            return self.trainable
        if choice == "first":
            return [name for name in self.weights if name in self.trainable][:1]
        chosen = [name for name in self.names if fnmatch.fnmatchcase(self.reported[name], choice)]
        if not chosen:
            known = ", ".join(self.reported[name] for name in self.names[:6])
            raise InputError(f"--layers {choice}: matches no layer (there are {known}, …)")
        trainable = [name for name in chosen if name in self.trainable]
        if not trainable:
            raise InputError(
                f"--layers {choice}: matches frozen parameters only, whose gradients are not measured"
            )
        return trainable

    def _direction(self, following: Mapping[str, Tensor] | None) -> tuple[Direction, float]:
        """The slice's direction (nothing where every η has one of its own), and the size of a real update."""
        settings, frozen, moving = self.settings, self.evaluator.frozen, self.moving
        if self.adversarial:
            return Direction({}), math.nan
        if settings.direction == "gradient":
            gradients = {name: self.base.gradients[name] for name in moving}
            return gradient_direction(frozen, gradients), math.nan
        if settings.direction == "noise":
            return noise_direction(frozen, moving, seed=settings.seed), math.nan
        if following is None:
            raise InputError("--direction update: needs the checkpoint that follows; give at least two")
        return update_direction(frozen, following, moving, weights=self.weights)

    def _worst_at(self, eta: float) -> tuple[dict[str, Tensor], float]:
        """The tensors under the worst perturbation found at η, and the adversarial objective there."""
        frozen = self.evaluator.frozen
        downhill = gradient_direction(frozen, {name: self.base.gradients[name] for name in self.moving})
        uphill = {name: -step for name, step in downhill.items()}
        found = find_worst(
            self.evaluator,
            self.moving,
            eta,
            ascent=self.settings.ascent(),
            start=self.worst,
            candidates=(downhill, uphill),
            first=next(name for name in self.weights if name in self.trainable),
        )
        self.worst = found.change
        return {name: frozen[name] + found.change.get(name, 0.0) for name in frozen}, found.value

    def measure(self, label: str, progress: Callable[[int], object] | None) -> xr.Dataset:
        """Everything: the grid, what looks closer at it, and what belongs to the frozen network."""
        settings, evaluator = self.settings, self.evaluator
        report = progress or (lambda _: None)
        floor, again = measure_noise_floor(
            evaluator, self.base, self.precision, self.measured, samples=self.samples
        )
        table = Breakdown(
            evaluator,
            self.base,
            names=self.names,
            measured=self.measured,
            moving=self.moving,
            direction=None if self.adversarial else self.direction,
            etas=len(settings.etas),
        )
        closer = _Closer(self)
        table.record(
            0, evaluator.frozen, again
        )  # the noise floor's second evaluation is the measurement at 0
        del again
        if self.adversarial:
            own = self._measure_worst(table, closer, report)
        else:
            self._measure_line(table, closer, report)
            own = {}
        variables = table.variables(self.gradient_norms, self.weight_norms)
        variables |= {
            name: (("checkpoint", "layer"), values[None]) for name, values in self._per_layer(floor).items()
        }
        slope = math.nan if self.adversarial else self._slope()
        scalars = {"slope_at_zero": slope, "update_size": self.update_size, "curvature": math.nan}
        if not self.adversarial:  # there is no line to have a curvature, or a limit
            scalars |= self._along_the_line(table, slope)
        scalars["loss_noise_floor"] = floor.loss
        if evaluator.has_outputs:
            scalars["output_noise_floor"] = floor.outputs
        variables |= {name: (("checkpoint",), np.array([value])) for name, value in scalars.items()}
        variables |= own | closer.variables()
        coordinates = self._coordinates(label)
        if closer.ladder is not None:
            variables["output_difference_l1"] = (
                ("checkpoint", "eta", "example"),
                table.output_difference_l1()[None],
            )
            coordinates["operator"] = ("layer", closer.ladder.operator_kinds())
        return xr.Dataset(variables, coords=coordinates, attrs=self._attributes())

    def _measure_line(self, table: Breakdown, closer: _Closer, report: Callable[[int], object]) -> None:
        """The grid on a line; then, with all gradients let go, what looks closer at each η."""
        etas = self.settings.etas
        report(1)
        for row in range(1, len(etas)):
            eta = float(etas[row])
            found = self.line.evaluate(eta, wanted=self.measured, samples=self.samples)
            table.record(row, self.line.at(eta), found)
            del found  # its gradients, before there are new ones
            report(1)
        looks = evaluations_per_slice(self.settings) > len(etas)
        share = self.evaluator.share
        for row, eta in enumerate(etas):
            if row % share.size == share.rank:
                closer.record(row, self.line.at(float(eta)))
            report(int(looks))
        closer.merge(share)

    def _measure_worst(
        self, table: Breakdown, closer: _Closer, report: Callable[[int], object]
    ) -> dict[str, Any]:
        """The grid where every η has a perturbation of its own: its objective, and its spectra."""
        etas = self.settings.etas
        values = np.full(len(etas), np.nan)
        values[0] = 0.0
        spectra = {name: np.full((len(etas), len(self.names)), np.nan) for name in _OWN_SPECTRA}
        closer.record(0, self.evaluator.frozen)
        report(1)
        for row in range(1, len(etas)):
            moved, values[row] = self._worst_at(float(etas[row]))
            found: Evaluation = self.evaluator.evaluate(moved, wanted=self.measured, samples=self.samples)
            table.record(row, moved, found)
            closer.record(row, moved)
            for name in self.weights if self.settings.spectra != "none" else ():
                own, column = spectrum(moved[name] - self.evaluator.frozen[name]), self.names.index(name)
                spectra["perturbation_spectral_norm"][row, column] = own.spectral_norm
                spectra["perturbation_condition_number"][row, column] = own.condition_number
            report(1)
        found_variables: dict[str, Any] = {"adversarial_value": (("checkpoint", "eta"), values[None])}
        dims = ("checkpoint", "eta", "layer")
        return found_variables | {name: (dims, numbers[None]) for name, numbers in spectra.items()}

    def _slope(self) -> float:
        """⟨g, d⟩ at the frozen weights."""
        return sum(
            part.factor * float(compare(self.base.gradients[name], part.base()).product)
            for name, part in self.direction.parts.items()
        )

    def _per_layer(self, floor: NoiseFloor) -> dict[str, npt.NDArray[np.float64]]:
        """What belongs to the frozen weights and the direction, whatever η."""
        keys = (
            "weight_norm",
            "spectral_norm",
            "condition_number",
            "direction_spectral_norm",
            "direction_condition_number",
            "perturbation_cosine",
            "noise_floor",
            "gradient_stable_rank",
        )
        values = {key: np.full(len(self.names), np.nan) for key in keys}
        for k, name in enumerate(self.names):
            values["weight_norm"][k] = self.weight_norms[name]
            values["noise_floor"][k] = floor.gradients.get(name, math.nan)
            step = self.direction.get(name)
            if step is not None:
                pair, size = compare(step, self.base.gradients[name]), self.gradient_norms[name]
                if float(pair.norm) > 0 and size > 0:
                    values["perturbation_cosine"][k] = -float(pair.product / pair.norm) / size
            if self.is_weight[k] and self.settings.spectra != "none":
                if name in self.gradient_norms:
                    gradient = self.base.gradients[name].flatten(1)
                    largest = operator_norm(gradient, Operator("matrix"))
                    values["gradient_stable_rank"][k] = ratio(self.gradient_norms[name] ** 2, largest**2)
                own = spectrum(self.evaluator.frozen[name])
                values["spectral_norm"][k], values["condition_number"][k] = (
                    own.spectral_norm,
                    own.condition_number,
                )
                if step is not None:
                    moved = spectrum(step)
                    values["direction_spectral_norm"][k] = moved.spectral_norm
                    values["direction_condition_number"][k] = moved.condition_number
        return values

    def _along_the_line(self, table: Breakdown, slope: float) -> dict[str, float]:
        """The curvature at 0, and the step limit by root finding on the slice."""
        settings, evaluator, losses = self.settings, self.evaluator, table.losses()
        self.line.release()  # the curvature has two sets of gradients of its own
        curvature = directional_curvature(evaluator, self.direction) if settings.curvature else math.nan
        values = {"curvature": curvature}
        if settings.limit:
            guess = _quadratic_limit(slope, curvature, settings.etas, table.slopes())
            found = evaluator.share.led(
                lambda loss: find_step_limit(
                    loss,
                    start=self.base.loss,
                    slope=slope,
                    guess=guess,
                    known=dict(zip(settings.etas[1:].tolist(), losses[1:].tolist(), strict=True)),
                ),
                self.line.loss,
            )
            values |= {
                "step_limit": found.measured,
                "step_limit_searched_to": found.searched_to,
                "step_limit_evaluations": float(found.evaluations),
            }
        return values

    def _coordinates(self, label: str) -> dict[str, Any]:
        shapes = [
            tuple(self.evaluator.frozen[name].flatten(1).shape) if weight else (0, 0)
            for name, weight in self._kinds()
        ]
        return {
            "checkpoint": [label],
            "eta": self.settings.etas,
            "layer": [self.reported[name] for name in self.names],
            "example": np.arange(len(self.base.outputs), dtype=np.int32),
            "is_weight": ("layer", np.array(self.is_weight)),
            "kind": ("layer", [layer.kind for layer in self.layers]),
            "treatment": ("layer", [layer.treatment for layer in self.layers]),
            "rows": ("layer", np.array([rows for rows, _ in shapes], dtype=np.int32)),
            "columns": ("layer", np.array([columns for _, columns in shapes], dtype=np.int32)),
            "activation": ("layer", self._activations()),
        }

    def _kinds(self) -> list[tuple[str, bool]]:
        return list(zip(self.names, self.is_weight, strict=True))

    def _activations(self) -> list[str]:
        """The function that follows each weight matrix, where that is known; empty elsewhere."""
        network = self.evaluator.network
        found = dict.fromkeys(self.names, "")
        if isinstance(network, Perceptron):
            found |= dict.fromkeys(self.weights, network.spec.activation)
            found[self.weights[-1]] = "identity"
        return [found[name] for name in self.names]

    def _attributes(self) -> dict[str, Any]:
        network, settings = self.evaluator.network, self.settings
        spec = spec_of(network)
        biases = any(name.rpartition(".")[2] == "bias" for name in self.names)
        return {
            "architecture": spec.to_json()["kind"] if spec is not None else type(network).__name__,
            "residual": str(spec.residual).lower() if spec is not None else "unknown",
            "norm": spec.norm if spec is not None else "unknown",
            "biases": str(any(spec.biases) if isinstance(spec, PerceptronSpec) else biases).lower()
            if spec is not None
            else "unknown",
            "biases_moved": str(any(not w and n in self.moving for n, w in self._kinds())).lower(),
            "batchnorm": f"{settings.batchnorm} statistics",
            "perturb": " ".join(settings.perturb),
            "direction": settings.direction,
            "direction_hash": hash_of(self.worst if self.worst is not None else self.direction),
            "objective": settings.objective if self.adversarial else "",
            "layers": settings.layers,
            "dtype": settings.dtype,
            "precision": settings.precision,
            "epsilon": torch.finfo(self.evaluator.dtype).eps,
            "device": str(self.evaluator.device),
            "chunk": self.evaluator.chunk,
            "processes": self.evaluator.share.size,
            "seed": str(settings.seed),
            "number_of_examples": len(self.evaluator),
            "outputs": "yes" if self.evaluator.has_outputs else "no",
        }


class _Closer:
    """What is measured on a few examples, or by singular values, at every η besides the grid's own numbers."""

    def __init__(self, of: _Slice) -> None:
        """Measure what belongs to the frozen weights."""
        settings, evaluator = of.settings, of.evaluator
        self.names = of.names
        self.sensitivity = self.ladder = None
        if settings.jacobian > 0 and evaluator.has_outputs:
            self.sensitivity = Sensitivity(
                evaluator,
                names=of.names,
                weights=of.weights,
                count=min(settings.jacobian, len(evaluator)),
                kept=of.samples,
                etas=len(settings.etas),
            )
        wanted = settings.ladder and evaluator.has_outputs and settings.spectra != "none" and of.samples > 0
        if wanted and not of.mixed:
            self.ladder = Ladder(
                evaluator,
                names=of.names,
                weights=of.weights,
                direction=None if of.adversarial else of.direction,
                samples=of.samples,
                etas=settings.etas,
            )
        self.weights = of.weights if settings.spectra == "slice" else []
        self.condition = np.full((len(settings.etas), len(of.names)), np.nan)

    def record(self, row: int, moved: Mapping[str, Tensor]) -> None:
        """Measure at a row's η."""
        for name in self.weights:
            self.condition[row, self.names.index(name)] = spectrum(moved[name]).condition_number
        if self.sensitivity is not None:
            self.sensitivity.record(row, moved)
        if self.ladder is not None:
            self.ladder.record(row, moved)

    def merge(self, share: Share) -> None:
        """Take the rows that other processes recorded from them: row k is of process k modulo their number."""
        if share.size == 1:
            return
        tables = [self.condition]
        if self.sensitivity is not None:
            tables += self.sensitivity.tables()
        if self.ladder is not None:
            tables += self.ladder.tables()
        others = np.arange(len(self.condition)) % share.size != share.rank
        for table in tables:
            table[others] = 0.0
        share.sum_([torch.from_numpy(table) for table in tables])  # in place: they share their memory

    def variables(self) -> dict[str, Any]:
        """Everything, with a ``checkpoint`` of one in front."""
        found: dict[str, Any] = {}
        if self.weights:
            found["perturbed_condition_number"] = (("checkpoint", "eta", "layer"), self.condition[None])
        if self.sensitivity is not None:
            found |= self.sensitivity.variables()
        if self.ladder is not None:
            found |= self.ladder.variables()
        return found
