"""Theorem 1's bounds on a chain."""

from __future__ import annotations

import numpy as np

from tests.trust.chains import (
    Chain,
    layer_constants,
)
from trust import (
    log10_function_bound,
    log10_gated_jacobian_bound,
    log10_jacobian_bound,
    log10_layerwise_function_bound,
)


def published(chain: Chain, *, kappa: float | None = None) -> float:
    constants = chain.transmission
    return float(
        log10_function_bound(
            chain.relative,
            condition_number=chain.kappa if kappa is None else kappa,
            alpha=constants.alpha,
            beta=constants.beta,
        )
    )


def layerwise(chain: Chain) -> float:
    return float(log10_layerwise_function_bound(chain.relative, **layer_constants(chain)))


def gated(chain: Chain, gate_changes: np.ndarray, *, kappa: float | None = None) -> float:
    constants = chain.transmission
    return float(
        log10_gated_jacobian_bound(
            chain.relative,
            gate_changes=gate_changes,
            condition_number=chain.kappa if kappa is None else kappa,
            alpha=constants.alpha,
            beta=constants.beta,
        )
    )


def jacobian(chain: Chain) -> float:
    constants = chain.transmission
    return float(
        log10_jacobian_bound(
            chain.relative, condition_number=chain.kappa, alpha=constants.alpha, beta=constants.beta
        )
    )
