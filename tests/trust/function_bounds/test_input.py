"""Bounds on the output's change refuse what they cannot use, by name."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest

from trust.function_bounds import (
    agd_step,
    log10_agd_curvature_bound,
    log10_input_sensitivity_bound,
    log10_linearisation_remainder_bound,
    log10_neyshabur_bound,
    log10_spectral_product_bound,
    log10_telescoped_bound,
)

Array = np.ndarray

GOOD: dict[str, tuple[Callable[..., Array], dict[str, object]]] = {
    "input": (
        log10_input_sensitivity_bound,
        {"input_change_norm": 1.0, "spectral_norms": [1.0, 1.0], "betas": [1.0, 1.0]},
    ),
    "spectral": (
        log10_spectral_product_bound,
        {
            "perturbation_norms": [0.1, 0.1],
            "spectral_norms": [1.0, 1.0],
            "betas": [1.0, 1.0],
            "input_norm": 1.0,
        },
    ),
    "neyshabur": (
        log10_neyshabur_bound,
        {"perturbation_norms": [0.1, 0.1], "spectral_norms": [1.0, 1.0], "input_norm": 1.0},
    ),
    "telescoped": (
        log10_telescoped_bound,
        {
            "responses": [0.1, 0.1],
            "perturbed_spectral_norms": [1.0, 1.0],
            "betas": [1.0, 1.0],
            "bias_changes": [0.1, 0.1],
        },
    ),
    "remainder": (
        log10_linearisation_remainder_bound,
        {"perturbation_norms": [0.1, 0.1], "spectral_norms": [1.0, 1.0], "input_norm": 1.0},
    ),
    "curvature": (log10_agd_curvature_bound, {"eta": 0.1}),
    "step": (agd_step, {"gradient_norms": [0.1, 0.1], "rows": [2, 2], "columns": [3, 3]}),
}
CASES = [(which, name) for which, (_, arguments) in GOOD.items() for name in arguments]
PER_LAYER = ("betas", "spectral_norms", "perturbed_spectral_norms", "bias_changes", "rows", "columns")
FIRST = ("perturbation_norms", "responses", "gradient_norms")


@pytest.mark.parametrize(("which", "name"), CASES)
def test_bad_arguments_are_refused_by_name(which: str, name: str) -> None:
    function, arguments = GOOD[which]
    function(**arguments)
    for bad in (np.nan, -0.1):
        value = np.array(arguments[name], dtype=float)
        value[(0,) * value.ndim] = bad
        with pytest.raises(ValueError, match=rf"^{name} .*(NaN|negative)"):
            function(**{**arguments, name: value})
    with pytest.raises(ValueError, match="real numbers"):
        function(**{**arguments, name: "0.1"})
    if name in FIRST:
        with pytest.raises(ValueError, match=f"^{name} needs the layers on its last axis"):
            function(**{**arguments, name: 0.1})
    if name in PER_LAYER and not (which == "input" and name == "spectral_norms"):
        with pytest.raises(ValueError, match=f"^{name} has 3 layers on its last axis, expected 2"):
            function(**{**arguments, name: [1.0, 1.0, 1.0]})
