"""The worst perturbation, for each η its own: what is measured of it, and what cannot be."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from analysis import Status
from tests.trust.claims.examples import CLAIMS, status, verdict
from tests.trust.claims.slices import case_of


def test_the_worst_perturbation_end_to_end() -> None:
    settings: dict[str, Any] = {"limit": True, "curvature": 0, "restarts": 1, "ascent_steps": 5}
    etas = np.array([0.0, 0.01, 0.1])
    for activation, biases in (("relu", True), ("tanh", False)):
        worst = case_of(activation=activation, biases=biases, etas=etas, direction="adversarial", **settings)
        plain = case_of(activation=activation, biases=biases, etas=etas, **settings)
        found = worst.found.isel(checkpoint=0)
        limit = found["eta"] * (1 + 1e-6)
        assert bool((found["relative_perturbation"] <= limit).all())
        own = found.isel(layer=np.flatnonzero(found["is_weight"].values))
        assert bool((own["relative_perturbation"][1:] > 0).all())
        mean = found["output_change"].mean("example")
        downhill = plain.found.isel(checkpoint=0)["output_change"].mean("example")
        assert bool((mean >= downhill * (1 - 1e-9)).all())
        np.testing.assert_allclose(found["adversarial_value"][1:], mean[1:], rtol=1e-9)
        for row in (1, 2):
            for k, (W, _) in enumerate(worst.before):
                s = np.linalg.svd(worst.after[row][k][0] - W, compute_uv=False)
                at = {"eta": row, "layer": k}
                kappa = s[0] / s[-1] if s[-1] > 0 else np.inf
                assert float(own["perturbation_condition_number"][at]) == pytest.approx(kappa, rel=1e-6)
                assert float(own["perturbation_spectral_norm"][at]) == pytest.approx(s[0], rel=1e-9)
        for absent in ("slope", "slope_at_zero", "curvature", "perturbation_cosine"):
            assert found[absent].isnull().all(), absent
        for absent in ("step_limit", "step_limit_searched_to"):
            assert absent not in found
        # claims about slopes and limits along a line
        lines = [c for c in CLAIMS if CLAIMS[c].subject in ("step", "loss")]
        assert {*lines} >= {"lemma1", "lemma2", "lemma2-limit", "slice-curvature", "agd-majorisation"}
        for claim in lines:
            one = verdict(claim, worst.found)
            allowed = {Status.NOT_MEASURED} | (
                {Status.PREMISE_FAILS} if claim == "agd-majorisation" else set()
            )
            assert one.status in allowed, claim
            assert np.isnan(one.worst_log10_ratio), claim
        assert status("telescoped", worst.found) is Status.HOLDS


def test_each_eta_has_a_condition_number_of_its_own_in_theorem1() -> None:
    case = case_of((3, 4, 5), "leaky_relu:0.5", direction="adversarial", restarts=1, ascent_steps=3)
    bound = CLAIMS["theorem1-function-layerwise"].bound(case.found).isel(checkpoint=0)
    for row in range(1, 5):
        product, growth = 1.0, 1.0
        for k, (W, _) in enumerate(case.before):
            s = np.linalg.svd(W, compute_uv=False)
            d = np.linalg.svd(case.after[row][k][0] - W, compute_uv=False)
            product *= s[0] / s[-1] * (2 if k == 0 else 1)
            r = np.linalg.norm(case.after[row][k][0] - W) / np.linalg.norm(W)
            growth *= 1 + d[0] / d[-1] * r
        # κ(ΔW) of a nearly singular ΔW is good to κ · 1e-16
        np.testing.assert_allclose(10.0 ** bound.isel(eta=row - 1), product * (growth - 1), rtol=1e-6)
