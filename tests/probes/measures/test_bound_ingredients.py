"""The ladder's measurements against plain loops over examples, layers and paths."""

from __future__ import annotations

import copy
import itertools
from typing import Any

import numpy as np
import pytest
import torch
import xarray as xr
from torch import Tensor, nn

from probes import SliceSettings, measure_slice
from probes.measures.bound_ingredients import BoundIngredients
from probes.measures.measure import Point
from tests.support.reference import _PHI, Array, Reference, Tensors, arrays, make, make_data, step
from trust.claims import all_claims

ETAS = np.array([0.0, 1e-2, 0.3])
NEW = {
    *("output_norm", "input_norm", "input_max", "target_norm", "operator_norm", "direction_operator_norm"),
    *("perturbation_operator_norm", "perturbed_operator_norm", "perturbation_response"),
    *("linearisation_error", "linearisation_cosine", "input_response"),
    *("log10_path_norm", "log10_path_distance", "log10_path_difference"),
}
UNCOUNTED = NEW - {"log10_path_difference"}


@pytest.fixture
def record(monkeypatch: pytest.MonkeyPatch) -> list[Tensors]:
    """The perturbed tensors of every η, as the ladder was given them."""
    seen: list[Tensors] = []

    record = BoundIngredients.record

    def spy(self: BoundIngredients, point: Point) -> None:
        seen.append({name: tensor.double().numpy().copy() for name, tensor in point.moved.items()})
        record(self, point)

    monkeypatch.setattr(BoundIngredients, "record", spy)
    return seen


def measured(network: nn.Module, x: Any, y: Any, *, loss: str | None = None, **settings: Any) -> xr.Dataset:
    settings = {"etas": ETAS, "dtype": "float64", "limit": False, "curvature": False, **settings}
    settings.setdefault("samples", 5)
    found = measure_slice(network, x, y, settings=SliceSettings(**settings), loss=loss)
    return found.isel(checkpoint=0)


def layer(found: xr.Dataset, variable: str, name: str) -> Array:
    return found[variable].sel(layer=name).values


class Plain:
    """One perceptron, one example at a time: values, tangents and layer inputs."""

    def __init__(self, spec: Any) -> None:
        self.spec, self.depth = spec, len(spec.widths) - 1

    def run(self, W: Tensors, x: Array, dW: Tensors | None = None, dx: Array | None = None) -> Any:
        """The output, its derivative along (dW, dx), and the input of every layer."""
        phi, slope = _PHI[self.spec.activation]
        dW = dW or {}
        h, t, inputs = x, np.zeros_like(x) if dx is None else dx, []
        for k in range(self.depth):
            weight, bias = W[f"layers.{k}.weight"], W.get(f"layers.{k}.bias", 0.0)
            inputs.append(h)
            z = weight @ h + bias
            dz = weight @ t + dW.get(f"layers.{k}.weight", 0 * weight) @ h + dW.get(f"layers.{k}.bias", 0.0)
            if k == self.depth - 1:
                return z, dz, inputs
            if self.spec.norm == "batch":
                scale, name = np.sqrt(W[f"norms.{k}.running_var"] + 1e-5), f"norms.{k}"
                z, dz = (z - W[f"{name}.running_mean"]) / scale, dz / scale
                dz = (
                    dz * W[f"{name}.weight"] + z * dW.get(f"{name}.weight", 0.0) + dW.get(f"{name}.bias", 0.0)
                )
                z = z * W[f"{name}.weight"] + W[f"{name}.bias"]
            a, da = phi(z), slope(z) * dz
            h, t = (h + a, t + da) if self.spec.residual and a.shape == h.shape else (a, da)
        raise AssertionError

    def input_gradient(self, W: Tensors, x: Array, y: Any) -> Array:
        columns = [self.run(W, x, dx=e)[1] for e in np.eye(len(x))]
        f = self.run(W, x)[0]
        if np.ndim(y):
            delta = 2 * (f - y) / len(f)
        else:
            delta = np.exp(f - f.max()) / np.exp(f - f.max()).sum()
            delta[y] -= 1
        return np.array([column @ delta for column in columns])


