"""Claims about a whole training run: the edges of stability, and what the sharpness rises with.

Each is judged once, over all checkpoints. An edge is judged from the first checkpoint at which the threshold is
reached; with cross-entropy up to the goal in accuracy, for there the sharpness is known to fall as the data is fitted.
Eigenvalues that have not converged count as not known.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

import numpy as np
import xarray as xr

from trust import measurements as variables
from trust.claims.claim import Claim, Kind, Measurements, Premise, Quantity
from trust.claims.premises import told
from trust.claims.quantities import log10, weights
from trust.edge import adam_edge, gd_edge, ntk_edge, sam_edge

__all__ = [
    "ADAM_EDGE",
    "CONSERVATIVE_SHARPENING",
    "GD_EDGE",
    "JACOBIAN_ALIGNMENT",
    "SAM_EDGE",
    "STOCHASTIC_EDGE",
    "STOCHASTIC_EDGE_NTK",
    "converged_top",
]

CONVERGED = 1e-3
"""‖Hv − λv‖/|λ| up to which an eigenvalue counts: λ itself is then known to this relative error at least."""
_GOAL = 0.99
"""The share classified rightly at which training by cross-entropy has done what it was for."""
_RISE = 2.0


def converged_top(measurements: Measurements, name: str, residual: str) -> xr.DataArray:
    """The largest eigenvalue (checkpoint), NaN where its residual says that it has not converged."""
    values = measurements[name].isel(rank=0, drop=True)
    return values.where(measurements[residual].isel(rank=0, drop=True) <= CONVERGED)


def sharpness(measurements: Measurements) -> xr.DataArray:
    """λ_max of the Hessian (checkpoint)."""
    return converged_top(measurements, variables.HESSIAN_EIGENVALUE, variables.HESSIAN_RESIDUAL)


def preconditioned_sharpness(measurements: Measurements) -> xr.DataArray:
    """λ_max of P^−½ H P^−½ with Adam's P (checkpoint)."""
    return converged_top(measurements, variables.PRECONDITIONED_EIGENVALUE, variables.PRECONDITIONED_RESIDUAL)


def _step(measurements: Measurements) -> xr.DataArray:
    return measurements[variables.LEARNING_RATE].astype(float)


def _where_known(threshold: Callable[..., object], **given: xr.DataArray) -> xr.DataArray:
    """A threshold at each checkpoint; NaN where something that it takes is not known."""
    first, *rest = xr.broadcast(*given.values())
    known = xr.ones_like(first, dtype=bool)
    for one in (first, *rest):
        known = known & one.notnull()
    filled = {name: one.where(known, 1.0).values for name, one in zip(given, (first, *rest), strict=True)}
    return first.copy(data=np.asarray(threshold(**filled), dtype=float)).where(known)


def gd_threshold(measurements: Measurements) -> xr.DataArray:
    """2/η (checkpoint)."""
    return _where_known(lambda step: gd_edge(step=step), step=_step(measurements))


def adam_threshold(measurements: Measurements) -> xr.DataArray:
    """(2 + 2β₁)/((1 − β₁) η) (checkpoint)."""
    beta1 = float(measurements.attrs.get("beta1", 0.9))
    return _where_known(lambda step: adam_edge(step=step, beta1=beta1), step=_step(measurements))


def sam_threshold(measurements: Measurements) -> xr.DataArray:
    """(‖g‖/2ρ)(√(1 + 8ρ/(η‖g‖)) − 1) with the full-batch gradient at each checkpoint; NaN where ρ is not known."""
    rho = float(measurements.attrs.get("rho", np.nan))
    squares = measurements[variables.GRADIENT_NORM].isel(eta=0, drop=True) ** 2
    size: xr.DataArray = squares.sum("layer", skipna=True) ** 0.5
    found = _where_known(
        lambda step, size: sam_edge(step=step, rho=0.0 if np.isnan(rho) else rho, gradient_norm=size),
        step=_step(measurements),
        size=size,
    )
    return found if np.isfinite(rho) else found * np.nan


