"""Slices through networks of many kinds are plain loops, and what some of them cannot have is said."""

from __future__ import annotations

import copy
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torch.nn.attention import SDPBackend, sdpa_kernel

import analysis
from probes import InputError, SliceSettings
from probes.measures.layers import PERTURBED
from tests.probes.measures.examples import CASES, ETAS, JUDGED, attributes, looped, measured, prepared
from tests.support.reference import make_data
from tests.support.traces import picture


@pytest.mark.parametrize("name", CASES)
def test_agrees_with_a_plain_loop(name: str) -> None:
    case = CASES[name]
    network, x, y = prepared(case)
    with torch.no_grad():
        outputs = network.eval()(x)
    network.train()
    before, plain = picture(network), attributes(network)
    found = measured(network, x, y, batchnorm=case.batchnorm, jacobian=0 if case.batchnorm == "batch" else 2)
    expected = looped(network, x, y, batchnorm=case.batchnorm)
    base = expected[0][1]
    assert set(found["layer"].values) == set(base)
    assert (found["treatment"] == PERTURBED).all()
    for i, (loss, gradients) in enumerate(expected):
        assert float(found["loss"][i]) == pytest.approx(loss, rel=1e-8), i
        for layer, g0 in base.items():
            # a key's bias does not matter to softmax: its gradient is rounding
            if g0.norm() < 1e-12:
                continue
            g = gradients[layer]
            at = found.sel(layer=layer)
            change = float((g - g0).norm() / g0.norm())
            assert float(at["gradient_change"][i]) == pytest.approx(change, rel=1e-8, abs=1e-12), layer
            assert float(at["gradient_norm"][i]) == pytest.approx(float(g.norm()), rel=1e-8), layer
            assert float(at["relative_perturbation"][i]) == pytest.approx(ETAS[i], rel=1e-8), layer
    assert picture(network) == before  # power iterations and running statistics stand still
    assert all(a is b for a, b in zip(attributes(network), plain, strict=True))
    with torch.no_grad():
        torch.testing.assert_close(network.eval()(x), outputs, rtol=0, atol=0)
    assert found.attrs["batchnorm"] == f"{case.batchnorm} statistics"
    slope = found["slope"].values
    assert float(found["slope_at_zero"]) == pytest.approx(slope[0], rel=1e-9)
    if name in JUDGED:
        assert {verdict.claim for verdict in analysis.judge(found.expand_dims("checkpoint"))} >= {"lemma1"}


@pytest.mark.parametrize("name", CASES)
def test_the_curvature_is_the_slope_s_derivative(name: str) -> None:
    case = CASES[name]
    network, x, y = prepared(case)
    h = 1e-4
    found = measured(
        network, x, y, etas=np.array([0.0, h, 2 * h]), batchnorm=case.batchnorm, ladder=False, spectra="none"
    )
    slope = found["slope"].values
    second = (-3 * slope[0] + 4 * slope[1] - slope[2]) / (2 * h)
    # the one-sided difference errs by h² times a fourth derivative; relu's kinks may fall in between
    assert float(found["curvature"]) == pytest.approx(second, rel=1e-2)


class OnceOnly(nn.Module):
    """A step whose second derivative PyTorch lacks."""

    def __init__(self) -> None:
        super().__init__()
        self.one, self.two = nn.Linear(6, 6), nn.Linear(6, 3)

    def forward(self, x: Tensor) -> Tensor:
        return -torch.cdist(torch.tanh(self.one(x)), self.two.weight, p=1.5) + self.two.bias


class Once(torch.autograd.Function):
    """A sine whose derivative is no function of its input, as far as autograd knows."""

    @staticmethod
    def forward(ctx: Any, x: Tensor) -> Tensor:
        ctx.save_for_backward(x)
        return x.sin()

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx: Any, gradient: Tensor) -> Tensor:
        return gradient * ctx.saved_tensors[0].cos()


