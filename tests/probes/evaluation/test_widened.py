"""A network whose tensors become float64 where they are used computes what one in float64 does."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from torch import Tensor, nn
from torch.autograd import forward_ad
from torch.func import functional_call, jvp
from torch.nn.utils.parametrizations import weight_norm

from probes.evaluation.widened import Widened


class Own(nn.Module):
    """Reaches its tensor by attributes, views and a list."""

    def __init__(self) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.randn(5, 5))

    def forward(self, x: Tensor) -> Tensor:
        assert self.weight.shape == (5, 5)
        y: Tensor = x.to(self.weight.dtype) @ self.weight.T @ self.weight[:, :5] * self.weight.diagonal()
        return torch.cat([y, x @ torch.stack([self.weight, 2 * self.weight])[1]])


class Recurrent(nn.Module):
    """Its tensors travel in a list."""

    def __init__(self) -> None:
        super().__init__()
        self.inner = nn.LSTM(5, 4, batch_first=True)

    def forward(self, x: Tensor) -> Tensor:
        found: Tensor = self.inner(x[:, None])[0]
        return found


NETWORKS: dict[str, Callable[[], nn.Module]] = {
    "linear": lambda: nn.Sequential(nn.Linear(5, 6), nn.LayerNorm(6), nn.GELU(), nn.Linear(6, 2, bias=False)),
    "convolution": lambda: nn.Sequential(nn.Unflatten(1, (1, 5)), nn.Conv1d(1, 3, 2), nn.BatchNorm1d(3)),
    "parametrised": lambda: weight_norm(nn.Linear(5, 3)),
    "own": Own,
    "recurrent": Recurrent,
}


def subject(kind: str) -> tuple[nn.Module, dict[str, Tensor], dict[str, Tensor], Tensor]:
    torch.manual_seed(0)
    network = NETWORKS[kind]().eval()
    tensors = {name: tensor.detach() for name, tensor in network.named_parameters()}
    buffers = {
        name: tensor.double() for name, tensor in network.named_buffers() if tensor.is_floating_point()
    }
    return network, tensors, buffers, torch.randn(4, 5, dtype=torch.float64)


@pytest.mark.parametrize("kind", NETWORKS)
def test_outputs(kind: str) -> None:
    network, tensors, buffers, x = subject(kind)
    exact = {name: tensor.double() for name, tensor in tensors.items()}
    with torch.no_grad():
        expected = functional_call(network, (exact, buffers), (x,))
        with Widened(tensors, torch.float64):
            found = functional_call(network, (tensors, buffers), (x,))
    assert found.dtype == torch.float64
    assert torch.equal(found, expected)


@pytest.mark.parametrize("kind", ["linear", "convolution", "own"])  # the others have no forward derivative
def test_changes_travel_along(kind: str) -> None:
    network, tensors, buffers, x = subject(kind)
    exact = {name: tensor.double() for name, tensor in tensors.items()}
    first = next(iter(tensors))
    changes = {
        name: torch.randn_like(tensor) for name, tensor in exact.items() if name != first or len(exact) == 1
    }
    whole = {name: changes.get(name, torch.zeros_like(tensor)) for name, tensor in exact.items()}
    expected = jvp(lambda given: functional_call(network, (given, buffers), (x,)), (exact,), (whole,))[1]
    with torch.no_grad(), forward_ad.dual_level(), Widened(tensors, torch.float64, changes.get):
        output = functional_call(network, (tensors, buffers), (x,))
        tangent = forward_ad.unpack_dual(output).tangent  # type: ignore[no-untyped-call]
    torch.testing.assert_close(tangent, expected, rtol=1e-12, atol=1e-12)
