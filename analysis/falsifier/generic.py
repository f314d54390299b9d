"""Claims that are known by their sides on measurements alone: small networks as the measurements they would give.

The same formulas that judge a run are applied to a dataset in which every ``checkpoint`` is one small network, in
floats to search, and in intervals to certify. Interval arithmetic goes through xarray and NumPy as long as a
formula is made of arithmetic, sums, products, maxima and elementary functions.
"""

from __future__ import annotations

from functools import partial
from typing import Any

import numpy as np
import torch
import xarray as xr

from analysis.falsifier.exact import ExactTrial
from analysis.falsifier.floats import FloatTrial
from analysis.falsifier.intervals import Interval, interval
from trust import measurements as variables
from trust.claims import Claim, Condition, Form, Premise, Trial, output_change
from trust.measurements import Variable

__all__ = ["UnsupportedError", "form_of", "measurements_of"]

_LN10 = interval(10).log()


class UnsupportedError(Exception):
    """A formula that intervals cannot take, or a claim about something that small networks do not have."""


def form_of(claim: Claim) -> Form:
    """The claim's own form, or one made of its two sides on measurements.

    Raises:
        UnsupportedError: it needs measurements that a small network does not give.
    """
    if claim.form is not None:
        return claim.form
    uses = ("target",) if claim.subject in ("gradient", "loss") else ()
    if claim.subject == "input":
        uses = ("input_change",)
    return Form(
        sides=lambda trial: _sides(claim, trial),
        conditions=tuple(
            Condition(premise.name, partial(_standing, premise))
            for premise in claim.premises
            if premise.gates
        ),
        activations=("leaky_relu:", "relu", "identity", "tanh"),
        uses=uses,
        differentiable=False,
    )


def _sides(claim: Claim, trial: Trial) -> tuple[Any, Any]:
    data = measurements_of(trial)
    missing = [name for name in claim.needs if name not in data]
    if missing:
        raise UnsupportedError(
            f"{claim.id} needs {missing[0]}, which the falsifier's small networks do not have"
        )
    floats = isinstance(trial, FloatTrial)
    try:
        if floats:
            measured, bound = _floats(claim, data)
            return torch.pow(10.0, measured), torch.pow(10.0, bound)
        if claim.measured is output_change:
            left: Any = data[variables.OUTPUT_CHANGE].isel(eta=1).values.item()
        else:
            left = _only(10.0 ** _exponents(claim.measured(data)))
        return left, _only(10.0 ** _exponents(claim.bound(data)))
    except ArithmeticError:  # undecided, or a division by 0
        raise
    except Exception as error:  # whatever somebody's own formula raises
        where = "on small networks" if floats else "in intervals"
        raise UnsupportedError(
            f"the formulas of {claim.id} cannot be evaluated {where} ({type(error).__name__}: {error})"
        ) from error


def _exponents(values: xr.DataArray) -> xr.DataArray:
    return xr.apply_ufunc(lambda array: np.frompyfunc(_Power, 1, 1)(array), values)


class _Power:
    """10 to an interval, when asked for by ``10.0 ** exponent``."""

    def __init__(self, exponent: Any) -> None:
        self.exponent = exponent

    def __rpow__(self, _: float) -> Interval:
        if not isinstance(self.exponent, Interval):
            raise TypeError("a number that has lost its interval")
        found: Interval = (self.exponent * _LN10).exp()
        return found


def _only(values: xr.DataArray) -> Any:
    if values.size != 1:
        raise TypeError("more than one number a network")
    return values.values.item()


def _floats(claim: Claim, data: xr.Dataset) -> tuple[torch.Tensor, torch.Tensor]:
    """Both sides in log10 at the point where they come closest (or break the most), one a network."""
    with np.errstate(all="ignore"):
        measured, bound = xr.broadcast(claim.measured(data), claim.bound(data))
    measured, bound = (side.transpose("checkpoint", ...) for side in (measured, bound))
    count = data.sizes["checkpoint"]
    left, right = (np.asarray(side.values, dtype=np.float64).reshape(count, -1) for side in (measured, bound))
    with np.errstate(all="ignore"):
        place = np.argmax(np.nan_to_num(left - right, nan=-np.inf), axis=1)
    rows = np.arange(count)
    return torch.from_numpy(left[rows, place]), torch.from_numpy(right[rows, place])


