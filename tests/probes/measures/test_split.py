"""The gradient's change taken apart: closed forms, then a loop over examples of the test's own, then theorems."""

from __future__ import annotations

import copy
from typing import Any

import numpy as np
import pytest
import torch
import xarray as xr
from hypothesis import example, given, settings
from hypothesis import strategies as st
from torch import Tensor, nn

import probes.measures.noise_floor
from probes import InputError, SliceSettings, measure_slice
from probes.measures import example_gradients
from tests.probes.measures.examples import CASES, ETAS, prepared
from tests.probes.measures.problems import linear
from tests.support.reference import make, make_data

EXACT = torch.float64
SMALL = np.array([0.0, 1e-4, 0.1])
WHOLE = ("frozen_residual_change", "residual_change")
SAMPLE = ("mean_example_change", "sample_cancellation", "sample_residual_factor", "sample_gradient_change")
PLAIN = {"dtype": "float64", "limit": False, "curvature": None, "ladder": False, "spectra": "none"}


def measured(network: nn.Module, x: Tensor, y: Tensor, loss: Any = None, **chosen: Any) -> xr.Dataset:
    more = {name: chosen.pop(name) for name in ("following",) if name in chosen}
    chosen = {"etas": SMALL, **PLAIN, **chosen}
    return measure_slice(network, x, y, settings=SliceSettings(**chosen), loss=loss, **more).isel(
        checkpoint=0
    )


@pytest.mark.parametrize("size", [1.0, 0.1, 1e-3])
def test_of_one_linear_layer_all_is_residual_and_grows_as_they_vanish(size: float) -> None:
    layer = linear([[0.5, -1.0, 0.25], [1.5, 0.75, -0.5]])
    x = torch.tensor([[1.0, 2.0, -2.0]], dtype=EXACT)  # of norm 3
    y = (layer(x) + size * torch.tensor([[0.6, -0.8]], dtype=EXACT)).detach()
    found = measured(layer, x, y, "mse").isel(layer=0)
    # v moves the residual, of this size, by ΔW x = η ‖W‖ ‖x‖ along itself; g is right to 1e-16, v is 1e-4 of it
    constant = float(layer.weight.detach().norm()) * 3 / size
    np.testing.assert_allclose(found.gradient_change[1] / 1e-4, constant, rtol=1e-10)
    np.testing.assert_array_equal(found.residual_change[1], found.gradient_change[1])
    for name in ("frozen_residual_change", "mean_example_change"):
        np.testing.assert_array_equal(found[name][1], 0.0)
    np.testing.assert_array_equal(found.example_gradient_change[1], 0.0)
    for name in ("sample_cancellation", "sample_residual_factor"):
        assert np.isnan(found[name][1])  # A = 0 has no factors
    np.testing.assert_allclose(found.sample_gradient_change[1], found.gradient_change[1], rtol=1e-10)


@pytest.mark.parametrize(("target", "sign"), [(-4.0, -1), (5.0, 1)])
def test_a_chain_of_numbers(target: float, sign: int) -> None:
    """Every w_k goes to (1 ± η) w_k, so r ∏_{j≠k} w̃_j differs from r ∏_{j≠k} w_j by (1 ± η)^(L−1) − 1."""
    network = nn.Sequential(*(nn.Linear(1, 1, bias=False, dtype=EXACT) for _ in range(4)))
    with torch.no_grad():
        for layer, w in zip(network, (1.5, -0.5, 2.0, -1.0), strict=True):
            layer.weight.fill_(w)
    found = measured(
        network, torch.tensor([[2.0]], dtype=EXACT), torch.tensor([[target]], dtype=EXACT), "mse"
    )
    grown = 1 + sign * 1e-4
    np.testing.assert_allclose(found.frozen_residual_change[1], abs(grown**3 - 1), rtol=1e-11)
    output = 3.0  # 1.5 · 0.5 · 2 · 1 · 2
    residual = output * (grown**4 - 1) / (output - target) * grown**3
    np.testing.assert_allclose(found.residual_change[1], abs(residual), rtol=1e-11)
    np.testing.assert_allclose(found.example_gradient_change[1], abs(grown**3 - 1), rtol=1e-11)


