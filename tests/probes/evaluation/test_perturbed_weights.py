"""The line W + η d: what is computed once for all η, and reductions, against plain formulas."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn
from torch.nn import functional
from torch.utils._python_dispatch import TorchDispatchMode

from probes.data.batches import Batches
from probes.data.losses import LOSSES
from probes.evaluation import reductions
from probes.evaluation.directions import Direction, gradient_direction, hash_of, noise_direction
from probes.evaluation.evaluator import Evaluator
from probes.evaluation.first_layer import FirstLayer
from probes.evaluation.perturbed_weights import PerturbedWeights
from probes.evaluation.reductions import compare, compare_each, differences, norm, relative_difference
from tests.support.reference import moved_along

EXACT = torch.float64


class Network(nn.Module):
    """Two linear maps of the data and one of their sum; the first is used twice."""

    def __init__(self, bias: bool = True) -> None:
        super().__init__()
        self.first, self.beside = nn.Linear(6, 5, bias=bias), nn.Linear(6, 5, bias=bias)
        self.last = nn.Linear(5, 3, bias=bias)

    def forward(self, x: Tensor) -> Tensor:
        x = x.flatten(1)
        return self.last(torch.tanh(self.first(x) + self.beside(x) * torch.tanh(self.first(x))))  # type: ignore[no-any-return]


def problem(network: nn.Module | None = None, **options: Any) -> Evaluator:
    torch.manual_seed(0)
    network = network or Network()
    x, y = torch.randn(23, 2, 3, dtype=EXACT), torch.randint(0, 3, (23,))
    return Evaluator(network, x, y, LOSSES["cross-entropy"], **{"dtype": EXACT, "chunk": 5, **options})


def line_of(evaluator: Evaluator, names: list[str] | None = None) -> PerturbedWeights:
    gradients = evaluator.evaluate(evaluator.frozen, wanted=names or list(evaluator.frozen)).gradients
    return PerturbedWeights(evaluator, gradient_direction(evaluator.frozen, gradients))


@pytest.mark.parametrize("bias", [True, False])
@pytest.mark.parametrize("moving", [None, ["first.weight", "last.weight"], ["last.weight"]])
@pytest.mark.parametrize(
    "room", [0, 1000, 1 << 20]
)  # bytes: none, for the first chunk's first layer, for all
def test_a_first_layer_computed_once_changes_nothing(bias: bool, moving: list[str] | None, room: int) -> None:
    batch = problem(Network(bias))
    line = line_of(batch, moving)
    line.first.most_bytes = room
    names = list(batch.frozen)
    for eta in (0.0, 1e-3, 0.3, 2.0):
        found = line.evaluate(eta, wanted=names, samples=7)
        plain = batch.evaluate(moved_along(batch.frozen, line.direction, eta), wanted=names, samples=7)
        # a sum of 6 products in another order, each exact to 2e-16, through two layers of size about 1
        assert found.loss == pytest.approx(plain.loss, rel=1e-13)
        torch.testing.assert_close(found.outputs, plain.outputs, rtol=1e-12, atol=1e-12)
        for name in names:
            torch.testing.assert_close(found.gradients[name], plain.gradients[name], rtol=1e-11, atol=1e-13)
        assert line.loss(eta) == pytest.approx(plain.loss, rel=1e-13)
    kept = {0: 0, 1000: 2, 1 << 20: 10}[room]  # of 5 chunks and two layers, 400 bytes each time
    assert len(line.first.kept) == kept
    assert line.first.bytes <= room


def test_at_eta_0_the_first_layer_gives_the_very_same_bytes() -> None:
    batch = problem(dtype=torch.float32)
    line = line_of(batch)
    line.evaluate(0.1)
    plain, found = batch.evaluate(batch.frozen, samples=23), line.evaluate(0.0, samples=23)
    assert torch.equal(plain.outputs, found.outputs)
    assert plain.loss == found.loss


class Elsewhere(nn.Module):
    """A linear map of something that is not the data, whatever it looks like."""

    def __init__(self, change: str) -> None:
        super().__init__()
        self.layer, self.change = nn.Linear(6, 3), change

    def forward(self, x: Tensor) -> Tensor:
        x = x.flatten(1)
        if self.change == "scaled":
            x = x * 0.5
        elif self.change == "in place":
            x = x.clone() if torch.is_grad_enabled() else x
            x.mul_(1.0)  # bumps the version: its values may be others now
        elif self.change == "reversed":
            x = x.flip(0)
        return functional.linear(x, self.layer.weight * 1.0 if self.change == "weight" else self.layer.weight)


@pytest.mark.parametrize("change", ["scaled", "in place", "reversed", "weight"])
def test_only_maps_of_the_data_itself_are_replaced(change: str) -> None:
    batch = problem(Elsewhere(change))
    line = line_of(batch)
    found = line.evaluate(0.5, samples=23)
    plain = batch.evaluate(moved_along(batch.frozen, line.direction, 0.5), samples=23)
    torch.testing.assert_close(found.outputs, plain.outputs, rtol=1e-13, atol=1e-13)
    assert not line.first.kept


class _Products(TorchDispatchMode):
    """Counts matrix products by the rows of the data they see."""

    def __init__(self) -> None:
        super().__init__()
        self.count = 0

    def __torch_dispatch__(self, function: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        if function in (torch.ops.aten.mm.default, torch.ops.aten.addmm.default):
            self.count += 1
        return function(*args, **(kwargs or {}))


def test_two_products_serve_every_eta() -> None:
    batch = problem(nn.Sequential(nn.Flatten(), nn.Linear(6, 3)), chunk=23)
    line = line_of(batch)
    with _Products() as products:
        for eta in (0.1, 0.2, 0.3, 0.4):
            line.loss(eta)
    assert products.count == 2  # x Wᵀ and x dᵀ


def test_the_line_starts_from_the_frozen_weights_each_time() -> None:
    batch = problem()
    line = line_of(batch)
    first = {name: tensor.clone() for name, tensor in line.at(0.25).items()}
    line.at(3.0)
    again = line.at(0.25)
    assert all(torch.equal(first[name], again[name]) for name in first)
    for name, tensor in again.items():
        expected = batch.frozen[name] + 0.25 * line.direction[name]
        torch.testing.assert_close(tensor, expected, rtol=1e-14, atol=1e-15)


def test_a_gradient_that_nearly_vanished_gives_a_whole_direction() -> None:
    weight = torch.randn(4, 3) * 1e5
    tiny = torch.randn(4, 3) * 1e-34
    direction = gradient_direction({"w": weight}, {"w": tiny})
    assert float(norm(direction["w"])) == pytest.approx(float(norm(weight)), rel=1e-5)
    moved = direction.parts["w"].added_to(weight, 0.5)
    torch.testing.assert_close(moved, weight + 0.5 * direction["w"])
    cosine = compare(direction["w"], tiny).product / norm(direction["w"]) / norm(tiny)
    assert float(cosine) == pytest.approx(-1, rel=1e-5)


def test_noise_that_is_not_kept_is_drawn_again(monkeypatch: pytest.MonkeyPatch) -> None:
    frozen = {name: torch.randn(8, 4) for name in "ab"}
    kept = noise_direction(frozen, ["a", "b"], seed=3)
    monkeypatch.setattr("probes.evaluation.directions._KEPT_NOISE", 8 * 4 * 4)
    drawn = noise_direction(frozen, ["a", "b"], seed=3)
    assert drawn.parts["a"].base() is drawn.parts["a"].base()
    assert drawn.parts["b"].base() is not drawn.parts["b"].base()
    assert hash_of(kept) == hash_of(drawn)


def test_no_copy_of_the_direction_is_kept() -> None:
    batch = problem()
    gradients = batch.evaluate(batch.frozen, wanted=list(batch.frozen)).gradients
    direction = gradient_direction(batch.frozen, gradients)
    assert all(direction.parts[name].base() is gradients[name] for name in gradients)


@settings(max_examples=50)
@given(st.integers(1, 40), st.integers(0, 2**31), st.sampled_from([torch.float32, EXACT]), st.booleans())
def test_comparisons_are_plain_formulas(size: int, seed: int, dtype: torch.dtype, strided: bool) -> None:
    draw = torch.Generator().manual_seed(seed)
    a, b = (torch.randn(size, 7, generator=draw, dtype=EXACT).to(dtype) for _ in "ab")
    if strided:
        a, b = a.t(), b.t()
    x, y = a.double().numpy(), b.double().numpy()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(reductions, "_BLOCK", 64)
        found = compare(a, b)
    # 280 terms summed in float64 in another order: 280 · 1.1e-16 of the terms' sizes
    assert float(found.norm) == pytest.approx(np.linalg.norm(x), rel=1e-13)
    assert float(found.difference) == pytest.approx(np.linalg.norm(x - y), rel=1e-13)
    scale = np.linalg.norm(x) * np.linalg.norm(y)
    assert float(found.product) == pytest.approx(float((x * y).sum()), abs=1e-13 * scale)


@pytest.mark.parametrize("block", [1, 20, 1000])
@pytest.mark.parametrize("shape", [(), (0,), (7,), (3, 5)])
def test_stacks_are_compared_as_their_tensors_are(
    monkeypatch: pytest.MonkeyPatch, block: int, shape: tuple[int, ...]
) -> None:
    monkeypatch.setattr(reductions, "_BLOCK", block)
    torch.manual_seed(0)
    stack, b = torch.randn(4, *shape), torch.randn(shape)
    found, apart = compare_each(stack, b), differences(stack, b)
    assert apart.shape == (4,)
    for k, a in enumerate(stack):
        for name, expected in vars(compare(a, b)).items():
            assert float(vars(found)[name][k]) == pytest.approx(float(expected), rel=1e-12, abs=1e-14)
        assert float(apart[k]) == pytest.approx(float(found.difference[k]), rel=1e-12)


def test_comparisons_at_their_edges() -> None:
    zero, nan = torch.zeros(3), torch.tensor([1.0, math.nan, 0.0])
    assert [float(value) for value in vars(compare(zero, zero)).values()] == [0, 0, 0]
    assert all(math.isnan(float(value)) for value in vars(compare(nan, zero)).values())
    assert [float(value) for value in vars(compare(torch.zeros(0), torch.zeros(0))).values()] == [0, 0, 0]
    assert float(compare(torch.tensor(3.0), torch.tensor(-1.0)).difference) == 4
    assert relative_difference(torch.ones(2), zero[:2]) == 0
    tiny = torch.full((4,), 1e-30)  # whose squares float32 could not hold
    assert float(compare(tiny, 2 * tiny).product) == pytest.approx(8e-60, rel=1e-6)


def test_a_direction_of_tensors_is_those_tensors() -> None:
    tensors = {"a": torch.ones(2), "b": torch.zeros(3)}
    direction = Direction.of(tensors)
    assert list(direction) == ["a", "b"]
    assert "a" in direction
    assert "c" not in direction
    assert direction["a"] is tensors["a"]


def test_ragged_pieces_have_preactivations_of_their_own() -> None:
    torch.manual_seed(0)
    network = nn.Sequential(nn.Linear(4, 3))
    x, y = torch.randn(10, 4, dtype=EXACT), torch.randint(0, 3, (10,))
    from probes.data.batch import Batch

    data = Batches([Batch(x[:6], y[:6]), Batch(x[6:], y[6:])], cut=True)
    evaluator = Evaluator(network, data, None, LOSSES["cross-entropy"], dtype=EXACT, chunk=4)
    line = line_of(evaluator)
    whole = moved_along(evaluator.frozen, line.direction, 0.7)
    assert line.loss(0.7) == pytest.approx(evaluator.evaluate(whole).loss, rel=1e-14)
    assert isinstance(line.first, FirstLayer)
