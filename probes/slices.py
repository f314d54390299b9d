"""The slice: freeze a network, perturb every layer relatively along a direction, and measure what breaks."""

from __future__ import annotations

import fnmatch
import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
import xarray as xr
from torch import Tensor, nn

from probes.adversarial import Ascent, find_worst
from probes.batches import Batch, Batches
from probes.curvature import directional_curvature
from probes.directions import DIRECTIONS, gradient_direction, hash_of, noise_direction, update_direction
from probes.errors import InputError
from probes.evaluation import FullBatch, moved_along
from probes.jacobians import relative_change
from probes.ladder import Ladder
from probes.layers import PERTURBED, Layer, find_layers, treated
from probes.limits import find_step_limit
from probes.losses import Loss, as_loss, resolve_loss
from probes.modes import BATCHNORMS, mixes_examples, probing
from probes.networks import Perceptron, PerceptronSpec
from probes.noise import measure_noise_floor
from probes.operators import Operator, operator_norm
from probes.sensitivity import Sensitivity
from probes.sharing import ALONE, Share
from probes.spectra import spectrum
from probes.zoo import spec_of

__all__ = ["SliceSettings", "evaluations_per_slice", "measure_slice"]


_OWN_SPECTRA = ("perturbation_spectral_norm", "perturbation_condition_number")
"""Measured at every η where every η has a perturbation of its own."""
_CHOICES = {
    "direction": tuple(DIRECTIONS),
    "spectra": ("weights", "slice", "none"),
    "biases": ("move", "fixed"),
    "batchnorm": tuple(BATCHNORMS),
    "dtype": ("float32", "float64"),
}


@dataclass(frozen=True)
class SliceSettings:
    """How a slice is measured; everything here is written into the results.

    Attributes:
        etas: increasing grid, 0 first.
        direction: a name of :data:`probes.directions.DIRECTIONS`.
        perturb: globs over reported names: which tensors are perturbed. Frozen and unused ones never are.
        layers: whose gradients are measured: ``all``, ``first`` or a glob over names.
        samples: examples whose output change is kept.
        jacobian: examples whose Jacobian change is measured (0: none).
        spectra: ``weights`` for the frozen weights and the direction, ``slice`` for the perturbed weights
            at every η too, ``none`` for neither.
        biases: ``move`` (the released protocol) or ``fixed``.
        batchnorm: a name of :data:`probes.modes.BATCHNORMS`: the statistics that batch and instance norm use.
        limit: whether the step limit is searched for.
        curvature: whether the directional second derivative is computed.
        ladder: whether the bounds' ingredients (layer inputs, operator norms, paths, …) are measured on the sample.
        seed: of the noise direction, and of the adversarial search's restarts.
        objective: what the direction ``adversarial`` makes as large as possible: ``output`` or ``breakdown``.
        ascent_steps: points that each of its ascents tries.
        restarts: how many ascents start from noise.
        dtype: ``float32`` or ``float64``.
        device: a torch device.
        chunk: examples at once.
    """

    etas: npt.NDArray[np.float64]
    direction: str = "gradient"
    perturb: tuple[str, ...] = ("*",)
    layers: str = "all"
    samples: int = 200
    jacobian: int = 0
    spectra: str = "weights"
    biases: str = "move"
    batchnorm: str = "running"
    limit: bool = True
    curvature: bool = True
    ladder: bool = True
    seed: int = 0
    objective: str = "output"
    ascent_steps: int = 20
    restarts: int = 3
    dtype: str = "float32"
    device: str = "cpu"
    chunk: int = 1000

    def __post_init__(self) -> None:
        """Refuse a grid or a choice that would silently measure something else.

        Raises:
            InputError: it names the setting.
        """
        etas = self.etas
        if len(etas) < 2 or etas[0] != 0 or not np.all(np.diff(etas) > 0) or not np.isfinite(etas[-1]):
            raise InputError("etas: the grid must start at 0 and increase strictly; make it with parse_etas")
        for name, choices in _CHOICES.items():
            if getattr(self, name) not in choices:
                raise InputError(f"--{name} {getattr(self, name)}: unknown; known are {', '.join(choices)}")
        self.ascent()

    def ascent(self) -> Ascent:
        """How the direction ``adversarial`` is searched for.

        Raises:
            InputError: it names the setting.
        """
        return Ascent(
            objective=self.objective,
            examples=max(self.samples, 1),
            steps=self.ascent_steps,
            restarts=self.restarts,
            seed=self.seed,
        )


