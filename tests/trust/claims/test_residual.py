"""The residual rungs: the plain ones on plain chains, never below the change of users' residual networks."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
import xarray as xr
from torch import Tensor, nn
from torch.nn import functional

from analysis import Status
from probes import SliceSettings, measure_slice
from probes.networks.perceptron import Perceptron, PerceptronSpec
from tests.probes.measures.test_folding import with_statistics
from tests.trust.claims.examples import CLAIMS, verdict
from tests.trust.claims.slices import case_of
from trust.structure import Step, Structure

F = functional
TELESCOPED, SPECTRAL = "residual-telescoped", "residual-spectral"


@pytest.mark.parametrize("biases", [False, True])
@pytest.mark.parametrize("activation", ["tanh", "leaky_relu:0.1"])
def test_on_plain_chains_they_are_the_plain_rungs(activation: str, biases: bool) -> None:
    found = case_of(activation=activation, biases=biases).found
    for own, plain in ((TELESCOPED, "telescoped"), (SPECTRAL, "spectral-product")):
        numbers = [
            CLAIMS[claim].bound(found).transpose("checkpoint", "eta", "example") for claim in (own, plain)
        ]
        # sums of a few positive terms in another order
        np.testing.assert_allclose(*numbers, rtol=0, atol=1e-12)
        assert verdict(own, found).status is verdict(plain, found).status
        assert verdict(own, found).worst_log10_ratio == pytest.approx(verdict(plain, found).worst_log10_ratio)


class BasicBlock(nn.Module):
    """As in torchvision's ResNet, with a projection where the shape changes."""

    def __init__(self, fan_in: int, fan_out: int, stride: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(fan_in, fan_out, 3, stride, 1, bias=False)
        self.bn1 = nn.BatchNorm2d(fan_out)
        self.conv2 = nn.Conv2d(fan_out, fan_out, 3, 1, 1, bias=False)
        self.bn2 = nn.BatchNorm2d(fan_out)
        self.relu = nn.ReLU(inplace=True)
        self.downsample: nn.Module | None = None
        if stride > 1 or fan_in != fan_out:
            self.downsample = nn.Sequential(
                nn.Conv2d(fan_in, fan_out, 1, stride, bias=False), nn.BatchNorm2d(fan_out)
            )

    def forward(self, x: Tensor) -> Tensor:
        identity = x if self.downsample is None else self.downsample(x)
        out = self.bn2(self.conv2(self.relu(self.bn1(self.conv1(x)))))
        out += identity
        return self.relu(out)  # type: ignore[no-any-return]


class ResNet(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.conv1, self.bn1 = nn.Conv2d(1, 3, 3, 1, 1, bias=False), nn.BatchNorm2d(3)
        self.maxpool = nn.MaxPool2d(2)
        self.layer1, self.layer2 = BasicBlock(3, 3, 1), BasicBlock(3, 4, 2)
        self.fc = nn.Linear(4, 3)

    def forward(self, x: Tensor) -> Tensor:
        x = self.maxpool(F.relu(self.bn1(self.conv1(x)), inplace=True))
        x = F.adaptive_avg_pool2d(self.layer2(self.layer1(x)), (1, 1))
        return self.fc(torch.flatten(x, 1))  # type: ignore[no-any-return]


class PreActivation(nn.Module):
    """h + W φ(norm(h)), and a concatenation at the end."""

    def __init__(self) -> None:
        super().__init__()
        self.stem, self.norm = nn.Linear(5, 4), nn.BatchNorm1d(4)
        self.inner, self.head = nn.Linear(4, 4), nn.Linear(8, 3)

    def forward(self, x: Tensor) -> Tensor:
        h = self.stem(x)
        h = torch.cat([h, h + self.inner(F.gelu(self.norm(h)))], dim=1)
        return self.head(h) / 2  # type: ignore[no-any-return]


def residual_perceptron(*, biases: bool = False, norm: str = "none", activation: str = "tanh") -> Perceptron:
    return Perceptron(
        PerceptronSpec((5, 6, 6, 6, 3), activation, residual=True, norm=norm, biases=(biases,) * 4)
    )


NETWORKS: dict[str, tuple[Callable[[], nn.Module], tuple[int, ...], tuple[Status, ...]]] = {
    "residual perceptron": (residual_perceptron, (5,), (Status.HOLDS, Status.HOLDS)),
    "with biases": (lambda: residual_perceptron(biases=True), (5,), (Status.HOLDS, Status.PREMISE_FAILS)),
    "with batch norm": (lambda: residual_perceptron(norm="batch"), (5,), (Status.HOLDS, Status.PREMISE_FAILS)),
    "softplus": (
        lambda: residual_perceptron(activation="softplus"), (5,), (Status.HOLDS, Status.PREMISE_FAILS)
    ),
    "resnet": (ResNet, (1, 8, 8), (Status.HOLDS, Status.PREMISE_FAILS)),
    "pre-activation": (PreActivation, (5,), (Status.HOLDS, Status.PREMISE_FAILS)),
    "convolutions": (
        lambda: nn.Sequential(
            nn.Conv2d(1, 3, 3, bias=False), nn.ReLU(), nn.MaxPool2d(3, 2), nn.Conv2d(3, 2, 2, bias=False),
            nn.Flatten(), nn.Linear(2, 3, bias=False),
        ),
        (1, 8, 8),
        (Status.HOLDS, Status.HOLDS),
    ),
    "layer norm": (lambda: residual_perceptron(norm="layer"), (5,), (Status.PREMISE_FAILS,) * 2),
    "something unknown": (
        lambda: nn.Sequential(nn.Linear(5, 4, bias=False), nn.Hardswish(), nn.Linear(4, 3, bias=False)),
        (5,),
        (Status.NOT_MEASURED,) * 2,
    ),
}  # fmt: skip


def slice_of(name: str, **settings: Any) -> xr.Dataset:
    make, shape, _ = NETWORKS[name]
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(4)
        network = with_statistics(make()).double()
        x, y = torch.randn(8, *shape, dtype=torch.float64), torch.arange(8) % 3
    etas = np.array([0.0, 1e-4, 1e-2, 0.2])
    settings = {
        "etas": etas,
        "dtype": "float64",
        "samples": 6,
        "curvature": None,
        "limit": False,
        **settings,
    }
    return measure_slice(network, x, y, settings=SliceSettings(**settings))


@pytest.mark.parametrize("name", NETWORKS)
def test_statuses(name: str) -> None:
    found = slice_of(name)
    one, other = (verdict(claim, found) for claim in (TELESCOPED, SPECTRAL))
    assert (one.status, other.status) == NETWORKS[name][2]
    if one.status is Status.NOT_MEASURED:
        assert "known steps: not known, add a network whose forward pass can be followed" in one.remark
    if one.status is Status.HOLDS:
        assert -3 < one.worst_log10_ratio <= 0


@pytest.mark.parametrize("name", ["residual perceptron", "resnet", "pre-activation", "convolutions"])
@pytest.mark.parametrize(
    "settings", [{"direction": "adversarial", "restarts": 1, "ascent_steps": 4}, {"dtype": "float32"}]
)
def test_never_below_the_worst_that_is_found(name: str, settings: dict[str, Any]) -> None:
    found = slice_of(name, **settings)
    one = verdict(TELESCOPED, found)
    assert (one.status, one.holds_fraction) == (Status.HOLDS, 1.0)


def test_the_bound_of_a_residual_perceptron_by_hand() -> None:
    """e_k = (1 + β‖W̃_k‖) e_{k−1} + β‖ΔW_k h_{k−1}‖ for the two blocks, without 1 + for the first and last layer."""
    found = slice_of("residual perceptron").isel(checkpoint=0)
    for eta in (1, 3):
        for example in (0, 5):
            at = found.isel(eta=eta, example=example)
            u = [float(at["perturbation_response"].sel(layer=f"layers.{k}.weight")) for k in range(4)]
            w = [float(at["perturbed_operator_norm"].sel(layer=f"layers.{k}.weight")) for k in range(4)]
            e = u[0]
            for k in (1, 2):
                e = e + w[k] * e + u[k]
            e = w[3] * e + u[3]
            own = (
                CLAIMS[TELESCOPED].bound(found.expand_dims("checkpoint")).isel(checkpoint=0, example=example)
            )
            expected = np.log10(e / float(at["output_norm"]))
            assert float(own.sel(eta=float(at["eta"]))) == pytest.approx(expected, abs=1e-12)


def test_a_norm_that_is_too_small_is_caught() -> None:
    found = slice_of("resnet")
    short = found.assign(stage_response=found["stage_response"] / 1e3)
    short["perturbation_response"] = found["perturbation_response"] / 1e3
    assert verdict(TELESCOPED, short).status is Status.REFUTED


def test_a_stage_that_was_not_measured_bounds_nothing() -> None:
    found = slice_of("resnet")
    lean = found.drop_vars("stage_response")
    assert verdict(TELESCOPED, lean).status is Status.NOT_MEASURED


def test_a_weight_that_is_used_twice_fails_the_premise() -> None:
    shared = nn.Linear(5, 5)
    network = nn.Sequential(shared, nn.ReLU(), shared, nn.Linear(5, 3)).double()
    x, y = torch.randn(8, 5, dtype=torch.float64), torch.arange(8) % 3
    settings = SliceSettings(
        etas=np.array([0.0, 1e-2]), dtype="float64", samples=4, curvature=None, limit=False
    )
    found = measure_slice(network, x, y, settings=settings)
    for claim in (TELESCOPED, SPECTRAL):
        one = verdict(claim, found)
        assert one.status is Status.PREMISE_FAILS
        assert one.premises["known steps"] is False
    assert verdict("telescoped", found).premises["chain of layers"] is False


def test_unknown_structures_are_unknown() -> None:
    found = case_of().found.assign_attrs(structure="")
    one = verdict(TELESCOPED, found)
    assert (one.status, one.premises["known steps"]) == (Status.NOT_MEASURED, None)
    other = Structure((Step("input"), Step("normalisation", (0,), "layer_norm")))
    assert verdict(TELESCOPED, found.assign_attrs(structure=other.to_json())).premises["known steps"] is False