def ntk_threshold(measurements: Measurements) -> xr.DataArray:
    """Of the kernel's trace over the examples, what batches of the training's size leave room for (checkpoint)."""
    batch, examples = (measurements.attrs.get(name, np.nan) for name in ("batch_size", "number_of_examples"))
    if not float(batch) < float(examples):
        return _step(measurements) * np.nan
    outputs = int(weights(measurements)[variables.ROWS].values[-1])
    return _where_known(
        lambda step: ntk_edge(step=step, batch_size=batch, examples=examples, outputs=outputs),
        step=_step(measurements),
    )


def _ntk_mean(measurements: Measurements) -> xr.DataArray:
    return measurements[variables.NTK_TRACE] / float(measurements.attrs.get("number_of_examples", np.nan))


def _reached(value: Quantity, threshold: Quantity) -> Quantity:
    """From the first checkpoint on at which the threshold is seen to be reached; NaN where it cannot be seen."""

    def check(measurements: Measurements) -> xr.DataArray:
        over = value(measurements) >= threshold(measurements)
        known = value(measurements).notnull() & threshold(measurements).notnull()
        since = np.maximum.accumulate(over.values)
        return over.copy(data=np.where(since, 1.0, np.where(known.values, 0.0, np.nan)))

    return check


def _before_goal(measurements: Measurements) -> xr.DataArray:
    """Until the goal in accuracy is first reached, that checkpoint included; with another loss always."""
    loss = measurements.attrs.get("loss")
    if loss != "cross-entropy":
        return told(measurements, None if loss is None else True)
    accuracy = measurements[variables.ACCURACY].isel(eta=0, drop=True)
    there = np.concatenate([[False], np.maximum.accumulate(accuracy.values >= _GOAL)[:-1]])
    return accuracy.copy(data=np.where(there, 0.0, np.where(np.isnan(accuracy.values), np.nan, 1.0)))


def _trained_by(measurements: Measurements, *, names: tuple[str, ...]) -> xr.DataArray:
    found = measurements.attrs.get("optimizer")
    return told(measurements, None if found is None else found in names)


def _batches(measurements: Measurements) -> tuple[float, float] | None:
    """Examples in a batch of the training, and in all that was measured; None where that is not known."""
    found = [measurements.attrs.get(name) for name in ("batch_size", "number_of_examples")]
    return None if any(one is None for one in found) else (float(found[0]), float(found[1]))  # type: ignore[arg-type]


def _full_batch(measurements: Measurements) -> xr.DataArray:
    found = _batches(measurements)
    return told(measurements, None if found is None else found[0] >= found[1])


def _mini_batch(measurements: Measurements) -> xr.DataArray:
    found = _batches(measurements)
    return told(measurements, None if found is None else found[0] < found[1])


def _same_batches(measurements: Measurements) -> xr.DataArray:
    batch, measured = (measurements.attrs.get(name) for name in ("batch_size", "batch_sharpness"))
    return told(measurements, None if batch is None or measured is None else int(batch) == int(measured))


_KNOWN_TRAINING = "checkpoints of `probe train`, which say how they were trained"
FULL_BATCH = Premise("full batch", "every step takes all examples", _full_batch, add=_KNOWN_TRAINING)
MINI_BATCH = Premise("mini-batches", "a step takes some of the examples", _mini_batch, add=_KNOWN_TRAINING)
SAME_BATCHES = Premise(
    "the training's batches",
    "sharpness is measured on batches of the size that training takes",
    _same_batches,
    add="`batch_sharpness=N` with the training's batch size",
)
BEFORE_GOAL = Premise(
    "before the goal",
    f"by cross-entropy less than {_GOAL:.0%} were classified rightly at the checkpoint before",
    _before_goal,
    needs=(variables.ACCURACY,),
)
SQUARE_LOSS = Premise(
    "square loss",
    "the loss is half the squared error, whose Gauss-Newton matrix is the kernel's",
    lambda measurements: told(
        measurements,
        None if "loss" not in measurements.attrs else measurements.attrs["loss"] == "half-square",
    ),
)


def _optimizer(*names: str) -> Premise:
    shown = " or ".join(names)
    return Premise(
        f"by {shown}", f"training goes by {shown}", partial(_trained_by, names=names), add=_KNOWN_TRAINING
    )