def test_two_examples_that_cancel() -> None:
    """The first output's weights alone move; the residuals there are opposite, and equal in the second output."""
    network = nn.Sequential(
        nn.Linear(1, 2, bias=False, dtype=EXACT), nn.Linear(2, 2, bias=False, dtype=EXACT)
    )
    with torch.no_grad():
        network[0].weight.copy_(torch.tensor([[1.0], [0.5]]))
        network[1].weight.copy_(torch.eye(2))
    x = torch.ones(2, 1, dtype=EXACT)
    y = network(x).detach() - torch.tensor([[1.0, 1.0], [-1.0, 1.0]], dtype=EXACT)
    following = {name: tensor.clone() for name, tensor in network.state_dict().items()}
    following["1.weight"][0, 0] += 0.25
    found = measured(network, x, y, "mse", direction="update", following=following).isel(layer=0, eta=1)
    delta = 1e-4 * np.sqrt(2)  # ‖W_2‖ = √2
    # g_i = r_i, of norm √2 with a sum of 2; A_i = (±δ, 0), with a sum of 0
    np.testing.assert_allclose(found.mean_example_change, delta / np.sqrt(2), rtol=1e-11)
    assert float(found.sample_cancellation) < 1e-11
    assert float(found.frozen_residual_change) < 1e-15
    np.testing.assert_allclose(found.example_gradient_change, delta / np.sqrt(2), rtol=1e-11)
    # what is left is the residuals' change (δ h_1, 0) = (δ, 0), the same for both, pulled back by 1 + δ
    np.testing.assert_allclose(found.residual_change, delta * (1 + delta) * 2 / 2, rtol=1e-11)


def looped(network: nn.Module, x: Tensor, y: Tensor, eta: float, *, mixed: bool) -> dict[str, dict[str, Any]]:
    """The same by a copy of the network whose parameters are set by hand, example by example."""
    with torch.no_grad():
        network.eval()(x)  # hooks leave a weight with a graph behind, which cannot be copied
    twin = copy.deepcopy(network)
    for module in twin.modules():
        if isinstance(module, nn.BatchNorm2d) and mixed:
            module.train()
    names = [name for name, _ in twin.named_parameters()]
    parameters = list(twin.parameters())

    def pulled(outputs: Tensor, residual: Tensor) -> list[Tensor]:
        return list(
            torch.autograd.grad(outputs, parameters, residual, allow_unused=True, materialize_grads=True)
        )

    def residual_of(outputs: Tensor, targets: Tensor) -> Tensor:
        leaf = outputs.detach().requires_grad_(True)
        return torch.autograd.grad(nn.functional.cross_entropy(leaf, targets, reduction="sum"), leaf)[0]

    pieces = [(x, y)] if mixed else [(x[k : k + 1], y[k : k + 1]) for k in range(len(x))]
    residuals = [residual_of(twin(a), b) for a, b in pieces]
    before = [pulled(twin(a), r) for (a, _), r in zip(pieces, residuals, strict=True)]
    whole = [sum(parts) for parts in zip(*before, strict=True)]
    with torch.no_grad():
        for parameter, g in zip(parameters, whole, strict=True):
            if g.norm() > 0:
                parameter.sub_(eta * parameter.norm() * g / g.norm())
    held = [pulled(twin(a), r) for (a, _), r in zip(pieces, residuals, strict=True)]
    after = [pulled(out := twin(a), residual_of(out, b)) for a, b in pieces]
    found: dict[str, dict[str, Any]] = {}
    for k, name in enumerate(names):
        g, a, v = (torch.stack([each[k] for each in parts]) for parts in (before, held, after))
        a, v = a - g, v - g
        size = float(g.sum(0).norm())
        single = [np.array([float(t.norm()) for t in parts]) for parts in (g, a)]
        some = single[0] > 0
        found[name] = {
            "size": size,
            "frozen_residual_change": float(a.sum(0).norm()) / size,
            "residual_change": float((v - a).sum(0).norm()) / size,
            "mean_example_change": single[1].sum() / single[0].sum(),
            "sample_cancellation": float(a.sum(0).norm()) / single[1].sum() * single[0].sum() / size,
            "sample_residual_factor": float(v.sum(0).norm() / a.sum(0).norm()),
            "sample_gradient_change": float(v.sum(0).norm()) / size,
            "single": np.sort(single[1][some] / single[0][some]),
        }
    return found


@pytest.mark.filterwarnings("ignore:invalid value:RuntimeWarning", "ignore:divide by zero:RuntimeWarning")
@pytest.mark.parametrize("name", CASES)
def test_agrees_with_a_loop_over_examples(name: str) -> None:
    case = CASES[name]
    mixed = case.batchnorm == "batch"
    network, x, y = prepared(case)
    found = measured(network, x, y, etas=ETAS, split="slice", batchnorm=case.batchnorm)
    for row, eta in enumerate(ETAS[1:], 1):
        expected = looped(network, x, y, float(eta), mixed=mixed)
        for layer, values in expected.items():
            if values["size"] < 1e-12:
                continue  # a key's bias does not matter to softmax: its gradient is rounding
            at = found.sel(layer=layer).isel(eta=row)
            for variable in WHOLE:
                # differences of gradients that agree to 1e-12 of their size
                assert float(at[variable]) == pytest.approx(values[variable], rel=1e-7, abs=1e-11), layer
            if mixed:
                assert all(np.isnan(at[variable]) for variable in SAMPLE)
                continue
            if values["frozen_residual_change"] < 1e-9:  # the last layer's bias: A = 0 but for rounding
                assert float(at["mean_example_change"]) < 1e-9
                continue
            for variable in SAMPLE:
                assert float(at[variable]) == pytest.approx(values[variable], rel=1e-6), (layer, variable)
            single = values["single"]
            ranks = np.ceil(np.array([0.5, 0.9, 1.0]) * len(single)).astype(int) - 1
            np.testing.assert_allclose(at["example_gradient_change"], single[ranks], rtol=1e-6, atol=1e-12)
            assert int(at["examples_without_gradient"]) == len(x) - len(single)
    assert int(found["split_examples"]) == (0 if mixed else len(x))
    assert found["frozen_residual_change"][0].isnull().all()


