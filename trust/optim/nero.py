"""Nero, the neuronal rotator: every neuron's weights turn by about η, on a sphere and balanced."""

from __future__ import annotations

from typing import Any

import torch
from torch.optim.optimizer import ParamsT

from trust.optim._stepping import Stepping, check_beta, check_step_size, root_mean_square, widened

_BIAS_SCALE = 0.01


def balanced(weight: torch.Tensor) -> torch.Tensor:
    """The weights with each neuron's at mean 0 and norm 1: Definition 2 of the paper.

    Args:
        weight: shape (out, …), a neuron's weights along all axes but the first; at least two of them, since the
            only balanced single weight would be 0.

    Returns:
        A new tensor. A neuron whose weights are all equal has no balanced direction, and is 0.
    """
    rows = weight.flatten(1)
    centred = rows - rows.mean(dim=1, keepdim=True)
    lengths = _row_norms(centred)
    # What the mean's own rounding leaves of equal weights is no direction.
    left = lengths > 4 * torch.finfo(rows.dtype).eps * _row_norms(rows)
    return torch.where(left, centred / lengths, torch.zeros_like(centred)).view_as(weight)


def nero_step(
    weight: torch.Tensor, gradient: torch.Tensor, *, size: torch.Tensor, scale: torch.Tensor, lr: float
) -> torch.Tensor:
    r"""W − η σ g/ḡ, where ḡ is the root mean square of the neuron's gradient norm.

    .. math:: W - \eta \, \sigma \, \frac{g}{\bar{g}}

    Args:
        weight: w, of any shape.
        gradient: g, of the same shape.
        size: ḡ, broadcast against it; where it is 0 nothing moves.
        scale: σ, ‖w‖ of a neuron's weights and the scale at the start of a bias, broadcast against it.
        lr: η.

    Returns:
        A new tensor, not balanced yet.
    """
    # Dividing before multiplying, since σ/ḡ overflows for a tiny gradient.
    turn = gradient / torch.where(size > 0, size, torch.ones_like(size))
    return weight - lr * scale * turn


class Nero(Stepping):
    """w ← w − η (‖w‖/ḡ) g for each neuron's weights w, then w ← w − mean(w), then w ← w/‖w‖.

    By Liu, Bernstein, Meister and Yue (arXiv 2102.07227, Algorithm 1). ḡ² is the running mean of ‖g‖² over the
    steps, with Adam's correction for its start at zero. So that every gradient is one of a balanced network,
    *the weights are balanced when the optimiser takes them*, and after every step. A neuron is what the
    first axis of a tensor of two or more axes counts, as in torch's linear and convolutional layers.

    Each number of a vector (biases, gains), and of a tensor with a single weight a neuron, moves by itself:
    b ← b − η (σ/ḡ) g, without any constraint. σ is the tensor's root mean square when it is taken, or 0.01
    for one that is zero then.

    Where a neuron's gradient has been zero throughout, it stays put.

    Args:
        params: tensors or parameter groups, as for any torch optimiser.
        lr: η, near the angle in radians that a neuron turns by; 0.01 as published. A group may have its own.
        beta: the share of ḡ² that is kept from step to step; 0.999 as published. A group may have its own.

    Raises:
        ValueError: if lr is negative or not finite, or beta outside [0, 1).
    """

    def __init__(self, params: ParamsT, lr: float = 0.01, *, beta: float = 0.999) -> None:
        """See the class."""
        super().__init__(params, {"lr": lr, "beta": beta})

    def add_param_group(self, param_group: dict[str, Any]) -> None:
        """Add a group of tensors, and balance them.

        Raises:
            ValueError: as the class.
        """
        check_step_size(param_group.get("lr", self.defaults["lr"]))
        check_beta(param_group.get("beta", self.defaults["beta"]))
        super().add_param_group(param_group)
        with torch.no_grad():
            for tensor in self.param_groups[-1]["params"]:
                if _has_neurons(tensor):
                    tensor.copy_(balanced(widened(tensor)))
                else:
                    scale = widened(tensor).square().mean().sqrt()
                    self.state[tensor]["scale"] = torch.where(
                        scale > 0, scale, torch.full_like(scale, _BIAS_SCALE)
                    )

    def _move(self) -> None:
        for group, tensor, gradient in self._moving():
            w, g = widened(tensor), widened(gradient)
            neurons = _has_neurons(tensor)
            square = _row_norms(g).square() if neurons else g.square()
            state = self.state[tensor]
            if "step" not in state:
                state["step"] = 0
                state["mean_square"] = torch.zeros_like(square)
            state["step"] += 1
            size = root_mean_square(state["mean_square"], square, beta=group["beta"], step=int(state["step"]))
            scale = _row_norms(w) if neurons else state["scale"]
            moved = nero_step(w, g, size=size, scale=scale, lr=group["lr"])
            tensor.copy_(balanced(moved) if neurons else moved)


def _has_neurons(tensor: torch.Tensor) -> bool:
    return tensor.ndim >= 2 and tensor[0].numel() >= 2


def _row_norms(weight: torch.Tensor) -> torch.Tensor:
    """‖w‖ of each neuron, shape (out, 1, …)."""
    found: torch.Tensor = torch.linalg.vector_norm(weight, dim=tuple(range(1, weight.ndim)), keepdim=True)
    return found
