"""Fromage, the optimiser that deep relative trust leads to: each tensor's step is relative to its norm."""

from __future__ import annotations

import math
from typing import Any

import torch
from torch.optim.optimizer import ParamsT

from trust.optim._stepping import Stepping, check_step_size, norm

_OPTIONS = ("lr", "p_bound", "prefactor")


def relative_direction(W: torch.Tensor, gradient: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """g/‖g‖_F and ‖W‖_F, whose product a relative step of 1 subtracts; g and 1 where either norm is zero.

    Args:
        W: weights of any shape.
        gradient: g, of the same shape.
    """
    W_norm, g_norm = norm(W), norm(gradient)
    # torch.where rather than a branch: the norms are never brought to the CPU.
    relative = (W_norm > 0) & (g_norm > 0)
    one = torch.ones_like(W_norm)
    # Dividing before multiplying: ‖W‖/‖g‖ overflows for a tiny gradient, g/‖g‖ does not.
    return gradient / torch.where(relative, g_norm, one), torch.where(relative, W_norm, one)


class Fromage(Stepping):
    r"""W ← (1/√(1 + η²)) · [W − η (‖W‖_F / ‖g‖_F) g], tensor by tensor.

    .. math:: W \leftarrow \frac{1}{\sqrt{1 + \eta^2}} \cdot \Bigl[W - \eta \, \frac{\|W\|_F}{\|g\|_F} \, g\Bigr]

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
        check_step_size(param_group.get("lr", self.defaults["lr"]))
        p_bound = param_group.get("p_bound", self.defaults["p_bound"])
        if p_bound is not None and not 0 < p_bound < math.inf:
            raise ValueError(f"p_bound must be positive and finite, or None, got {p_bound}")
        super().add_param_group(param_group)

    def _move(self) -> None:
        for group, tensor, gradient in self._moving():
            self._update(tensor, gradient, **{name: group[name] for name in _OPTIONS})

    def _update(
        self, W: torch.Tensor, gradient: torch.Tensor, *, lr: float, p_bound: float | None, prefactor: bool
    ) -> None:
        if p_bound is not None and "initial_norm" not in self.state[W]:
            self.state[W]["initial_norm"] = norm(W)

        direction, size = relative_direction(W, gradient)
        W.sub_(direction * (lr * size))
        if prefactor:
            W.mul_(1 / math.sqrt(1 + lr**2))

        if p_bound is not None:
            initial_norm = self.state[W]["initial_norm"]
            now = norm(W)
            excess = (initial_norm > 0) & (now > p_bound * initial_norm)
            one = torch.ones_like(now)
            W.mul_(torch.where(excess, p_bound * initial_norm / torch.where(excess, now, one), one))
