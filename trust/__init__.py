"""The mathematics of deep relative trust: numbers and arrays in, numbers and arrays out.

* norms: Frobenius and spectral norms, condition numbers, relative norms
* activations: activation functions by name, their transmission constants α and β, and how curved they are
* distance: deep relative trust D(r) = ∏(1 + r_k) − 1, and distances between two networks
* theorem1: bounds on the change of a network's output and of its layers' Jacobians
* function_bounds: bounds on the change of the output from spectral norms and from what passes through
* pattern, response: bounds that know which units are active, and a step along which cross-entropy provably falls
* lipschitz: how far layer norm and attention can stretch a difference of inputs
* residual_bounds: the same through skip connections, pooling and folded batch norm
* structure: what a network computes, step by step, for premises and bounds to ask
* paths: path norms of ReLU networks, and the bounds that they give
* descent: Lemma 1, Lemma 2's step limits, the curvature's, and one predicted from a gradient
* edge: the curvature at which gradient descent, Adam and SAM leave a quadratic's minimum
* modular_norm: masses, sensitivities and how sharp a composition of layers is, by recursion
* optim: the optimisers Fromage, Nero, Madam and AGD (the only part that needs torch, imported on first use)

Functions take NumPy arrays, labelled arrays, CPU and GPU tensors alike and compute in float64; where a
result has no axes left it is a NumPy scalar. Bounds that multiply constants are in log10. Infinite means
that nothing is bounded; NaN never comes out, and never goes in unnoticed.

Three layers, each of which moves by a hundredth of its size:

>>> import numpy as np
>>> import trust
>>> before = {name: 2 * np.eye(2) for name in ("first", "second", "third")}
>>> after = {name: 1.01 * matrix for name, matrix in before.items()}
>>> r = trust.relative_perturbations(before, after)
>>> print(f"{trust.deep_relative_trust(list(r.values())):.6f}")  # 1.01³ − 1
0.030301
>>> print(f"{trust.lemma2_step_limit(depth=3):.4f}")  # 2^(1/3) − 1: the largest step that is said to be safe
0.2599
>>> phi = trust.transmission("leaky_relu:0.1")
>>> bound = trust.log10_function_bound(list(r.values()), condition_number=1.0, alpha=phi.alpha, beta=phi.beta)
>>> print(f"{10**bound:.2f}")  # of the output's relative change, (β/α)³ (1.01³ − 1)
30.30
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from trust.activations import (
    KNOWN_ACTIVATIONS,
    Activation,
    Transmission,
    activation,
    activation_curvature,
    modelled_transmission,
    transmission,
)
from trust.descent import (
    curvature_step_limit,
    lemma1_bound,
    lemma2_step_limit,
    log10_lemma2_step_limit,
    predicted_step_limit,
    secant_step_limit,
)
from trust.distance import (
    deep_relative_trust,
    distance_between,
    euclidean_distance,
    log10_deep_relative_trust,
    relative_perturbations,
)
from trust.edge import adam_edge, gd_edge, ntk_edge, sam_edge
from trust.function_bounds import (
    agd_step,
    log10_agd_curvature_bound,
    log10_input_sensitivity_bound,
    log10_linearisation_remainder_bound,
    log10_neyshabur_bound,
    log10_spectral_product_bound,
    log10_telescoped_bound,
)
from trust.lipschitz import attention_lipschitz, layer_norm_lipschitz, layer_norm_radius
from trust.norms import (
    as_array,
    as_matrix,
    condition_number,
    frobenius_norm,
    relative_norm,
    singular_values,
    spectral_norm,
    stable_rank,
)
from trust.paths import log10_path_distance, log10_path_metric_bound, log10_path_norm, path_vector
from trust.pattern import FrozenChain, Perturbed, Stage, pattern_bound
from trust.residual_bounds import log10_residual_spectral_bound, log10_residual_telescoped_bound
from trust.response import loss_rise_bound, response_bound
from trust.theorem1 import (
    log10_function_bound,
    log10_gated_jacobian_bound,
    log10_jacobian_bound,
    log10_layerwise_function_bound,
    log10_theorem1_constant,
)

if TYPE_CHECKING:
    from trust.optim import Fromage

__all__ = [
    "KNOWN_ACTIVATIONS",
    "Activation",
    "Fromage",
    "FrozenChain",
    "Perturbed",
    "Stage",
    "Transmission",
    "activation",
    "activation_curvature",
    "adam_edge",
    "agd_step",
    "as_array",
    "as_matrix",
    "attention_lipschitz",
    "condition_number",
    "curvature_step_limit",
    "deep_relative_trust",
    "distance_between",
    "euclidean_distance",
    "frobenius_norm",
    "gd_edge",
    "layer_norm_lipschitz",
    "layer_norm_radius",
    "lemma1_bound",
    "lemma2_step_limit",
    "log10_agd_curvature_bound",
    "log10_deep_relative_trust",
    "log10_function_bound",
    "log10_gated_jacobian_bound",
    "log10_input_sensitivity_bound",
    "log10_jacobian_bound",
    "log10_layerwise_function_bound",
    "log10_lemma2_step_limit",
    "log10_linearisation_remainder_bound",
    "log10_neyshabur_bound",
    "log10_path_distance",
    "log10_path_metric_bound",
    "log10_path_norm",
    "log10_residual_spectral_bound",
    "log10_residual_telescoped_bound",
    "log10_spectral_product_bound",
    "log10_telescoped_bound",
    "log10_theorem1_constant",
    "loss_rise_bound",
    "modelled_transmission",
    "ntk_edge",
    "path_vector",
    "pattern_bound",
    "predicted_step_limit",
    "relative_norm",
    "relative_perturbations",
    "response_bound",
    "sam_edge",
    "secant_step_limit",
    "singular_values",
    "spectral_norm",
    "stable_rank",
    "transmission",
]


def __getattr__(name: str) -> Any:
    """Import Fromage, and with it torch, on first use."""
    if name == "Fromage":
        from trust.optim import Fromage

        return Fromage
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    return [*globals(), *__all__]
