"""Automatic gradient descent: a step that depth, widths and gradients give, with nothing to tune."""

from __future__ import annotations

import math
from typing import Any

import torch
from torch.optim.optimizer import ParamsT

from trust.function_bounds import agd_step
from trust.optim._stepping import Stepping, check_step_size, norm


def agd_initialisation_(weight: torch.Tensor, *, generator: torch.Generator | None = None) -> torch.Tensor:
    """Fill a weight, in place, with a random orthogonal matrix times √(d_out/d_in): the start that AGD assumes.

    All singular values are √(d_out/d_in) then, and AGD's step sizes are relative to that.

    Args:
        weight: shape (d_out, …), read as a matrix (d_out, d_in) with d_in the product of all other axes.
        generator: of the random numbers; None for torch's own.

    Returns:
        The weight.

    Raises:
        ValueError: if the weight has fewer than two axes.
    """
    rows, columns = _shape(weight)
    made: torch.Tensor = torch.nn.init.orthogonal_(
        weight, gain=math.sqrt(rows / columns), generator=generator
    )
    return made


class AGD(Stepping):
    r"""W_k ← W_k − (η/L) √(d_k/d_{k−1}) g_k/‖g_k‖_F with η = log((1 + √(1 + 4G))/2).

    .. math::
        W_k \leftarrow W_k - \frac{\eta}{L} \sqrt{\frac{d_k}{d_{k - 1}}} \, \frac{g_k}{\|g_k\|_F}
        \text{ with } \eta = \log \frac{1 + \sqrt{1 + 4 G}}{2}

    G = (1/L) Σ_k √(d_k/d_{k−1}) ‖g_k‖_F. By Bernstein, Mingard, Huang, Azizan and Yue (arXiv 2304.05187), whose
    majorisation η minimises (see `trust.agd_step`). L counts all tensors that have a gradient, of all groups
    together; one whose gradient is zero stays put and still counts. A convolution is read as the matrix (out,
    in·kh·kw), which is a choice of ours: the paper's formulas are for fully-connected layers.

    For the network that the derivation is about: no biases, square loss, inputs with ‖x‖ = √d_0, and weights
    from :func:`agd_initialisation_`. Elsewhere it is a heuristic.

    Args:
        params: weight matrices or groups of them, as for any torch optimiser.
        lr: the gain, a factor on η; 1 as published. A group may have its own.

    Raises:
        ValueError: if lr is negative or not finite, or a tensor has fewer than two axes.
    """

    def __init__(self, params: ParamsT, lr: float = 1.0) -> None:
        """See the class."""
        super().__init__(params, {"lr": lr})

    def add_param_group(self, param_group: dict[str, Any]) -> None:
        """Add a group of weight matrices.

        Raises:
            ValueError: as the class.
        """
        check_step_size(param_group.get("lr", self.defaults["lr"]))
        super().add_param_group(param_group)
        for tensor in self.param_groups[-1]["params"]:
            _shape(tensor)

    def _move(self) -> None:
        moving = list(self._moving())
        if not moving:
            return
        norms = [norm(gradient) for _, _, gradient in moving]
        rows, columns = zip(*(_shape(tensor) for _, tensor, _ in moving), strict=True)
        sizes = torch.stack([one.double().cpu() for one in norms])
        eta = (
            float(agd_step(sizes.numpy(), rows=rows, columns=columns))
            if torch.isfinite(sizes).all()
            else math.nan  # as the weights of any optimiser become under such gradients
        )
        for (group, tensor, gradient), size, d_out, d_in in zip(moving, norms, rows, columns, strict=True):
            length = group["lr"] * eta / len(moving) * math.sqrt(d_out / d_in)
            tensor.sub_(gradient / torch.where(size > 0, size, torch.ones_like(size)) * length)


def _shape(weight: torch.Tensor) -> tuple[int, int]:
    """(d_out, d_in) of the matrix that a weight is read as.

    Raises:
        ValueError: if it is none.
    """
    if weight.ndim < 2:
        raise ValueError(
            f"automatic gradient descent moves weight matrices alone, got a tensor of shape {tuple(weight.shape)}:"
            " leave biases out"
        )
    return weight.shape[0], weight[0].numel()