def paths(W: Tensors, depth: int) -> dict[tuple[Any, ...], float]:
    """Every path's product, by its start (an input, or a layer's bias) and its units."""
    found: dict[tuple[Any, ...], float] = {}
    matrices = [W[f"layers.{k}.weight"] for k in range(depth)]
    units = [range(matrix.shape[0]) for matrix in matrices]
    for route in itertools.product(range(matrices[0].shape[1]), *units):
        product = 1.0
        for k in range(depth):
            product *= matrices[k][route[k + 1], route[k]]
        found["input", *route] = product
    for start in range(depth):
        if f"layers.{start}.bias" in W:
            for route in itertools.product(*units[start:]):
                product = W[f"layers.{start}.bias"][route[0]]
                for k in range(start + 1, depth):
                    product *= matrices[k][route[k - start], route[k - start - 1]]
                found[start, *route] = product
    return found


def path_norm(W: Tensors, depth: int) -> float:
    return sum(abs(value) for value in paths(W, depth).values())


def common(one: Tensors, other: Tensors) -> Tensors:
    def part(a: float, b: float) -> float:
        return 0.0 if a * b <= 0 else float(np.sign(a)) * min(abs(a), abs(b))

    return {name: np.vectorize(part, otypes=[float])(one[name], other[name]) for name in one}


def expect(value: Any, expected: Any, what: str) -> None:
    np.testing.assert_allclose(value, expected, rtol=1e-10, atol=1e-14, err_msg=what)


def check(found: xr.Dataset, network: Any, x: Any, y: Any, moved: list[Tensors], *, limit: int = 5) -> None:
    """Every variable again, with loops."""
    plain, W = Plain(network.spec), arrays(network)
    spec, depth = network.spec, len(network.spec.widths) - 1
    xs, ys = x.double().numpy(), y.numpy()
    names = [str(name) for name in found["layer"].values]
    count = min(limit, len(xs))
    assert found.sizes["example"] == count
    chain = spec.norm == "none" and not spec.residual
    assert set(found) >= NEW if chain else set(found) >= UNCOUNTED
    for name in names:
        if W[name].ndim == 2:
            expect(layer(found, "operator_norm", name), np.linalg.svd(W[name])[1][0], name)
            assert str(found["operator"].sel(layer=name).values) == "matrix"
        else:
            assert np.isnan(layer(found, "operator_norm", name))
            assert str(found["operator"].sel(layer=name).values) == ""
    for e in range(count):
        f, _, inputs = plain.run(W, xs[e])
        expect(found["output_norm"][e], np.sqrt(sum(v**2 for v in f)), "output_norm")
        expect(found["input_norm"][e], np.sqrt(sum(v**2 for v in xs[e])), "input_norm")
        expect(found["input_max"][e], max(abs(v) for v in xs[e]), "input_max")
        target = np.linalg.norm(ys[e]) if np.ndim(ys[e]) else np.nan
        expect(found["target_norm"][e], target, "target_norm")
        gradient = plain.input_gradient(W, xs[e], ys[e])
        towards = gradient if gradient.any() else xs[e]  # a dead ReLU network has no gradient
        unit = towards / np.linalg.norm(towards)
        for row, eta in enumerate(ETAS):
            after = {**W, **moved[row]}
            dW = {name: after[name] - W[name] for name in names}
            f_after = plain.run(after, xs[e])[0]
            at = {"eta": row, "example": e}
            expect(found["output_difference_l1"][at], sum(abs(f_after - f)), "output_difference_l1")
            error = f_after - f - plain.run(W, xs[e], dW)[1]
            # rounding of f, which is of order 1, is all there is at η = 0
            np.testing.assert_allclose(
                found["linearisation_error"][at], np.linalg.norm(error), rtol=1e-10, atol=1e-14
            )
            if np.linalg.norm(error) > 1e-12 and np.ndim(ys[e]):  # below it is rounding
                residual = f - ys[e]
                cosine = residual @ error / np.linalg.norm(residual) / np.linalg.norm(error)
                assert float(found["linearisation_cosine"][at]) == pytest.approx(cosine, abs=1e-10)
            elif not np.ndim(ys[e]):
                assert np.isnan(found["linearisation_cosine"][at])
            moved_input = plain.run(W, xs[e] + eta * np.linalg.norm(xs[e]) * unit)[0]
            expect(found["input_response"][at], np.linalg.norm(moved_input - f), "input_response")
            for name in names:
                value = float(found["perturbation_response"].sel(layer=name)[at])
                if W[name].ndim == 2:
                    expect(value, np.linalg.norm(dW[name] @ inputs[int(name.split(".")[1])]), name)
                elif name.startswith("layers") or not dW[name].any():
                    expect(value, np.linalg.norm(dW[name]), name)
                else:
                    assert np.isnan(value)  # a norm layer's vectors do not add a constant
    for row in range(len(ETAS)):
        after = {name: moved[row][name] for name in names}
        before = {name: W[name] for name in names}
        for name in names:
            if W[name].ndim == 2:
                top = np.linalg.svd(after[name])[1][0]
                expect(layer(found, "perturbed_operator_norm", name)[row], top, name)
                top = np.linalg.svd(after[name] - W[name])[1][0]
                expect(layer(found, "perturbation_operator_norm", name)[row], top, name)
        if chain:
            phi, phi_after = paths(before, depth), paths(after, depth)
            size, middle = path_norm(after, depth), path_norm(common(before, after), depth)
            expect(10 ** found["log10_path_norm"][row], size, "log10_path_norm")
            distance = path_norm(before, depth) + size - 2 * middle
            expect(10 ** found["log10_path_distance"][row], distance, "log10_path_distance")
            difference = sum(abs(phi_after[key] - phi[key]) for key in phi)
            expect(10 ** found["log10_path_difference"][row], difference, "log10_path_difference")
        elif spec.norm != "none" or spec.residual:
            assert np.isnan(found["log10_path_norm"][row])
            assert np.isnan(found["log10_path_distance"][row])
            assert "log10_path_difference" not in found


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


