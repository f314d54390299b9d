"""What holds of every optimiser: states, precisions, closures, refusals."""

from __future__ import annotations

import io
import math

import pytest
import torch

from trust.optim import AGD, Fromage, Madam, Nero

ALL = pytest.mark.parametrize("kind", [Fromage, Nero, Madam, AGD])


def gradient(step: int, dtype: torch.dtype) -> torch.Tensor:
    return torch.randn(4, 3, generator=torch.Generator().manual_seed(step)).to(dtype)


@ALL
@pytest.mark.parametrize("dtype", [torch.float64, torch.float32, torch.bfloat16, torch.float16])
def test_a_state_from_a_file_continues_identically(kind: type, dtype: torch.dtype) -> None:
    def run(W: torch.nn.Parameter, optimizer: torch.optim.Optimizer, steps: range) -> None:
        for step in steps:
            W.grad = gradient(step, dtype)
            optimizer.step()

    W = torch.nn.Parameter(gradient(99, dtype))
    optimizer = kind([W], lr=0.05)
    run(W, optimizer, range(3))
    file = io.BytesIO()
    torch.save({"W": W.detach(), "optimizer": optimizer.state_dict()}, file)
    file.seek(0)
    saved = torch.load(file, weights_only=True)
    copy = torch.nn.Parameter(torch.zeros_like(W))
    other = kind([copy], lr=0.9)
    with torch.no_grad():
        copy.copy_(saved["W"])
    other.load_state_dict(saved["optimizer"])
    run(W, optimizer, range(3, 8))
    run(copy, other, range(3, 8))
    torch.testing.assert_close(copy.data, W.data, rtol=0, atol=0)


@ALL
@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_half_precision_steps_are_the_rounded_ones(kind: type, dtype: torch.dtype) -> None:
    """Gradients whose squares overflow or vanish in float16, and averages that bfloat16 would not move."""
    for size in (1e-4, 1.0, 3e4):
        W = torch.nn.Parameter(gradient(99, dtype))
        wide = torch.nn.Parameter(W.detach().float())
        half, full = kind([W], lr=0.05), kind([wide], lr=0.05)
        for step in range(3):
            with torch.no_grad():
                wide.copy_(W)
            W.grad = (size * gradient(step, torch.float32)).to(dtype)
            wide.grad = W.grad.float()
            half.step()
            full.step()
            # Two roundings of a weight's size, and three of Fromage's two factors.
            torch.testing.assert_close(
                W.float(), wide.float(), rtol=0, atol=4 * torch.finfo(dtype).eps * float(wide.abs().max())
            )


@pytest.mark.parametrize("kind", [Nero, Madam])
def test_averages_do_not_stall_in_half_precision(kind: type) -> None:
    """V ← 0.999 v + 0.001 g² is v again in bfloat16, and would be after loading too."""
    W = torch.nn.Parameter(torch.ones(4, 3, dtype=torch.bfloat16))
    optimizer = kind([W])
    W.grad = torch.ones_like(W)
    optimizer.step()
    optimizer.load_state_dict(optimizer.state_dict())
    average = optimizer.state[W]["mean_square"]
    before = average.clone()
    W.grad = torch.full_like(W, 2.0)
    optimizer.step()
    after = optimizer.state[W]["mean_square"]
    assert after.dtype == torch.float32
    torch.testing.assert_close(after / before, torch.full_like(after, 0.999 + 4.0), rtol=1e-5, atol=0)


@ALL
def test_sparse_gradients_are_refused(kind: type) -> None:
    embedding = torch.nn.Embedding(5, 2, sparse=True)
    embedding(torch.tensor([1])).sum().backward()
    with pytest.raises(RuntimeError, match=f"{kind.__name__} does not take sparse gradients"):
        kind(embedding.parameters()).step()


@ALL
@pytest.mark.parametrize("lr", [-0.1, math.nan, math.inf])
def test_bad_lr(kind: type, lr: float) -> None:
    W = torch.nn.Parameter(torch.eye(2))
    with pytest.raises(ValueError, match="lr must be finite"):
        kind([W], lr=lr)
    with pytest.raises(ValueError, match="lr must be finite"):
        kind([{"params": [W], "lr": lr}])


@ALL
def test_a_closure_is_run_with_gradients_and_tensors_without_one_stay(kind: type) -> None:
    W, still = (torch.nn.Parameter(torch.tensor([[2.0, -1.0], [0.5, 1.0]])) for _ in range(2))
    optimizer = kind([W, still], lr=0.1)
    before, rest = W.detach().clone(), still.detach().clone()

    def closure() -> torch.Tensor:
        optimizer.zero_grad()
        loss = (W * torch.tensor([[1.0, 0.5], [2.0, -1.0]])).sum()
        loss.backward()
        return loss

    with torch.no_grad():
        assert optimizer.step(closure).item() == pytest.approx(float((before * W.grad).sum()))
    assert not torch.equal(W, before)
    assert torch.equal(still, rest)
    assert optimizer.step() is None


@ALL
def test_training_a_small_network_lowers_the_loss(kind: type) -> None:
    torch.manual_seed(0)
    network = torch.nn.Sequential(
        torch.nn.Linear(4, 16, bias=False), torch.nn.Tanh(), torch.nn.Linear(16, 1, bias=False)
    )
    x = torch.randn(64, 4)
    y = (x[:, :1] - x[:, 1:2]).tanh()  # in reach of balanced weights
    optimizer = kind(network.parameters())
    losses = []
    for _ in range(100):
        optimizer.zero_grad()
        loss = torch.nn.functional.mse_loss(network(x), y)
        loss.backward()
        losses.append(loss.item())
        optimizer.step()
    assert min(losses[-10:]) < 0.7 * losses[0]
