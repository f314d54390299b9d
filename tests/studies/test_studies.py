"""The studies at toy size: what each measures against closed forms, or against what its runs leave behind."""

from __future__ import annotations

import math
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
import xarray as xr
from torch import nn

import probes
from probes.checkpoints.checkpoint import read_checkpoint
from studies.constant import PRESETS as CONSTANTS
from studies.constant import QUANTITIES, _beside_each_other, _stages
from studies.depth import PRESETS as DEPTHS
from studies.euclidean import across, along
from studies.frame import run_study
from studies.norms import referees_lars
from studies.parts.conclusions import beside_paper
from trust.descent import lemma2_step_limit


def numbers(name: str, out: Path) -> dict[str, float]:
    return dict(run_study(name, "toy", out, seeds=2, jobs=1, formats=("png",)).numbers)


def test_depth_tells_what_its_checkpoints_say(tmp_path: Path) -> None:
    found = numbers("depth", tmp_path)
    assert len(found) == len(DEPTHS["toy"].depths) * 9 * 3
    for optimizer, lr in (("momentum", "0.1"), ("adam", "0.001"), ("fromage", "0.01")):
        accuracies = []
        for seed in range(2):
            folder = tmp_path / "runs" / f"optimizer-{optimizer}_lr-{lr}_depth-3_seed-{seed}" / "checkpoints"
            last = read_checkpoint(sorted(folder.glob("*.safetensors"))[-1])
            assert (
                len([one for one in last.tensors.values() if one.ndim == 2]) == 4
            )  # the output layer is not counted
            accuracies.append(last.details["train_accuracy"])
        ends = [found[f"{optimizer}/{lr}/3/{end}"] for end in ("low", "middle", "high")]
        assert ends == pytest.approx([min(accuracies), np.mean(accuracies), max(accuracies)])
    drawn = pd.read_csv(tmp_path / "depth.csv")
    limits = drawn[drawn["series"] == "Lemma 2's limit"]["y"]
    np.testing.assert_allclose(limits, [float(lemma2_step_limit(depth=d + 1)) for d in (1, 3)])


def test_training_that_leads_nowhere_counts_as_guessing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("studies.depth._RATES", {"momentum": (1e30,), "adam": (0.01,), "fromage": (0.01,)})
    found = numbers("depth", tmp_path)
    assert found["momentum/1e+30/3/high"] == 0.1


@pytest.mark.parametrize("eta", [1e-4, 0.01, 0.5, 3.0])
def test_the_referees_lars_is_fromage(eta: float) -> None:
    """W ← (W − η (‖W‖/‖g‖) g)/√(1 + η²), by NumPy."""
    torch.manual_seed(0)
    weight = nn.Parameter(torch.randn(5, 4, dtype=torch.float64))
    weight.grad = torch.randn(5, 4, dtype=torch.float64)
    W, g = weight.detach().numpy().copy(), weight.grad.numpy()
    expected = (W - eta * np.linalg.norm(W) / np.linalg.norm(g) * g) / math.sqrt(1 + eta * eta)
    referees_lars([weight], eta)()
    # a few roundings of numbers of order ‖W‖; γℓ and β err by their own few
    np.testing.assert_allclose(weight.detach().numpy(), expected, atol=1e-14, rtol=1e-14)


def test_norms_grow_without_the_factor(tmp_path: Path) -> None:
    found = numbers("norms", tmp_path)
    for lr in ("0.1", "0.01"):
        ratio = found[f"lars/{lr}/growth/low"] / found[f"fromage/{lr}/growth/low"]
        # by the same gradients the norms differ by the factor of four steps; gradients soon differ a little
        assert ratio == pytest.approx((1 + float(lr) ** 2) ** 2, rel=0.02)
        assert ratio > 1
    assert found["apart"] < 1e-14


def test_a_fixed_rate_never_stops_and_a_falling_one_does(tmp_path: Path) -> None:
    found = numbers("fixed-point", tmp_path)
    for batch in ("full", "mini"):
        # tensors move by η of their own norm, biases and all, and shrink by 1/√(1 + η²)
        assert found[f"{batch}/constant/step/middle"] == pytest.approx(0.01, rel=0.02)
        # the last window begins 16 steps before the end, when the rate is not yet a thousandth
        falling = 0.01 * 1e-3 ** (1 - 16 / 60)
        assert found[f"{batch}/falling/step/middle"] == pytest.approx(falling, rel=0.02)
        assert 0 < found[f"{batch}/constant/directness/low"] <= 1
    assert not list(tmp_path.glob("runs/*/checkpoints"))