def dense(module: Any, shape: tuple[int, ...]) -> Array:
    """A layer's linear part as a matrix, column by column."""
    columns = []
    zero = torch.zeros(1, *shape, dtype=torch.float64)
    for k in range(zero.numel()):
        basis = zero.clone().view(-1)
        basis[k] = 1.0
        columns.append((module(basis.view(zero.shape)) - module(zero)).detach().flatten().numpy())
    return np.stack(columns, 1)


def convolutional(mode: Any) -> nn.Sequential:
    torch.manual_seed(3)
    first = nn.Conv2d(2, 3, 3, stride=2, padding=1, padding_mode=mode)
    return nn.Sequential(first, nn.ReLU(), nn.Flatten(), nn.Linear(27, 4)).double()


@pytest.mark.parametrize("mode", ["zeros", "replicate"])
@pytest.mark.parametrize("direction", ["gradient", "noise", "adversarial"])
def test_convolutions_are_measured_as_convolutions(mode: str, direction: str, record: list[Tensors]) -> None:
    network: Any = convolutional(mode)
    x, y = torch.randn(6, 2, 5, 5, dtype=torch.float64), torch.arange(6) % 4
    found = measured(network, x, y, direction=direction, restarts=1, ascent_steps=2)
    frozen = {name: p.detach().numpy().copy() for name, p in network.named_parameters()}
    assert list(found["operator"].values) == ["convolution", "", "matrix", ""]
    norm = np.linalg.svd(dense(network[0], (2, 5, 5)))[1][0]
    expect(layer(found, "operator_norm", "0.weight"), norm, "convolution")
    assert abs(norm - np.linalg.svd(frozen["0.weight"].reshape(3, -1))[1][0]) > 0.05 * norm
    inner = network[0](x).relu().flatten(1).detach().numpy()
    for row in range(3):
        steps = {name: record[row][name] - frozen[name] for name in frozen}
        twin = copy.deepcopy(network[0])
        with torch.no_grad():
            twin.weight.copy_(torch.from_numpy(steps["0.weight"]))
            twin.bias.zero_()
        value = layer(found, "perturbation_operator_norm", "0.weight")[row]
        expect(value, np.linalg.svd(dense(twin, (2, 5, 5)))[1][0], "perturbation")
        for e in range(5):
            response = found["perturbation_response"][row, :, e]
            expect(response.sel(layer="0.weight"), float(twin(x[e : e + 1]).detach().norm()), "0.weight")
            at_nine = np.sqrt(9) * np.linalg.norm(steps["0.bias"])  # of 3 × 3 positions
            expect(response.sel(layer="0.bias"), at_nine, "0.bias")
            expect(response.sel(layer="3.weight"), np.linalg.norm(steps["3.weight"] @ inner[e]), "3.weight")
            expect(response.sel(layer="3.bias"), np.linalg.norm(steps["3.bias"]), "3.bias")
        with torch.no_grad():
            twin.weight.copy_(torch.from_numpy(record[row]["0.weight"]))
        value = layer(found, "perturbed_operator_norm", "0.weight")[row]
        expect(value, np.linalg.svd(dense(twin, (2, 5, 5)))[1][0], "perturbed")
    assert "log10_path_difference" not in found
    assert found["log10_path_norm"].isnull().all()
    assert float(found["linearisation_error"][2, 0]) > 0


