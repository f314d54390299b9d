"""Quantised, pruned and noisy weights against closed forms, and what is measured of them."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch

import trust
from analysis import Status, check_measurements, judge
from analysis.selfchecks import Outcome
from probes import InputError
from probes.choices import LEVELS
from probes.evaluation.levels import filter_noise, pruned, quantized
from probes.measures.settings import SliceSettings
from probes.runs.results import join
from tests.trust.claims.examples import CLAIMS
from tests.trust.claims.slices import case_of
from trust.measurements import WITHOUT_LINE


def test_rounding_to_bits() -> None:
    W = torch.tensor([[7.0, -2.6, 0.4], [0.1, 0.05, -0.07]], dtype=torch.float64)
    # 4 bits: s = 7/7 = 1; 2 bits: s = 7, and 2.6/7 rounds to 0
    assert quantized(W, 4).tolist() == [[7, -3, 0], [0, 0, 0]]
    assert quantized(W, 2).tolist() == [[7, 0, 0], [0, 0, 0]]
    # by channel the second row has s = 0.1/7 or 0.1
    rows = quantized(W, 2, per_channel=True)
    torch.testing.assert_close(rows, torch.tensor([[7.0, 0, 0], [0.1, 0, -0.1]], dtype=torch.float64))
    for bits in (3, 8, 16):
        for per_channel in (False, True):
            rounded = quantized(W, bits, per_channel=per_channel)
            scale = W.abs().amax(1, keepdim=True) if per_channel else W.abs().max()
            scale = scale / (2 ** (bits - 1) - 1)
            assert bool(((rounded - W).abs() <= scale / 2 * (1 + 1e-12)).all())
            torch.testing.assert_close(rounded / scale, (rounded / scale).round(), rtol=0, atol=1e-9)
    vector = torch.tensor([1.0, 0.3])  # has no channels: 0.3 would be exact in one of its own
    assert quantized(vector, 2, per_channel=True).tolist() == [1, 0]
    assert not quantized(torch.zeros(2, 2), 2).any()


def test_rounding_moves_as_uniform_noise_does() -> None:
    """‖ΔW‖/‖W‖ of many entries is near s/√12 over their root mean square."""
    W = torch.rand(200, 300, generator=torch.Generator().manual_seed(0), dtype=torch.float64) * 2 - 1
    r = trust.relative_norm((quantized(W, 8) - W).numpy(), W.numpy())
    scale = float(W.abs().max()) / 127
    assert r == pytest.approx(scale / 12**0.5 * 3**0.5, rel=0.01)


def test_pruning() -> None:
    W = torch.tensor([[3.0, -1.0], [1.0, -4.0]])
    assert pruned(W, 25).tolist() == [[3, 0], [1, -4]]  # of equal ones the first
    assert pruned(W, 50).tolist() == [[3, 0], [0, -4]]
    assert pruned(W, 75).tolist() == [[0, 0], [0, -4]]
    assert torch.equal(W, torch.tensor([[3.0, -1.0], [1.0, -4.0]]))


def test_noise_by_filter() -> None:
    W = torch.randn(3, 2, 4, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    W[1] *= 100
    W[2] = 0
    half, whole = (filter_noise(W, percent, key="a") - W for percent in (50, 100))
    norms, sizes = (tensor.flatten(1).norm(dim=1) for tensor in (half, W))
    torch.testing.assert_close(norms, sizes / 2)
    torch.testing.assert_close(whole, 2 * half)
    assert not torch.equal(filter_noise(W, 50, key="b") - W, half)
    vector = filter_noise(torch.tensor([3.0, 4.0]), 10, key="a") - torch.tensor([3.0, 4.0])
    assert vector.norm().item() == pytest.approx(0.5, rel=1e-5)


CHANGED: dict[str, Any] = {
    "quantize": lambda W, level: np.round(W / (s := np.abs(W).max() / (2 ** (level - 1) - 1))) * s,
    "prune": lambda W, level: np.where(
        np.argsort(np.argsort(np.abs(W).ravel())).reshape(W.shape) < round(level / 100 * W.size), 0.0, W
    ),
}


@pytest.mark.parametrize("direction", LEVELS)
def test_a_slice_of_levels(direction: str) -> None:
    levels = {"quantize": (8, 4, 3), "prune": (10, 40, 90), "filter-noise": (1, 10, 50)}[direction]
    etas = SliceSettings().etas
    case = case_of(biases=True, direction=direction, levels=levels, etas=etas, limit=True, curvature=0)
    found = case.found.isel(checkpoint=0)
    assert found["level"].values[1:].tolist() == [*levels]
    assert np.isnan(found["level"].values[0])
    r = found["relative_perturbation"]
    np.testing.assert_allclose(found["eta"][1:], r.max("layer")[1:], rtol=1e-12)
    for row, level in enumerate(levels, 1):
        for k, (W, b) in enumerate(case.before):
            for tensor, moved in ((W, case.after[row][k][0]), (b, case.after[row][k][1])):
                if direction == "filter-noise":
                    rows = tensor.reshape(len(tensor) if tensor.ndim > 1 else 1, -1)
                    sizes = np.linalg.norm((moved - tensor).reshape(rows.shape), axis=1)
                    np.testing.assert_allclose(sizes, level / 100 * np.linalg.norm(rows, axis=1), rtol=1e-9)
                else:
                    np.testing.assert_allclose(moved, CHANGED[direction](tensor, level), rtol=0, atol=1e-15)
    for absent in ("slope", "slope_at_zero", "curvature", "perturbation_cosine"):
        assert found[absent].isnull().all(), absent
    assert "step_limit" not in found
    verdicts = {one.claim: one for one in judge(case.found)}
    for claim in (c for c in CLAIMS if CLAIMS[c].subject in ("step", "loss")):
        assert np.isnan(verdicts[claim].worst_log10_ratio), claim
        assert verdicts[claim].status in (Status.NOT_MEASURED, Status.PREMISE_FAILS), claim
    assert verdicts["telescoped"].status is Status.HOLDS
    assert np.isfinite(verdicts["deep-relative-trust"].worst_log10_ratio)
    assert {one.outcome for one in check_measurements(case.found)} == {Outcome.NO_SLICE}
    D = trust.deep_relative_trust(r.isel(layer=found["is_weight"].values).values)
    assert D[0] == 0
    assert (np.diff(D) > 0).all()


def test_bits_by_channel_are_finer() -> None:
    whole, each = (
        case_of(direction="quantize", levels=(4,), granularity=kind, etas="log").found
        for kind in ("tensor", "channel")
    )
    assert (each["relative_perturbation"][0, 1] <= whole["relative_perturbation"][0, 1]).all()
    assert each["eta"][1] < whole["eta"][1]
    assert each.attrs["direction_hash"] != whole.attrs["direction_hash"]
    assert each.attrs["granularity"] == "channel"


def test_checkpoints_joined_have_the_mean_eta() -> None:
    parts = [case_of(direction="prune", levels=(20, 70), etas="log", seed=seed).found for seed in (0, 1)]
    parts[1] = parts[1].assign_coords(checkpoint=["other"])
    joined = join(parts)
    assert joined.sizes == {**parts[0].sizes, "checkpoint": 2}
    np.testing.assert_allclose(joined["eta"], (parts[0]["eta"].values + parts[1]["eta"].values) / 2)
    assert joined["level"].values[1:].tolist() == [20, 70]


def test_weights_that_a_level_leaves_as_they_are() -> None:
    """η still grows, by the smallest number that counts: it names the level."""
    from probes.networks.perceptron import Perceptron, PerceptronSpec
    from probes.slices.slice import measure_slice

    network = Perceptron(PerceptronSpec((2, 2), "relu", biases=(False,)))
    with torch.no_grad():
        network.layers[0].weight.copy_(torch.tensor([[1.0, -1.0], [0.0, 1.0]]))
    settings = SliceSettings(direction="quantize", levels=(8, 2), limit=False, curvature=None)
    found = measure_slice(network, torch.randn(4, 2), torch.arange(4) % 2, settings=settings)
    assert found["eta"].values.tolist() == [0, 5e-324, 1e-323]
    assert not found["relative_perturbation"].values.any()
    assert not found["output_change"].values.any()


@pytest.mark.parametrize(
    ("direction", "levels"),
    [
        ("quantize", (4, 8)), ("quantize", (1,)), ("quantize", (3.5,)), ("quantize", (25,)), ("quantize", ()),
        ("prune", (0, 10)), ("prune", (100,)), ("prune", (20, 20)), ("prune", "ten"), ("filter-noise", (-1,)),
        ("filter-noise", (float("nan"),)), ("prune", 5), ("gradient", (5,)),
    ],
)  # fmt: skip
def test_bad_levels(direction: str, levels: Any) -> None:
    with pytest.raises(InputError, match="`levels="):
        SliceSettings(direction=direction, levels=levels)


def test_levels_instead_of_etas() -> None:
    with pytest.raises(InputError, match="`etas`: `direction='prune'` has levels instead"):
        SliceSettings(direction="prune", etas="paper")
    assert SliceSettings(direction="quantize", levels="8,4").levels == (8, 4)
    assert len(SliceSettings(direction="prune").etas) == 10
    assert {*LEVELS, "adversarial"} == {*WITHOUT_LINE}
