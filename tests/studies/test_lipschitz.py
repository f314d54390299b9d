"""Certificates, Jacobians and ascent against closed forms and autograd, and the study at toy size."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn

from probes.networks.perceptron import Perceptron, PerceptronSpec
from probes.networks.transformer import CharTransformer, TransformerSpec
from studies.lipschitz import _embedded
from studies.parts.steepness import log10_certificate, matrices, parts_of, steepest_found, steepness
from tests.studies.test_studies import numbers
from trust import transmission


def random_network(kind: str, seed: int, log10_size: float) -> tuple[nn.Module, Tensor]:
    """Weights of any size, gains and biases too, and inputs."""
    generator = torch.Generator().manual_seed(seed)
    made: nn.Module
    if kind == "transformer":
        made = CharTransformer(TransformerSpec(vocabulary=5, context=3, width=4, heads=2, blocks=2)).double()
        inputs = torch.randn(2, 3, 4, generator=generator, dtype=torch.float64)
    else:
        made = Perceptron(PerceptronSpec((5, 4, 4, 3), kind, biases=(True,) * 3)).double()
        inputs = torch.randn(2, 5, generator=generator, dtype=torch.float64)
    with torch.no_grad():
        for tensor in made.parameters():
            noise = torch.randn(tensor.shape, generator=generator, dtype=torch.float64)
            tensor.copy_(10**log10_size * noise)
    return made, inputs


@settings(max_examples=30, deadline=None)
@given(
    kind=st.sampled_from(["relu", "gelu", "tanh", "transformer"]),
    seed=st.integers(0, 2**32 - 1),
    log10_size=st.floats(-1.5, 0.5),
)
def test_no_certificate_is_below_what_is_found(kind: str, seed: int, log10_size: float) -> None:
    network, x = random_network(kind, seed, log10_size)
    certified = 10 ** log10_certificate(network, 3)  # type: ignore[arg-type]
    parts = parts_of(network)  # type: ignore[arg-type]
    for point in x:
        whole, product = steepness(parts, point[None])
        # the norm of a Gram matrix of a few dozen entries keeps 1e-14; the root halves no digits at the top
        assert whole <= product * (1 + 1e-9) <= certified * (1 + 2e-9)
    assert steepest_found(parts, x, steps=5, seed=seed) <= certified * (1 + 1e-9)


@pytest.mark.parametrize("kind", ["gelu", "transformer"])
def test_steepness_is_of_the_whole_network(kind: str) -> None:
    network, x = random_network(kind, 0, -0.3)
    if isinstance(network, CharTransformer):
        characters = torch.tensor([[0, 3, 1]])
        x = _embedded(network, characters)

        def outputs(h: Tensor) -> Tensor:
            for block in network.blocks:
                h = block(h)
            scores: Tensor = network.norm(h) @ network.characters.weight.T
            return scores

        torch.testing.assert_close(outputs(x), network(characters))
    else:
        outputs = network
    jacobian = torch.func.jacrev(outputs)(x[:1]).reshape(-1, x[0].numel()).detach()
    whole, _ = steepness(parts_of(network), x[:1])  # type: ignore[arg-type]
    assert whole == pytest.approx(float(torch.linalg.matrix_norm(jacobian, 2)), rel=1e-9)


def test_linear_layers_in_closed_form() -> None:
    """diag(3, 1) after diag(1, 2): the layers' norms are 3 and 2, the whole's is 3."""
    network = Perceptron(PerceptronSpec((2, 2, 2), "identity", biases=(False, False))).double()
    first, second = matrices(network)
    with torch.no_grad():
        first.copy_(torch.diag(torch.tensor([1.0, 2.0])))
        second.copy_(torch.diag(torch.tensor([3.0, 1.0])))
    x = torch.ones(1, 2, dtype=torch.float64)
    assert steepness(parts_of(network), x) == pytest.approx((3, 6))
    assert log10_certificate(network, 1) == pytest.approx(math.log10(6))
    assert steepest_found(parts_of(network), x, steps=0, seed=0) == pytest.approx(3)


def test_a_transformers_certificate_by_hand() -> None:
    """Every matrix twice an orthogonal one: two heads of ‖V‖ = 2, scores of 4/√2, inputs of norm 2g + ‖β‖ = 7."""
    network = CharTransformer(TransformerSpec(vocabulary=5, context=3, width=4, heads=2, blocks=1)).double()
    norm = network.get_submodule("blocks.0.attention_norm")
    assert isinstance(norm, nn.LayerNorm)
    with torch.no_grad():
        for weight in matrices(network):
            weight.copy_(2 * torch.eye(*weight.shape))
        norm.weight.fill_(3.0)
        norm.bias.copy_(torch.tensor([1.0, 0, 0, 0]))
    steep = 1e-5**-0.5
    head = 2 * (math.sqrt(3) + (1 + math.sqrt(3)) * 4 / math.sqrt(2) * 7**2)
    attention = 2 * math.sqrt(2) * head * 3 * steep
    mlp = transmission("gelu").beta * 2 * 2 * steep
    expected = math.log10(1 + attention) + math.log10(1 + mlp) + math.log10(2 * steep)
    assert log10_certificate(network, 3) == pytest.approx(expected, rel=1e-12)


def test_positions_are_not_held() -> None:
    network = CharTransformer(TransformerSpec(vocabulary=5, context=3, width=4, heads=2, blocks=1))
    assert len(matrices(network)) == 1 + 4 + 2
    assert not any(one is network.positions.weight for one in matrices(network))


def test_ascent_climbs_to_a_steep_place() -> None:
    """H + 5 tanh(h − 1) has slope 6 at 1, and 4.2 where ascent begins, or less."""

    def bump(h: Tensor) -> Tensor:
        return h + 5 * torch.tanh(h - 1)

    x = torch.full((2, 3), 0.3, dtype=torch.float64)
    start = steepest_found([bump], x, steps=0, seed=0)
    assert 3.5 < start < 4.6
    assert 5.5 < steepest_found([bump], x, steps=60, seed=0) <= 6 + 1e-9


def test_rules_hold_the_certificate(tmp_path: Path) -> None:
    found = numbers("lipschitz", tmp_path)
    for target in (2.0, 0.5):
        whole = 3 * math.log10(target)
        assert found[f"perceptron/normalise/{target:g}/certificate/high"] == pytest.approx(whole, abs=1e-5)
        assert found[f"perceptron/cap/{target:g}/certificate/high"] <= whole + 1e-5
    levels = ("certificate", "found", "measured")
    of = {name.rpartition("/certificate/")[0] for name in found if "/certificate/" in name}
    assert len(of) == 2 * 5
    for name in of:
        each = [found[f"{name}/{level}/low"] for level in levels]
        assert each == sorted(each, reverse=True)
        assert found[f"{name}/product/low"] >= found[f"{name}/measured/low"] - 1e-9
        assert np.isfinite(each).all()
