"""Fromage, the optimiser that deep relative trust leads to: each tensor's step is relative to its norm."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any, overload

import torch
from torch.optim.optimizer import Optimizer, ParamsT

_OPTIONS = ("lr", "p_bound", "prefactor")


class Fromage(Optimizer):
    """W ← (1/√(1 + η²)) · [W − η (‖W‖_F / ‖g‖_F) g], tensor by tensor.

    The step is a share η of the tensor's own norm, so that η is (but for the factor) the relative
    perturbation r of deep relative trust. The factor keeps norms stable: for g at right angles to W the
    bracket's norm is exactly √(1 + η²) ‖W‖_F.

    Where ‖W‖_F or ‖g‖_F is zero there is no relative step: the plain gradient step takes its place in the
    bracket (the ratio is read as 1), and the factor stays. So a bias that starts at zero can leave it, and
    a tensor whose gradient vanished shrinks by 1/√(1 + η²).

    Args:
        params: tensors or parameter groups, as for any torch optimiser.
        lr: η, the relative step; 0.01 suits most networks. A group may have its own.
        prefactor: False leaves the factor 1/√(1 + η²) out: LARS (You, Gitman and Ginsburg 2017) without momentum and
            weight decay, under which norms grow. A group may have its own.
        p_bound: if given, after each step a tensor's norm is cut back to at most p_bound times its norm
            before its first step. A tensor that started at zero has no such scale and stays unbounded. A
            group may have its own.

    Raises:
        ValueError: if lr is negative or not finite, or p_bound not positive and finite.
    """

    def __init__(
        self, params: ParamsT, lr: float = 0.01, p_bound: float | None = None, *, prefactor: bool = True
    ) -> None:
        """See the class."""
        super().__init__(params, {"lr": lr, "p_bound": p_bound, "prefactor": prefactor})

    def add_param_group(self, param_group: dict[str, Any]) -> None:
        """Add a group of tensors, with its own `lr` and `p_bound` if it has them.

        Raises:
            ValueError: as the class.
        """
        lr = param_group.get("lr", self.defaults["lr"])
        p_bound = param_group.get("p_bound", self.defaults["p_bound"])
        if not 0 <= lr < math.inf:
            raise ValueError(f"lr must be finite and not negative, got {lr}")
        if p_bound is not None and not 0 < p_bound < math.inf:
            raise ValueError(f"p_bound must be positive and finite, or None, got {p_bound}")
        super().add_param_group(param_group)

    @overload
    def step(self, closure: None = None) -> None: ...

    @overload
    def step(self, closure: Callable[[], float]) -> float: ...

    def step(self, closure: Callable[[], float] | None = None) -> float | None:
        """Take one step; tensors without a gradient stay put.

        Args:
            closure: evaluates the loss and its gradients again, and returns the loss.

        Returns:
            What the closure returned, None without one.

        Raises:
            RuntimeError: if a gradient is sparse.
        """
        loss = None
        if closure is not None:
            with torch.enable_grad():
                loss = closure()
        with torch.no_grad():
            for group in self.param_groups:
                for parameter in group["params"]:
                    if parameter.grad is not None:
                        self._update(parameter, parameter.grad, **{name: group[name] for name in _OPTIONS})
        return loss

    def _update(
        self, W: torch.Tensor, gradient: torch.Tensor, *, lr: float, p_bound: float | None, prefactor: bool
    ) -> None:
        if gradient.layout != torch.strided:
            raise RuntimeError("Fromage does not take sparse gradients: use a dense one (sparse=False)")
        W_norm, g_norm = _norm(W), _norm(gradient)
        if p_bound is not None and "initial_norm" not in self.state[W]:
            # In the tensor's own dtype, to which loading a state dict would cast it.
            self.state[W]["initial_norm"] = W_norm.to(W.dtype)

        # torch.where rather than a branch: the norms are never brought to the CPU.
        relative = (W_norm > 0) & (g_norm > 0)
        one = torch.ones_like(W_norm)
        # Dividing before multiplying: ‖W‖/‖g‖ overflows for a tiny gradient, g/‖g‖ does not.
        direction = gradient / torch.where(relative, g_norm, one)
        W.sub_(direction * (lr * torch.where(relative, W_norm, one)))
        if prefactor:
            W.mul_(1 / math.sqrt(1 + lr**2))

        if p_bound is not None:
            initial_norm = self.state[W]["initial_norm"].to(W_norm.dtype)
            now = _norm(W)
            excess = (initial_norm > 0) & (now > p_bound * initial_norm)
            W.mul_(torch.where(excess, p_bound * initial_norm / torch.where(excess, now, one), one))


def _norm(tensor: torch.Tensor) -> torch.Tensor:
    """The Frobenius norm, in float32 at least: half precision overflows at 65504."""
    norm: torch.Tensor = torch.linalg.vector_norm(
        tensor, dtype=torch.promote_types(tensor.dtype, torch.float32)
    )
    return norm
