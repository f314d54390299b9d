"""The spectral condition: both norms over √(d_k/d_{k−1}), as the claims and the table have them."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from analysis import Status, judge, spectral_condition
from analysis.spectral_condition import spectral_condition_table
from probes import SliceSettings, measure_slice
from tests.support.reference import make, make_data


def test_ratios_and_stable_ranks_are_those_of_the_matrices() -> None:
    network, (x, y) = make((6, 8, 12, 3), "tanh"), make_data(9)
    settings = SliceSettings(etas=[0, 1e-4], dtype="float64", limit=False, ladder=False)
    run = measure_slice(network, x, y, settings=settings)
    found = spectral_condition(run)
    assert found is not None
    network = network.double()
    torch.nn.functional.cross_entropy(network(x.double()), y).backward()  # type: ignore[no-untyped-call]
    weights = [network.get_parameter(f"layers.{k}.weight") for k in range(3)]
    scales = np.sqrt([8 / 6, 12 / 8, 3 / 12])
    norms, steps, ranks = [], [], []
    for weight in weights:
        assert weight.grad is not None
        own, gradient = torch.linalg.svdvals(weight.detach()), torch.linalg.svdvals(weight.grad)
        norms.append(float(own[0]))
        steps.append(float(gradient[0] / gradient.norm() * own.norm()))
        ranks.append(float((gradient.norm() / gradient[0]) ** 2))
    np.testing.assert_allclose(found["weight"][0], norms / scales, rtol=1e-9)
    np.testing.assert_allclose(found["direction"][0], steps / scales, rtol=1e-9)
    np.testing.assert_allclose(found["stable_rank"][0], ranks, rtol=1e-9)
    for claim, values in (("spectral-condition", norms), ("spectral-condition-step", steps)):
        (verdict,) = judge(run, claim)
        assert verdict.status is Status.WITHIN
        assert verdict.worst_log10_ratio == pytest.approx(np.log10(values / scales).max())
        assert verdict.least_log10_ratio == pytest.approx(np.log10(values / scales).min())
    assert len(spectral_condition_table(found)) == 2


def test_without_singular_values_it_says_what_to_add() -> None:
    settings = SliceSettings(etas=[0, 1e-4], spectra="none", limit=False, ladder=False)
    run = measure_slice(make(), *make_data(9), settings=settings)
    assert spectral_condition(run) is None
    (verdict,) = judge(run, "spectral-condition")
    assert verdict.status is Status.NOT_MEASURED
    assert "spectra" in verdict.remark
