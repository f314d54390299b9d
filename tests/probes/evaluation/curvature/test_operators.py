"""Products against matrices that PyTorch's functional transforms form in float64."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.autograd.function import once_differentiable
from torch.nn.attention import SDPBackend, sdpa_kernel

from probes import InputError
from probes.data.batch import Batch
from probes.data.batches import Batches
from probes.data.losses import ModelLoss, resolve_loss
from probes.evaluation.curvature import GaussNewtonOperator, HessianOperator, Preconditioned, adam_diagonal
from probes.evaluation.curvature.operators import LossOperator, Operator
from probes.evaluation.evaluator import Evaluator
from tests.probes.evaluation.curvature.matrices import EXACT, PROBLEMS, Problem, adam_state, perceptron
from tests.support.reference import make_data

EXACTLY: dict[str, Any] = {"rtol": 1e-10, "atol": 1e-12}
"""Sums of at most a few hundred products of numbers of order 1, in float64."""


def formed(operator: Operator) -> Tensor:
    return torch.stack([operator.product(row) for row in torch.eye(operator.size, dtype=EXACT)])


def both(problem: Problem, kind: str) -> tuple[type[LossOperator], Tensor]:
    if kind == "hessian":
        return HessianOperator, problem.hessian()
    return GaussNewtonOperator, problem.gauss_newton()


@pytest.mark.parametrize("kind", ["hessian", "gauss-newton"])
@pytest.mark.parametrize("name", PROBLEMS)
def test_products_are_those_of_the_matrix(name: str, kind: str) -> None:
    problem = PROBLEMS[name]()
    operator, matrix = both(problem, kind)
    torch.testing.assert_close(formed(operator(problem.evaluator())), matrix, **EXACTLY)


@pytest.mark.parametrize("kind", ["hessian", "gauss-newton"])
def test_a_layers_block_is_the_matrix_of_its_own_tensors(kind: str) -> None:
    problem = perceptron()
    operator, matrix = both(problem, kind)
    whole = operator(problem.evaluator())
    for place, name in enumerate(problem.names):
        part = slice(sum(whole.lengths[:place]), sum(whole.lengths[: place + 1]))
        for block in (whole.block([name]), operator(problem.evaluator(), names=[name])):
            torch.testing.assert_close(formed(block), matrix[part, part], **EXACTLY)


def test_a_preconditioned_matrix() -> None:
    problem = perceptron()
    operator = HessianOperator(problem.evaluator())
    second = torch.rand(operator.size, generator=torch.Generator().manual_seed(0), dtype=EXACT)
    p = adam_diagonal(adam_state(operator, second, step=3), operator)
    torch.testing.assert_close(p, (1 - 0.9**3) * (second**0.5 + 1e-3))
    expected = torch.diag(p**-0.5) @ problem.hessian() @ torch.diag(p**-0.5)
    torch.testing.assert_close(formed(Preconditioned(operator, p)), expected, rtol=1e-9, atol=1e-10)
    for wrong in (p[:-1], torch.zeros_like(p), p * torch.nan):
        with pytest.raises(InputError, match="preconditioner"):
            Preconditioned(operator, wrong)


def test_other_weights_than_the_frozen_ones() -> None:
    problem = perceptron()
    moved = {name: 0.5 * tensor for name, tensor in problem.evaluator().frozen.items()}
    at = HessianOperator(problem.evaluator(), moved)
    with torch.no_grad():
        for parameter in problem.network.parameters():
            parameter.mul_(0.5)
    torch.testing.assert_close(formed(at), problem.hessian(), **EXACTLY)


def test_chunks_change_nothing_but_rounding() -> None:
    problem = perceptron()
    v = torch.ones(len(problem.point()), dtype=EXACT)
    for operator in (HessianOperator, GaussNewtonOperator):
        whole, parts = (operator(problem.evaluator(chunk)).product(v) for chunk in (100, 1))
        torch.testing.assert_close(parts, whole, **EXACTLY)


def test_vectors_go_to_tensors_and_back() -> None:
    operator = HessianOperator(perceptron().evaluator())
    v = torch.arange(operator.size, dtype=EXACT)
    tensors = operator.unflatten(v)
    assert {name: part.shape for name, part in tensors.items()} == {
        name: operator.evaluator.frozen[name].shape for name in operator.names
    }
    assert torch.equal(operator.flatten(tensors), v)


def test_frozen_parameters_are_not_part_of_it_unless_named() -> None:
    problem = perceptron()
    first = next(iter(problem.network.parameters()))
    first.requires_grad_(False)
    operator = HessianOperator(problem.evaluator())
    assert operator.size == len(problem.point()) - first.numel()
    assert HessianOperator(problem.evaluator(), names=problem.names).size == len(problem.point())
    with pytest.raises(InputError, match="no parameter other"):
        HessianOperator(problem.evaluator(), names=["other"])
    with pytest.raises(InputError, match="nothing trains"):
        HessianOperator(problem.evaluator(), names=[])


class Once(torch.autograd.Function):
    """x², whose gradient counts as a constant."""

    @staticmethod
    def forward(ctx: Any, x: Tensor) -> Tensor:
        ctx.save_for_backward(x)
        return x * x

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: Tensor) -> Tensor:
        (x,) = ctx.saved_tensors
        found: Tensor = 2 * x * gradient
        return found


class Squared(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        return Once.apply(x)  # type: ignore[no-any-return,no-untyped-call]


class Attention(nn.Module):
    """Over single features."""

    def __init__(self, *, fused: bool) -> None:
        super().__init__()
        self.fused, self.inner = fused, nn.Linear(1, 4)

    def forward(self, x: Tensor) -> Tensor:
        h = self.inner(x[:, :, None])
        if not self.fused:
            return self.mixed(h)
        with sdpa_kernel(SDPBackend.FLASH_ATTENTION):
            return self.mixed(h)

    def mixed(self, h: Tensor) -> Tensor:
        h = h[:, None]
        found: Tensor = nn.functional.scaled_dot_product_attention(h, h, h)
        return found.flatten(1)


def with_layer(layer: nn.Module, width: int) -> Evaluator:
    network = nn.Sequential(nn.Linear(6, width), nn.ModuleDict({"inside": layer})["inside"])
    network.append(nn.Linear(4 * width if isinstance(layer, Attention) else width, 3))
    x, y = make_data(5)
    data = Batches([Batch(x, y)])
    return Evaluator(network.double(), data, None, resolve_loss(None, data)[1], dtype=EXACT)


@pytest.mark.parametrize("operator", [HessianOperator, GaussNewtonOperator])
@pytest.mark.parametrize("layer", [Squared(), Attention(fused=True)])
def test_a_module_without_second_derivatives_is_refused_by_its_name(
    operator: type[LossOperator], layer: nn.Module
) -> None:
    with pytest.raises(
        InputError, match=rf"the module 1 \({type(layer).__name__}\) has no second derivative"
    ):
        operator(with_layer(layer, 5))


def test_attention_runs_in_plain_products() -> None:
    operator = HessianOperator(with_layer(Attention(fused=False), 5))
    v = torch.ones(operator.size, dtype=EXACT)
    assert torch.isfinite(operator.product(v)).all()


def test_a_loss_that_ends_the_graph_is_refused() -> None:
    x, y = make_data(5)
    data = Batches([Batch(x, y)])

    def loss(outputs: Tensor, targets: Tensor) -> Tensor:
        squares: Tensor = Once.apply(outputs)  # type: ignore[no-untyped-call]
        return squares.sum(1)

    evaluator = Evaluator(nn.Linear(6, 3).double(), data, None, loss, dtype=EXACT)
    with pytest.raises(InputError, match="the loss has no second derivative"):
        HessianOperator(evaluator)


def test_a_loss_that_calls_the_network_has_a_hessian_alone() -> None:
    problem = perceptron()
    loss = ModelLoss(lambda model, batch: nn.functional.cross_entropy(model(batch[0]), batch[1]))
    data = Batches([Batch(problem.x, problem.y)])
    evaluator = Evaluator(problem.network, data, None, loss, dtype=EXACT)
    torch.testing.assert_close(formed(HessianOperator(evaluator)), problem.hessian(), **EXACTLY)
    with pytest.raises(InputError, match="calls the network itself"):
        GaussNewtonOperator(evaluator)


def test_a_recurrent_network_has_both() -> None:
    class Recurrent(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.inner, self.head = nn.LSTM(2, 3, batch_first=True), nn.Linear(3, 3)

        def forward(self, x: Tensor) -> Tensor:
            found: Tensor = self.head(self.inner(x.view(-1, 3, 2))[0][:, -1])
            return found

    x, y = make_data(5)
    data = Batches([Batch(x, y)])
    evaluator = Evaluator(
        Recurrent().double(), data, None, resolve_loss("cross-entropy", data)[1], dtype=EXACT
    )
    v = torch.ones(HessianOperator(evaluator).size, dtype=EXACT)
    for operator in (HessianOperator(evaluator), GaussNewtonOperator(evaluator)):
        assert torch.isfinite(operator.product(v)).all()


def test_a_loss_without_curvature() -> None:
    x, y = make_data(5)
    data = Batches([Batch(x, y)])
    evaluator = Evaluator(nn.Linear(6, 3).double(), data, None, lambda f, _: f.sum(1), dtype=EXACT)
    for operator in (HessianOperator(evaluator), GaussNewtonOperator(evaluator)):
        assert not operator.product(torch.ones(operator.size, dtype=EXACT)).any()
