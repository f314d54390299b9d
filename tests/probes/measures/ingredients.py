"""Every ingredient of the bounds once more, in plain loops."""

from __future__ import annotations

import itertools
from typing import Any

import numpy as np
import pytest
import xarray as xr
from torch import nn

from probes import SliceSettings, measure_slice
from tests.support.reference import _PHI, Array, Tensors, arrays

ETAS = np.array([0.0, 1e-2, 0.3])
NEW = {
    *("output_norm", "input_norm", "input_max", "target_norm", "operator_norm", "direction_operator_norm"),
    *("perturbation_operator_norm", "perturbed_operator_norm", "perturbation_response"),
    *("linearisation_error", "linearisation_cosine", "input_response"),
    *("log10_path_norm", "log10_path_distance", "log10_path_difference"),
}
UNCOUNTED = NEW - {"log10_path_difference"}


def measured(network: nn.Module, x: Any, y: Any, *, loss: str | None = None, **settings: Any) -> xr.Dataset:
    settings = {"etas": ETAS, "dtype": "float64", "limit": False, "curvature": None, **settings}
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
