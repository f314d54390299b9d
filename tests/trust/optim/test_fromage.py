"""Fromage: its closed form, what it does to norms, its bound, its state."""

from __future__ import annotations

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from trust import Fromage


def parameter(values: list, gradient: list | None, dtype: torch.dtype = torch.float64) -> torch.nn.Parameter:
    W = torch.nn.Parameter(torch.tensor(values, dtype=dtype))
    W.grad = None if gradient is None else torch.tensor(gradient, dtype=dtype)
    return W


def test_closed_form() -> None:
    W = parameter([[3.0, 4.0]], [[0.0, 2.0]])
    Fromage([W], lr=0.75).step()
    # ‖W‖ = 5, ‖g‖ = 2: W − 0.75·(5/2)·g = (3, 0.25); √(1 + 0.75²) = 1.25
    torch.testing.assert_close(W.data, torch.tensor([[2.4, 0.2]], dtype=torch.float64))


def test_each_tensor_by_its_own_norm_and_its_group_by_its_own_lr() -> None:
    first, second = parameter([3.0, 4.0], [1.0, 0.0]), parameter([[6.0, 8.0]], [[0.0, 100.0]])
    untouched = parameter([1.0], None)
    optimizer = Fromage([{"params": [first, untouched]}, {"params": [second], "lr": 0.5}], lr=0.1)
    optimizer.step()
    expected = torch.tensor([2.5, 4.0], dtype=torch.float64) / math.sqrt(1.01)
    torch.testing.assert_close(first.data, expected)
    torch.testing.assert_close(second.data, torch.tensor([[6.0, 3.0]], dtype=torch.float64) / math.sqrt(1.25))
    assert untouched.item() == 1


@settings(max_examples=100)
@given(
    seed=st.integers(0, 2**31 - 1),
    lr=st.floats(1e-6, 2),
    size=st.sampled_from([1e-30, 1.0, 1e30]),
)
def test_a_gradient_at_right_angles_preserves_the_norm(seed: int, lr: float, size: float) -> None:
    generator = torch.Generator().manual_seed(seed)
    W0, g = torch.randn(2, 4, 3, generator=generator, dtype=torch.float64)
    g = g - (g * W0).sum() / (W0 * W0).sum() * W0
    W = torch.nn.Parameter(W0.clone())
    W.grad = size * g
    Fromage([W], lr=lr).step()
    # ‖W‖²(1 + η²)/(1 + η²); what is left of ⟨g, W⟩ is some ε, times 2η.
    assert W.norm().item() == pytest.approx(W0.norm().item(), rel=1e-13)
    # And it turned by arctan η.
    cosine = ((W * W0).sum() / (W.norm() * W0.norm())).item()
    assert cosine == pytest.approx(1 / math.sqrt(1 + lr**2), rel=1e-12)


def test_only_the_factor_keeps_norms_from_growing() -> None:
    """A check of the check above: the bracket alone grows the norm by √(1 + η²)."""
    W = parameter([1.0, 0.0], [0.0, 5.0])
    bracket = W.data - 0.3 / 5 * W.grad
    assert bracket.norm().item() == pytest.approx(math.sqrt(1.09))
    Fromage([W], lr=0.3).step()
    assert W.norm().item() == pytest.approx(1)


def test_zero_norms_take_the_plain_step() -> None:
    zero, flat = parameter([0.0, 0.0], [1.0, -2.0]), parameter([3.0, 4.0], [0.0, 0.0])
    Fromage([zero, flat], lr=0.75).step()
    torch.testing.assert_close(zero.data, torch.tensor([-0.6, 1.2], dtype=torch.float64))
    torch.testing.assert_close(flat.data, torch.tensor([2.4, 3.2], dtype=torch.float64))
    both = parameter([0.0], [0.0])
    Fromage([both]).step()
    assert both.item() == 0


def test_a_tiny_gradient_is_as_good_as_any() -> None:
    big, tiny = (
        parameter([3e4, 4e4], [1.0, 1.0], torch.float32),
        parameter([3e4, 4e4], [1e-18, 1e-18], torch.float32),
    )
    Fromage([big, tiny]).step()
    torch.testing.assert_close(big.data, tiny.data)
    # ‖W‖/‖g‖ is 2.5e40 here, beyond float32.
    tinier = parameter([3e18, 4e18], [1e-22, 1e-22], torch.float32)
    Fromage([tinier]).step()
    assert torch.isfinite(tinier).all()
    # g's squares are subnormal in float32, with a digit or two: at η = 0.01, 1e-3 of W is a tenth of the
    # step.
    torch.testing.assert_close(tinier.data / 1e14, big.data, rtol=1e-3, atol=0)


def test_bound_on_norm_growth() -> None:
    W, free, zero = (
        parameter([1.0, 0.0], [-1.0, 0.0]),
        parameter([1.0, 0.0], [-1.0, 0.0]),
        parameter([0.0], [-1.0]),
    )
    bounded = Fromage([W, zero], lr=0.5, p_bound=1.2)
    unbounded = Fromage([free], lr=0.5)
    for _ in range(5):
        bounded.step()
        unbounded.step()
        assert W.norm().item() <= 1.2 * (1 + 1e-15)
    assert W.norm().item() == pytest.approx(1.2)
    assert free.norm().item() > 2  # (1.5/√1.25)⁵ = 4.3
    assert zero.item() > 0  # it has no scale to be bounded by