def evaluations_per_slice(settings: SliceSettings) -> int:
    """How many times a slice reports progress: once for each η."""
    return len(settings.etas)


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
        x: inputs (n, …), or batches of any form (:func:`probes.reading.read_batches` makes them).
        y: targets (n, …); None for batches, which have their own.
        settings: what to measure, and how.
        loss: a name of :func:`probes.losses.resolve_loss`, losses (n,) of outputs and targets, or a function
            of (model, batch); None: cross-entropy for labels.
        names: the module's parameters to the names to report (default: all, under their own names). They are
            reported in the order of the forward pass (:func:`probes.layers.find_layers`).
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
    if mixed:
        _refuse_mixed(settings, len(x), share)
    with probing(network, batchnorm=settings.batchnorm):
        batch = FullBatch(
            network,
            x,
            y,
            function,
            dtype=getattr(torch, settings.dtype),
            device=settings.device,
            chunk=settings.chunk,
            share=share,
        )
        return _Slice(batch, settings, reported, following, mixed=mixed).measure(label, progress)


def _refuse_mixed(settings: SliceSettings, examples: int, share: Share) -> None:
    """Batch statistics make one function of all examples: refuse what is defined example by example.

    Raises:
        InputError: it names the setting.
    """
    if examples < 2 or examples > settings.chunk:
        raise InputError(
            f"--batchnorm batch: the statistics are those of all {examples} examples at once;"
            f" give --chunk {max(examples, 2)}, or from 2 to {settings.chunk} examples"
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


def _norm(tensor: Tensor) -> float:
    return float(torch.linalg.vector_norm(tensor, dtype=torch.float64))


def _ratio(part: float, whole: float) -> float:
    """The quotient part / whole, with 0/0 = 0 and x/0 = inf."""
    if whole > 0 or math.isnan(part) or math.isnan(whole):
        return part / whole
    return 0.0 if part == 0 else math.inf


def _dot(a: Tensor, b: Tensor) -> float:
    """⟨a, b⟩, its products rounded once in the working precision and summed in float64."""
    return float(torch.sum(a * b, dtype=torch.float64))


def _reasons(layers: list[Layer]) -> str:
    """How the weight matrices are treated, in words."""
    return ", ".join(sorted({layer.treatment for layer in layers if layer.is_weight}))


class _Slice:
    """One slice in the making."""

    def __init__(
        self,
        batch: FullBatch,
        settings: SliceSettings,
        reported: dict[str, str],
        following: Mapping[str, Tensor] | None,
        *,
        mixed: bool = False,
    ) -> None:
        self.batch, self.settings, self.reported, self.mixed = batch, settings, reported, mixed
        missing = [name for name in reported if name not in batch.frozen]
        if missing:
            raise InputError(f"the network has no parameter {missing[0]}")
        found = [layer for layer in find_layers(batch.network, batch, reported) if layer.name in reported]
        self.names = [layer.name for layer in found]
        self.trainable = [layer.name for layer in found if layer.trainable]
        samples = min(settings.samples, len(batch))
        self.samples = max(samples, min(settings.jacobian, len(batch)))
        self.base = batch.evaluate(batch.frozen, wanted=self.trainable, samples=self.samples)
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
        self.worst: dict[str, Tensor] | None = None
        self.gradient_norms = {name: _norm(self.base.gradients[name]) for name in self.trainable}
        self.weight_norms = {name: _norm(batch.frozen[name]) for name in self.names}

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

    def _direction(self, following: Mapping[str, Tensor] | None) -> tuple[dict[str, Tensor], float]:
        """The slice's direction (none where every η has a perturbation of its own), and the size of a real update."""
        settings, frozen, moving = self.settings, self.batch.frozen, self.moving
        if self.adversarial:
            return {}, math.nan
        if settings.direction == "gradient":
            gradients = {name: self.base.gradients[name] for name in moving}
            return gradient_direction(frozen, gradients), math.nan
        if settings.direction == "noise":
            return noise_direction(frozen, moving, seed=settings.seed), math.nan
        if following is None:
            raise InputError("--direction update: needs the checkpoint that follows; give at least two")
        return update_direction(frozen, following, moving, weights=self.weights)

    def _moved(self, eta: float) -> tuple[dict[str, Tensor], float]:
        """The perturbed tensors at η, and the adversarial objective there."""
        frozen = self.batch.frozen
        if not self.adversarial:
            return moved_along(frozen, self.direction, eta), math.nan
        if eta == 0:
            return dict(frozen), 0.0
        downhill = gradient_direction(frozen, {name: self.base.gradients[name] for name in self.moving})
        uphill = {name: -step for name, step in downhill.items()}
        found = find_worst(
            self.batch,
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
        settings, batch = self.settings, self.batch
        floor = measure_noise_floor(
            batch, self.base, self.trainable, samples=self.samples, together=self.mixed
        )
        etas = settings.etas
        columns = {name: k for k, name in enumerate(self.names)}
        layered = (len(etas), len(self.names))
        table: dict[str, npt.NDArray[np.float64]] = {
            name: np.full(layered, np.nan)
            for name in (
                "gradient_change",
                "gradient_difference",
                "gradient_cosine",
                "gradient_norm",
                "relative_perturbation",
                "perturbation_norm",
            )
        }
        losses, accuracies, slopes = (np.full(len(etas), np.nan) for _ in range(3))
        output_change = np.full((len(etas), self.samples), np.nan)
        perturbed_condition = np.full(layered, np.nan)
        own_spectra = {name: np.full(layered, np.nan) for name in _OWN_SPECTRA}
        worst_values = np.full(len(etas), np.nan)
        sensitivity = self._sensitivity() if settings.jacobian > 0 and batch.has_outputs else None
        wanted = settings.ladder and batch.has_outputs and settings.spectra != "none" and self.samples > 0
        wanted = wanted and not self.mixed
        ladder = self._ladder() if wanted else None
        whole_gradient = set(self.direction) <= set(self.measured) and not self.adversarial
        for row, eta in enumerate(etas):
            moved, worst_values[row] = self._moved(float(eta))
            result = floor.repeat  # the noise floor's second evaluation is the measurement at 0
            if eta > 0:
                result = batch.evaluate(moved, wanted=self.measured, samples=self.samples)
            losses[row], accuracies[row] = result.loss, result.accuracy
            output_change[row] = relative_change(self.base.outputs, result.outputs).cpu().numpy()
            for name in self.names:
                change = _norm(moved[name] - batch.frozen[name]) if name in self.moving else 0.0
                table["perturbation_norm"][row, columns[name]] = change
                table["relative_perturbation"][row, columns[name]] = _ratio(change, self.weight_norms[name])
            for name in self.measured:
                gradient = result.gradients[name]
                self._breakdown(table, row, columns[name], name, gradient)
            if whole_gradient:
                slopes[row] = sum(
                    _dot(result.gradients[name], self.direction[name]) for name in self.direction
                )
            if settings.spectra == "slice":
                for name in self.weights:
                    perturbed_condition[row, columns[name]] = spectrum(moved[name]).condition_number
            if self.adversarial and eta > 0 and settings.spectra != "none":
                for name in self.weights:
                    own = spectrum(moved[name] - batch.frozen[name])
                    own_spectra["perturbation_spectral_norm"][row, columns[name]] = own.spectral_norm
                    own_spectra["perturbation_condition_number"][row, columns[name]] = own.condition_number
            if sensitivity is not None:
                sensitivity.record(row, moved)
            if ladder is not None:
                ladder.record(row, moved, result.outputs, self.base.outputs)
            if progress is not None:
                progress(1)
        base_slope = (
            math.nan
            if self.adversarial
            else sum(_dot(self.base.gradients[name], self.direction[name]) for name in self.direction)
        )
        per_layer = self._per_layer(floor.gradients)
        scalars = {"slope_at_zero": base_slope, "update_size": self.update_size, "curvature": math.nan}
        if not self.adversarial:  # there is no line to have a curvature, or a limit
            scalars |= self._along_the_line(losses, base_slope)
        dims = ("checkpoint", "eta", "layer")
        variables: dict[str, Any] = {
            "loss": (dims[:2], losses[None]),
            "accuracy": (dims[:2], accuracies[None]),
            "slope": (dims[:2], slopes[None]),
        }
        if batch.has_outputs:
            variables["output_change"] = (("checkpoint", "eta", "example"), output_change[None])
            variables["output_noise_floor"] = (("checkpoint",), np.array([floor.outputs]))
        variables |= {name: (dims, values[None]) for name, values in table.items()}
        variables |= {name: (("checkpoint", "layer"), values[None]) for name, values in per_layer.items()}
        variables |= {name: (("checkpoint",), np.array([value])) for name, value in scalars.items()}
        variables["loss_noise_floor"] = (("checkpoint",), np.array([floor.loss]))
        if settings.spectra == "slice":
            variables["perturbed_condition_number"] = (dims, perturbed_condition[None])
        if self.adversarial:
            variables["adversarial_value"] = (dims[:2], worst_values[None])
            variables |= {name: (dims, values[None]) for name, values in own_spectra.items()}
        if sensitivity is not None:
            variables |= sensitivity.variables()
        coordinates = self._coordinates(label, output_change.shape[1])
        if ladder is not None:
            variables |= ladder.variables()
            coordinates["operator"] = ("layer", ladder.operator_kinds())
        return xr.Dataset(variables, coords=coordinates, attrs=self._attributes())

    def _sensitivity(self) -> Sensitivity:
        return Sensitivity(
            self.batch,
            names=self.names,
            weights=self.weights,
            count=min(self.settings.jacobian, len(self.batch)),
            kept=self.samples,
            etas=len(self.settings.etas),
        )

    def _ladder(self) -> Ladder:
        return Ladder(
            self.batch,
            names=self.names,
            weights=self.weights,
            direction=None if self.adversarial else self.direction,
            samples=self.samples,
            etas=self.settings.etas,
        )

    def _breakdown(
        self, table: dict[str, npt.NDArray[np.float64]], row: int, column: int, name: str, gradient: Tensor
    ) -> None:
        before = self.base.gradients[name]
        size, norm = self.gradient_norms[name], _norm(gradient)
        difference = _norm(gradient - before)
        table["gradient_norm"][row, column] = norm
        table["gradient_difference"][row, column] = difference
        table["gradient_change"][row, column] = _ratio(difference, size)
        if size > 0 and norm > 0:
            # unit vectors first: the products of a vanishing gradient's entries underflow
            table["gradient_cosine"][row, column] = _dot(gradient / norm, before / size)

    def _per_layer(self, floors: Mapping[str, float]) -> dict[str, npt.NDArray[np.float64]]:
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
            values["noise_floor"][k] = floors.get(name, math.nan)
            step = self.direction.get(name)
            if step is not None:
                length, size = _norm(step), self.gradient_norms[name]
                if length > 0 and size > 0:
                    values["perturbation_cosine"][k] = -_dot(step / length, self.base.gradients[name] / size)
            if self.is_weight[k] and self.settings.spectra != "none":
                if name in self.gradient_norms:
                    gradient = self.base.gradients[name].flatten(1)
                    largest = operator_norm(gradient, Operator("matrix"))
                    values["gradient_stable_rank"][k] = _ratio(self.gradient_norms[name] ** 2, largest**2)
                own = spectrum(self.batch.frozen[name])
                values["spectral_norm"][k], values["condition_number"][k] = (
                    own.spectral_norm,
                    own.condition_number,
                )
                if step is not None:
                    moved = spectrum(step)
                    values["direction_spectral_norm"][k] = moved.spectral_norm
                    values["direction_condition_number"][k] = moved.condition_number
        return values

    def _along_the_line(self, losses: npt.NDArray[np.float64], slope: float) -> dict[str, float]:
        """The curvature at 0, and the step limit by root finding on the slice."""
        settings, batch = self.settings, self.batch
        curvature = directional_curvature(batch, self.direction) if settings.curvature else math.nan
        values = {"curvature": curvature}
        if settings.limit:
            found = batch.share.led(
                lambda loss: find_step_limit(
                    loss,
                    start=self.base.loss,
                    slope=slope,
                    guess=2 * -slope / curvature if curvature > 0 else 0.1,
                    known=dict(zip(settings.etas[1:].tolist(), losses[1:].tolist(), strict=True)),
                ),
                lambda eta: batch.loss(moved_along(batch.frozen, self.direction, eta)),
            )
            values |= {
                "step_limit": found.measured,
                "step_limit_searched_to": found.searched_to,
                "step_limit_evaluations": float(found.evaluations),
            }
        return values

    def _coordinates(self, label: str, examples: int) -> dict[str, Any]:
        shapes = [
            tuple(self.batch.frozen[name].flatten(1).shape) if weight else (0, 0)
            for name, weight in self._kinds()
        ]
        return {
            "checkpoint": [label],
            "eta": self.settings.etas,
            "layer": [self.reported[name] for name in self.names],
            "example": np.arange(examples, dtype=np.int32),
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
        network = self.batch.network
        found = dict.fromkeys(self.names, "")
        if isinstance(network, Perceptron):
            found |= dict.fromkeys(self.weights, network.spec.activation)
            found[self.weights[-1]] = "identity"
        return [found[name] for name in self.names]

    def _attributes(self) -> dict[str, Any]:
        network, settings = self.batch.network, self.settings
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
            "epsilon": torch.finfo(self.batch.dtype).eps,
            "device": str(self.batch.device),
            "chunk": settings.chunk,
            "processes": self.batch.share.size,
            "seed": str(settings.seed),
            "number_of_examples": len(self.batch),
            "outputs": "yes" if self.batch.has_outputs else "no",
        }