class MarkedOnce(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.one, self.two = nn.Linear(6, 5), nn.Linear(5, 3)

    def forward(self, x: Tensor) -> Tensor:
        return self.two(Once.apply(self.one(x)))


@pytest.mark.parametrize("network", [OnceOnly, MarkedOnce])
def test_a_curvature_that_cannot_be_computed_is_not_a_number(network: Callable[[], nn.Module]) -> None:
    found = measured(network(), *make_data(9), limit=True)
    assert np.isnan(found["curvature"])
    assert np.isnan(found["linearisation_error"]).all()
    assert np.isfinite(found["loss"]).all()
    assert float(found["step_limit"]) > 0 or np.isnan(found["step_limit"])


def test_jacobians_where_a_layer_has_an_input() -> None:
    network, x, y = prepared(CASES["transformer"])
    found = measured(network, x, y, jacobian=1)
    change = found["jacobian_change"].isel(eta=-1, example=0)
    missing = {str(name) for name in change["layer"].values[np.isnan(change.values)]}
    weights = {str(name) for name in found["layer"].values[found["is_weight"].values]}
    # tokens are no numbers, the table's owner takes tokens too, and attention calls out_proj's weight itself
    assert missing & weights == {"tokens.weight", "positions", "encoder.self_attn.out_proj.weight"}

    frozen = {name: parameter.detach().clone() for name, parameter in network.named_parameters()}
    gradients = looped(network, x, y, batchnorm="running")[0][1]
    jacobians = []
    for eta in (0.0, ETAS[-1]):
        twin = copy.deepcopy(network).eval()
        for name, parameter in twin.named_parameters():
            g = gradients[name]
            parameter.data = frozen[name] - eta * frozen[name].norm() * g / g.norm()
        with torch.no_grad():
            h = twin.tokens(x[:1]) + twin.positions

        def tail(h: Tensor, twin: Any = twin) -> Tensor:
            return twin.head(twin.encoder(h)[:, -1])

        with sdpa_kernel(SDPBackend.MATH):
            jacobians.append(torch.autograd.functional.jacobian(tail, h))
    expected = float((jacobians[1] - jacobians[0]).norm() / jacobians[0].norm())
    value = float(change.sel(layer="encoder.self_attn.in_proj_weight"))
    assert value == pytest.approx(expected, rel=1e-7)


def test_inputs_that_do_not_have_a_row_an_example() -> None:
    network, x, y = prepared(CASES["recurrent, time first"])
    # as many time steps as examples, neither, and as many as outputs of the one example whose Jacobian is wanted
    for count, steps in ((4, 4), (9, 4), (9, 3)):
        found = measured(network, x[:count, :steps], y[:count], jacobian=1)
        assert np.isnan(found["jacobian_change"]).all()
        assert np.isnan(found["perturbation_response"].sel(layer="head.weight")[1:]).all()


def test_batch_statistics_are_those_of_everything_at_once() -> None:
    network, x, y = prepared(CASES["convolution"])
    with pytest.raises(InputError, match="chunk=9"):
        measured(network, x, y, batchnorm="batch", chunk=5)
    with pytest.raises(InputError, match="`jacobian`"):
        measured(network, x, y, batchnorm="batch", jacobian=1)
    with pytest.raises(InputError, match="adversarial"):
        measured(network, x, y, batchnorm="batch", direction="adversarial")
    with pytest.raises(InputError, match="batchnorm="):
        SliceSettings(etas=ETAS, batchnorm="both")
    x, y = x.repeat(5, 1, 1, 1) + torch.linspace(0, 1, 45).view(-1, 1, 1, 1), y.repeat(5)
    found = measured(network, x, y, batchnorm="batch")  # more than the noise floor would take at once
    assert "operator_norm" not in found  # the ladder's bounds are for one example at a time
    floors = found["noise_floor"].where(found["gradient_norm"][0] > 1e-12)  # below is rounding alone
    assert 1 <= int(floors.isnull().sum()) < 3
    assert float(floors.max()) < 1e-10


class DropPath(nn.Module):
    """A layer of the user's own that draws whether in training or not."""

    def forward(self, x: Tensor) -> Tensor:
        return x * (torch.rand(len(x), 1) > 0.3)


def test_a_random_layer_of_the_user_s_own_is_refused_with_the_reason() -> None:
    network = nn.Sequential(nn.Linear(6, 5), DropPath(), nn.Linear(5, 3))
    before = picture(network)
    with pytest.raises(
        InputError, match=r"two evaluations .* differ by .* stochastic; switch its randomness off"
    ):
        measured(network, *make_data())
    assert picture(network) == before
