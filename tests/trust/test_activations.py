"""Activations against PyTorch's, and transmission constants that are bounds and cannot be improved."""

from __future__ import annotations

import warnings

import numpy as np
import pytest
import torch
import torch.nn.functional as tf
from hypothesis import given, settings
from hypothesis import strategies as st

from trust import (
    KNOWN_ACTIVATIONS,
    Transmission,
    activation,
    activation_curvature,
    modelled_transmission,
    transmission,
)

TORCH = {
    "identity": lambda x: x,
    "relu": tf.relu,
    "scaled_relu": lambda x: tf.relu(x) * 2**0.5,
    "scaled_relu:-0.5": lambda x: tf.relu(x) * -0.5,
    "leaky_relu": tf.leaky_relu,
    "leaky_relu:0.1": lambda x: tf.leaky_relu(x, 0.1),
    "leaky_relu:3": lambda x: tf.leaky_relu(x, 3.0),
    "leaky_relu:-0.5": lambda x: tf.leaky_relu(x, -0.5),
    "tanh": torch.tanh,
    "sigmoid": torch.sigmoid,
    "gelu": tf.gelu,
    "gelu_tanh": lambda x: tf.gelu(x, approximate="tanh"),
    "silu": tf.silu,
    "mish": tf.mish,
    "elu": tf.elu,
    "elu:1.7": lambda x: tf.elu(x, 1.7),
    "selu": tf.selu,
    # PyTorch rounds celu's 1/alpha to float32, so a power of two.
    "celu:0.5": lambda x: tf.celu(x, 0.5),
    "celu": tf.celu,
    "softplus": lambda x: tf.softplus(x, threshold=1000),
    "softplus:2.5": lambda x: tf.softplus(x, 2.5, threshold=1000),
    "softsign": tf.softsign,
}
# Not clustered anywhere; the kink at 0 included.
POINTS = np.concatenate([np.linspace(-30, 30, 2001), [0.0, 1e-8, -1e-8, 500.0, -500.0]])


def test_every_known_activation_is_compared() -> None:
    assert {spec.partition(":")[0] for spec in TORCH} == set(KNOWN_ACTIVATIONS)


@pytest.mark.parametrize("spec", TORCH)
def test_functions_and_derivatives_match_torch(spec: str) -> None:
    x = torch.tensor(POINTS, dtype=torch.float64, requires_grad=True)
    y = TORCH[spec](x)
    (slope,) = torch.autograd.grad(y.sum(), x)
    phi = activation(spec)
    np.testing.assert_allclose(phi.function(POINTS), y.detach().numpy(), rtol=1e-12, atol=1e-12)
    # PyTorch's mish and gelu derivatives lose some digits by cancellation at large |x|: 30²·ε = 2e-13.
    np.testing.assert_allclose(phi.derivative(POINTS), slope.numpy(), rtol=1e-12, atol=1e-12)
    assert phi.zero_at_zero == (float(TORCH[spec](torch.zeros((), dtype=torch.float64))) == 0)


@pytest.mark.parametrize("spec", TORCH)
def test_extreme_arguments_give_no_nan_and_no_warning(spec: str) -> None:
    x = np.array([-1e308, -1e150, -1e5, 1e5, 1e150, 1e300])
    phi = activation(spec)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert not np.isnan(phi.function(x)).any()
        derivative = phi.derivative(x)
    assert np.isfinite(derivative).all()
    constants = transmission(spec)
    assert (np.abs(derivative) <= constants.beta).all()


def test_shapes_and_kinds() -> None:
    phi = activation("relu")
    np.testing.assert_array_equal(phi.function(torch.tensor([[-1.0, 2.0]])), [[0, 2]])
    assert phi.function(3).shape == ()
    assert phi.derivative(0.0) == 0
    assert activation("leaky_relu:0.2").derivative(0.0) == 0.2


def test_names_are_normalised() -> None:
    assert activation(" ReLU ").name == "relu"
    assert activation("leaky_relu").name == "leaky_relu:0.01"
    assert activation("leaky_relu:1e-1").name == "leaky_relu:0.1"
    third = 1 / 3
    assert activation(activation(f"leaky_relu:{third!r}").name).derivative(-1.0) == third


# --- transmission ---


@pytest.mark.parametrize(
    ("spec", "alpha", "beta"),
    [
        ("identity", 1, 1),
        ("relu", 0, 1),
        ("leaky_relu:0.1", 0.1, 1),
        ("leaky_relu:3", 1, 3),
        ("leaky_relu:-2", 0, 2),
        ("tanh", 0, 1),
        ("sigmoid", 0, 0.25),
        ("softplus:7", 0, 1),
        ("elu:2", 0, 2),
        ("celu:0.3", 0, 1),
        ("softsign", 0, 1),
        ("selu", 0, 1.0507009873554805 * 1.6732632423543772),
        # At x = √2, where GELU' = Φ + xφ turns: Φ(√2) + √2 φ(√2) = (1 + erf 1)/2 + 1/(e√π).
        ("gelu", 0, (1 + 0.8427007929497149) / 2 + 1 / (np.e * np.sqrt(np.pi))),
        # SiLU' turns where x tanh(x/2) = 2: x = 2.3993572805154, computed to 30 digits apart from this code.
        ("silu", 0, 1.09983932012886685),
    ],
)
def test_closed_forms(spec: str, alpha: float, beta: float) -> None:
    constants = transmission(spec)
    assert constants.alpha == pytest.approx(alpha, rel=1e-10, abs=0)
    assert constants.beta == pytest.approx(beta, rel=1e-10)