def _standing(premise: Premise, trial: Trial) -> Any:
    """1 where a premise holds, −1 where it fails or cannot be told."""
    data = measurements_of(trial)
    if not isinstance(trial, FloatTrial):
        data = data.map(_rounded)  # correctly, but for the last digit
    missing = [name for name in premise.needs if name not in data]
    if missing:
        raise UnsupportedError(
            f"the premise {premise.name} needs {missing[0]}, which small networks do not have"
        )
    try:
        with np.errstate(all="ignore"):
            truth = premise.check(data).astype(np.float64)
        whole = (truth == 1).all([dim for dim in truth.dims if dim != "checkpoint"]).values
        if isinstance(trial, FloatTrial):
            return torch.from_numpy(np.broadcast_to(np.where(whole, 1.0, -1.0), (len(trial.x),)).copy())
        return interval(1 if bool(whole.all()) else -1)
    except Exception as error:  # whatever somebody's own premise raises
        raise UnsupportedError(
            f"the premise {premise.name} cannot be checked on small networks ({type(error).__name__}: {error})"
        ) from error


def _rounded(values: xr.DataArray) -> xr.DataArray:
    """Intervals as floats."""
    if values.dtype != np.object_:
        return values
    floats = np.array([v.middle if isinstance(v, Interval) else float(v) for v in values.values.ravel()])
    return values.copy(data=floats.reshape(values.shape))


def measurements_of(trial: Trial) -> xr.Dataset:
    """What a run would measure on small networks: floats, or intervals for one network in exact arithmetic.

    The grid has two η, 0 and 1, where W(1) = W + ΔW; the one example is x. Computed once for each trial.
    """
    found: xr.Dataset | None = vars(trial).get("_measurements")
    if found is None:
        found = vars(trial)["_measurements"] = _measured(trial)
    return found


def _measured(trial: Trial) -> xr.Dataset:
    depth = trial.depth
    before, arguments = trial.before()
    after, moved_arguments = trial.after()
    f, difference = before[-1], after[-1] - before[-1]
    sizes = [trial.norm(W) for W in trial.weights]
    steps = [trial.norm(dW) for dW in trial.changes]
    largest, smallest = (
        [trial.spectral(W) for W in trial.weights],
        [trial.condition(W) for W in trial.weights],
    )
    step_norms = [trial.spectral(dW) for dW in trial.changes]
    step_conditions = [trial.condition(dW) for dW in trial.changes]
    per_layer = {
        variables.WEIGHT_NORM: sizes,
        variables.OPERATOR_NORM: largest,
        variables.SPECTRAL_NORM: largest,
        variables.CONDITION_NUMBER: smallest,
        variables.DIRECTION_OPERATOR_NORM: step_norms,
        variables.DIRECTION_SPECTRAL_NORM: step_norms,
        variables.DIRECTION_CONDITION_NUMBER: step_conditions,
    }
    along = {
        variables.RELATIVE_PERTURBATION: [step / size for step, size in zip(steps, sizes, strict=True)],
        variables.PERTURBATION_NORM: steps,
        variables.PERTURBATION_OPERATOR_NORM: step_norms,
        variables.PERTURBED_OPERATOR_NORM: [trial.spectral(W) for W in trial.moved],
        variables.PERTURBED_CONDITION_NUMBER: [trial.condition(W) for W in trial.moved],
    }
    responses = [trial.norm(trial.apply(dW, h)) for dW, h in zip(trial.changes, before, strict=False)]
    gates = [trial.gate(z) for z in arguments]
    changes = [
        trial.largest((trial.gate(z) - gate) / gate) if trial.activation not in ("relu", "tanh") else None
        for z, gate in zip(moved_arguments, gates, strict=True)
    ]
    by_example: dict[Variable, list[Any]] = {variables.PERTURBATION_RESPONSE: responses}
    if all(change is not None for change in changes):
        by_example[variables.GATE_CHANGE] = changes
    once = {
        variables.INPUT_NORM: trial.norm(trial.x),
        variables.INPUT_MAX: trial.largest(trial.x),
        variables.OUTPUT_NORM: trial.norm(f),
    }
    output = {
        variables.OUTPUT_CHANGE: trial.norm(difference) / trial.norm(f),
        variables.OUTPUT_DIFFERENCE_L1: trial.norm1(difference),
    }
    if trial.moves(trial.input_change) if isinstance(trial, ExactTrial) else True:
        shifted = trial.states(trial.weights, trial.biases, trial.x + trial.input_change)[0][-1]
        output[variables.INPUT_RESPONSE] = trial.norm(shifted - f)
    gradients = zip(trial.gradients(trial.weights), trial.gradients(trial.moved), strict=True)
    differences, lengths, moved_lengths = [], [], []
    for one, other in gradients:
        differences.append(trial.norm(other - one))
        lengths.append(trial.norm(one))
        moved_lengths.append(trial.norm(other))
    along[variables.GRADIENT_DIFFERENCE] = differences
    return _dataset(trial, depth, per_layer, along, by_example, once, output, lengths, moved_lengths)