def test_theorem1_is_finite_where_its_premises_hold_and_bounds_the_change(tmp_path: Path) -> None:
    found = numbers("theorem1", tmp_path)
    rungs = ("telescoped", "spectral-product", "theorem1-function-layerwise", "theorem1-function")
    for depth in (1, 3):
        measured = found[f"none/{depth}/measured change/high"]
        for rung in rungs:
            low = found[f"none/{depth}/{rung}/low"]
            assert math.isfinite(low)
            assert (
                found[f"none/{depth}/{rung}/middle"] >= found[f"none/{depth}/measured change/middle"] - 1e-9
            )
        # one linear layer: the change is ‖ΔW x‖/‖W x‖, and telescoping adds nothing
        assert found["none/1/telescoped/middle"] == pytest.approx(
            found["none/1/measured change/middle"], abs=1e-9
        )
        assert math.isinf(
            found[f"gradient/{depth}/theorem1-function/middle"]
        )  # the gradient's rank is deficient
        assert measured > math.log10(1e-3)


def test_one_constant_along_a_slice() -> None:
    model = np.geomspace(1e-4, 1e-1, 8)
    assert along(3 * model, model) == pytest.approx(0.0, abs=1e-12)
    # as its square: at 10^(k·3/7) from the fit's middle, for k = 2.5 to 5.5
    expected = 3 / 7 * np.sqrt(np.mean(np.array([2.5, 3.5, 4.5, 5.5]) ** 2))
    assert along(3 * model**2, model) == pytest.approx(expected)
    holes = np.where(np.arange(8) < 6, np.nan, 3 * model)
    assert along(holes, model) == pytest.approx(0.0, abs=1e-12)
    assert math.isnan(along(np.full(8, np.nan), model))


def test_each_model_across_training_is_exact_where_it_is_true() -> None:
    etas, sizes = np.geomspace(1e-4, 1e-1, 6), np.array([5.0, 2.0, 1.0, 0.3, 0.1])
    weights = np.array([1.0, 1.5, 2.0, 2.2, 2.3])
    moved = weights[:, None] * etas
    whole, trust = 2 * moved, np.broadcast_to((1 + etas) ** 3 - 1, moved.shape)
    true = {
        "trust": 7 * trust,
        "euclidean": 4 * whole / sizes[:, None],
        "layerwise": (2 + 3 * sizes[:, None]) * moved / sizes[:, None],
        "quadratic": np.array([1.0, 9.0, 3.0, 50.0, 2.0])[:, None] * whole,
    }
    for name, change in true.items():
        errors = {model: across(model, change, trust, whole, moved, sizes) for model in true}
        assert errors[name] == pytest.approx(0.0, abs=1e-9)
        # the quadratic one knows each checkpoint, and lines are lines; a Euclidean constant is an L₀
        special = {"quadratic": set(errors), "euclidean": {"quadratic", "layerwise"}}.get(name, {"quadratic"})
        assert all(error > 1e-3 for model, error in errors.items() if model not in {name, *special})


def test_models_of_trust_are_judged_whole(tmp_path: Path) -> None:
    found = numbers("euclidean", tmp_path)
    assert set(found) == {
        f"2-layer/fromage/{what}/{end}"
        for what in (
            "product/start",
            "product/end",
            "line/start",
            "line/end",
            "trust",
            "euclidean",
            "layerwise",
            "quadratic",
        )
        for end in ("low", "middle", "high")
    }
    assert all(value > 0 for value in found.values())