@settings(max_examples=25, deadline=None)
@example(seed=75740, depth=4, activation="relu", eta=1e-4, residual=False)  # behind a layer of dead units
@given(
    st.integers(0, 2**31),
    st.integers(1, 5),
    st.sampled_from(["relu", "tanh", "identity", "leaky_relu:0.1"]),
    st.sampled_from([1e-4, 1e-2, 0.3]),
    st.booleans(),
)
def test_what_the_triangle_inequality_says(
    seed: int, depth: int, activation: str, eta: float, residual: bool
) -> None:
    network = make((6, *[7] * (depth - 1), 3), activation, residual=residual, seed=seed)
    found = measured(network, *make_data(9, seed=seed + 1), etas=np.array([0.0, eta]), samples=9).isel(eta=1)
    room = 1e-9  # float64 sums of changes of at least 1e-4 of what they change
    change, a, b = (found[name] for name in ("gradient_change", *WHOLE))
    assert bool((change <= (a + b) * (1 + room) + room).all())
    assert bool((a <= (change + b) * (1 + room) + room).all())
    assert bool((b <= (change + a) * (1 + room) + room).all())
    # here all examples are the split's
    xr.testing.assert_allclose(found.sample_gradient_change, change, rtol=1e-7, atol=1e-11)
    product = found.mean_example_change * found.sample_cancellation
    known = found.sample_cancellation.notnull()
    xr.testing.assert_allclose(product.where(known), a.where(known), rtol=1e-7, atol=1e-11)
    assert bool((known == (found.mean_example_change > 0)).all())
    # a mean of ratios, weighted by ‖g_i‖, lies between the smallest and the largest
    quantiles, some = found.example_gradient_change, found.examples_without_gradient < 9
    assert bool((quantiles.notnull() == some).all())
    assert bool((quantiles.diff("quantile") >= 0).where(some, True).all())
    every = found.examples_without_gradient == 0
    assert bool((found.mean_example_change <= quantiles[..., -1] * (1 + room)).where(every, True).all())


def test_factors_multiply_to_the_samples_own_change() -> None:
    found = measured(make((6, 8, 8, 3)), *make_data(70)).isel(eta=1)
    assert int(found.split_examples) == 50
    known = found.sample_cancellation.notnull()
    logs = sum(np.log10(found[name].where(known)) for name in SAMPLE[:3])
    total = np.log10(found.sample_gradient_change.where(known))
    np.testing.assert_allclose(logs, total, atol=1e-13)
    assert int(known.sum()) == 5  # of all but the last bias, whose A is 0
    few = measured(make((6, 8, 8, 3)), *(part[:50] for part in make_data(70)), samples=200)
    # the same examples, moved along the gradient of others
    assert float(few.gradient_change[1, 0]) != pytest.approx(float(found.sample_gradient_change[0]), rel=1e-3)
    np.testing.assert_allclose(few.sample_gradient_change[1], few.gradient_change[1], rtol=1e-8)


def test_many_at_once_are_what_each_is_by_itself(monkeypatch: pytest.MonkeyPatch) -> None:
    """Linear layers from what passes through them, the rest vectorised, in parts, or one by one."""

    def never(*_: object) -> torch.Tensor:
        raise RuntimeError("vmap: not this one")

    network, data = make((6, 8, 8, 3), norm="batch"), make_data(20)
    usual = measured(network, *data, split_examples=20)
    with monkeypatch.context() as patch:
        patch.setattr(example_gradients, "_one_by_one", never)
        others = [measured(network, *data, split_examples=20, chunk=7)]
        patch.setattr(example_gradients, "_of_linear_layers", lambda *_: {})
        patch.setattr(example_gradients, "_AT_ONCE", 500)
        others.append(measured(network, *data, split_examples=20))
    with monkeypatch.context() as patch:
        patch.setattr(example_gradients, "_vectorised", never)
        patch.setattr(example_gradients, "_of_linear_layers", lambda *_: {})
        others.append(measured(network, *data, split_examples=20))
    with monkeypatch.context() as patch:  # of a plain perceptron nothing is left to the rest
        patch.setattr(example_gradients, "_of_others", never)
        assert measured(make(), *data, split_examples=20).mean_example_change[1].notnull().all()
    for other in others:
        for name in (*SAMPLE, "example_gradient_change", "examples_without_gradient"):
            np.testing.assert_allclose(other[name], usual[name], rtol=1e-9, atol=1e-15, err_msg=name)
    nothing = measured(network, *data, split_examples=0)
    assert nothing.mean_example_change.isnull().all()
    assert nothing.frozen_residual_change[1].notnull().all()


