"""What the bounds are made of, against plain loops."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

from tests.probes.measures.ingredients import ETAS, NEW, Plain, check, expect, layer, measured
from tests.probes.measures.test_bound_ingredients_layers import Attention, convolutional
from tests.support.reference import Reference, Tensors, arrays, make, make_data, step
from trust.claims import all_claims

CASES: dict[str, tuple[dict[str, Any], dict[str, Any]]] = {
    "relu": ({}, {}),
    "leaky, no biases": ({"activation": "leaky_relu:0.1", "bias": False}, {"direction": "noise"}),
    "linear": ({"activation": "identity"}, {"biases": "fixed"}),
    "tanh": ({"activation": "tanh"}, {"direction": "adversarial"}),
    "residual": ({"activation": "tanh", "residual": True, "widths": (4, 4, 4, 3)}, {}),
    "batch norm": ({"norm": "batch"}, {"direction": "noise"}),
    "batch norm, fixed": ({"norm": "batch", "residual": True, "widths": (4, 4, 3)}, {"biases": "fixed"}),
    "one layer": ({"widths": (4, 3)}, {"direction": "adversarial", "biases": "fixed"}),
}


@pytest.mark.parametrize("case", CASES)
@pytest.mark.parametrize("targets", ["labels", "numbers"])
def test_agrees_with_plain_loops(case: str, targets: str, record: list[Tensors]) -> None:
    build, settings = CASES[case]
    network = make(**{"widths": (4, 3, 3, 3), **build})
    x, y = make_data(9, 4, 3)
    if targets == "numbers":
        y = torch.from_numpy(np.random.default_rng(2).normal(size=(9, 3)))
    loss = "mse" if targets == "numbers" else None
    found = measured(network, x, y, loss=loss, chunk=4, restarts=1, ascent_steps=3, **settings)
    check(found, network, x, y, record)
    if settings.get("direction", "gradient") == "gradient" and targets == "labels":
        reference = Reference(network.spec, x.double().numpy(), y.numpy())
        tensors = arrays(network)
        _, gradients, _ = reference.run(tensors)
        if settings.get("biases") == "fixed":
            gradients = {name: g for name, g in gradients.items() if g.ndim == 2}
        for row, eta in enumerate(ETAS):
            for name, tensor in step(tensors, gradients, float(eta)).items():
                if name in record[row]:
                    np.testing.assert_allclose(record[row][name], tensor, rtol=1e-11, atol=1e-13)
    names = [n for n in found["layer"].values if found["is_weight"].sel(layer=n)]
    for name in names:
        own = float(layer(found, "direction_operator_norm", name))
        if settings.get("direction") == "adversarial":
            assert np.isnan(own)
        else:
            step_at_last = record[2][name] - arrays(network)[name]
            expect(own, np.linalg.svd(step_at_last)[1][0] / ETAS[2], name)


def test_more_examples_are_asked_for_than_there_are(record: list[Tensors]) -> None:
    network, (x, y) = make((4, 3, 3)), make_data(3, 4, 3)
    check(measured(network, x, y, samples=50), network, x, y, record, limit=3)


def test_jacobian_widens_the_sample(record: list[Tensors]) -> None:
    network, (x, y) = make((4, 3, 3)), make_data(9, 4, 3)
    check(measured(network, x, y, samples=1, jacobian=4), network, x, y, record, limit=4)


def test_the_chunk_changes_rounding_only() -> None:
    network = make((6, 5, 3), "relu")
    x, y = make_data(23)
    whole = measured(network, x, y, samples=17, chunk=1000)
    for chunk in (1, 5, 17):
        pieces = measured(network, x, y, samples=17, chunk=chunk)
        for name in whole.data_vars:
            if "noise" in str(name) or "evaluations" in str(name):
                continue
            # float64 sums of a few dozen terms in another order
            np.testing.assert_allclose(pieces[name], whole[name], rtol=1e-9, atol=1e-13, err_msg=f"{name}")


def test_no_sample_is_no_ladder() -> None:
    network, (x, y) = make((4, 3, 3)), make_data(9, 4, 3)
    assert not NEW & set(measured(network, x, y, samples=0))


@pytest.mark.parametrize("settings", [{"ladder": False}, {"spectra": "none"}])
def test_nothing_is_measured_where_it_is_not_wanted(settings: dict[str, Any]) -> None:
    network, (x, y) = make((4, 3, 3)), make_data(9, 4, 3)
    found = measured(network, x, y, **settings)
    assert not NEW & set(found)
    assert "operator" not in found.coords


def test_an_example_without_a_gradient_moves_along_itself() -> None:
    network, (x, y) = make((4, 3, 3), bias=False), make_data(3, 4, 3)
    with torch.no_grad():
        outputs = network.double()(x.double())
    x[1] = 0.0
    y = outputs.clone()  # the loss is 0, and so is its gradient, for examples 0 and 2
    found = measured(network, x, y, loss="mse")
    plain, W = Plain(network.spec), arrays(network)
    for e in (0, 2):
        point = x[e].double().numpy()
        shift = plain.run(W, point * 1.3)[0] - plain.run(W, point)[0]
        expect(found["input_response"][2, e], np.linalg.norm(shift), "along x")
    assert float(found["input_response"][2, 1]) == 0  # η‖x‖ = 0
    assert float(found["output_norm"][1]) == 0


def test_a_bare_layer_and_targets_that_are_plain_numbers(record: list[Tensors]) -> None:
    torch.manual_seed(0)
    network = nn.Linear(4, 1).double()
    x, y = torch.randn(6, 4, dtype=torch.float64), torch.randn(6, dtype=torch.float64)
    found = measured(network, x, y, loss="mse")
    W, b = (p.detach().numpy() for p in network.parameters())
    assert list(found["layer"].values) == ["weight", "bias"]
    expect(layer(found, "operator_norm", "weight"), np.linalg.norm(W), "norm")
    for row in range(3):
        for e in range(5):
            response = found["perturbation_response"][row, :, e]
            expect(response[0], abs(float(((record[row]["weight"] - W) @ x[e].numpy())[0])), "weight")
            expect(response[1], abs(float((record[row]["bias"] - b)[0])), "bias")
    expect(found["target_norm"], np.abs(y.numpy()[:5]), "target_norm")
    assert (found["linearisation_error"] < 1e-14).all()  # it is linear in its weights


@pytest.mark.parametrize("direction", ["gradient", "noise", "adversarial"])
def test_float32_steps_are_never_underrated(direction: str, record: list[Tensors]) -> None:
    network, (x, y) = make((6, 8, 8, 3)), make_data()
    etas = np.array([0.0, 1e-7, 1e-3])
    settings: dict[str, Any] = {"restarts": 1, "ascent_steps": 2} if direction == "adversarial" else {}
    found = measured(network, x, y, dtype="float32", etas=etas, direction=direction, **settings)
    for row in range(3):
        for k in range(3):
            name = f"layers.{k}.weight"
            change = record[row][name] - arrays(network)[name]
            top = float(np.linalg.svd(change)[1][0])
            value = float(found["perturbation_operator_norm"].sel(layer=name)[row])
            assert value >= top * (1 - 1e-14)
            # what rounding added is as large as ‖ΔW‖ at 1e-7, and hardly seen at 1e-3
            assert value <= top * (1.001 if row == 2 else 3) + 1e-300
            moved = float(np.linalg.svd(record[row][name])[1][0])
            perturbed = float(found["perturbed_operator_norm"].sel(layer=name)[row])
            assert moved * (1 - 1e-14) <= perturbed <= moved * (1 + 1e-12)
    assert (found["perturbation_operator_norm"].sel(layer="layers.0.weight")[1:] > 0).all()


def test_float32_is_measured_at_the_rounded_inputs(record: list[Tensors]) -> None:
    network = make((4, 3, 3), "tanh")
    x, y = torch.randn(5, 4, dtype=torch.float64), torch.arange(5) % 3
    found = measured(network, x, y, dtype="float32")
    rounded = x.float().double().numpy()
    expect(found["input_norm"], np.linalg.norm(rounded, axis=1), "input_norm")
    outputs = [Plain(network.spec).run(arrays(network), row)[0] for row in rounded]
    expect(found["output_norm"], np.linalg.norm(outputs, axis=1), "output_norm")


def test_overflow_is_measured_and_not_an_error() -> None:
    network: Any
    network, (x, y) = make((6, *[8] * 9, 3), "identity"), make_data()
    found = measured(network, x, y, etas=np.array([0.0, 0.1, 1e60]))
    assert np.isfinite(found["log10_path_norm"]).all()  # in logarithms
    with torch.no_grad():
        for one in network.layers:
            one.weight.mul_(1e38)
    huge = measured(network, x, y, dtype="float32")
    assert np.isfinite(huge["operator_norm"].sel(layer="layers.0.weight"))
    assert not np.isfinite(huge["loss"]).any()
    steps: Any = make((3, 2, 2), "identity", bias=False)
    with torch.no_grad():
        for one in steps.layers:
            one.weight.mul_(1e30)
    x, y = make_data(5, 3, 2)
    most = measured(steps.double(), x, y, etas=np.array([0.0, 1e-3, 1e300]))
    assert np.isfinite(most["log10_path_difference"][1])
    assert np.isnan(most["log10_path_difference"][2])


def test_too_many_paths_are_not_listed() -> None:
    network, (x, y) = make((6, *[10] * 5, 3)), make_data()
    found = measured(network, x, y)
    assert "log10_path_difference" not in found
    assert found["log10_path_distance"][1:].notnull().all()


@pytest.mark.parametrize("network", [make((4, 3, 3), norm="batch"), convolutional("zeros"), Attention()])
def test_the_network_is_left_as_it_was_found(network: nn.Module) -> None:
    shapes = {"Perceptron": (4,), "Sequential": (2, 5, 5), "Attention": (5, 4)}
    torch.manual_seed(5)
    x, y = torch.randn(6, *shapes[type(network).__name__]), torch.arange(6) % 3
    network.train()
    before = {name: tensor.clone() for name, tensor in network.state_dict().items()}
    state = torch.get_rng_state()
    measured(network, x, y)
    assert all(torch.equal(tensor, before[name]) for name, tensor in network.state_dict().items())
    assert all(module.training for module in network.modules())
    assert all(not module._forward_pre_hooks and not module._forward_hooks for module in network.modules())
    assert all(parameter.grad is None and parameter.requires_grad for parameter in network.parameters())
    assert torch.equal(torch.get_rng_state(), state)


def test_every_variable_that_the_claims_need_is_measured() -> None:
    network, (x, y) = make((4, 3, 3)), make_data(9, 4, 3)
    found = measured(network, x, y)
    needed = {
        name for claim in all_claims().values() if claim.number in range(80, 90) for name in claim.needs
    }
    assert needed <= set(found)
