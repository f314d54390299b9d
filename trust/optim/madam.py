"""Madam, multiplicative Adam: every weight is multiplied by a factor near 1, so that none changes its sign."""

from __future__ import annotations

from typing import Any

import torch
from torch.optim.optimizer import ParamsT

from trust.optim._stepping import Stepping, check_beta, check_step_size, root_mean_square, widened


def madam_step(
    weight: torch.Tensor,
    gradient: torch.Tensor,
    *,
    size: torch.Tensor,
    bound: torch.Tensor,
    lr: float,
    g_bound: float,
) -> torch.Tensor:
    r"""W · exp(−η sign(w) clamp(g/ḡ, ±g*)), then clamped to ±σ*.

    .. math:: W \cdot \exp\bigl(-\eta \, \text{sign}(w) \, \text{clamp}(g / \bar{g}, \pm g^*)\bigr)

    Args:
        weight: w, of any shape.
        gradient: g, of the same shape.
        size: ḡ, the root mean square of g over the steps, of the same shape; where it is 0 nothing moves.
        bound: σ*, the largest weight allowed, of no axes.
        lr: η.
        g_bound: g*, the largest normalised gradient.

    Returns:
        A new tensor, whose entries have the signs of `weight`.
    """
    ratio = gradient / torch.where(size > 0, size, torch.ones_like(size))
    factor = torch.exp(-lr * weight.sign() * ratio.clamp(-g_bound, g_bound))
    return torch.clamp(weight * factor, -bound, bound)


class Madam(Stepping):
    """w ← w · exp(−η sign(w) clamp(g/ḡ, ±g*)), weight by weight, then clamped to ±σ*.

    By Bernstein, Zhao, Meister, Liu, Anandkumar and Yue (arXiv 2006.14560, Algorithm 1). ḡ² is the running mean
    of g² over the steps, with Adam's correction for its start at zero (without it the first steps would be
    1/√(1 − β) = 32 times too long). A weight's relative change is near η in the ordinary case, and at most
    e^(η g*) − 1.

    σ* is `p_scale` times the root mean square of a tensor when the optimiser first moves it. A weight at zero
    stays there, and so does a tensor that starts at zero, such as the biases of norm layers.

    Args:
        params: tensors or parameter groups, as for any torch optimiser.
        lr: η, the relative step of every single weight; 0.01 as published. A group may have its own.
        p_scale: σ* in units of a tensor's first root mean square; 3 as published.
        g_bound: g*, the bound of a step in units of η; 10 as published.
        beta: the share of ḡ² that is kept from step to step; 0.999 as published.

    Raises:
        ValueError: if lr is negative or not finite, p_scale or g_bound not positive, or beta outside [0, 1).
    """

    def __init__(
        self,
        params: ParamsT,
        lr: float = 0.01,
        *,
        p_scale: float = 3.0,
        g_bound: float = 10.0,
        beta: float = 0.999,
    ) -> None:
        """See the class."""
        super().__init__(params, {"lr": lr, "p_scale": p_scale, "g_bound": g_bound, "beta": beta})

    def add_param_group(self, param_group: dict[str, Any]) -> None:
        """Add a group of tensors, with its own options if it has them.

        Raises:
            ValueError: as the class.
        """
        options = {**self.defaults, **param_group}
        check_step_size(options["lr"])
        check_beta(options["beta"])
        for name in ("p_scale", "g_bound"):
            if not options[name] > 0:
                raise ValueError(f"{name} must be positive, got {options[name]}")
        super().add_param_group(param_group)

    def _move(self) -> None:
        for group, tensor, gradient in self._moving():
            w, g = widened(tensor), widened(gradient)
            state = self.state[tensor]
            if "step" not in state:
                state["step"] = 0
                state["mean_square"] = torch.zeros_like(w)
                state["scale"] = w.square().mean().sqrt()
            state["step"] += 1
            size = root_mean_square(
                state["mean_square"], g.square(), beta=group["beta"], step=int(state["step"])
            )
            bound = group["p_scale"] * state["scale"]
            tensor.copy_(madam_step(w, g, size=size, bound=bound, lr=group["lr"], g_bound=group["g_bound"]))