class Sideways(torch.nn.Module):
    """A linear layer whose weight is used beside it, too."""

    def __init__(self) -> None:
        super().__init__()
        self.a, self.b = torch.nn.Linear(6, 6), torch.nn.Linear(6, 3)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.b(torch.relu(self.a(x)) + 0.1 * x @ self.a.weight)


def test_a_weight_that_is_used_beside_its_layer_is_differentiated_in_full(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    torch.manual_seed(0)
    network, data = Sideways(), make_data(12)
    usual = measured(network, *data, split_examples=12)
    monkeypatch.setattr(example_gradients, "_of_linear_layers", lambda *_: {})
    full = measured(network, *data, split_examples=12)
    for name in SAMPLE:
        np.testing.assert_allclose(usual[name], full[name], rtol=1e-9, atol=1e-15)


@pytest.mark.parametrize(
    ("etas", "choice", "rows"),
    [
        ([0.0, 1e-6, 1e-4, 1e-3], "small", [2]),
        ([0.0, 1e-6, 1e-3, 1e-2], "small", [2]),  # the first above: where C is read off
        ([0.0, 1e-6, 1e-5], "small", [1]),
        ([0.0, 1e-4 * (1 - 1e-15), 1e-3], "small", [1]),
        ([0.0, 1e-4, 1e-2], "slice", [1, 2]),
    ],
)
def test_where_it_is_measured(etas: list[float], choice: str, rows: list[int]) -> None:
    found = measured(make(), *make_data(8), etas=np.array(etas), split=choice)
    for name in (*WHOLE, "mean_example_change"):
        assert np.flatnonzero(found[name].notnull().all("layer")).tolist() == rows
        assert np.flatnonzero(found[name].notnull().any("layer")).tolist() == rows


def test_where_it_is_left_out() -> None:
    x, y = make_data(8)
    assert "frozen_residual_change" not in measured(make(), x, y, split="none")
    alone = measured(make(), x, y, split="none", measure=("split",))
    assert alone["frozen_residual_change"][1].notnull().all()
    with pytest.raises(InputError, match="`split='foo'`: unknown; known are small, slice, none"):
        measured(make(), x, y, split="foo")

    def own(model: nn.Module, batch: Any) -> Tensor:
        return nn.functional.cross_entropy(model(batch[0]), batch[1], reduction="none")

    assert "frozen_residual_change" not in measured(make(), x, y, own)
    with pytest.raises(InputError, match="`measure='split'`: has no meaning"):
        measured(make(), x, y, own, measure=("split",))
    first = measured(make(), x, y, layers="first")["mean_example_change"][1]
    assert first.notnull().values.tolist() == [True] + 5 * [False]


def test_examples_without_a_gradient_have_no_ratio_and_are_counted() -> None:
    network = make((1, 4, 2), "relu", bias=False)
    with torch.no_grad():
        network.layers[0].weight.abs_()  # an input below zero switches every unit off
    x = torch.tensor([[1.0], [-1.0], [2.0], [-3.0], [0.5]])
    found = measured(network, x, torch.tensor([0, 1, 1, 0, 1]))
    assert found.examples_without_gradient.values.tolist() == [2.0, 2.0]
    assert found.example_gradient_change[1].notnull().all()
    dead = measured(network, -x.abs(), torch.tensor([0, 1, 1, 0, 1]), perturb=("*",))
    assert dead.examples_without_gradient.values.tolist() == [5.0, 5.0]
    assert dead.example_gradient_change.isnull().all()


def test_large_networks_are_looked_at_part_by_part(monkeypatch: pytest.MonkeyPatch) -> None:
    whole = measured(make(), *make_data(8), etas=np.array([0.0, 0.01]))
    monkeypatch.setattr(probes.measures.noise_floor, "_AT_ONCE", 0)
    parts = measured(make(), *make_data(8), etas=np.array([0.0, 0.01]))
    for name in (*WHOLE, *SAMPLE, "example_gradient_change"):
        np.testing.assert_allclose(parts[name], whole[name], rtol=1e-12, err_msg=name)