def _dataset(
    trial: Trial,
    depth: int,
    per_layer: dict[Variable, list[Any]],
    along: dict[Variable, list[Any]],
    by_example: dict[Variable, list[Any]],
    once: dict[Variable, Any],
    output: dict[Variable, Any],
    lengths: list[Any],
    moved_lengths: list[Any],
) -> xr.Dataset:
    floats = isinstance(trial, FloatTrial)
    count = len(trial.x) if floats else 1

    def column(value: Any) -> Any:
        """(networks,)."""
        if floats:
            return value.detach().numpy()
        found = np.empty(1, dtype=object)
        found[0] = value if isinstance(value, Interval) else interval(value)
        return found

    def stacked(values: list[Any]) -> Any:
        return np.stack([column(value) for value in values], axis=1)

    def from_zero(values: Any) -> Any:
        """(networks, eta, …): 0 at η = 0."""
        return np.stack([values * 0, values], axis=1)

    with np.errstate(all="ignore"):
        data: dict[str, Any] = {n: (("checkpoint", "layer"), stacked(v)) for n, v in per_layer.items()}
        data |= {n: (("checkpoint", "eta", "layer"), from_zero(stacked(v))) for n, v in along.items()}
        data |= {
            n: (("checkpoint", "eta", "layer", "example"), from_zero(stacked(v))[..., None])
            for n, v in by_example.items()
        }
        data |= {n: (("checkpoint", "example"), column(v)[:, None]) for n, v in once.items()}
        data |= {
            n: (("checkpoint", "eta", "example"), from_zero(column(v))[..., None]) for n, v in output.items()
        }
        norms = np.stack([stacked(lengths), stacked(moved_lengths)], axis=1)
        data[variables.GRADIENT_NORM] = (("checkpoint", "eta", "layer"), norms)
        if floats or all(bool(length > 0) for length in lengths):
            change = [
                d / length for d, length in zip(along[variables.GRADIENT_DIFFERENCE], lengths, strict=True)
            ]
            data[variables.GRADIENT_CHANGE] = (
                ("checkpoint", "eta", "layer"),
                from_zero(stacked(change)),
            )
    data[variables.OUTPUT_NOISE_FLOOR] = ("checkpoint", np.zeros(count))
    data[variables.NOISE_FLOOR] = (("checkpoint", "layer"), np.zeros((count, depth)))
    shapes = [(int(W.shape[-2]), int(W.shape[-1])) for W in trial.weights]
    return xr.Dataset(
        data,
        coords={
            "checkpoint": np.arange(count),
            "eta": [0.0, 1.0],
            "layer": [f"layers.{k}.weight" for k in range(depth)],
            "example": [0],
            variables.IS_WEIGHT: ("layer", np.ones(depth, dtype=bool)),
            "rows": ("layer", np.array([rows for rows, _ in shapes])),
            "columns": ("layer", np.array([columns for _, columns in shapes])),
            "activation": ("layer", [trial.activation] * depth),
        },
        attrs={
            "architecture": "perceptron",
            "residual": "false",
            "norm": "none",
            "biases": "false",
            "loss": "half the squared error",
            "epsilon": 0.0,
        },
    )
