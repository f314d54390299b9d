"""Points of the plane by their shapes, output changes in closed form, and the study at toy size."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from probes.errors import InputError
from probes.networks.perceptron import Perceptron, PerceptronSpec
from studies.frame import run_study
from studies.frame.grid import Grid
from studies.parts.noise import output_changes
from studies.parts.planar import PLANAR, planar_points
from studies.perturbed_function import PRESETS, PerturbedFunction
from tests.studies.test_studies import numbers


@pytest.mark.parametrize("name", PLANAR)
def test_points_are_of_two_classes_alike(name: str) -> None:
    points, sides = planar_points(name, 400, 3)
    assert points.shape == (400, 2)
    assert sorted(set(sides)) == [-1, 1]
    assert sides.sum() == 0
    assert np.array_equal(points, planar_points(name, 400, 3)[0])
    assert not np.array_equal(points, planar_points(name, 400, 4)[0])
    radius = np.hypot(*points.T)
    if name == "circle":
        assert radius[sides > 0].max() <= 0.5 + 1e-12
        assert radius[sides < 0].min() >= 0.7 - 1e-12
        assert radius.max() <= 1 + 1e-12
    elif name == "checkerboard":
        assert np.array_equal(np.sign(points[:, 0] * points[:, 1]), sides)
        assert np.abs(points).min() >= 0.06
    elif name == "spiral":  # the angle that the radius says, but for 0.02 in each coordinate
        expected = 1.75 * 2 * np.pi * radius / 0.98 + np.where(sides > 0, 0, np.pi)
        far = radius > 0.5
        off = np.angle(np.exp(1j * (np.arctan2(points[:, 0], points[:, 1]) - expected)))
        assert np.abs(off[far]).max() < 0.03 * (1.75 * 2 * np.pi + 1 / 0.5)
    else:
        assert np.mean(np.sign(points.sum(1)) == sides) > 0.98  # 3.8 deviations from the line between
        np.testing.assert_allclose(points[sides > 0].mean(0), 0.4, atol=0.05)


def test_the_change_of_a_product_of_numbers() -> None:
    """F = w₃w₂w₁x: each factor is 1 ± η of its own, so that trust is reached where all grow."""
    network = Perceptron(PerceptronSpec((1,) * 4, "identity", biases=(False,) * 3)).double()
    x = torch.tensor([[1.0], [-3.0]], dtype=torch.float64)
    change, outputs = output_changes(network, x, (0.1, 0.5), draws=30, seed=0)
    assert change.shape == (2, 30)
    assert outputs.shape == (2, 30, 2, 1)
    for eta, found in zip((0.1, 0.5), change, strict=True):
        signs = [(1 + eta) ** k * (1 - eta) ** (3 - k) - 1 for k in range(4)]
        each = np.abs(np.array(signs))
        assert np.abs(found[:, None] - each).min(1).max() < 1e-12
        assert found.max() == pytest.approx((1 + eta) ** 3 - 1, abs=1e-12)
    other, _ = output_changes(network, x, (0.1,), draws=30, seed=1)
    assert not np.array_equal(other[0], change[0])


def test_what_is_drawn_is_what_the_runs_found(tmp_path: Path) -> None:
    found = numbers("perturbed-function", tmp_path)
    size = PRESETS["toy"]
    grid = Grid("studies.perturbed_function:PerturbedFunction", "toy", "mnist-14x14", tmp_path)
    runs = [{**run, "seed": seed} for seed in range(2) for run in PerturbedFunction().runs(size)]
    for run, one in zip(runs, grid.run(runs), strict=True):
        planar = run["points"] in PLANAR
        assert ("flips" in one) == ("field" in one) == planar
        assert ("image" in one) != planar
        key = f"{run['points']}/{run['depth']}/change/0.5"
        own = float(one["change"].sel(noise=0.5).median())
        assert found[f"{key}/low"] <= own <= found[f"{key}/high"]
        if planar:
            assert one["field"].shape == (2, 4, 4)
            assert not np.array_equal(one["field"][0], one["field"][1])
            assert 0 <= float(one["flips"].min()) <= float(one["flips"].max()) <= 1
    assert (tmp_path / "perturbed-function.png").stat().st_size > 10_000


def test_data_without_images_are_told(tmp_path: Path) -> None:
    np.savez(tmp_path / "five.npz", x=np.zeros((90, 5), np.float32), y=np.arange(90) % 3)
    with pytest.raises(InputError, match="needs labelled square images"):
        run_study(
            "perturbed-function", "toy", tmp_path / "out", seeds=1, data=str(tmp_path / "five.npz"), jobs=1
        )
