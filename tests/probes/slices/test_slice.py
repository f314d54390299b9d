"""The slice against an independent implementation, closed forms, finite differences and torch.func."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
import xarray as xr
from torch import nn

from probes import InputError, SliceSettings, measure_slice
from probes.measures.jacobians import gate_change, relative_change
from tests.support.reference import Reference, arrays, make, make_data, step

ETAS = np.array([0.0, 1e-3, 1e-2, 0.1, 0.5])
CASES: dict[str, dict[str, Any]] = {
    "plain": {},
    "linear": {"activation": "identity"},
    "no biases": {"bias": False, "activation": "leaky_relu:0.1"},
    "one layer": {"widths": (6, 3)},
    "deep": {"widths": (6, *[8] * 7, 3), "activation": "gelu"},
    "residual": {"residual": True},
    "residual tanh": {"residual": True, "activation": "tanh", "bias": False},
    "layer norm": {"norm": "layer", "activation": "silu"},
    "batch norm": {"norm": "batch"},
    "batch norm, residual": {"norm": "batch", "residual": True, "activation": "softplus", "bias": False},
}


def measured(network: nn.Module, x: Any, y: Any, **settings: Any) -> xr.Dataset:
    """The slice, without its one-checkpoint dimension."""
    settings = {"etas": ETAS, "dtype": "float64", "limit": False, "curvature": False, **settings}
    return measure_slice(network, x, y, settings=SliceSettings(**settings)).isel(checkpoint=0)


def reference_of(network: Any, x: Any, y: Any) -> Reference:
    return Reference(network.spec, x.double().numpy(), y.numpy())


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


def test_the_noise_floor_is_rounding_and_nothing_else() -> None:
    network, (x, y) = make(), make_data()
    single, exact = measured(network, x, y, dtype="float32"), measured(network, x, y)
    # sums of 37 terms: a few units of rounding, never a thousand
    assert 2**-30 < float(single["noise_floor"].max()) < 1000 * 2**-24
    assert float(exact["noise_floor"].max()) < 1000 * 2**-53
    assert float(single["loss_noise_floor"]) < 100 * 2**-24


def test_the_noise_floor_sees_what_repetition_cannot() -> None:
    network, (x, y) = make((6, 3)), make_data()
    with torch.no_grad():
        network.layers[0].bias += 1e6  # softmax ignores it, but float32 rounds outputs of this size to 1/16
    single, exact = measured(network, x, y, dtype="float32"), measured(network, x, y)
    error = abs(single["gradient_norm"][0] / exact["gradient_norm"][0] - 1)
    assert (error > 1e-4).all()
    # the relative error of a norm is at most that of the vector; the sample is the whole data here
    assert (error <= single["noise_floor"] * 1.001).all()
    assert float(single["noise_floor"].max()) < 0.2


def test_slope_and_curvature_are_the_derivatives_of_the_loss() -> None:
    network, (x, y) = make(activation="tanh"), make_data()
    h = 1e-3
    found = measured(network, x, y, etas=np.array([0.0, h, 2 * h]), curvature=True)
    loss, slope = found["loss"].values, found["slope"].values
    # central and one-sided three-point differences err by h² times a third derivative of order 10
    assert slope[1] == pytest.approx((loss[2] - loss[0]) / (2 * h), rel=100 * h**2)
    assert slope[0] < 0
    second = (-3 * slope[0] + 4 * slope[1] - slope[2]) / (2 * h)
    assert float(found["curvature"]) == pytest.approx(second, rel=1e-3)


def test_slope_of_a_direction_that_is_not_the_gradient() -> None:
    network, (x, y) = make(activation="tanh"), make_data()
    h = 1e-4
    found = measured(network, x, y, etas=np.array([0.0, h, 2 * h]), direction="noise")
    loss = found["loss"].values
    assert float(found["slope"][1]) == pytest.approx((loss[2] - loss[0]) / (2 * h), rel=1e-4, abs=1e-7)


@pytest.mark.parametrize("case", ["plain", "residual tanh", "layer norm", "batch norm, residual"])
def test_jacobians_are_those_of_torch_func(case: str) -> None:
    network, (x, y) = make(**CASES[case]), make_data(5)
    eta, count = 0.1, 3
    found = measured(network, x, y, etas=np.array([0.0, eta]), jacobian=count)
    reference, tensors = reference_of(network, x, y), arrays(network)
    moved = step(tensors, reference.run(tensors)[1], eta)

    def tail(values: Any, k: int) -> Any:
        """From the input of layer k to the outputs, all paths counted, and the network it belongs to."""
        state = {name: torch.from_numpy(np.asarray(tensor)) for name, tensor in values.items()}
        twin = make(**CASES[case]).double().eval()
        twin.load_state_dict(state)

        def run(h: Any) -> Any:
            h = h[None]
            for j in range(k, len(twin.layers)):
                z = twin.layers[j](h)
                if j == len(twin.layers) - 1:
                    return z[0]
                z = z if twin.norms is None else twin.norms[j](z)
                a = twin.activation(z)
                h = h + a if twin.spec.residual and a.shape == h.shape else a
            raise AssertionError

        return run, twin

    for example in range(count):
        for k in range(len(network.layers)):
            jacobians = []
            for values in (tensors, moved):
                run, twin = tail(values, k)
                h = x[example].double()[None]
                for j in range(k):
                    z = twin.layers[j](h)
                    a = twin.activation(z if twin.norms is None else twin.norms[j](z))
                    h = h + a if twin.spec.residual and a.shape == h.shape else a
                jacobians.append(torch.func.jacrev(run)(h[0].detach()).detach())
            expected = float((jacobians[1] - jacobians[0]).norm() / jacobians[0].norm())
            layer = f"layers.{k}.weight"
            value = float(found["jacobian_change"].sel(layer=layer)[1, example])
            assert value == pytest.approx(expected, rel=1e-9, abs=1e-13), (layer, example)
    assert np.isnan(found["jacobian_change"].sel(layer="layers.0.weight")[1, count:]).all()
    assert float(found["jacobian_change"].sel(layer="layers.2.weight")[0, 0]) == 0


def test_gates_are_the_derivatives_at_the_preactivations() -> None:
    network, (x, y) = make((6, 5, 3), "tanh"), make_data(4)
    found = measured(network, x, y, etas=np.array([0.0, 0.05]), jacobian=4)
    reference, tensors = reference_of(network, x, y), arrays(network)
    moved = step(tensors, reference.run(tensors)[1], 0.05)
    gates = [
        1 - np.tanh(reference.x @ values["layers.0.weight"].T + values["layers.0.bias"]) ** 2
        for values in (tensors, moved)
    ]
    expected = np.max(np.abs(gates[1] - gates[0]) / gates[0], axis=1)
    np.testing.assert_allclose(found["gate_change"].sel(layer="layers.0.weight")[1], expected, rtol=1e-10)
    np.testing.assert_array_equal(found["gate_change"].sel(layer="layers.1.weight")[1], 0)


def test_changes_of_zeros() -> None:
    before = torch.tensor([[0.0, 0.0], [0.0, 0.0], [3.0, 4.0]])
    after = torch.tensor([[0.0, 0.0], [0.0, 1.0], [3.0, 9.0]])
    assert relative_change(before, after).tolist() == [0.0, np.inf, 1.0]
    assert gate_change(before, after).tolist() == [0.0, np.inf, 1.25]


def test_spectra_against_numpy() -> None:
    network, (x, y) = make(), make_data()
    found = measured(network, x, y, spectra="slice")
    reference, tensors = reference_of(network, x, y), arrays(network)
    base = reference.run(tensors)[1]
    for k in range(3):
        name = f"layers.{k}.weight"
        layer = found.sel(layer=name)
        values = np.linalg.svd(tensors[name], compute_uv=False)
        assert float(layer["weight_norm"]) == pytest.approx(np.linalg.norm(tensors[name]), rel=1e-12)
        assert float(layer["spectral_norm"]) == pytest.approx(values[0], rel=1e-12)
        assert float(layer["condition_number"]) == pytest.approx(values[0] / values[-1], rel=1e-9)
        steps = np.linalg.svd(base[name], compute_uv=False) * np.linalg.norm(tensors[name])
        size = np.linalg.norm(base[name])
        assert float(layer["direction_spectral_norm"]) == pytest.approx(steps[0] / size, rel=1e-10)
        after = np.linalg.svd(step(tensors, base, 0.5)[name], compute_uv=False)
        condition = float(layer["perturbed_condition_number"][-1])
        assert condition == pytest.approx(after[0] / after[-1], rel=1e-8)
    # softmax's gradient sums to zero over the classes, so the last layer's has no full rank
    assert float(found["direction_condition_number"].sel(layer="layers.2.weight")) > 1e12
    assert np.isnan(found["spectral_norm"].sel(layer="layers.0.bias"))


def test_noise_moves_every_layer_by_eta_and_is_seeded() -> None:
    network, (x, y) = make(), make_data()
    one = measured(network, x, y, direction="noise", seed=3)
    np.testing.assert_allclose(one["relative_perturbation"], np.tile(ETAS[:, None], (1, 6)), rtol=1e-12)
    xr.testing.assert_identical(one, measured(network, x, y, direction="noise", seed=3))
    other = measured(network, x, y, direction="noise", seed=4)
    assert not np.allclose(one["loss"][1:], other["loss"][1:], rtol=1e-9)
    # a random direction is nearly orthogonal to the gradient: cos of a matrix of 48 entries is about 1/√48
    assert abs(float(one["perturbation_cosine"].sel(layer="layers.0.weight"))) < 5 / np.sqrt(48)


def test_the_update_lands_on_the_next_checkpoint() -> None:
    network, following, (x, y) = make(seed=0), make(seed=5), make_data()
    settings: dict[str, Any] = {"direction": "update", "dtype": "float64", "limit": False, "curvature": False}
    after = dict(following.named_parameters())
    relative = [
        float((after[name].detach() - tensor).norm() / tensor.norm())
        for name, tensor in network.state_dict().items()
        if tensor.ndim == 2
    ]
    etas = np.array([0.0, max(relative)])

    def run(grid: Any) -> xr.Dataset:
        options = SliceSettings(etas=grid, **settings)
        return measure_slice(network, x, y, settings=options, following=after).isel(checkpoint=0)

    size = float(run(etas)["update_size"])
    assert size == pytest.approx(max(relative), rel=1e-5)  # float32 norms here
    found = run(np.array([0.0, size]))
    loss, gradients, _ = reference_of(following, x, y).run(arrays(following))
    assert float(found["loss"][1]) == pytest.approx(loss, rel=1e-12)
    for name, g in gradients.items():
        assert float(found["gradient_norm"].sel(layer=name)[1]) == pytest.approx(np.linalg.norm(g), rel=1e-10)
    with pytest.raises(InputError, match="no weight matrix differs"):
        measure_slice(
            network,
            x,
            y,
            settings=SliceSettings(etas=etas, **settings),
            following=dict(network.named_parameters()),
        )
    with pytest.raises(InputError, match="at least two"):
        measure_slice(network, x, y, settings=SliceSettings(etas=etas, **settings))


def test_fixed_biases_stay() -> None:
    network, (x, y) = make(), make_data()
    found = measured(network, x, y, biases="fixed")
    reference, tensors = reference_of(network, x, y), arrays(network)
    base = reference.run(tensors)[1]
    weights = {name: g for name, g in base.items() if name.endswith("weight")}
    loss, gradients, _ = reference.run(step(tensors, weights, 0.5))
    assert float(found["loss"][-1]) == pytest.approx(loss, rel=1e-10)
    is_bias = ~found["is_weight"].values
    assert is_bias.sum() == 3
    assert (found["relative_perturbation"].values[:, is_bias] == 0).all()
    change = np.linalg.norm(gradients["layers.0.bias"] - base["layers.0.bias"])
    expected = change / np.linalg.norm(base["layers.0.bias"])
    assert float(found["gradient_change"].sel(layer="layers.0.bias")[-1]) == pytest.approx(expected, rel=1e-8)
    assert found.attrs["biases_moved"] == "false"
    assert measured(network, x, y).attrs["biases_moved"] == "true"


def test_measuring_some_layers_changes_no_number() -> None:
    network, (x, y) = make(), make_data()
    whole = measured(network, x, y)
    for layers, kept in (("first", ["layers.0.weight"]), ("*.bias", [f"layers.{k}.bias" for k in range(3)])):
        part = measured(network, x, y, layers=layers)
        xr.testing.assert_identical(part["loss"], whole["loss"])
        for name in whole["layer"].values:
            expected = whole["gradient_change"].sel(layer=name)
            if name in kept:
                xr.testing.assert_identical(part["gradient_change"].sel(layer=name), expected)
            else:
                assert np.isnan(part["gradient_change"].sel(layer=name)).all()
    with pytest.raises(InputError, match="matches no layer"):
        measured(network, x, y, layers="nothing*")


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
    found = measured(network, x, y, limit=True, curvature=True, jacobian=2)
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
    found = measured(network, x, y, limit=True, curvature=True)
    spare = found.sel(layer="spare")
    assert (spare["gradient_change"] == 0).all()
    assert (spare["relative_perturbation"] == 0).all()
    np.testing.assert_allclose(found["relative_perturbation"].sel(layer="weight"), ETAS, rtol=1e-12)


def test_zero_weights_and_a_dead_network() -> None:
    network, (x, y) = make((6, 4, 3), bias=False), make_data()
    with torch.no_grad():
        network.layers[1].weight.zero_()
    found = measured(network, x, y, limit=True, curvature=True, jacobian=2)
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
    found = measured(network, x, y, dtype="float32", limit=True, curvature=True, jacobian=2)
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


@pytest.mark.parametrize(
    "settings",
    [
        {"etas": np.array([0.1, 0.2])},
        {"etas": np.array([0.0, 0.2, 0.1])},
        {"etas": np.array([0.0])},
        {"direction": "sideways"},
        {"biases": "fix"},
        {"dtype": "float16"},
        {"spectra": "all"},
    ],
)
def test_settings_that_would_measure_something_else_are_refused(settings: dict[str, Any]) -> None:
    with pytest.raises(InputError):
        SliceSettings(**{"etas": ETAS, **settings})


def test_other_losses() -> None:
    network, (x, _) = make(), make_data()
    targets = torch.randn(37, 3, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    with torch.no_grad():
        raw = network.double()(x.double()).numpy()
    settings = SliceSettings(etas=ETAS, dtype="float64", limit=False, curvature=False)
    found = measure_slice(network, x, targets, settings=settings, loss="mse")
    assert float(found["loss"][0, 0]) == pytest.approx(np.mean((raw - targets.numpy()) ** 2), rel=1e-10)
    assert np.isnan(found["accuracy"]).all()
    hits = (targets > 0).double()
    found = measure_slice(network, x, hits, settings=settings, loss="bce-with-logits")
    expected = np.mean(np.logaddexp(0, raw) - raw * hits.numpy())
    assert float(found["loss"][0, 0]) == pytest.approx(expected, rel=1e-10)
    with pytest.raises(InputError, match="--loss"):
        measure_slice(network, x, targets, settings=settings)