def test_the_constant_is_compared_at_equal_accuracy(tmp_path: Path) -> None:
    found = numbers("constant", tmp_path)
    assert len(found) == 2 * 4 * 9 * 3  # optimisers, stages, quantities and accuracy, ends
    for optimizer in ("momentum", "fromage"):
        runs = [probes.load(one / "measurements") for one in sorted(tmp_path.glob(f"runs/*{optimizer}*"))]
        for stage, place in (("start", 0), ("end", -1)):
            C, example, cancelled, held, below, breakdown, theorem1b, accuracy = (
                {end: found[f"2-layer/{optimizer}/{stage}/{part}/{end}"] for end in ("low", "high")}
                for part in (
                    *("constant", "mean_example", "cancellation", "residuals", "constant_below"),
                    *("breakdown", "theorem1b", "accuracy"),
                )
            )
            at = [one.isel(checkpoint=place, layer=0) for one in runs]
            changes = [float(one["gradient_change"].sel(eta=1e-4)) for one in at]
            allowed = (1 + 1e-4) ** 2 - 1
            assert list(breakdown.values()) == pytest.approx([min(changes), max(changes)])
            # what moved is η to a few roundings of float32 alone
            assert list(C.values()) == pytest.approx(
                [min(changes) / allowed, max(changes) / allowed], rel=1e-3
            )
            smaller = [float(one["gradient_change"].sel(eta=1e-5)) / 2e-5 for one in at]
            assert below["high"] == pytest.approx(max(smaller), rel=1e-2)
            shares = [float(one["accuracy"].sel(eta=0)) for one in at]
            assert accuracy["low"] == pytest.approx(min(shares), abs=0.5)
            assert theorem1b["low"] >= 0
            if math.isfinite(held["low"]):  # a product of ends contains the ends of the product
                assert example["low"] * cancelled["low"] * held["low"] <= C["high"] * 1.01
                assert example["high"] * cancelled["high"] * held["high"] >= C["low"] * 0.99


def of_seeds(values: list[float]) -> xr.Dataset:
    """C and C_ex where training reaches the second accuracy, by seed."""
    value = np.full((len(values), 1, len(QUANTITIES)), np.nan)
    value[:, 0, 0], value[:, 0, 1] = values, np.array(values) / 2
    return xr.Dataset(
        {"value": (("run", "stage", "quantity"), value)},
        {"stage": ["second"], "quantity": list(QUANTITIES), "seed": ("run", np.arange(len(values)))},
    )


def test_networks_stand_beside_plain_ones_seed_by_seed() -> None:
    names = ("16-layer", "16-layer-residual", "16-layer-batch-norm")
    size = replace(CONSTANTS["toy"], epochs=dict.fromkeys(names, 1), optimizers=("momentum", "fromage"))
    cases = {(name, "momentum"): of_seeds([math.nan, math.nan]) for name in names}
    cases["16-layer", "fromage"] = of_seeds([10.0, 40.0])
    cases["16-layer-residual", "fromage"] = of_seeds([5.0, 10.0]).isel(run=[1, 0])  # in any order
    cases["16-layer-batch-norm", "fromage"] = of_seeds([20.0, math.nan])
    said = "\n".join(_beside_each_other(size, cases))
    assert (
        "residual beside 16-layer, Fromage: C is 0.38 (0.25–0.5) times as large (less in every seed)" in said
    )
    assert "batch-norm beside 16-layer, Fromage: C is 2 times as large (more in every seed)" in said
    assert "1 seeds" not in said
    assert said.count("cannot be told") == 2 + 3


def test_what_the_paper_says_is_counted() -> None:
    assert (
        beside_paper("It is so", [True, False, math.nan], "runs") == "It is so: contradicted in 1 of 2 runs."
    )
    assert beside_paper("It is so", [True, True], "runs") == "It is so: contradicted in all 2 runs."
    assert beside_paper("It is so", [False], "runs") == "It is so: contradicted in none of 1 runs."
    assert "cannot be told" in beside_paper("It is so", [math.nan], "runs")


def test_stages_are_the_first_checkpoints_that_get_there() -> None:
    assert _stages(np.array([0.1, 0.6, 0.4, 0.95, 0.9]), (0.5, 0.9)) == [0, 1, 3, 4]
    assert _stages(np.array([0.1, 0.2]), (0.5, 0.9)) == [0, None, None, 1]


def test_figure1_is_a_study_too(tmp_path: Path) -> None:
    found = numbers("figure1", tmp_path)
    for name in ("2-layer", "16-layer", "16-layer-residual"):
        runs = [
            probes.load(tmp_path / "runs" / f"network-{name}_seed-{k}" / "measurements") for k in range(2)
        ]
        accuracies = [float(one["train_accuracy"][-1]) for one in runs]
        ends = [found[f"{name}/accuracy/{end}"] for end in ("low", "middle", "high")]
        assert ends == pytest.approx([min(accuracies), np.mean(accuracies), max(accuracies)])
    assert (tmp_path / "figure1.png").stat().st_size > 10_000