def test_model_of_relu() -> None:
    assert modelled_transmission("relu") == Transmission(0.5, 0.5)
    assert modelled_transmission("ReLU") == Transmission(0.5, 0.5)
    for spec in TORCH:
        if spec != "relu":
            assert modelled_transmission(spec) == transmission(spec)


@settings(max_examples=400)
@given(
    spec=st.sampled_from(sorted(TORCH)),
    x=st.floats(-50, 50),
    y=st.one_of(st.floats(-50, 50), st.floats(-1e-3, 1e-3)),
    near=st.booleans(),
)
def test_no_pair_violates_the_constants(spec: str, x: float, y: float, near: bool) -> None:
    y = x + y / 50 if near else y
    phi, constants = activation(spec).function, transmission(spec)
    px, py = float(phi(x)), float(phi(y))
    # Each φ is right to a few ulps of its value or of its argument; 1e-10 is what transmission promises.
    slack = 16 * np.finfo(float).eps * (abs(px) + abs(py) + abs(x) + abs(y)) + 1e-10 * abs(x - y)
    assert constants.alpha * abs(x - y) - slack <= abs(px - py) <= constants.beta * abs(x - y) + slack


@pytest.mark.parametrize("spec", TORCH)
def test_the_constants_are_attained(spec: str) -> None:
    """Some pair comes within 1e-6 of β, and some of α (or under 1e-6 where α = 0)."""
    phi, constants = activation(spec).function, transmission(spec)
    x = np.concatenate([np.linspace(-60, 60, 60_001), [0.0, -2e4, 2e4]])
    # Steps: large enough to beat rounding (ε·60/1e-6 = 1e-8), small enough for the kink's one-sided slope.
    quotients = np.concatenate([np.abs(phi(x) - phi(x - h)) / np.abs(x - (x - h)) for h in (1e-6, 1e-4)])
    assert quotients.max() >= constants.beta * (1 - 1e-6)
    if constants.alpha > 0:
        assert quotients.min() <= constants.alpha * (1 + 1e-6)
    elif spec == "leaky_relu:-0.5":  # not injective, and nowhere flat
        assert phi(1.0) == phi(-2.0)
    else:
        assert quotients.min() < 1e-6


@pytest.mark.parametrize(
    ("spec", "message"),
    [
        ("sine", "unknown activation 'sine'; known: celu, elu"),
        ("", "unknown activation"),
        ("relu:1", "takes no parameter"),
        ("leaky_relu:abc", "'abc' is not a number"),
        ("leaky_relu:", "is not a number"),
        ("leaky_relu:nan", "must be finite"),
        ("leaky_relu:inf", "must be finite"),
        ("elu:-1", "must be positive and finite"),
        ("softplus:0", "must be positive and finite"),
        (None, "named by text"),
        (["relu"], "named by text"),
    ],
)
def test_bad_specs_are_refused_with_the_known_names(spec, message: str) -> None:
    for function in (activation, transmission, modelled_transmission):
        with pytest.raises(ValueError, match=message) as caught:
            function(spec)
        assert "gelu_tanh" in str(caught.value)


@pytest.mark.parametrize(("alpha", "beta"), [(-1, 1), (2, 1), (0, np.inf), (np.nan, 1)])
def test_impossible_constants_are_refused(alpha: float, beta: float) -> None:
    with pytest.raises(ValueError, match="alpha"):
        Transmission(alpha, beta)


@pytest.mark.parametrize("spec", TORCH)
def test_the_curvature_is_the_slopes_lipschitz_constant(spec: str) -> None:
    x = np.linspace(-8, 8, 160_001)
    slopes = np.abs(np.diff(activation(spec).derivative(x)) / np.diff(x))
    found = activation_curvature(spec)
    if np.isinf(found):
        # the derivative jumps at 0, by more than what 1e-4 of any curvature here would be
        assert slopes.max() > 1e3
    else:
        # a quotient over 1e-4 is below the supremum by half of that times a third derivative of 6 at most
        assert found * (1 - 4e-4) - 1e-9 <= slopes.max() <= found * (1 + 1e-9) + 1e-9


def test_where_kinks_vanish_the_curvature_is_finite() -> None:
    assert activation_curvature("leaky_relu:1") == 0
    assert activation_curvature("elu:1.7") == activation_curvature("selu") == np.inf
    with pytest.raises(ValueError, match="unknown activation"):
        activation_curvature("swash")