class Attention(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.attention = nn.MultiheadAttention(4, 2, batch_first=True)
        self.last = nn.Linear(4, 3)

    def forward(self, x: Tensor) -> Any:
        return self.last(self.attention(x, x, x, need_weights=False)[0].mean(1))


class Recurrent(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.cell = nn.LSTM(4, 5, batch_first=True)
        self.last = nn.Linear(5, 3)

    def forward(self, x: Tensor) -> Any:
        return self.last(self.cell(x)[0][:, -1])


class Tokens(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.table = nn.Embedding(7, 4)
        self.last = nn.Linear(4, 3)

    def forward(self, x: Tensor) -> Any:
        return self.last(self.table(x).mean(1))


@pytest.mark.parametrize("kind", [Attention, Recurrent])
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_what_is_not_known_is_nan(kind: type[nn.Module], dtype: str) -> None:
    torch.manual_seed(0)
    network = kind()
    for parameter in network.parameters():  # attention's biases start at 0, where nothing moves them
        nn.init.uniform_(parameter, -0.5, 0.5)
    x, y = torch.randn(6, 5, 4), torch.arange(6) % 3
    found = measured(network, x, y, dtype=dtype)
    for name in map(str, found["layer"].values):
        known = name.startswith("last")
        weight = bool(found["is_weight"].sel(layer=name))
        response = found["perturbation_response"].sel(layer=name)
        assert bool(response[1:].notnull().all()) == known, name
        assert response[1:].isnull().all() or known
        if weight:
            used = (
                known or name == "attention.out_proj.weight"
            )  # its norm is known, what it is applied to is not
            for variable in ("operator_norm", "perturbed_operator_norm", "perturbation_operator_norm"):
                assert bool(found[variable].sel(layer=name).notnull().all()) == used, (variable, name)
            assert (str(found["operator"].sel(layer=name).values) == "matrix") == used
    for variable in ("output_norm", "input_response", "output_difference_l1"):
        assert found[variable].notnull().all()
    assert found["target_norm"].isnull().all()


def test_inputs_that_are_no_numbers_cannot_move() -> None:
    torch.manual_seed(0)
    x, y = torch.randint(0, 7, (6, 5)), torch.arange(6) % 3
    found = measured(Tokens(), x, y)
    for variable in ("input_norm", "input_max", "input_response"):
        assert found[variable].isnull().all()
    assert (found["output_norm"] > 0).all()
    assert found["perturbation_response"].sel(layer="last.weight").notnull().all()
    assert found["perturbation_response"].sel(layer="table.weight").isnull().all()


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


@pytest.mark.parametrize("mode", ["replicate", "circular"])
def test_rounding_that_padding_copies_is_not_underrated(mode: Any, record: list[Tensors]) -> None:
    """One input position that all seven outputs read: the norm is √7 |w|."""
    torch.manual_seed(0)
    first = nn.Conv1d(1, 1, 1, padding=1 if mode == "circular" else 3, padding_mode=mode)
    network = nn.Sequential(first, nn.Flatten(), nn.LazyLinear(3))
    x, y = torch.randn(6, 1, 1), torch.arange(6) % 3
    network(x)
    before = float(first.weight.detach().double())
    etas = np.array([0.0, *(np.arange(1, 30) * 1e-8)])
    found = measured(network, x, y, dtype="float32", etas=etas)
    copies = 3 if mode == "circular" else 7
    for row in range(len(etas)):
        top = copies**0.5 * abs(float(record[row]["0.weight"].item()) - before)
        value = float(found["perturbation_operator_norm"].sel(layer="0.weight")[row])
        assert value >= top * (1 - 1e-12)


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