def _edge(
    id: str,
    source: str,
    statement: str,
    formula: str,
    left: str,
    value: Quantity,
    threshold: Quantity,
    premises: tuple[Premise, ...],
    number: int,
    *,
    needs: tuple[str, ...],
    add: str,
) -> Claim:
    reached = Premise(
        "the edge is reached",
        "at this checkpoint or before the threshold was reached",
        _reached(value, threshold),
        needs=(*needs, variables.LEARNING_RATE),
        add=_KNOWN_TRAINING,
    )
    return Claim(
        id=id,
        source=source,
        statement=statement,
        formula=formula,
        left=left,
        measured=lambda measurements: log10(value(measurements)),
        bound=lambda measurements: log10(threshold(measurements)),
        kind=Kind.ESTIMATE,
        premises=(*premises, reached, BEFORE_GOAL),
        needs=(*needs, variables.LEARNING_RATE),
        add=add,
        evidence=f"{add}, and {_KNOWN_TRAINING}",
        number=number,
        subject="training",
        trajectory=True,
    )


_EIGENVALUES = (variables.HESSIAN_EIGENVALUE, variables.HESSIAN_RESIDUAL)
GD_EDGE = _edge(
    "gd-edge",
    "Cohen et al., arXiv 2103.00065",
    "once it has risen there, the sharpness λ_max of full-batch gradient descent stays near 2/η",
    r"\lambda_{\max} \approx \frac{2}{\eta}",
    "λ_max of the Hessian, against 2/η",
    sharpness,
    gd_threshold,
    (_optimizer("sgd"), FULL_BATCH),
    110,
    needs=_EIGENVALUES,
    add="`curvature=1`",
)
ADAM_EDGE = _edge(
    "adam-edge",
    "Cohen et al., arXiv 2207.14484",
    "once it has risen there, the preconditioned sharpness of full-batch Adam stays near (2 + 2β₁)/((1 − β₁)η)",
    r"\lambda_{\max}(P^{-1/2} H P^{-1/2}) \approx \frac{2 + 2 \beta_1}{(1 - \beta_1) \eta}"
    r", \quad 38/\eta \text{ at } \beta_1 = 0.9",
    "λ_max of P^−½ H P^−½, against (2 + 2β₁)/((1 − β₁)η), 38/η at β₁ = 0.9",
    preconditioned_sharpness,
    adam_threshold,
    (_optimizer("adam"), FULL_BATCH),
    111,
    needs=(variables.PRECONDITIONED_EIGENVALUE, variables.PRECONDITIONED_RESIDUAL),
    add="`curvature=1`, of checkpoints with Adam's state",
)
SAM_EDGE = _edge(
    "sam-edge",
    "Long and Bartlett, arXiv 2309.12488",
    "once it has risen there, the sharpness λ_max of full-batch SAM stays near (‖g‖/2ρ)(√(1 + 8ρ/(η‖g‖)) − 1)",
    r"\lambda_{\max} \approx \frac{\|g\|}{2 \rho} \left(\sqrt{1 + \frac{8 \rho}{\eta \|g\|}} - 1\right)",
    "λ_max of the Hessian, against SAM's edge",
    sharpness,
    sam_threshold,
    (_optimizer("sam"), FULL_BATCH),
    112,
    needs=(*_EIGENVALUES, variables.GRADIENT_NORM),
    add="`curvature=1`",
)
STOCHASTIC_EDGE = _edge(
    "stochastic-edge",
    "Andreyev and Beneventano, arXiv 2412.20553",
    "once it has risen there, the batch sharpness E[g_Bᵀ H_B g_B/‖g_B‖²] of mini-batch SGD stays near 2/η",
    r"\mathbb{E}\left[\frac{g_B^{\mathsf{T}} H_B g_B}{\|g_B\|^2}\right] \approx \frac{2}{\eta}",
    "batch sharpness, against 2/η",
    lambda measurements: measurements[variables.BATCH_SHARPNESS],
    gd_threshold,
    (_optimizer("sgd"), MINI_BATCH, SAME_BATCHES),
    113,
    needs=(variables.BATCH_SHARPNESS,),
    add="`batch_sharpness=N` with the training's batch size",
)
STOCHASTIC_EDGE_NTK = _edge(
    "stochastic-edge-ntk",
    "Agarwala and Pennington, arXiv 2404.19261, in the form of small ηλ: (η/2)(1/B − 1/N) tr K/(N C) is 1",
    "with small batches the neural tangent kernel's trace, once it has risen there, stays near its own edge",
    r"\frac{\sum_i \|\partial f(x_i) / \partial W\|^2}{N}"
    r" \approx \frac{2 C}{\eta (1/B - 1/N)}, \quad C \text{ outputs}",
    "Σ_i ‖∂f(x_i)/∂W‖²/N, against 2C/(η (1/B − 1/N)), C outputs",
    _ntk_mean,
    ntk_threshold,
    (_optimizer("sgd"), MINI_BATCH, SQUARE_LOSS),
    114,
    needs=(variables.NTK_TRACE,),
    add="`curvature=1`",
)


