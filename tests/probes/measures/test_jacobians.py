"""Jacobians against torch.func, gates against closed forms."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch

from probes.measures.jacobians import gate_change, relative_change
from tests.probes.slices.examples import CASES, measured, reference_of
from tests.support.reference import arrays, make, make_data, step


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
