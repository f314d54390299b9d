"""The slice against an independent implementation, closed forms and finite differences; odd networks."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

from probes import InputError, SliceSettings, measure_slice
from tests.probes.slices.examples import CASES, ETAS, measured, reference_of
from tests.support.reference import arrays, make, make_data, step


@pytest.mark.parametrize("case", CASES)
def test_agrees_with_an_independent_implementation(case: str) -> None:
    network, (x, y) = make(**CASES[case]), make_data()
    exact = measured(network, x, y, chunk=10)
    single = measured(network, x, y, chunk=10, dtype="float32")
    reference, tensors = reference_of(network, x, y), arrays(network)
    loss, base, outputs = reference.run(tensors)
    names = [str(name) for name in exact["layer"].values]
    assert set(names) == set(base)
    for i, eta in enumerate(ETAS):
        moved = step(tensors, base, float(eta))
        new_loss, gradients, new_outputs = reference.run(moved)
        assert float(exact["loss"][i]) == pytest.approx(new_loss, rel=1e-10)
        assert float(single["loss"][i]) == pytest.approx(new_loss, rel=1e-5)
        change = np.linalg.norm(new_outputs - outputs, axis=1) / np.linalg.norm(outputs, axis=1)
        np.testing.assert_allclose(exact["output_change"][i], change, rtol=1e-8, atol=1e-13)
        slope = 0.0
        for k, name in enumerate(names):
            g, g0, dW = gradients[name], base[name], moved[name] - tensors[name]
            at: dict[str, Any] = {"eta": i, "layer": k}
            expected = np.linalg.norm(g - g0) / np.linalg.norm(g0)
            # at η = 0 both are rounding: 1e-13 is float64's on sums of this size
            assert float(exact["gradient_change"][at]) == pytest.approx(expected, rel=1e-8, abs=1e-13)
            floor = float(single["noise_floor"][k])
            assert abs(float(single["gradient_change"][at]) - expected) <= 1e-3 * expected + floor, name
            assert float(exact["gradient_norm"][at]) == pytest.approx(np.linalg.norm(g), rel=1e-9)
            cosine = np.sum(g * g0) / np.linalg.norm(g) / np.linalg.norm(g0)
            assert float(exact["gradient_cosine"][at]) == pytest.approx(cosine, rel=1e-9)
            r = np.linalg.norm(dW) / np.linalg.norm(tensors[name])
            assert float(exact["relative_perturbation"][at]) == pytest.approx(r, rel=1e-9)
            assert r == pytest.approx(eta, rel=1e-9)
            slope -= float(np.sum(g * g0)) * float(np.linalg.norm(tensors[name]) / np.linalg.norm(g0))
        assert float(exact["slope"][i]) == pytest.approx(slope, rel=1e-8)
        right = float(np.mean(new_outputs.argmax(1) == y.numpy()))
        assert float(exact["accuracy"][i]) == pytest.approx(right)
    assert float(exact["slope_at_zero"]) == pytest.approx(float(exact["slope"][0]), rel=1e-12)
    np.testing.assert_allclose(exact["perturbation_cosine"], 1.0, rtol=1e-12)
    assert loss == pytest.approx(float(exact["loss"][0]), rel=1e-12)


def test_chunks_change_nothing_but_rounding() -> None:
    network, (x, y) = make(norm="batch"), make_data()
    whole = measured(network, x, y, chunk=len(x), jacobian=2)
    for chunk in (1, 7):
        part = measured(network, x, y, chunk=chunk, jacobian=2)
        for name in whole.data_vars:
            if "noise_floor" not in str(name):
                # 37 terms of order 1 in another order; but a singular matrix's condition number is noise
                if name == "direction_condition_number":
                    continue
                np.testing.assert_allclose(part[name], whole[name], rtol=1e-8, atol=1e-13, err_msg=str(name))


def test_a_module_that_is_no_perceptron() -> None:
    network = nn.Sequential(
        nn.Conv2d(1, 2, 3), nn.ReLU(), nn.Flatten(), nn.Dropout(0.5), nn.Linear(8, 3)
    ).double()
    x, y = torch.randn(9, 1, 4, 4, generator=torch.Generator().manual_seed(0)), make_data(9)[1]
    found = measured(network, x, y, jacobian=2)
    twin = nn.Sequential(*network).eval()
    frozen = {name: tensor.detach().clone() for name, tensor in twin.named_parameters()}

    def gradients(state: Any) -> Any:
        for name, tensor in twin.named_parameters():
            tensor.data.copy_(state[name])
        return torch.autograd.grad(nn.functional.cross_entropy(twin(x.double()), y), list(twin.parameters()))

    base = gradients(frozen)
    moved = {
        name: tensor - 0.5 * tensor.norm() * g / g.norm()
        for (name, tensor), g in zip(frozen.items(), base, strict=True)
    }
    after = gradients(moved)
    for k, (g0, g) in enumerate(zip(base, after, strict=True)):
        assert float(found["gradient_change"][-1, k]) == pytest.approx(
            float((g - g0).norm() / g0.norm()), rel=1e-8
        )
    assert found["rows"].values.tolist() == [2, 0, 3, 0]
    assert found["columns"].values.tolist() == [9, 0, 8, 0]
    assert found.attrs["architecture"] == "Sequential"


def test_a_tensor_without_a_gradient_stays_put() -> None:
    network, (x, y) = make((6, 4, 3)), make_data()
    with torch.no_grad():
        network.layers[0].bias.fill_(-100)  # every hidden unit is off, so only the last bias has a gradient
    found = measured(network, x, y, limit=True, curvature=0, jacobian=2)
    dead = found.sel(layer="layers.0.weight")
    assert (dead["gradient_norm"] == 0).all()
    assert (dead["gradient_change"] == 0).all()
    assert (dead["relative_perturbation"] == 0).all()
    alive = found.sel(layer="layers.1.bias")
    np.testing.assert_allclose(alive["relative_perturbation"], ETAS, rtol=1e-12)
    assert (found["jacobian_change"].sel(layer="layers.0.weight")[:, :2] == 0).all()


def test_a_parameter_that_is_never_used() -> None:
    network, (x, y) = nn.Linear(6, 3), make_data()
    network.spare = nn.Parameter(torch.ones(2, 2))
    found = measured(network, x, y, limit=True, curvature=0)
    spare = found.sel(layer="spare")
    assert (spare["gradient_change"] == 0).all()
    assert (spare["relative_perturbation"] == 0).all()
    np.testing.assert_allclose(found["relative_perturbation"].sel(layer="weight"), ETAS, rtol=1e-12)


def test_zero_weights_and_a_dead_network() -> None:
    network, (x, y) = make((6, 4, 3), bias=False), make_data()
    with torch.no_grad():
        network.layers[1].weight.zero_()
    found = measured(network, x, y, limit=True, curvature=0, jacobian=2)
    assert (found["output_change"] == 0).all()  # all outputs are zero, before and after: 0/0 is no change
    np.testing.assert_allclose(found["loss"], np.log(3), rtol=1e-12)
    zero = found.sel(layer="layers.1.weight")
    assert float(zero["weight_norm"]) == 0
    assert (zero["relative_perturbation"] == 0).all()
    assert float(zero["condition_number"]) == np.inf
    assert float(found["step_limit"]) == 0  # it does not descend
    assert float(found["slope_at_zero"]) == 0


def test_an_overflow_is_measured_and_not_an_error() -> None:
    network, (x, y) = make((6, *[8] * 7, 3), "identity"), make_data()
    found = measured(network, x, y, etas=np.array([0.0, 0.1, 1e6]), dtype="float32", limit=True, jacobian=2)
    assert np.isfinite(found["loss"][:2]).all()
    assert not np.isfinite(found["loss"][2])
    assert not np.isfinite(found["gradient_change"].sel(layer="layers.0.weight")[2])
    assert 0 < float(found["step_limit"]) < 1e6


def test_a_network_that_overflows_from_the_start_has_no_numbers() -> None:
    network, (x, y) = make((6, 8, 3)), make_data()
    with torch.no_grad():
        for layer in network.layers:
            layer.weight.mul_(1e30)
    found = measured(network, x, y, dtype="float32", limit=True, curvature=0, jacobian=2)
    assert not np.isfinite(found["loss"]).any()
    assert np.isnan(found["step_limit"])
    assert np.isnan(found["gradient_change"][1:].sel(layer="layers.0.weight")).all()


def test_a_vanishing_gradient_still_has_a_direction() -> None:
    network, (x, y) = make((6, 8, 8, 3), "identity", bias=False), make_data()
    with torch.no_grad():
        network.layers[0].weight.mul_(1e-15)
        network.layers[1].weight.mul_(1e-15)
    found = measured(network, x, y, dtype="float32")
    layer = found.sel(layer="layers.2.weight")
    assert 0 < float(layer["gradient_norm"][0]) < 1e-25  # the squares of its entries underflow float32
    assert float(layer["gradient_cosine"][0]) == pytest.approx(1, rel=1e-5)
    assert float(layer["perturbation_cosine"]) == pytest.approx(1, rel=1e-5)
    assert float(layer["relative_perturbation"][2]) == pytest.approx(ETAS[2], rel=1e-4)


def test_a_stochastic_network_is_refused() -> None:
    class Noisy(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.layer = nn.Linear(6, 3)

        def forward(self, x: Any) -> Any:
            return self.layer(x + torch.randn_like(x))

    with pytest.raises(InputError, match="stochastic"):
        measured(Noisy(), *make_data())


def test_other_losses() -> None:
    network, (x, _) = make(), make_data()
    targets = torch.randn(37, 3, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    with torch.no_grad():
        raw = network.double()(x.double()).numpy()
    settings = SliceSettings(etas=ETAS, dtype="float64", limit=False, curvature=None)
    found = measure_slice(network, x, targets, settings=settings, loss="mse")
    assert float(found["loss"][0, 0]) == pytest.approx(np.mean((raw - targets.numpy()) ** 2), rel=1e-10)
    assert np.isnan(found["accuracy"]).all()
    hits = (targets > 0).double()
    found = measure_slice(network, x, hits, settings=settings, loss="bce-with-logits")
    expected = np.mean(np.logaddexp(0, raw) - raw * hits.numpy())
    assert float(found["loss"][0, 0]) == pytest.approx(expected, rel=1e-10)
    with pytest.raises(InputError, match="loss="):
        measure_slice(network, x, targets, settings=settings)