def test_bound_leaves_smaller_norms_alone() -> None:
    W, free = parameter([3.0, 4.0], [1.0, 1.0]), parameter([3.0, 4.0], [1.0, 1.0])
    Fromage([W], p_bound=1.0).step()
    Fromage([free]).step()
    assert free.norm() < 5
    torch.testing.assert_close(W.data, free.data, rtol=0, atol=0)


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32, torch.bfloat16])
def test_a_reloaded_optimizer_continues_identically(dtype: torch.dtype) -> None:
    def run(W: torch.nn.Parameter, optimizer: Fromage, steps: range) -> None:
        for step in steps:
            W.grad = torch.full_like(W, -1.0) + 0.1 * step * torch.eye(3, dtype=dtype)
            optimizer.step()

    W = torch.nn.Parameter(torch.arange(1.0, 10.0).reshape(3, 3).to(dtype))
    optimizer = Fromage([W], lr=0.05, p_bound=1.1)
    run(W, optimizer, range(3))
    copy = torch.nn.Parameter(W.detach().clone())
    other = Fromage([copy], lr=0.9)
    other.load_state_dict(optimizer.state_dict())
    run(W, optimizer, range(3, 8))
    run(copy, other, range(3, 8))
    torch.testing.assert_close(copy.data, W.data, rtol=0, atol=0)
    # The bound is the first norm's: √285 · 1.1, whatever the norm was at reloading.
    rounding = 1e-6 if dtype != torch.bfloat16 else 2**-7
    assert W.double().norm().item() == pytest.approx(math.sqrt(285) * 1.1, rel=rounding)


def test_closure_is_run_with_gradients() -> None:
    W = torch.nn.Parameter(torch.tensor([2.0]))
    optimizer = Fromage([W], lr=0.1)

    def closure() -> torch.Tensor:
        optimizer.zero_grad()
        loss = (W**2).sum()
        loss.backward()
        return loss

    with torch.no_grad():
        assert optimizer.step(closure).item() == 4
    assert W.item() == pytest.approx(1.8 / math.sqrt(1.01), rel=1e-6)
    assert optimizer.step() is None


def test_no_norm_is_brought_to_the_cpu(monkeypatch: pytest.MonkeyPatch) -> None:
    """Each of these conversions waits for a GPU to finish."""
    W = parameter([3.0, 4.0], [1.0, 1.0])
    optimizer = Fromage([W], p_bound=0.5)

    def refuse(*_: object) -> None:
        raise AssertionError("a device synchronisation")

    with monkeypatch.context() as patch:
        for conversion in ("item", "__bool__", "__float__", "tolist", "cpu", "numpy"):
            patch.setattr(torch.Tensor, conversion, refuse)
        optimizer.step()
        optimizer.step()
    assert 2.4 < W.norm().item() <= 2.5 * (1 + 1e-15)


def test_training_a_small_network_lowers_the_loss() -> None:
    torch.manual_seed(0)
    network = torch.nn.Sequential(torch.nn.Linear(4, 16), torch.nn.Tanh(), torch.nn.Linear(16, 1))
    x = torch.randn(64, 4)
    y = x.prod(dim=1, keepdim=True)
    optimizer = Fromage(network.parameters(), lr=0.02)
    losses = []
    for _ in range(100):
        optimizer.zero_grad()
        loss = torch.nn.functional.mse_loss(network(x), y)
        loss.backward()
        losses.append(loss.item())
        optimizer.step()
    assert min(losses[-10:]) < 0.7 * losses[0]


@pytest.mark.parametrize("lr", [-0.1, math.nan, math.inf])
def test_bad_lr(lr: float) -> None:
    with pytest.raises(ValueError, match="lr must be finite"):
        Fromage([parameter([1.0], None)], lr=lr)
    with pytest.raises(ValueError, match="lr must be finite"):
        Fromage([{"params": [parameter([1.0], None)], "lr": lr}])


@pytest.mark.parametrize("p_bound", [0.0, -1.0, math.nan, math.inf])
def test_bad_bound(p_bound: float) -> None:
    with pytest.raises(ValueError, match="p_bound must be positive"):
        Fromage([parameter([1.0], None)], p_bound=p_bound)


def test_sparse_gradients_are_refused() -> None:
    embedding = torch.nn.Embedding(5, 2, sparse=True)
    embedding(torch.tensor([1])).sum().backward()
    with pytest.raises(RuntimeError, match="sparse gradients"):
        Fromage(embedding.parameters()).step()


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")
def test_gpu_agrees_with_cpu() -> None:
    W = parameter([[3.0, 4.0]], [[0.0, 2.0]])
    on_gpu = torch.nn.Parameter(W.detach().cuda())
    on_gpu.grad = W.grad.cuda()
    for tensor in (W, on_gpu):
        Fromage([tensor], lr=0.75, p_bound=0.4).step()
    torch.testing.assert_close(on_gpu.data.cpu(), W.data)


def test_without_its_factor_it_is_lars() -> None:
    W = parameter([[3.0, 4.0]], [[0.0, 2.0]])
    other = parameter([[3.0, 4.0]], [[0.0, 2.0]])
    Fromage([{"params": [W], "prefactor": False}, {"params": [other]}], lr=0.75).step()
    torch.testing.assert_close(W.data, W.new_tensor([[3.0, 0.25]]))  # 4 − 0.75 · 5
    torch.testing.assert_close(other.data, W.new_tensor([[3.0, 0.25]]) / 1.25)
