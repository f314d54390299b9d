"""What the measures found as one labelled dataset, with all that is needed to repeat it."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import numpy as np
import torch
import xarray as xr

from probes.errors import InputError
from probes.evaluation.directions import hash_of
from probes.evaluation.perturbed_weights import PerturbedWeights
from probes.measures.measure import Found, Frozen, Measure
from probes.measures.noise_floor import NoiseFloor
from probes.networks.kinds import spec_of
from probes.slices.adversarial_path import AdversarialPath
from probes.slices.levels_path import LevelsPath
from trust import measurements as variables
from trust.measurements import Variable

__all__ = ["assembled", "collected"]


def collected(frozen: Frozen, floor: NoiseFloor, measures: Iterable[Measure]) -> dict[Variable, Any]:
    """All that was found, each variable once.

    Raises:
        InputError: a measure finds what it did not declare, or an array that its dims do not fit.
    """
    found: dict[Variable, Any] = dict(floor.found(frozen))
    if isinstance(frozen.path, AdversarialPath):
        values = [frozen.path.value(float(eta)) for eta in frozen.etas]
        found[variables.ADVERSARIAL_VALUE] = np.array(values)
    for measure in measures:
        own = measure.found({name: found[name] for name in measure.uses if name in found})
        _check(measure, own, frozen)
        found |= own
    return found


def _check(measure: Measure, found: Found, frozen: Frozen) -> None:
    sizes = {"eta": len(frozen.etas), "layer": len(frozen.names), "example": frozen.samples}
    for name, values in found.items():
        if name not in measure.finds:
            raise InputError(f"measure {measure.name}: finds {name}, which it does not declare")
        known = variables.ALL.get(str(name), name)
        if known.dims != name.dims:
            raise InputError(
                f"measure {measure.name}: {name} is in the vocabulary with the dims {', '.join(known.dims)}; name"
                " another variable"
            )
        dims = [dim for dim in name.dims if dim != "checkpoint"]
        shape = np.shape(values)
        wanted = tuple(sizes.get(dim, size) for dim, size in zip(dims, shape, strict=False))
        if len(shape) != len(dims) or shape != wanted:
            raise InputError(
                f"measure {measure.name}: {name} came as an array of shape {shape},"
                f" but its dims are {', '.join(dims) or 'none'} {wanted or ''}".rstrip()
            )


def assembled(frozen: Frozen, label: str, found: dict[Variable, Any]) -> xr.Dataset:
    """The dataset, with a ``checkpoint`` of one in front of all that belongs to the checkpoint."""
    data: dict[str, Any] = {}
    coordinates = _coordinates(frozen, label)
    for name, values in found.items():
        array = np.asarray(values)
        if "checkpoint" in name.dims:
            data[str(name)] = (name.dims, array[None], name.attributes)
        else:
            coordinates[str(name)] = (name.dims, array, name.attributes)
    return xr.Dataset(data, coords=coordinates, attrs=_attributes(frozen))


def _coordinates(frozen: Frozen, label: str) -> dict[str, Any]:
    layers, weights = frozen.layers, frozen.evaluator.frozen
    shapes = [tuple(weights[layer.name].flatten(1).shape) if layer.is_weight else (0, 0) for layer in layers]
    by_layer: dict[Variable, Any] = {
        variables.IS_WEIGHT: np.array([layer.is_weight for layer in layers]),
        variables.USES: np.array([layer.uses for layer in layers], dtype=np.int32),
        variables.KIND: [layer.kind for layer in layers],
        variables.TREATMENT: [layer.treatment for layer in layers],
        variables.ROWS: np.array([rows for rows, _ in shapes], dtype=np.int32),
        variables.COLUMNS: np.array([columns for _, columns in shapes], dtype=np.int32),
        variables.ACTIVATION: _activations(frozen),
    }
    by_eta = {variables.LEVEL: frozen.path.levels} if isinstance(frozen.path, LevelsPath) else {}
    return {
        "checkpoint": [label],
        "eta": ("eta", frozen.etas, variables.ETA.attributes),
        "layer": [layer.reported for layer in layers],
        "example": np.arange(frozen.samples, dtype=np.int32),
        **{str(name): (name.dims, values, name.attributes) for name, values in (by_layer | by_eta).items()},
    }


def _activations(frozen: Frozen) -> list[str]:
    """The function that follows each weight matrix, where that is known; empty elsewhere."""
    found = {} if frozen.structure is None else frozen.structure.activations
    return [found.get(name, "") if name in frozen.weights else "" for name in frozen.names]


def _form(frozen: Frozen) -> dict[str, str]:
    """What kind of network it is, as far as its forward pass tells: ``true``, ``false``, or ``unknown``."""
    reading, spec = frozen.reading, spec_of(frozen.evaluator.network)
    structure = reading.structure
    norms = " ".join(sorted(reading.norms)) or "none"
    biases = None if structure is None else structure.has_biases
    named = structure and structure.renamed({layer.name: layer.reported for layer in frozen.layers})
    return {
        "architecture": spec.to_json()["kind"]
        if spec is not None
        else type(frozen.evaluator.network).__name__,
        "residual": _said(None if structure is None else any(step.kind == "sum" for step in structure.steps)),
        "norm": norms if structure is not None or reading.norms else "unknown",
        "biases": _said(biases),
        "structure": named.to_json() if named else "",
        "structure_unknown": reading.why,
    }


def _said(truth: bool | None) -> str:
    return "unknown" if truth is None else str(truth).lower()


def _attributes(frozen: Frozen) -> dict[str, Any]:
    evaluator, settings = frozen.evaluator, frozen.settings
    moved = any(layer.name in frozen.moving and not layer.is_weight for layer in frozen.layers)
    adversarial = isinstance(frozen.path, AdversarialPath)
    worst = frozen.path.change if isinstance(frozen.path, AdversarialPath) else None
    if isinstance(frozen.path, LevelsPath):
        worst = frozen.path.at(float(frozen.etas[-1]))
    return {
        **_form(frozen),
        "biases_moved": str(moved).lower(),
        "batchnorm": f"{settings.batchnorm} statistics",
        "perturb": " ".join(settings.perturb),
        "direction": settings.direction,
        "direction_hash": hash_of(worst if worst is not None else frozen.direction or {}),
        "objective": settings.objective if adversarial else "",
        "granularity": settings.granularity if settings.direction == "quantize" else "",
        "layers": settings.layers,
        "measures": " ".join(settings.measure),
        "dtype": settings.dtype,
        "precision": settings.precision,
        "epsilon": torch.finfo(evaluator.dtype).eps,
        "matmul": settings.matmul,
        "device": str(evaluator.device),
        "chunk": evaluator.chunk,
        "etas_at_once": frozen.path.at_once if isinstance(frozen.path, PerturbedWeights) else 1,
        "processes": evaluator.share.size,
        "seed": str(settings.seed),
        "number_of_examples": len(evaluator),
        "outputs": "yes" if evaluator.has_outputs else "no",
    }