CONSERVATIVE_SHARPENING = Claim(
    id="conservative-sharpening",
    source="Agarwala and Pennington, arXiv 2404.19261",
    statement="with mini-batches of B of N examples the sharpness rises more slowly than with the full batch:"
    " λ_B(ηt) < λ_N(ηt), at the same time ηt",
    formula=r"\lambda_B(\eta t) < \lambda_N(\eta t)",
    left="λ_max of the Hessian, against that of full-batch training at the same time",
    measured=lambda measurements: log10(sharpness(measurements)),
    bound=lambda measurements: log10(measurements[variables.FULL_BATCH_SHARPNESS]),
    kind=Kind.ESTIMATE,
    premises=(_optimizer("sgd"), MINI_BATCH),
    needs=(*_EIGENVALUES, variables.FULL_BATCH_SHARPNESS),
    add="a full-batch run to hold it against: `probe study stochastic-edge` has both",
    number=115,
    subject="training",
    trajectory=True,
)


def _since_start(values: xr.DataArray) -> xr.DataArray:
    """log10 of how often its first; NaN at the first itself, which tells nothing."""
    first = values.isel(checkpoint=0, drop=True)
    return (values - first).where(np.arange(values.sizes["checkpoint"]) > 0)


def _by_alignment(measurements: Measurements) -> xr.DataArray:
    """2 Δ log10(‖A_L···A_1‖/∏‖A_k‖), the mean over examples: as J enters the Gauss-Newton matrix twice."""
    mean = measurements[variables.WHOLE_JACOBIAN_ALIGNMENT].mean("example")
    return _since_start(2 * mean)


def _risen(measurements: Measurements) -> xr.DataArray:
    rise = _since_start(log10(sharpness(measurements)))
    return (rise >= np.log10(_RISE)).astype(float).where(rise.notnull())


RISEN = Premise(
    "the sharpness has risen",
    f"λ_max is at least {_RISE:g} times its first: else there is no rise to explain",
    _risen,
    needs=_EIGENVALUES,
)
JACOBIAN_ALIGNMENT = Claim(
    id="jacobian-alignment",
    source="Lowell and Kastner, arXiv 2406.00127, restated: the Gauss-Newton matrix has ∂f/∂x twice in it",
    statement="λ_max rises through training by as much as the layerwise Jacobians' alignment does, squared:"
    " λ_max ∝ (‖A_L···A_1‖/∏_k ‖A_k‖)²",
    formula=r"\lambda_{\max} \propto \left(\frac{\|A_L \cdots A_1\|}{\prod_k \|A_k\|}\right)^2",
    left="(‖A_L···A_1‖/∏‖A_k‖)² since the start, mean of log10, against λ_max since the start",
    measured=_by_alignment,
    bound=lambda measurements: _since_start(log10(sharpness(measurements))),
    kind=Kind.ESTIMATE,
    premises=(RISEN,),
    needs=(*_EIGENVALUES, variables.WHOLE_JACOBIAN_ALIGNMENT),
    add="`curvature=1` and `alignment=N`",
    number=116,
    subject="training",
    trajectory=True,
)
